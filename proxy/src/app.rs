//! Builds the stages from a configuration, starts the workers, and owns the order of reload and
//! shutdown.

pub mod generation;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, oneshot};

use crate::config::{Config, Document};
use crate::export::Exporters;
use crate::export::spool::{self, Spool};
use crate::export::status::{Reason, Status};
use crate::listener;
use crate::metrics::Metrics;
use crate::plugin::engine::Engine;
use crate::plugin::registry::{self, Plugins, Registry};
use crate::store::Store;
use crate::worker::{Command, Thread};
use generation::Generation;

/// Part of the grace that is kept for delivering traces once the workers have ended.
const DELIVERY: Duration = Duration::from_secs(5);

/// Why Weir did not start, or a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Plugins(Vec<registry::Error>),
    #[error("cannot start the plugin engine: {0}")]
    Engine(String),
    #[error("cannot start a worker: {0}")]
    Worker(#[source] io::Error),
    #[error(transparent)]
    Spool(#[from] spool::Error),
    #[error("{0}")]
    Config(String),
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
    metrics: Arc<Metrics>,
    registry: Arc<Registry>,
    /// Where each listener is bound; held while a reload is under way.
    listening: Mutex<HashMap<listener::Id, SocketAddr>>,
    draining: AtomicBool,
}

impl App {
    /// Starts everything: when this returns, all listeners accept.
    pub async fn start(
        config: Config,
        load: Load,
        document: Option<Document>,
    ) -> Result<Arc<Self>, Error> {
        let engine = Engine::new().map_err(|error| Error::Engine(format!("{error:#}")))?;
        let registry = Arc::new(Registry::new(engine));
        let metrics = Metrics::new(config.workers.get());
        let plugins = load_plugins(&registry, &config, Plugins::new(), 1, &metrics).await?;
        let mut sockets = Vec::new();
        for id in listener::ids(&config.listeners) {
            sockets.push((id, bind(id, config.workers.get())?));
        }

        let spool = config.data_dir.as_ref();
        let spool = spool.map(|folder| Spool::open(folder, &config.spool));
        let exporters = Arc::new(Exporters::start(&config.exporters, spool.transpose()?));
        let generation = Generation::new(1, config, plugins, None, &metrics);
        let workers = generation.config.workers.get();
        let generation = Arc::new(ArcSwap::from_pointee(generation));
        let workers = (0..workers)
            .map(|index| {
                let exporters = Arc::clone(&exporters);
                Thread::start(index, Arc::clone(&generation), &metrics, move || {
                    exporters.handoff()
                })
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::Worker)?;
        let app = Self {
            load,
            document,
            store: std::sync::Mutex::default(),
            generation,
            workers: std::sync::Mutex::new(workers),
            exporters,
            metrics,
            registry,
            listening: Mutex::default(),
            draining: AtomicBool::new(false),
        };
        app.apply_store(None);
        let mut listening = app.listening.lock().await;
        for (id, sockets) in sockets {
            app.listen(&mut listening, id, sockets);
        }
        drop(listening);
        Ok(Arc::new(app))
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub fn exporters(&self) -> Vec<Status> {
        self.exporters.status()
    }

    pub fn spool(&self) -> Option<spool::Status> {
        self.exporters.spool()
    }

    /// The file that the configuration comes from; `None` where it is not from one.
    pub fn document(&self) -> Option<&Document> {
        self.document.as_ref()
    }

    /// Where listeners are bound; nothing while a reload is under way.
    pub fn bound(&self) -> Vec<SocketAddr> {
        let listening = self.listening.try_lock();
        listening.map_or_else(|_| Vec::new(), |all| all.values().copied().collect())
    }

    /// Recent traces, where they are kept.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.stored().clone()
    }

    pub fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Reads the configuration anew and puts it in place, or changes nothing. Gives the number of
    /// the new generation.
    pub async fn reload(&self) -> Result<u64, Error> {
        let mut listening = self.listening.lock().await;
        let before = self.generation.load_full();
        let number = before.number + 1;
        let mut config = (self.load)().map_err(Error::Config)?;
        keep_what_needs_a_restart(&mut config, &before.config);
        let plugins = load_plugins(
            &self.registry,
            &config,
            before.plugins.clone(),
            number,
            &self.metrics,
        )
        .await?;
        let wanted: Vec<listener::Id> = listener::ids(&config.listeners).collect();
        let (kept, closed): (Vec<_>, Vec<_>) = listening
            .iter()
            .map(|(id, bound)| (*id, *bound))
            .partition(|(id, _)| wanted.contains(id));
        let mut opened = Vec::new();
        for id in wanted {
            if listening.contains_key(&id) {
                continue;
            }
            // The kernel would let both have it, and give each a part of the connections.
            if kept.iter().any(|(_, bound)| *bound == id.address) {
                let source = io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "a listener with port 0 was given this port",
                );
                return Err(Error::Bind {
                    address: id.address,
                    source,
                });
            }
            opened.push((id, bind(id, config.workers.get())?));
        }

        // From here on nothing fails. Requests under way finish on the generation they began with.
        self.exporters.apply(&config.exporters);
        let generation = Generation::new(number, config, plugins, Some(&before), &self.metrics);
        self.generation.store(Arc::new(generation));
        self.apply_store(Some(&before.config));
        for (id, sockets) in opened {
            self.listen(&mut listening, id, sockets);
        }
        for (id, _) in closed {
            self.tell(|| Command::Close(id));
            listening.remove(&id);
        }
        self.tell(|| Command::Reloaded);
        tracing::info!(generation = number, "reloaded");
        Ok(number)
    }

    /// Stops accepting, lets what is under way end within the grace, delivers the traces.
    pub async fn shutdown(&self) {
        self.draining.store(true, Ordering::Relaxed);
        let grace = self.generation.load().config.shutdown_grace;
        let deadline = Instant::now() + grace;
        tracing::info!(grace_seconds = grace.as_secs(), "draining");
        let mut drained = Vec::new();
        self.tell(|| {
            let (sender, receiver) = oneshot::channel();
            drained.push(receiver);
            Command::Drain(sender)
        });
        let all = async {
            for worker in drained {
                // A worker that is gone has drained.
                let _ = worker.await;
            }
        };
        let cut = deadline
            .checked_sub(DELIVERY.min(grace / 2))
            .unwrap_or(deadline);
        if tokio::time::timeout_at(cut.into(), all).await.is_err() {
            tracing::warn!("grace has passed; cutting what is still open");
        }
        let workers = std::mem::take(&mut *self.workers());
        let exporters = Arc::clone(&self.exporters);
        let store = self.store();
        let ended = tokio::task::spawn_blocking(move || {
            workers.into_iter().for_each(Thread::join);
            exporters.keep_local(None);
            if let Some(store) = store {
                store.close();
            }
            exporters.shutdown(deadline.max(Instant::now() + DELIVERY.min(grace)))
        });
        for status in ended.await.unwrap_or_default() {
            let lost = status.dropped(Reason::Shutdown);
            if lost > 0 {
                tracing::error!(
                    exporter = status.exporter,
                    traces = lost,
                    "not delivered before the end"
                );
            }
        }
        tracing::info!("stopped");
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
        self.store
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn listen(
        &self,
        listening: &mut HashMap<listener::Id, SocketAddr>,
        id: listener::Id,
        sockets: Vec<std::net::TcpListener>,
    ) {
        let bound = sockets
            .first()
            .and_then(|socket| socket.local_addr().ok())
            .unwrap_or(id.address);
        for (worker, socket) in self.workers().iter().zip(sockets) {
            worker.tell(Command::Listen(id, socket));
        }
        listening.insert(id, bound);
        tracing::info!(address = %bound, "listening");
    }

    fn tell(&self, mut command: impl FnMut() -> Command) {
        self.workers()
            .iter()
            .for_each(|worker| worker.tell(command()));
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<Thread>> {
        self.workers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn bind(id: listener::Id, workers: usize) -> Result<Vec<std::net::TcpListener>, Error> {
    listener::bind(id.address, workers).map_err(|source| Error::Bind {
        address: id.address,
        source,
    })
}

/// Compiles and tries plugins on a thread of its own: it takes long, and guests may loop.
async fn load_plugins(
    registry: &Arc<Registry>,
    config: &Config,
    before: Plugins,
    generation: u64,
    metrics: &Arc<Metrics>,
) -> Result<Plugins, Error> {
    let (registry, metrics) = (Arc::clone(registry), Arc::clone(metrics));
    let configured = config.plugins.clone();
    let loading = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(Error::Worker)?;
        runtime
            .block_on(registry.load(&configured, &before, generation, &metrics))
            .map_err(Error::Plugins)
    });
    let plugins = loading
        .await
        .unwrap_or_else(|panic| Err(Error::Engine(panic.to_string())))?;
    let misplaced = registry::check_routes(&config.routes, &plugins);
    if misplaced.is_empty() {
        Ok(plugins)
    } else {
        Err(Error::Plugins(misplaced))
    }
}

/// Threads and the admin's socket are made once.
fn keep_what_needs_a_restart(config: &mut Config, before: &Config) {
    if config.workers != before.workers {
        tracing::warn!(
            workers = before.workers,
            "a change of `workers` takes effect at the next start"
        );
        config.workers = before.workers;
    }
    if config.data_dir != before.data_dir || config.spool != before.spool {
        tracing::warn!("a change of `data_dir` or `spool` takes effect at the next start");
        config.data_dir = before.data_dir.clone();
        config.spool = before.spool.clone();
    }
    if config.admin.address != before.admin.address {
        tracing::warn!(address = %before.admin.address, "a change of `admin.address` takes effect at the next start");
        config.admin.address = before.admin.address;
    }
}
