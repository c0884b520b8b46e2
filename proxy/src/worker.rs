//! One thread with a runtime of its own: its listening sockets, its connections to upstreams, its
//! plugin instances. Workers share nothing that a request writes; what they read of the
//! configuration comes through one `arc-swap`.

mod overload;

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use tokio::net::TcpStream;
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::app::generation::Generation;
use crate::exchange::Client;
use crate::exchange::state::State;
use crate::export::handoff::Handoff;
use crate::listener::drain::{Drain, Stage};
use crate::listener::{self, Passed};
use crate::metrics::{Metrics, RouteCells, WorkerCells};
use crate::plugin::instances::Instances;
use crate::receive::{self, Door, Receiver};
use crate::server::admission::Place;
use crate::server::{self, Settings};
use crate::upstream::Upstream;
use crate::upstream::balance::Local;
use crate::upstream::pool::Pools;

pub use overload::{Overload, Work};

/// Most exchange states a worker keeps for later requests.
const STATES: usize = 1024;

/// What threads of workers are named, before their number.
const NAME: &str = "worker-";

/// How often idle upstream connections and plugin instances are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// What a worker is told.
pub enum Command {
    /// Accept on a socket.
    Listen(listener::Id, std::net::TcpListener),
    /// Serve a connection that another worker has accepted.
    Serve(Passed),
    /// Accept OTLP on a socket.
    Receive(Arc<Receiver>, Door, std::net::TcpListener),
    /// Stop accepting.
    Close(listener::Id),
    /// A new generation is in place.
    Reloaded,
    /// Stop accepting, let what is under way end, then say so. A later stage may follow.
    Drain(Stage, oneshot::Sender<()>),
}

/// What all of a worker's tasks share.
pub struct Worker {
    pub index: usize,
    pub instances: Rc<Instances>,
    pub pools: Pools,
    pub handoff: Handoff,
    pub drain: Drain,
    pub overload: Overload,
    /// Cells of requests that met no route.
    pub no_route: Arc<[RouteCells]>,
    own: Arc<[WorkerCells]>,
    /// All workers, this one too. They end when they are told, not when the last of them is gone.
    all: Arc<[mpsc::WeakUnboundedSender<Command>]>,
    cache: RefCell<Cache<Arc<ArcSwap<Generation>>, Arc<Generation>>>,
    /// The generation as this worker last saw it, counted without atomics.
    current: RefCell<Rc<Current>>,
    /// Those that accept here, or have connections.
    listeners: RefCell<Vec<Weak<listener::Local>>>,
    // Boxed because a call lends the box itself to a plugin's store.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    states: RefCell<Vec<Box<State>>>,
}

/// A generation in use by a worker.
pub struct Current {
    shared: Arc<Generation>,
    /// What is counted for each upstream of the generation.
    locals: Vec<(*const Upstream, Rc<Local>)>,
}

impl std::ops::Deref for Current {
    type Target = Generation;

    fn deref(&self) -> &Generation {
        &self.shared
    }
}

impl Current {
    /// Counts on from `before` where an upstream's endpoints are the same.
    fn new(shared: Arc<Generation>, before: Option<&Self>) -> Rc<Self> {
        let local = |upstream: &Arc<Upstream>| {
            let known = before.and_then(|before| {
                let old = before.upstreams.get(&upstream.name)?;
                let same = old.config.retries == upstream.config.retries
                    && old.endpoints.len() == upstream.endpoints.len()
                    && (old.endpoints.iter())
                        .zip(&upstream.endpoints)
                        .all(|(old, new)| Arc::ptr_eq(old, new));
                same.then(|| before.local(old))
            });
            let local = known.unwrap_or_else(|| Rc::new(Local::new(upstream)));
            (Arc::as_ptr(upstream), local)
        };
        let locals = shared.upstreams.values().map(local).collect();
        Rc::new(Self { shared, locals })
    }

    /// As all workers have it.
    pub fn shared(&self) -> &Arc<Generation> {
        &self.shared
    }

    /// What the worker counts for an upstream of this generation.
    pub fn local(&self, upstream: &Arc<Upstream>) -> Rc<Local> {
        let mut locals = self.locals.iter();
        let found = locals.find(|(known, _)| *known == Arc::as_ptr(upstream));
        found.map_or_else(
            || Rc::new(Local::new(upstream)),
            |(_, local)| Rc::clone(local),
        )
    }
}

impl Worker {
    /// The generation of now.
    pub fn generation(&self) -> Rc<Current> {
        let mut cache = self.cache.borrow_mut();
        let latest = cache.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(&current.shared, latest) {
            let next = Current::new(Arc::clone(latest), Some(&current));
            let before = std::mem::replace(&mut *current, next);
            self.tell_listeners(&before, &current);
        }
        Rc::clone(&current)
    }

    /// Has the generation kept, and connections go, of listeners that are in the one before alone.
    fn tell_listeners(&self, before: &Rc<Current>, now: &Generation) {
        let mut gone = false;
        self.listeners.borrow_mut().retain(|listener| {
            let listener = listener.upgrade();
            if let Some(listener) = &listener {
                gone |= listener.reloaded(before, now);
            }
            listener.is_some()
        });
        if gone {
            self.drain.wake();
        }
    }

    /// A listener that accepts here, or whose connections are served here; `generation` has it.
    pub fn listener(&self, id: listener::Id, generation: &Arc<Generation>) -> Rc<listener::Local> {
        let latest = self.generation();
        let mut listeners = self.listeners.borrow_mut();
        let mut known = listeners.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.find(|known| known.id() == id) {
            return known;
        }
        let gone = latest.listener(id).is_none();
        let last = gone.then(|| Current::new(Arc::clone(generation), None));
        let local = listener::Local::new(id, last);
        listeners.push(Rc::downgrade(&local));
        local
    }

    /// A state to begin an exchange with.
    pub fn take_state(&self) -> Box<State> {
        self.states.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a state back whose exchange has ended.
    pub fn give_state(&self, mut state: Box<State>) {
        let mut states = self.states.borrow_mut();
        if states.len() < STATES && state.recorder.is_small() {
            state.clear();
            states.push(state);
        }
    }

    /// What it counts of itself.
    pub fn cells(&self) -> &WorkerCells {
        &self.own[self.index]
    }

    /// Has another worker serve a connection; gives it back where that one is gone.
    pub fn pass(&self, to: usize, connection: Passed) -> Result<(), Passed> {
        let worker = self.all.get(to);
        let Some(worker) = worker.and_then(mpsc::WeakUnboundedSender::upgrade) else {
            return Err(connection);
        };
        match worker.send(Command::Serve(connection)) {
            Err(mpsc::error::SendError(Command::Serve(connection))) => Err(connection),
            _ => Ok(()),
        }
    }

    /// Serves a connection in a task of its own.
    pub fn spawn_connection(
        &self,
        mut stream: TcpStream,
        mut client: Client,
        settings: Arc<Settings>,
        place: Place,
    ) {
        // From now on, so that a drain does not end before the task has begun.
        let watch = self.drain.watch();
        tokio::task::spawn_local(async move {
            let worker = Rc::clone(&client.worker);
            let cells = worker.cells();
            cells.open.inc();
            if settings.identify(&mut stream, &mut client).await {
                server::serve(stream, client, &settings, watch).await;
            }
            // Who sees that it is gone finds its place free.
            drop(place);
            cells.open.dec();
        });
    }
}

/// Whether this thread is a worker's: for assertions of what no request may wait for.
pub fn is_here() -> bool {
    let thread = std::thread::current();
    thread.name().is_some_and(|name| name.starts_with(NAME))
}

/// A worker's thread.
pub struct Thread {
    commands: mpsc::UnboundedSender<Command>,
    thread: std::thread::JoinHandle<()>,
}

impl Thread {
    /// Starts all workers, which serve nothing until they are told to listen.
    pub fn start_all<H>(
        generation: &Arc<ArcSwap<Generation>>,
        metrics: &Arc<Metrics>,
        handoff: impl Fn() -> H,
    ) -> std::io::Result<Vec<Self>>
    where
        H: FnOnce() -> Handoff + Send + 'static,
    {
        let workers = generation.load().config.workers.get();
        let channels: Vec<_> = (0..workers).map(|_| mpsc::unbounded_channel()).collect();
        let all = channels.iter().map(|(sender, _)| sender.downgrade());
        let all: Arc<[_]> = all.collect();
        // For connections to upstreams that one has to spare.
        let bell = Arc::new(Notify::new());
        let threads = channels.into_iter().enumerate().map(|(index, channel)| {
            let (generation, all) = (Arc::clone(generation), Arc::clone(&all));
            let bell = Arc::clone(&bell);
            Self::start(index, channel, all, generation, metrics, bell, handoff())
        });
        threads.collect()
    }

    fn start(
        index: usize,
        (commands, receiver): (
            mpsc::UnboundedSender<Command>,
            mpsc::UnboundedReceiver<Command>,
        ),
        all: Arc<[mpsc::WeakUnboundedSender<Command>]>,
        generation: Arc<ArcSwap<Generation>>,
        metrics: &Arc<Metrics>,
        bell: Arc<Notify>,
        handoff: impl FnOnce() -> Handoff + Send + 'static,
    ) -> std::io::Result<Self> {
        let (own, no_route) = (metrics.own(), metrics.route(""));
        // It can be made on its own thread only, and who starts the worker is to know of a failure.
        let (made, is_made) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("{NAME}{index}"))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(made.send(Err(error))),
                };
                let _ = made.send(Ok(()));
                let current = Current::new(generation.load_full(), None);
                let worker = Rc::new(Worker {
                    index,
                    instances: Rc::default(),
                    pools: Pools::new(bell),
                    handoff: handoff(),
                    drain: Drain::default(),
                    overload: Overload::default(),
                    no_route,
                    own,
                    all,
                    cache: RefCell::new(Cache::new(generation)),
                    current: RefCell::new(current),
                    listeners: RefCell::default(),
                    states: RefCell::default(),
                });
                runtime.block_on(run(Rc::clone(&worker), receiver));
                worker.drain.begin(Stage::Over);
                // Connections that outlived the drain end here, each with its trace; a resolver that
                // gets no answer is not waited for.
                runtime.shutdown_background();
            })?;
        match is_made.recv() {
            Ok(Ok(())) => Ok(Self { commands, thread }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(std::io::Error::other("the thread of a worker ended")),
        }
    }

    /// A worker ends only at shutdown: then there is nobody to tell.
    pub fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Ends the worker, whatever it still serves.
    pub fn join(self) {
        drop(self.commands);
        if self.thread.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
}

/// A listener whose socket is open.
struct Accepting {
    /// `None` of one for OTLP.
    id: Option<listener::Id>,
    /// Dropped, it ends the task.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Obeys commands until the sender is gone.
async fn run(worker: Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut accepting: Vec<Accepting> = Vec::new();
    let mut receiver = None;
    let flushing = Rc::clone(&worker);
    tokio::task::spawn_local(async move { flushing.handoff.flush_loop().await });
    let sweeping = Rc::clone(&worker);
    tokio::task::spawn_local(async move { sweep(&sweeping).await });
    let giving = Rc::clone(&worker);
    tokio::task::spawn_local(async move { giving.pools.give_up().await });
    let watching = Rc::clone(&worker);
    tokio::task::spawn_local(async move { overload::watch(&watching).await });
    let turning = Rc::clone(&worker);
    tokio::task::spawn_local(async move { turning.overload.give_turns().await });
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen(id, socket) => {
                let (stop, stopped) = oneshot::channel();
                let accept = listener::accept(Rc::clone(&worker), id, socket, stopped);
                let task = tokio::task::spawn_local(accept);
                let id = Some(id);
                accepting.push(Accepting { id, stop, task });
            }
            Command::Serve(connection) => connection.arrive(&worker),
            Command::Receive(shared, door, socket) => {
                let local = receiver.get_or_insert_with(|| {
                    receive::Local::new(shared, worker.index, worker.drain.clone())
                });
                let (stop, stopped) = oneshot::channel();
                let accept = receive::accept(Rc::clone(local), door, socket, stopped);
                let task = tokio::task::spawn_local(accept);
                let id = None;
                accepting.push(Accepting { id, stop, task });
            }
            Command::Close(id) => accepting.retain(|open| open.id != Some(id)),
            Command::Reloaded => {
                forget_plugins(&worker, &worker.generation());
            }
            Command::Drain(stage, done) => {
                let (worker, accepting) = (Rc::clone(&worker), std::mem::take(&mut accepting));
                tokio::task::spawn_local(async move {
                    drain(&worker, stage, accepting).await;
                    // Nobody waits where the grace has passed.
                    let _ = done.send(());
                });
            }
        }
    }
}

/// Lets what is under way end, and what has come in but was not looked at yet.
async fn drain(worker: &Worker, stage: Stage, accepting: Vec<Accepting>) {
    // The runtime looks at its sockets, so that a connection with a new request does not seem idle.
    tokio::task::yield_now().await;
    worker.drain.begin(stage);
    for Accepting { stop, task, .. } in accepting {
        drop(stop);
        // It panics only where accepting does; what is open ends all the same.
        let _ = task.await;
    }
    worker.drain.ended().await;
}

async fn sweep(worker: &Worker) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let generation = worker.generation();
        worker.instances.sweep(Instant::now());
        // A request that began before a reload gives instances back that nobody takes any more.
        forget_plugins(worker, &generation);
        worker.pools.sweep();
    }
}

/// Drops instances of plugins that the configuration has no more.
fn forget_plugins(worker: &Worker, generation: &Generation) {
    let known: HashSet<u32> = (generation.plugins.values())
        .flat_map(|variants| variants.iter().map(|plugin| plugin.id))
        .collect();
    worker.instances.retain(|id| known.contains(&id));
}
