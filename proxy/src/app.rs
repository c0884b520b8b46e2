//! Builds the stages from a configuration, starts the workers, and owns the order of reload and
//! shutdown.

pub mod generation;
pub mod history;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, oneshot, watch};

use crate::access_log::AccessLog;
use crate::config::report::Format;
use crate::config::{Config, Document};
use crate::export::Exporters;
use crate::export::spool::{self, Claim, Spool};
use crate::export::status::{Reason, Status};
use crate::listener;
use crate::listener::drain::Stage;
use crate::listener::sockets::{self, Sockets};
use crate::metrics::Metrics;
use crate::plugin::engine::Engine;
use crate::plugin::kv::redis::Redis;
use crate::plugin::registry::{self, Registry};
use crate::plugin::variants::Plugins;
use crate::push::{self, Pushes};
use crate::receive::{Door, Receiver};
use crate::store::Store;
use crate::tls::acme;
use crate::upstream::health::Checks;
use crate::upstream::resolve::{self, Names};
use crate::worker::{Command, Thread};
use generation::Generation;
use history::History;

/// Part of the grace that is kept for delivering traces once the workers have ended.
const DELIVERY: Duration = Duration::from_secs(5);

/// For how long a name that resolves to something else waits for others that do.
const TOGETHER: Duration = Duration::from_millis(20);

/// Why Weir did not start, or a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Bind {
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
    #[error("cannot open the access log: {0}")]
    AccessLog(#[source] io::Error),
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

/// An open listener.
struct Bound {
    address: SocketAddr,
    /// Those of the workers, for the process that may take over.
    sockets: Vec<std::net::TcpListener>,
}

/// Why an app ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is to stop.
    Stop,
    /// Another process has its listeners.
    HandedOver,
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
            load_plugins(&registry, &config, kv.clone(), none, 1, &metrics, written).await?;
        if claim == Claim::Alone {
            // Before there are sockets of its own.
            are_free(&config)?;
        }
        let mut sockets = Vec::new();
        for id in listener::ids(&config.listeners) {
            let before = inherited.take(&id.name());
            sockets.push((id, bind(id, config.workers.get(), before)?));
        }
        let doors = doors(&config, inherited)?;

        let data_dir = config.data_dir.as_deref();
        let receiver = config
            .otlp
            .as_ref()
            .map(|otlp| Receiver::start(otlp, data_dir, config.workers.get(), claim));
        let receiver = receiver.transpose()?;
        let spool = data_dir.map(|folder| Spool::open(folder, &config.spool, claim));
        let exporters = Arc::new(Exporters::start(&config.exporters, spool.transpose()?));
        let names = Names::default();
        resolve(&names, &config).await;
        let log = open_log(&config, None)?;
        let certificates = acme::Keeper::new(config.data_dir.as_deref());
        certificates.apply(config.tls());
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
        tokio::spawn(keep_resolved(Arc::downgrade(&app)));
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

    /// Where listeners are bound; nothing while a reload is under way.
    pub fn bound(&self) -> Vec<SocketAddr> {
        let listening = self.listening.try_lock();
        let addresses = |all: &HashMap<_, Bound>| all.values().map(|one| one.address).collect();
        listening.map_or_else(|_| Vec::new(), |all| addresses(&all))
    }

    /// The sockets of all listeners, for the process that is to take over.
    pub async fn sockets(&self) -> io::Result<Sockets> {
        let mut sockets = Sockets::default();
        for (id, bound) in &*self.listening.lock().await {
            sockets.add(id.name(), &bound.sockets)?;
        }
        for (name, doors) in self.doors().iter() {
            sockets.add(name.to_owned(), doors)?;
        }
        Ok(sockets)
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

    /// Reads the configuration anew and puts it in place, or changes nothing. Gives the number of
    /// the new generation. A shutdown does not wait for it. Cancel safe.
    pub async fn reload(&self) -> Result<u64, Error> {
        let mut draining = self.draining.subscribe();
        let drains = async {
            // It fails only where the app is gone.
            let _ = draining.wait_for(|draining| *draining).await;
        };
        tokio::select! {
            biased;
            () = drains => Err(Error::Draining),
            reloaded = self.reload_in_turn() => reloaded,
        }
    }

    async fn reload_in_turn(&self) -> Result<u64, Error> {
        let mut listening = self.listening.lock().await;
        let text = self.document().and_then(|document| document.read().ok());
        let reloaded = self.reload_into(&mut listening).await;
        match &reloaded {
            Ok(generation) => self.history.served(*generation, text),
            Err(error) => {
                let generation = self.generation.load().number;
                self.history.refused(generation, error.to_string());
            }
        }
        reloaded
    }

    async fn reload_into(
        &self,
        listening: &mut HashMap<listener::Id, Bound>,
    ) -> Result<u64, Error> {
        let before = self.generation.load_full();
        let number = before.number + 1;
        let mut config = (self.load)().map_err(Error::Config)?;
        keep_what_needs_a_restart(&mut config, &before.config);
        let kv = Redis::of(config.kv.as_ref(), before.kv.as_ref(), &self.metrics);
        let plugins = load_plugins(
            &self.registry,
            &config,
            kv.clone(),
            before.plugins.clone(),
            number,
            &self.metrics,
            self.document.as_ref(),
        )
        .await?;
        let wanted: Vec<listener::Id> = listener::ids(&config.listeners).collect();
        let (kept, closed): (Vec<_>, Vec<_>) = listening
            .iter()
            .map(|(id, bound)| (*id, bound.address))
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
            opened.push((id, bind(id, config.workers.get(), Vec::new())?));
        }
        resolve(&self.names, &config).await;
        let log = open_log(&config, before.access_log.as_ref())?;

        // From here on nothing fails. Requests under way finish on the generation they began with.
        self.exporters.apply(&config.exporters);
        if let (Some(receiver), Some(otlp)) = (&self.receiver, &config.otlp) {
            receiver.apply(otlp);
        }
        self.certificates.apply(config.tls());
        let in_redis = kv.is_some();
        self.put_in_place(number, config, (plugins, kv), log, &before);
        if in_redis {
            self.registry.forget_stores();
        }
        self.apply_store(Some(&before.config));
        for (id, sockets) in opened {
            self.listen(listening, id, sockets);
        }
        for (id, _) in closed {
            // Before the workers do: the last to close a socket must have accepted what waits.
            listening.remove(&id);
            self.tell(|| Command::Close(id));
        }
        self.tell(|| Command::Reloaded);
        tracing::info!(generation = number, "reloaded");
        Ok(number)
    }

    fn put_in_place(
        &self,
        number: u64,
        config: Config,
        (plugins, kv): (Plugins, Option<Arc<Redis>>),
        log: Option<Arc<AccessLog>>,
        before: &Generation,
    ) {
        let generation = Generation::new(
            number,
            config,
            plugins,
            Some(before),
            &self.names,
            log,
            &self.metrics,
        )
        .with_acme(self.certificates.answers())
        .with_kv(kv);
        self.checks.replace(generation.upstreams.values());
        self.generation.store(Arc::new(generation));
    }

    /// Resolves names that are due; where one resolves to something else, its endpoints are replaced,
    /// and all else stays.
    async fn refresh_names(&self) {
        let mut lookups = self.names.ask(&self.generation().config, Instant::now());
        while let Some(changed) = self.names.hear(&mut lookups).await {
            if changed {
                // Names often change together.
                while let Ok(Some(true)) =
                    tokio::time::timeout(TOGETHER, self.names.hear(&mut lookups)).await
                {
                }
                self.replace_endpoints().await;
            }
        }
    }

    async fn replace_endpoints(&self) {
        let _reloading = self.listening.lock().await;
        let before = self.generation.load_full();
        let plugins = (before.plugins.clone(), before.kv.clone());
        let (config, log) = (before.config.clone(), before.access_log.clone());
        self.put_in_place(before.number, config, plugins, log, &before);
        self.tell(|| Command::Reloaded);
    }

    /// Opens log files anew, after a rotation.
    pub fn reopen_logs(&self) {
        if let Some(log) = &self.generation().access_log {
            log.reopen();
        }
    }

    /// Stops accepting, lets what is under way end within the grace, delivers the traces.
    pub async fn shutdown(&self, end: End) {
        self.draining.send_replace(true);
        let grace = self.generation.load().config.shutdown_grace;
        let deadline = Instant::now() + grace;
        tracing::info!(grace_seconds = grace.as_secs(), "draining");
        for bound in self.listening.lock().await.values_mut() {
            bound.sockets.clear();
        }
        *self.doors() = Sockets::default();
        let kept = DELIVERY.min(grace / 2);
        let cut = deadline.checked_sub(kept).unwrap_or(deadline);
        let mut drained = false;
        if end == End::HandedOver {
            // Clients go by themselves with their next response; of a short grace too, something is
            // left for those that stay silent.
            let gently = Instant::now() + (grace / 2).min(grace.saturating_sub(kept) * 3 / 4);
            let ended = self.drain(Stage::Leaving);
            drained = tokio::time::timeout_at(gently.into(), ended).await.is_ok();
        }
        if !drained {
            let ended = self.drain(Stage::Closing);
            if tokio::time::timeout_at(cut.into(), ended).await.is_err() {
                tracing::warn!("grace has passed; cutting what is still open");
            }
        }
        let workers = std::mem::take(&mut *self.workers());
        let exporters = Arc::clone(&self.exporters);
        let receiver = self.receiver.clone();
        let store = self.store();
        let ended = tokio::task::spawn_blocking(move || {
            workers.into_iter().for_each(Thread::join);
            exporters.keep_local(None);
            if let Some(store) = store {
                store.close();
            }
            let deadline = deadline.max(Instant::now() + DELIVERY.min(grace));
            let ended = exporters.shutdown(deadline);
            if let Some(receiver) = receiver {
                receiver.shutdown(deadline);
            }
            ended
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
        if let Some(log) = self.generation().access_log.clone() {
            // Its thread writes; nobody else needs this one any more.
            log.flush();
        }
        tracing::info!("stopped");
    }

    /// Returns once all workers have drained.
    async fn drain(&self, stage: Stage) {
        // Twice, because one that has drained may get a connection from another that still accepts.
        for _ in 0..2 {
            let mut drained = Vec::new();
            self.tell(|| {
                let (sender, receiver) = oneshot::channel();
                drained.push(receiver);
                Command::Drain(stage, sender)
            });
            for worker in drained {
                // A worker that is gone has drained.
                let _ = worker.await;
            }
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
        self.store
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn listen(
        &self,
        listening: &mut HashMap<listener::Id, Bound>,
        id: listener::Id,
        sockets: Vec<std::net::TcpListener>,
    ) {
        let address = sockets
            .first()
            .and_then(|socket| socket.local_addr().ok())
            .unwrap_or(id.address);
        let mut bound = Sockets::default();
        if let Err(error) = bound.add(id.name(), &sockets) {
            tracing::warn!(%error, %address, "a process that takes over will not have this listener");
        }
        // There are more than workers where the process before had more of these.
        for (worker, socket) in self.workers().iter().cycle().zip(sockets) {
            worker.tell(Command::Listen(id, socket));
        }
        let sockets = bound.take(&id.name());
        listening.insert(id, Bound { address, sockets });
        tracing::info!(%address, "listening");
    }

    fn receive(&self, door: Door, name: String, sockets: Vec<std::net::TcpListener>) {
        let Some(receiver) = &self.receiver else {
            return;
        };
        let bound = sockets.first().map(std::net::TcpListener::local_addr);
        if let Err(error) = self.doors().add(name, &sockets) {
            tracing::warn!(%error, "a process that takes over will not receive OTLP");
        }
        for (worker, socket) in self.workers().iter().cycle().zip(sockets) {
            worker.tell(Command::Receive(Arc::clone(receiver), door, socket));
        }
        if let Some(Ok(bound)) = bound {
            tracing::info!(address = %bound, protocol = door.as_str(), "receiving OTLP");
        }
    }

    fn tell(&self, mut command: impl FnMut() -> Command) {
        self.workers()
            .iter()
            .for_each(|worker| worker.tell(command()));
    }

    fn doors(&self) -> std::sync::MutexGuard<'_, Sockets> {
        self.doors
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<Thread>> {
        self.workers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn bind(
    id: listener::Id,
    workers: usize,
    before: Vec<std::net::TcpListener>,
) -> Result<Vec<std::net::TcpListener>, Error> {
    listener::bind(id.address, workers, before).map_err(|source| Error::Bind {
        address: id.address,
        source,
    })
}

fn open_log(
    config: &Config,
    before: Option<&Arc<AccessLog>>,
) -> Result<Option<Arc<AccessLog>>, Error> {
    AccessLog::open(config.access_log.as_ref(), before).map_err(Error::AccessLog)
}

/// How often is looked whether a name is due.
const LOOK: Duration = Duration::from_millis(500);

/// Waits for names that were not resolved yet, but not for long: requests can do without.
async fn resolve(names: &Names, config: &Config) {
    let mut lookups = names.ask(config, Instant::now());
    let all = async { while names.hear(&mut lookups).await.is_some() {} };
    if tokio::time::timeout(resolve::PATIENCE, all).await.is_err() {
        tracing::warn!("names of endpoints take long to resolve; going on without");
    }
}

/// Resolves names again and again, until the app is gone.
async fn keep_resolved(app: std::sync::Weak<App>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(app) = app.upgrade() else { return };
        // One that gets no answer is not to hold up what others ask for meanwhile.
        tokio::spawn(async move { app.refresh_names().await });
    }
}

/// Fails where somebody listens already on an address of the configuration.
fn are_free(config: &Config) -> Result<(), Error> {
    let mut addresses: Vec<_> = config.listeners.iter().map(|one| one.address).collect();
    if let Some(otlp) = &config.otlp {
        addresses.extend(otlp.addresses());
    }
    for address in addresses {
        listener::is_free(address).map_err(|source| Error::Bind { address, source })?;
    }
    Ok(())
}

/// The sockets of the OTLP receiver, with the names of their places.
fn doors(
    config: &Config,
    inherited: &mut Sockets,
) -> Result<Vec<(Door, String, Vec<std::net::TcpListener>)>, Error> {
    let otlp = config.otlp.as_ref();
    let grpc = otlp.and_then(|otlp| Some((Door::Grpc, otlp.grpc.as_ref()?.address)));
    let http = otlp.and_then(|otlp| Some((Door::Http, otlp.http.as_ref()?.address)));
    grpc.into_iter()
        .chain(http)
        .map(|(door, address)| {
            let name = sockets::otlp(address);
            let before = inherited.take(&name);
            let sockets = listener::bind(address, config.workers.get(), before);
            let sockets = sockets.map_err(|source| Error::Bind { address, source })?;
            Ok((door, name, sockets))
        })
        .collect()
}

/// Compiles and tries plugins on a thread of its own: it takes long, and guests may loop.
async fn load_plugins(
    registry: &Arc<Registry>,
    config: &Config,
    kv: Option<Arc<Redis>>,
    before: Plugins,
    generation: u64,
    metrics: &Arc<Metrics>,
    document: Option<&Document>,
) -> Result<Plugins, Error> {
    let (registry, metrics) = (Arc::clone(registry), Arc::clone(metrics));
    let config = config.clone();
    let loading = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Worker)?;
        let loading = registry.load(&config, kv.as_ref(), &before, generation, &metrics);
        let loaded = runtime.block_on(loading);
        // A resolver that gives no answer is not waited for.
        runtime.shutdown_background();
        Ok::<_, Error>(loaded)
    });
    let loaded = loading
        .await
        .unwrap_or_else(|panic| Err(Error::Engine(panic.to_string())))?;
    loaded.map_err(|errors| Error::Plugins(told(errors, document)))
}

/// With the places in the file, where there is one.
fn told(errors: Vec<registry::Error>, document: Option<&Document>) -> String {
    let Some(document) = document else {
        let lines = errors.iter().map(ToString::to_string);
        return lines.collect::<Vec<_>>().join("\n");
    };
    let findings = errors.into_iter().map(Into::into).collect();
    let report = document.locate(findings).report(Format::Text);
    report.trim_end().to_owned()
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
    let moved = match (&mut config.otlp, &before.otlp) {
        (Some(now), Some(before)) => now.keep_places(before),
        (now, before) => {
            let moved = now.is_some() != before.is_some();
            now.clone_from(before);
            moved
        }
    };
    if moved {
        tracing::warn!(
            "a change of addresses or of the room on the disk under `receivers` takes effect at the next start"
        );
    }
    if config.admin.address != before.admin.address {
        tracing::warn!(address = %before.admin.address, "a change of `admin.address` takes effect at the next start");
        config.admin.address = before.admin.address;
    }
}
