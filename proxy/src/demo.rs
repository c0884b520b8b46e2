//! `weir demo`: the main job with nothing installed.
//!
//! One process holds an example upstream, the proxy with three bundled plugins, and a broker that
//! speaks Kafka's protocol; it sends itself a few requests and prints each trace as it is consumed
//! from the topic.

pub mod broker;
pub mod consumer;
pub(crate) mod show;
mod upstream;

use std::fmt::Display;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::Signal;

use crate::cli::DemoArgs;
use crate::config::report::Format;
use crate::config::{Document, Environment};
use crate::run;
use broker::Broker;
use consumer::Consumer;

const CONFIG: &str = include_str!("../../examples/demo.yaml");
const TOPIC: &str = "weir-traces";

/// What the demo sends itself: what it shows, path, and whether the key is sent.
const REQUESTS: [(&str, &str, bool); 3] = [
    ("a request with its key", "/v1/hello?name=weir", true),
    ("one without: a plugin answers", "/v1/hello", false),
    ("one that no route takes", "/nowhere", true),
];

/// Runs until a signal, or until its own traces are shown.
pub fn command(args: &DemoArgs) -> ExitCode {
    let _log = run::init_log("warn");
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir demo: {}", run::with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &DemoArgs) -> anyhow::Result<()> {
    let broker = Broker::start(&[TOPIC])?;
    let upstream = example_upstream().context("example upstream")?;
    let file = File::write(broker.bootstrap_servers(), upstream)?;
    let document = configure(args, &file)?;
    let loaded = document.load();
    let loaded = loaded.map_err(|faults| anyhow!("{}", faults.report(Format::Text)))?;
    let config = loaded.config;
    let (proxy, admin) = (config.listeners[0].address, config.admin.address);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut signals = run::Signals::new()?;
        let load = {
            let document = document.clone();
            move || match document.load() {
                Ok(loaded) => Ok(loaded.config),
                Err(faults) => Err(faults.report(Format::Text)),
            }
        };
        let app = run::start(config, Box::new(load), Some(document)).await?;
        introduce(proxy, admin, broker.bootstrap_servers());
        let traces = follow(broker.bootstrap_servers())?;
        tokio::task::spawn_blocking(move || send_all(proxy)).await??;
        if args.once {
            wait(traces).await?;
        } else {
            say("\nServing until Ctrl-C. Each request's trace shows here at once. Try:\n");
            say(format_args!(
                "  curl -i -H 'x-api-key: demo' 'http://{proxy}/v1/hello?name=you'\n"
            ));
            say(format_args!(
                "or send one from http://{admin}/, which opens its trace.\n"
            ));
            signals.wait(&app).await;
        }
        app.shutdown(crate::app::End::Stop, signals.stop()).await;
        Ok(())
    })
}

/// An upstream that answers with what it saw of a request, until the process ends.
pub(crate) fn example_upstream() -> std::io::Result<SocketAddr> {
    upstream::start()
}

/// The demo's configuration as a file, so that the console can change it; gone at the end.
struct File(PathBuf);

impl File {
    /// The example, with the broker and the upstream of this process.
    fn write(brokers: &str, upstream: SocketAddr) -> anyhow::Result<Self> {
        let text = CONFIG
            .replace("http://127.0.0.1:9000", &format!("http://{upstream}"))
            .replace("localhost:9092", brokers);
        let folder = std::env::temp_dir().join(format!("weir-demo-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&folder).with_context(|| format!("{}", folder.display()))?;
        let file = Self(folder.join("weir.yaml"));
        std::fs::write(&file.0, text).context("write the demo's configuration")?;
        Ok(file)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some(folder) = self.0.parent() {
            // It is in the folder for temporary files.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// That file, with the addresses that are free now.
fn configure(args: &DemoArgs, file: &File) -> anyhow::Result<Document> {
    let mut set = vec![
        format!("listeners.0.address=\"{}\"", free(args.address)?),
        format!("admin.address=\"{}\"", free(args.admin)?),
    ];
    set.extend(args.set.iter().cloned());
    Ok(Document {
        file: file.0.clone(),
        set,
        environment: Environment::of_process(),
    })
}

/// The address, or another port where that one is taken.
fn free(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let bound = TcpListener::bind(address)
        .or_else(|_| TcpListener::bind((address.ip(), 0)))
        .with_context(|| format!("no free port on {}", address.ip()))?;
    Ok(bound.local_addr()?)
}

/// Prints a line. Where nobody reads any more, the demo ends as by SIGTERM.
fn say(line: impl Display) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::TERM);
    }
}

fn introduce(proxy: SocketAddr, admin: SocketAddr, brokers: &str) {
    say("weir demo: three plugins, an upstream and a Kafka broker in one process\n");
    say(format_args!("  proxy    http://{proxy}/v1/…   (key: demo)"));
    say(format_args!(
        "  console  http://{admin}/       (traces as they come, routes, plugins, Kafka)"
    ));
    say(format_args!(
        "  broker   {brokers}   topic {TOPIC}, for example: kcat -C -b {brokers} -t {TOPIC}\n"
    ));
}

/// Prints each trace as it arrives.
fn follow(brokers: &str) -> anyhow::Result<Traces> {
    let consumer = Consumer::new(brokers, TOPIC)?;
    let ended = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    let stop = Arc::clone(&ended);
    let thread = std::thread::Builder::new()
        .name("demo-consumer".to_owned())
        .spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match consumer.recv(Duration::from_millis(100)) {
                    Ok(Some(message)) => {
                        show::trace(&message.payload);
                        // Nobody counts along where the demo stays up.
                        let _ = sender.send(());
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "topic"),
                }
            }
        })?;
    Ok(Traces {
        arrived: receiver,
        ended,
        thread: Some(thread),
    })
}

/// Follows the topic until dropped, which is to come before the broker's end.
struct Traces {
    arrived: mpsc::Receiver<()>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Traces {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panics only where printing does.
            let _ = thread.join();
        }
    }
}

/// Until the demo's own traces were shown.
async fn wait(traces: Traces) -> anyhow::Result<()> {
    let all = tokio::task::spawn_blocking(move || {
        REQUESTS
            .iter()
            .all(|_| traces.arrived.recv_timeout(Duration::from_secs(30)).is_ok())
    });
    if all.await? {
        Ok(())
    } else {
        Err(anyhow!("not every trace arrived in the topic"))
    }
}

fn send_all(proxy: SocketAddr) -> anyhow::Result<()> {
    for (what, path, with_key) in REQUESTS {
        let key = if with_key { "x-api-key: demo\r\n" } else { "" };
        let mut stream = TcpStream::connect(proxy)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {proxy}\r\nuser-agent: weir-demo\r\n{key}connection: close\r\n\r\n"
        )?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        let status = response.lines().next().unwrap_or("no response");
        say(format_args!("GET {path}  ({what})  →  {status}"));
    }
    Ok(())
}
