//! A connection between a client and a Kafka broker that can be cut where it hurts: after the
//! broker has what was produced, and before the client knows.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::kafka::Kafka;

/// The number of the request `Produce` in Kafka's protocol.
const PRODUCE: [u8; 2] = [0, 0];

/// A running link; its threads end with the process.
#[derive(Clone, Debug)]
pub struct Link {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    target: Mutex<Option<String>>,
    /// Whether the next `Produce` is to be its connection's last.
    armed: AtomicBool,
    cuts: AtomicUsize,
    /// Whether the answer to the next `Produce` is to be unreadable.
    garbling: AtomicBool,
    garbled: AtomicUsize,
    /// Whether no connection is let through.
    closed: AtomicBool,
    /// How long each answer is held, in milliseconds.
    delay: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// What is to become of a connection's answers.
#[derive(Debug, Default)]
struct Doom {
    /// None is to come any more.
    to_end: AtomicBool,
    /// The one to the request of this number is to be unreadable.
    to_garble: Mutex<Option<[u8; 4]>>,
}

impl Link {
    /// A link that leads nowhere yet.
    ///
    /// # Panics
    ///
    /// When there is no port.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let link = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::default(),
        };
        let state = Arc::clone(&link.state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that leads nowhere is closed.
                let _ = state.join(client);
            }
        });
        link
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Arguments of a broker whose listener `LINKED` is reached by this link only.
    pub fn arguments(&self) -> [String; 2] {
        let advertise = format!("--advertise=LINKED={}", self.address);
        ["--listener=LINKED".to_owned(), advertise]
    }

    /// Leads to a broker from now on.
    ///
    /// # Panics
    ///
    /// When a thread of the link panicked.
    pub fn lead_to(&self, kafka: &Kafka) {
        let target = kafka.listener("LINKED").to_owned();
        *self.state.target.lock().expect("lock") = Some(target);
    }

    /// Lets the next `Produce` through and not its answer, and cuts the connection then.
    pub fn cut_after_produce(&self) {
        self.state.armed.store(true, Ordering::SeqCst);
    }

    /// How often that has happened.
    pub fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::SeqCst)
    }

    /// Lets the next `Produce` through, and makes its answer unreadable.
    pub fn garble_after_produce(&self) {
        self.state.garbling.store(true, Ordering::SeqCst);
    }

    /// How often that has happened.
    pub fn garbled(&self) -> usize {
        self.state.garbled.load(Ordering::SeqCst)
    }

    /// Holds each of a broker's answers for so long.
    pub fn delay_answers(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.state.delay.store(delay, Ordering::SeqCst);
    }

    /// Cuts what is open and lets nothing through until [`Link::open`].
    ///
    /// # Panics
    ///
    /// When a thread of the link panicked.
    pub fn close(&self) {
        self.state.closed.store(true, Ordering::SeqCst);
        for stream in self.state.open.lock().expect("lock").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn open(&self) {
        self.state.closed.store(false, Ordering::SeqCst);
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn join(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let target = self.target.lock().expect("lock").clone();
        let target = target.filter(|_| !self.closed.load(Ordering::SeqCst));
        let target = target.ok_or(io::ErrorKind::ConnectionRefused)?;
        let broker = TcpStream::connect(target)?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let mut open = self.open.lock().expect("lock");
        open.extend([client.try_clone()?, broker.try_clone()?]);
        drop(open);
        let doomed = Arc::new(Doom::default());
        let (state, told) = (Arc::clone(self), Arc::clone(&doomed));
        let (requests, to_broker) = (client.try_clone()?, broker.try_clone()?);
        thread::spawn(move || {
            let _ = state.requests(&requests, &to_broker, &told);
            let _ = to_broker.shutdown(Shutdown::Both);
            let _ = requests.shutdown(Shutdown::Both);
        });
        let state = Arc::clone(self);
        thread::spawn(move || {
            let _ = state.answers(&broker, &client, &doomed);
            let _ = client.shutdown(Shutdown::Both);
            let _ = broker.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    /// Each request is four bytes of length, then a number that says what it is.
    fn requests(
        &self,
        mut client: &TcpStream,
        mut broker: &TcpStream,
        doomed: &Doom,
    ) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            client.read_exact(&mut length)?;
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            client.read_exact(&mut request)?;
            let is_produce = request.starts_with(&PRODUCE);
            if is_produce && self.armed.swap(false, Ordering::SeqCst) {
                doomed.to_end.store(true, Ordering::SeqCst);
            }
            if is_produce && self.garbling.swap(false, Ordering::SeqCst) {
                let id = [request[4], request[5], request[6], request[7]];
                *doomed.to_garble.lock().expect("lock") = Some(id);
            }
            broker.write_all(&[&length[..], &request].concat())?;
        }
    }

    fn answers(
        &self,
        mut broker: &TcpStream,
        mut client: &TcpStream,
        doomed: &Doom,
    ) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            broker.read_exact(&mut length)?;
            let mut answer = vec![0; u32::from_be_bytes(length) as usize];
            broker.read_exact(&mut answer)?;
            if doomed.to_end.load(Ordering::SeqCst) {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            // An answer begins with the number that its request has.
            let mut to_garble = doomed.to_garble.lock().expect("lock");
            if to_garble.is_some_and(|id| answer.starts_with(&id)) {
                *to_garble = None;
                answer[4..].fill(0xff);
                self.garbled.fetch_add(1, Ordering::SeqCst);
            }
            drop(to_garble);
            thread::sleep(Duration::from_millis(self.delay.load(Ordering::SeqCst)));
            client.write_all(&[&length[..], &answer].concat())?;
        }
    }
}
