//! A worker's connection to Redis, which all plugins share: a task that sends their commands one behind
//! the other, without waiting in between, and tells each its answer.
//!
//! While Redis cannot be reached, commands are refused at once; the task alone tries again, each time
//! after a longer pause. Nothing is sent twice, for it may have been done.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::health::Seat;
use super::resp::{self, Reply};
use super::{Gone, text};
use crate::config;
use crate::metrics::KvCells;
use crate::transport::Stream;

/// Most commands that wait for their answers, and most bytes that wait to be sent; with more, those who
/// ask wait.
const WAITING: usize = 1024;
const OUTBOX: usize = 1 << 20;

/// The pause after a failed try; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A connection that lasted so long was a good one.
const STEADY: Duration = Duration::from_secs(5);

/// When a connection that nobody uses is asked whether it is there.
const IDLE: Duration = Duration::from_secs(15);

/// How often it is logged what Redis refuses.
const REFUSALS: Duration = Duration::from_mins(1);

/// Errors that are of the whole of Redis, and not of a command: another one may be reached by the
/// same name.
const UNFIT: [&str; 4] = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH"];

/// A command of a plugin's.
pub(super) struct Command {
    pub(super) bytes: Vec<u8>,
    pub(super) asked: Instant,
    pub(super) answer: oneshot::Sender<Result<Reply, Gone>>,
}

/// See the module's documentation.
pub(super) struct Link {
    pub(super) config: Arc<config::Redis>,
    pub(super) health: Seat,
    pub(super) cells: Arc<KvCells>,
}

/// A connection that Redis has let in.
struct Connection {
    stream: Stream,
    inbox: BytesMut,
}

/// A command that was sent.
struct Sent {
    deadline: Instant,
    asked: Instant,
    /// None where only the connection is tried.
    answer: Option<oneshot::Sender<Result<Reply, Gone>>>,
}

/// Why a connection is used no more.
enum End {
    /// Nobody can ask any more.
    Unused,
    Broken(String),
    /// No answer in time.
    Silent,
    Unfit(String),
}

impl Link {
    /// Serves commands until nobody can send any.
    pub(super) async fn serve(self, mut commands: mpsc::Receiver<Command>) {
        let mut pause = FIRST_PAUSE;
        let mut warned = None;
        // Who asks during the first try waits for it, as where a good connection has just broken.
        let mut refuses = false;
        loop {
            let config = Arc::clone(&self.config);
            let tried = tokio::select! {
                tried = connect(&config) => tried,
                () = self.refuse(&mut commands), if refuses => return,
            };
            let problem = match tried {
                Err(problem) => problem,
                Ok(connection) => {
                    let made = Instant::now();
                    self.health.up();
                    self.cells.connects.inc();
                    let end = self.run(connection, &mut commands, &mut warned).await;
                    let was_steady = made.elapsed() >= STEADY;
                    if was_steady {
                        pause = FIRST_PAUSE;
                    }
                    match end {
                        End::Unused => return,
                        End::Broken(_) if was_steady => {
                            refuses = false;
                            continue;
                        }
                        End::Broken(problem) | End::Unfit(problem) => problem,
                        End::Silent => self.silent(),
                    }
                }
            };
            self.health.down(problem);
            refuses = true;
            // So that many do not come back at once.
            let wait = pause.mul_f64(1.0 - fastrand::f64() / 2.0);
            pause = (2 * pause).min(LONGEST_PAUSE);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.refuse(&mut commands) => return,
            }
        }
    }

    fn silent(&self) -> String {
        format!("no answer within {:?}", self.config.timeout)
    }

    /// Refuses what is asked, until nobody can ask any more.
    async fn refuse(&self, commands: &mut mpsc::Receiver<Command>) {
        while let Some(command) = commands.recv().await {
            self.tell(command.answer, Err(Gone::Down));
        }
    }

    /// Nobody listens where the hook has ended.
    fn tell(&self, answer: oneshot::Sender<Result<Reply, Gone>>, result: Result<Reply, Gone>) {
        if let Err(gone) = &result {
            self.cells.failures[*gone as usize].inc();
        }
        let _ = answer.send(result);
    }

    /// Sends and receives until the connection ends, and answers all that were sent. `warned` is when it
    /// was last logged what Redis refuses.
    async fn run(
        &self,
        connection: Connection,
        commands: &mut mpsc::Receiver<Command>,
        warned: &mut Option<Instant>,
    ) -> End {
        let _open = Open::new(&self.cells);
        let mut sent = VecDeque::new();
        let end = self.exchange(connection, commands, &mut sent, warned).await;
        let gone = match end {
            End::Silent => Gone::Timeout,
            End::Unused | End::Broken(_) | End::Unfit(_) => Gone::Broken,
        };
        for answer in sent.into_iter().filter_map(|sent: Sent| sent.answer) {
            self.tell(answer, Err(gone));
        }
        end
    }

    async fn exchange(
        &self,
        connection: Connection,
        commands: &mut mpsc::Receiver<Command>,
        sent: &mut VecDeque<Sent>,
        warned: &mut Option<Instant>,
    ) -> End {
        let Connection { stream, mut inbox } = connection;
        let (mut reader, mut writer): (ReadHalf<Stream>, WriteHalf<Stream>) =
            tokio::io::split(stream);
        let mut outbox = BytesMut::new();
        let mut flushed = true;
        let mut used = Instant::now();
        let mut timer = pin!(tokio::time::sleep(IDLE));
        loop {
            let due = sent.front().map_or(used + IDLE, |first| first.deadline);
            let due = tokio::time::Instant::from(due);
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            // What has come is read before anybody is said to be late.
            tokio::select! {
                biased;
                read = reader.read_buf(&mut inbox) => {
                    match read {
                        Ok(0) => return End::Broken("the connection was closed".into()),
                        Ok(_) => {}
                        Err(error) => return End::Broken(error.to_string()),
                    }
                    if let Err(end) = self.answer(&mut inbox, sent, warned) {
                        return end;
                    }
                }
                written = write(&mut writer, &mut outbox), if !outbox.is_empty() || !flushed => {
                    match written {
                        Ok(all) => flushed = all,
                        Err(error) => return End::Broken(error.to_string()),
                    }
                }
                command = commands.recv(), if sent.len() < WAITING && outbox.len() < OUTBOX => {
                    let Some(command) = command else {
                        return End::Unused;
                    };
                    used = Instant::now();
                    self.put(command, used, &mut outbox, sent);
                    while sent.len() < WAITING && outbox.len() < OUTBOX
                        && let Ok(command) = commands.try_recv()
                    {
                        self.put(command, used, &mut outbox, sent);
                    }
                }
                () = timer.as_mut() => {
                    if !sent.is_empty() {
                        return End::Silent;
                    }
                    used = Instant::now();
                    outbox.extend_from_slice(&resp::command(&[b"PING"]));
                    sent.push_back(Sent {
                        deadline: used + self.config.timeout,
                        asked: used,
                        answer: None,
                    });
                }
            }
        }
    }

    /// Has a command sent, unless its hook has ended or it has waited too long.
    fn put(
        &self,
        command: Command,
        now: Instant,
        outbox: &mut BytesMut,
        sent: &mut VecDeque<Sent>,
    ) {
        let deadline = command.asked + self.config.timeout;
        if command.answer.is_closed() {
            return;
        }
        if deadline <= now {
            self.tell(command.answer, Err(Gone::Timeout));
            return;
        }
        outbox.extend_from_slice(&command.bytes);
        sent.push_back(Sent {
            deadline,
            asked: command.asked,
            answer: Some(command.answer),
        });
    }

    /// Tells the answers that have come, each to who asked.
    fn answer(
        &self,
        inbox: &mut BytesMut,
        sent: &mut VecDeque<Sent>,
        warned: &mut Option<Instant>,
    ) -> Result<(), End> {
        let broken = |error: resp::Malformed| End::Broken(error.to_string());
        while let Some(reply) = resp::take(inbox).map_err(broken)? {
            let Some(Sent { asked, answer, .. }) = sent.pop_front() else {
                return Err(broken(resp::Malformed));
            };
            let result = match reply {
                Reply::Error(error) => {
                    if let Some(answer) = answer {
                        self.tell(answer, Err(Gone::Refused));
                    }
                    if UNFIT.contains(&code(&error)) {
                        return Err(End::Unfit(text(&error)));
                    }
                    if warned.is_none_or(|last: Instant| last.elapsed() >= REFUSALS) {
                        *warned = Some(Instant::now());
                        tracing::warn!(error = text(&error), "redis refused a plugin's operation");
                    }
                    continue;
                }
                reply => reply,
            };
            if let Some(answer) = answer {
                self.cells.duration.record(asked.elapsed());
                self.tell(answer, Ok(result));
            }
        }
        Ok(())
    }
}

/// Counts a connection for as long as it is used.
struct Open<'c>(&'c KvCells);

impl<'c> Open<'c> {
    fn new(cells: &'c KvCells) -> Self {
        cells.connected.inc();
        Self(cells)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connected.dec();
    }
}

/// Writes some of it, or flushes where all is written. Whether nothing is left to do.
async fn write(writer: &mut WriteHalf<Stream>, outbox: &mut BytesMut) -> io::Result<bool> {
    if outbox.is_empty() {
        writer.flush().await?;
        return Ok(true);
    }
    writer.write_buf(outbox).await?;
    Ok(false)
}

/// Connects once and shows who comes; the error is for people.
async fn connect(config: &config::Redis) -> Result<Connection, String> {
    limited(config, async {
        let endpoint = &config.endpoint;
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let stream = match &endpoint.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let stream = tls.connect(&endpoint.host, stream, false).await;
                let stream = stream.map_err(|error| format!("TLS: {error}"))?;
                Stream::Tls(Box::new(stream.into()))
            }
        };
        enter(config, stream).await
    })
    .await
}

/// Tries once whether Redis can be reached and lets Weir in.
pub(super) async fn probe(config: &config::Redis) -> Result<(), String> {
    connect(config).await.map(drop)
}

async fn limited<T>(
    config: &config::Redis,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let limit = config.timeout;
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

async fn enter(config: &config::Redis, mut stream: Stream) -> Result<Connection, String> {
    let mut commands = Vec::new();
    let mut asked = Vec::new();
    if let Some(password) = &config.password {
        let password = password.expose().as_bytes();
        asked.push("AUTH");
        commands.extend(match &config.username {
            Some(username) => resp::command(&[b"AUTH", username.as_bytes(), password]),
            None => resp::command(&[b"AUTH", password]),
        });
    }
    if config.database != 0 {
        asked.push("SELECT");
        let database = config.database.to_string();
        commands.extend(resp::command(&[b"SELECT", database.as_bytes()]));
    }
    asked.push("PING");
    commands.extend(resp::command(&[b"PING"]));
    let broken = |error: io::Error| error.to_string();
    stream.write_all(&commands).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut inbox = BytesMut::new();
    for asked in asked {
        let reply = loop {
            if let Some(reply) = resp::take(&mut inbox).map_err(|error| error.to_string())? {
                break reply;
            }
            if stream.read_buf(&mut inbox).await.map_err(broken)? == 0 {
                return Err("the connection was closed".into());
            }
        };
        if let Reply::Error(error) = reply {
            // A server that does not know AUTH quotes what it was given.
            let said = match asked {
                "AUTH" => code(&error),
                _ => error.as_str(),
            };
            return Err(format!("{asked} was refused: {}", text(said)));
        }
    }
    if inbox.is_empty() {
        Ok(Connection { stream, inbox })
    } else {
        Err(resp::Malformed.to_string())
    }
}

/// The word in capitals that an error begins with.
fn code(error: &str) -> &str {
    error.split_whitespace().next().unwrap_or_default()
}
