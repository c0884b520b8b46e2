//! Builds the stages from a configuration and starts the workers; what it owns then is changed by
//! [`reload`], and ended by [`shutdown`], each in its order.

pub mod generation;
pub mod history;
mod listening;
mod names;
mod plugins;
mod reload;
mod shutdown;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};

use crate::access_log::AccessLog;
use crate::config::{Config, Document};
use crate::export::Exporters;
use crate::export::spool::{self, Claim, Spool};
use crate::export::status::Status;
use crate::listener;
use crate::listener::sockets::Sockets;
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::plugin::engine::Engine;
use crate::plugin::kv::redis::Redis;
use crate::plugin::registry::Registry;
use crate::plugin::variants::Plugins;
use crate::push::{self, Pushes};
use crate::receive::Receiver;
use crate::store::Store;
use crate::tls::acme;
use crate::upstream::health::Checks;
use crate::upstream::resolve::Names;
use crate::worker::{Command, Thread};
use generation::Generation;
use history::History;
use listening::Bound;
pub use shutdown::End;

/// Why Weir did not start, or a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {key} {address}: {source}")]
    Bind {
        /// Where the configuration says so.
        key: String,
        address: SocketAddr,
        source: io::Error,
    },
    /// A report for people.
    #[error("{0}")]
    Plugins(String),
    #[error("cannot start the plugin engine: {0}")]
    Engine(String),
    #[error("cannot start a worker: {0}")]
    Worker(#[source] io::Error),
    #[error(transparent)]
    Spool(#[from] spool::Error),
    #[error("cannot open the access log, access_log.path {path}: {source}")]
    AccessLog { path: String, source: io::Error },
    #[error("{0}")]
    Config(String),
    #[error("the process is about to end")]
    Draining,
}

/// Reads the configuration anew; the error is a report for people.
pub type Load = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// A running Weir.
pub struct App {
    load: Load,
    /// The file that `load` reads, where there is one.
    document: Option<Document>,
    /// Recent traces, where they are kept.
    store: std::sync::Mutex<Option<Arc<Store>>>,
    generation: Arc<ArcSwap<Generation>>,
    workers: std::sync::Mutex<Vec<Thread>>,
    exporters: Arc<Exporters>,
    receiver: Option<Arc<Receiver>>,
    metrics: Arc<Metrics>,
    pushes: Pushes,
    history: History,
    started: SystemTime,
    registry: Arc<Registry>,
    /// The open listeners; held while a reload is under way.
    listening: Mutex<HashMap<listener::Id, Bound>>,
    /// Sockets of the OTLP receiver.
    doors: std::sync::Mutex<Sockets>,
    draining: watch::Sender<bool>,
    names: Names,
    checks: Checks,
    /// Certificates by ACME.
    certificates: acme::Keeper,
}

impl App {
    /// Starts everything: when this returns, all listeners accept. `inherited` are the sockets of a
    /// process that this one takes over from.
    pub async fn start(
        config: Config,
        load: Load,
        document: Option<Document>,
        inherited: Option<&mut Sockets>,
    ) -> Result<Arc<Self>, Error> {
        let claim = match inherited {
            Some(_) => Claim::Successor,
            None => Claim::Alone,
        };
        let mut none = Sockets::default();
        let inherited = inherited.unwrap_or(&mut none);
        let text = document.as_ref().and_then(|document| document.read().ok());
        let engine = Engine::new().map_err(|error| Error::Engine(format!("{error:#}")))?;
        let registry = Arc::new(Registry::new(engine).with_cache(config.cache_dir.as_deref()));
        let metrics = Metrics::new(config.workers.get());
        let kv = Redis::of(config.kv.as_ref(), None, &metrics);
        let (none, written) = (Plugins::new(), document.as_ref());
        let plugins =
            plugins::load(&registry, &config, kv.clone(), none, 1, &metrics, written).await?;
        if claim == Claim::Alone {
            // Before there are sockets of its own.
            listening::are_free(&config)?;
        }
        let mut sockets = Vec::new();
        for (index, id) in listener::ids(&config.listeners).enumerate() {
            let before = inherited.take(&id.name());
            let workers = config.workers.get();
            sockets.push((id, listening::bind(index, id, workers, before)?));
        }
        let doors = listening::doors(&config, inherited)?;

        let data_dir = config.data_dir.as_deref();
        let receiver = config
            .otlp
            .as_ref()
            .map(|otlp| Receiver::start(otlp, data_dir, config.workers.get(), claim));
        let receiver = receiver.transpose()?;
        let spool = data_dir.map(|folder| Spool::open(folder, &config.spool, claim));
        let exporters = Arc::new(Exporters::start(&config.exporters, spool.transpose()?));
        let names = Names::default();
        names::resolve(&names, &config).await;
        let log = open_log(&config, None)?;
        let certificates = acme::Keeper::new(config.data_dir.as_deref());
        certificates.apply(config.tls().map(|(_, tls)| tls));
        let generation = Generation::new(1, config, plugins, None, &names, log, &metrics)
            .with_acme(certificates.answers())
            .with_kv(kv);
        let generation = Arc::new(ArcSwap::from_pointee(generation));
        let workers = Thread::start_all(&generation, &metrics, || {
            let exporters = Arc::clone(&exporters);
            move || exporters.handoff()
        });
        let workers = workers.map_err(Error::Worker)?;
        let app = Self {
            load,
            document,
            store: std::sync::Mutex::default(),
            generation,
            workers: std::sync::Mutex::new(workers),
            exporters,
            receiver,
            metrics,
            pushes: Pushes::default(),
            history: History::default(),
            started: SystemTime::now(),
            registry,
            listening: Mutex::default(),
            doors: std::sync::Mutex::default(),
            draining: watch::Sender::new(false),
            names,
            checks: Checks::default(),
            certificates,
        };
        app.checks.replace(app.generation().upstreams.values());
        app.apply_store(None);
        let mut listening = app.listening.lock().await;
        for (id, sockets) in sockets {
            app.listen(&mut listening, id, sockets);
        }
        for (door, name, sockets) in doors {
            app.receive(door, name, sockets);
        }
        drop(listening);
        app.history.served(1, text);
        let app = Arc::new(app);
        tokio::spawn(names::keep_resolved(Arc::downgrade(&app)));
        tokio::spawn(push::serve(Arc::downgrade(&app)));
        Ok(app)
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// When it was started: counters count since then.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// What became of the configuration so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How pushing metrics fares.
    pub fn pushes(&self) -> &Pushes {
        &self.pushes
    }

    pub fn exporters(&self) -> Vec<Status> {
        self.exporters.status()
    }

    pub fn spool(&self) -> Option<spool::Status> {
        self.exporters.spool()
    }

    /// The OTLP receiver, where there is one.
    pub fn receiver(&self) -> Option<&Arc<Receiver>> {
        self.receiver.as_ref()
    }

    /// How certificates by ACME fare.
    pub fn certificates(&self) -> Vec<acme::Status> {
        self.certificates.status()
    }

    /// The file that the configuration comes from; `None` where it is not from one.
    pub fn document(&self) -> Option<&Document> {
        self.document.as_ref()
    }

    /// Recent traces, where they are kept.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.stored().clone()
    }

    pub fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Opens log files anew, after a rotation.
    pub fn reopen_logs(&self) {
        if let Some(log) = &self.generation().access_log {
            log.reopen();
        }
    }

    /// Makes the store that which the configuration asks for.
    fn apply_store(&self, before: Option<&Config>) {
        let generation = self.generation.load();
        let config = &generation.config;
        if before.is_some_and(|before| before.store == config.store) {
            return;
        }
        let workers = config.workers.get();
        let mut store = self.stored();
        let Some(wanted) = &config.store else {
            self.exporters.keep_local(None);
            *store = None;
            return;
        };
        let intake = match &*store {
            Some(store) => store.adjust(wanted, workers),
            None => {
                let (new, intake) = Store::start(wanted, config.data_dir.as_deref(), workers);
                *store = Some(Arc::new(new));
                intake
            }
        };
        self.exporters.keep_local(Some(intake));
    }

    fn stored(&self) -> std::sync::MutexGuard<'_, Option<Arc<Store>>> {
        lock(&self.store)
    }

    fn tell(&self, mut command: impl FnMut() -> Command) {
        self.workers()
            .iter()
            .for_each(|worker| worker.tell(command()));
    }

    fn doors(&self) -> std::sync::MutexGuard<'_, Sockets> {
        lock(&self.doors)
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<Thread>> {
        lock(&self.workers)
    }
}

fn open_log(
    config: &Config,
    before: Option<&Arc<AccessLog>>,
) -> Result<Option<Arc<AccessLog>>, Error> {
    let wanted = config.access_log.as_ref();
    AccessLog::open(wanted, before).map_err(|source| {
        let path = wanted.and_then(|wanted| wanted.path.as_deref());
        let path = path.unwrap_or(Path::new("(standard output)"));
        Error::AccessLog {
            path: path.display().to_string(),
            source,
        }
    })
}
