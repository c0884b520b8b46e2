//! `weir run`: the process around an [`App`]: log, signals, the configuration file, admin address.

mod notify;
mod watch;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_appender::non_blocking::WorkerGuard;

use crate::admin;
use crate::app::{App, Load};
use crate::cli::RunArgs;
use crate::config::report::Format;
use crate::config::{Config, Document};
use crate::push;
use watch::{Contents, Watch};

/// Writes the log to standard error until the guard is dropped: `RUST_LOG` chooses what (else
/// `otherwise`), `WEIR_LOG=json` how. A thread of its own writes, so that no worker waits for a
/// terminal or pipe that stalls; lines are then dropped.
pub fn init_log(otherwise: &str) -> WorkerGuard {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(otherwise));
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer);
    // Fails only where a log was set up before, which then serves.
    let _ = if std::env::var("WEIR_LOG").is_ok_and(|format| format == "json") {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    };
    guard
}

/// The command: loads the configuration and serves until a signal ends it.
pub fn command(args: RunArgs) -> ExitCode {
    let _log = init_log("info");
    let RunArgs {
        config: args,
        no_watch,
    } = args;
    let contents = Arc::new(Contents::new(&args.config));
    contents.look();
    let config = match args.load() {
        Ok(loaded) => {
            for warning in &loaded.warnings.list {
                tracing::warn!(code = %warning.code, key = %warning.path, "{}", warning.message);
            }
            loaded.config
        }
        Err(faults) => {
            eprint!("{}", faults.report(Format::Text));
            return ExitCode::FAILURE;
        }
    };
    let watched = (!no_watch).then(|| Arc::clone(&contents));
    let document = args.document();
    let load = move || {
        contents.look();
        args.load()
            .map(|loaded| loaded.config)
            .map_err(|faults| faults.report(Format::Text))
    };
    match run(config, Box::new(load), document, watched) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
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
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let signals = Signals::new()?;
        let app = start(config, load, Some(document)).await?;
        notify::ready();
        let watch = watched.and_then(|contents| match Watch::new(contents) {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::warn!(%error, "a change of the configuration file will not be noticed; SIGHUP reloads");
                None
            }
        });
        signals.obey(&app, watch.as_ref()).await;
        notify::stopping();
        app.shutdown().await;
        push::last(&app).await;
        Ok(())
    })
}

/// Starts an app with its admin address; `document` is what `load` reads, where that is a file.
pub async fn start(
    config: Config,
    load: Load,
    document: Option<Document>,
) -> anyhow::Result<Arc<App>> {
    let address = config.admin.address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on admin.address {address}"))?;
    let bound = listener.local_addr()?;
    let app = App::start(config, load, document).await?;
    tracing::info!(address = %bound, "admin listening");
    tokio::spawn(admin::serve(listener, Arc::clone(&app)));
    Ok(app)
}

/// The signals that Weir obeys.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    reopen: Signal,
}

impl Signals {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    /// Opens log files anew on SIGUSR1, reloads on SIGHUP and on a change of the file that is
    /// watched, until SIGTERM or SIGINT.
    async fn obey(mut self, app: &App, watch: Option<&Watch>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.reopen.recv() => {
                    app.reopen_logs();
                    continue;
                }
                _ = self.hang_up.recv() => {}
                () = changed(watch) => tracing::info!("the configuration file has changed"),
            }
            if let Err(error) = app.reload().await {
                tracing::error!(%error, "reload changed nothing");
            }
        }
    }

    /// Waits for SIGTERM or SIGINT, and reloads on SIGHUP.
    pub async fn wait(self, app: &App) {
        self.obey(app, None).await;
    }
}

async fn changed(watch: Option<&Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}
