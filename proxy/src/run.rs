//! `weir run`: the process around an [`App`]: log, signals, the configuration file, admin address.

mod handover;
mod notify;
mod watch;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::AbortHandle;
use tracing_appender::non_blocking::WorkerGuard;

use crate::admin;
use crate::app::{App, End, Load};
use crate::cli::RunArgs;
use crate::config::fault::Severity;
use crate::config::report::Format;
use crate::config::{Config, Document, Faults};
use crate::listener::descriptors;
use crate::listener::sockets::{self, Sockets};
use crate::push;
use handover::{Origin, Successor};
use watch::{Contents, Watch};

/// Writes the log to standard error until the guard is dropped: `RUST_LOG` chooses what (else
/// `otherwise`), `WEIR_LOG=json` how. A thread of its own writes, so that no worker waits for a
/// terminal or pipe that stalls; lines are then dropped.
pub fn init_log(otherwise: &str) -> WorkerGuard {
    use tracing_subscriber::EnvFilter;
    let (filter, unread) = match EnvFilter::try_from_default_env() {
        Ok(filter) => (filter, None),
        Err(error) => {
            let is_set = std::env::var_os(EnvFilter::DEFAULT_ENV).is_some();
            (EnvFilter::new(otherwise), is_set.then_some(error))
        }
    };
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer);
    // Fails only where a log was set up before, which then serves.
    let format = format();
    let _ = if is_json(&format) {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    };
    if let Some(error) = unread {
        tracing::warn!(%error, "RUST_LOG cannot be read: the log is as if it were not set");
    }
    if !["", "json", "text"].contains(&format.as_str()) {
        tracing::warn!(
            format,
            "WEIR_LOG is neither `json` nor `text`: the log is text"
        );
    }
    guard
}

/// How the log is to be written.
fn format() -> String {
    std::env::var("WEIR_LOG").unwrap_or_default()
}

fn is_json(format: &str) -> bool {
    format == "json"
}

/// A line for each.
fn log(faults: &Faults) {
    for fault in &faults.list {
        let (code, key, message) = (fault.code, &fault.path, &fault.message);
        if fault.severity() == Severity::Warning {
            tracing::warn!(%code, %key, "{message}");
        } else {
            let (place, hint) = (faults.place(fault), &fault.hint);
            tracing::error!(%code, %key, place, hint, "{message}");
        }
    }
}

/// An error with its causes. Many say their cause themselves: it is not said again.
pub fn with_causes(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// The command: loads the configuration and serves until a signal ends it.
pub fn command(args: RunArgs) -> ExitCode {
    let origin = Origin::note();
    let _log = init_log("info");
    descriptors::raise_limit();
    let RunArgs {
        config: args,
        no_watch,
    } = args;
    let contents = Arc::new(Contents::new(&args.config));
    contents.look_at_own();
    let config = match args.load() {
        Ok(loaded) => {
            log(&loaded.warnings);
            contents.follow(&loaded.config.files);
            loaded.config
        }
        Err(faults) => {
            if is_json(&format()) {
                log(&faults);
            } else {
                eprint!("{}", faults.report(Format::Text));
            }
            return ExitCode::FAILURE;
        }
    };
    let watched = (!no_watch).then(|| Arc::clone(&contents));
    let document = args.document();
    let load = move || {
        contents.look_at_own();
        let loaded = args.load();
        let config = loaded.map_err(|faults| faults.report(Format::Text))?.config;
        contents.follow(&config.files);
        Ok(config)
    };
    match run(config, Box::new(load), document, watched, origin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal ends it.
fn run(
    config: Config,
    load: Load,
    document: Document,
    watched: Option<Arc<Contents>>,
    origin: Origin,
) -> anyhow::Result<()> {
    // Before this process has descriptors of its own.
    let inherited = handover::inherit().context("cannot take over")?;
    let (predecessor, inherited) = inherited.unzip();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended: anyhow::Result<()> = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let (app, admin) = start_with(config, load, Some(document), inherited).await?;
        notify::ready();
        if let Some(predecessor) = predecessor {
            predecessor.ready();
        }
        let mut watch = watched.and_then(|contents| match Watch::new(contents) {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::warn!(%error, "a change of the configuration file will not be noticed; SIGHUP reloads");
                None
            }
        });
        let handing = Handing { origin, admin };
        let end = signals.obey(&app, watch.as_mut(), Some(&handing)).await;
        match end {
            End::Stop => notify::stopping(),
            End::HandedOver => handing.admin.task.abort(),
        }
        let hurry = async {
            if end == End::HandedOver {
                // Nobody has asked yet: a service manager that stops both asks each once.
                signals.stop().await;
                tracing::info!("asked to stop; what is under way still ends");
            }
            signals.stop().await;
        };
        app.shutdown(end, hurry).await;
        push::last(&app).await;
        Ok(())
    });
    // A resolver that gives no answer is not waited for.
    runtime.shutdown_background();
    ended
}

/// Starts an app with its admin address; `document` is what `load` reads, where that is a file.
pub async fn start(
    config: Config,
    load: Load,
    document: Option<Document>,
) -> anyhow::Result<Arc<App>> {
    Ok(start_with(config, load, document, None).await?.0)
}

/// The admin address's socket, and who accepts there.
struct Admin {
    name: String,
    socket: std::net::TcpListener,
    task: AbortHandle,
}

/// As [`start`], with the sockets of a process that this one takes over from.
async fn start_with(
    config: Config,
    load: Load,
    document: Option<Document>,
    mut inherited: Option<Sockets>,
) -> anyhow::Result<(Arc<App>, Admin)> {
    let address = config.admin.address;
    let name = sockets::admin(address);
    let before = inherited.as_mut().and_then(|all| all.take(&name).pop());
    let listener = match before {
        Some(socket) => TcpListener::from_std(socket),
        None => TcpListener::bind(address).await,
    };
    let listener = listener.with_context(|| format!("cannot listen on admin.address {address}"))?;
    let bound = listener.local_addr()?;
    let listener = listener.into_std()?;
    let app = App::start(config, load, document, inherited.as_mut()).await?;
    tracing::info!(address = %bound, "admin listening");
    let socket = listener.try_clone()?;
    let listener = TcpListener::from_std(listener)?;
    let task = tokio::spawn(admin::serve(listener, Arc::clone(&app))).abort_handle();
    Ok((app, Admin { name, socket, task }))
}

/// What another process takes over.
struct Handing {
    origin: Origin,
    admin: Admin,
}

impl Handing {
    /// Starts the process that is to take over.
    async fn begin(&self, app: &App) -> std::io::Result<Successor> {
        let mut sockets = app.sockets().await?;
        sockets.add(self.admin.name.clone(), [&self.admin.socket])?;
        self.origin.start(&sockets)
    }
}

/// The signals that Weir obeys.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    reopen: Signal,
    hand_over: Signal,
}

impl Signals {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            hand_over: signal(SignalKind::user_defined2())?,
        })
    }

    /// Opens log files anew on SIGUSR1, reloads on SIGHUP and on a change of a file that is
    /// watched, until SIGTERM or SIGINT, or until a process has taken over that SIGUSR2 started.
    async fn obey(
        &mut self,
        app: &App,
        mut watch: Option<&mut Watch>,
        handing: Option<&Handing>,
    ) -> End {
        let mut successor: Option<Successor> = None;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.reopen.recv() => {
                    app.reopen_logs();
                    continue;
                }
                _ = self.hand_over.recv() => {
                    let Some(handing) = handing else {
                        tracing::warn!("no other process can take over from this one");
                        continue;
                    };
                    if successor.is_some() {
                        tracing::warn!("a process that is to take over was started already");
                        continue;
                    }
                    match handing.begin(app).await {
                        Ok(begun) => {
                            tracing::info!(process = begun.id(), "started a process to take over");
                            successor = Some(begun);
                        }
                        Err(error) => tracing::error!(%error, "cannot start a process to take over"),
                    }
                    continue;
                }
                serves = serves(successor.as_ref()) => {
                    let Some(begun) = successor.take() else { continue };
                    if serves {
                        tracing::info!(process = begun.id(), "handed over");
                        notify::main_process(begun.id());
                        return End::HandedOver;
                    }
                    tracing::error!("the process that was to take over did not start; going on");
                    begun.end();
                    continue;
                }
                _ = self.hang_up.recv() => {}
                file = changed(watch.as_deref_mut()) => {
                    tracing::info!(file = %file.display(), "a file of the configuration has changed");
                }
            }
            // It may take long: plugins are compiled, names resolved.
            tokio::select! {
                () = self.stop() => break,
                reloaded = app.reload() => {
                    if let Err(error) = reloaded {
                        tracing::error!(%error, "reload changed nothing");
                    }
                }
            }
        }
        if let Some(begun) = successor {
            begun.end();
        }
        End::Stop
    }

    /// Waits for SIGTERM or SIGINT, and reloads on SIGHUP.
    pub async fn wait(&mut self, app: &App) {
        self.obey(app, None, None).await;
    }

    /// Waits for SIGTERM or SIGINT. Cancel safe.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn serves(successor: Option<&Successor>) -> bool {
    match successor {
        Some(successor) => successor.serves().await,
        None => std::future::pending().await,
    }
}

async fn changed(watch: Option<&mut Watch>) -> PathBuf {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}
