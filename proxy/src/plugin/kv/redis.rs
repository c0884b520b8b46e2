//! Plugins' values in Redis, where other processes share them: the operations of the contract's `kv`
//! as commands, and the links that these go over.
//!
//! A key is that of the plugin, behind the configured prefix and the plugin's name. What must be atomic
//! is one command or a script of one key. Values and times to live have the bounds that they have in
//! memory; how many there may be is the affair of Redis (`maxmemory`).

mod health;
mod link;
mod resp;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::{ENTRY_BYTES, Error, bounded};
use crate::config;
use crate::health::State;
use crate::lock::lock;
use crate::metrics::Metrics;
use health::Health;
use link::{Command, Link};
use resp::Reply;

/// Commands that wait for a link to look at them.
const QUEUE: usize = 64;

/// Most bytes of what Redis says that are told on.
const TEXT: usize = 200;

/// `INCRBY`, of a key that is set with a time to live where it is not there. A number of Lua's would
/// not hold all of one of 64 bits, so the sum is read as text. Nothing where it is no number.
const ADD: &[u8] = b"local k,d=KEYS[1],ARGV[1] \
    if redis.call('EXISTS',k)==0 then redis.call('SET',k,d,'PX',ARGV[2]) return d end \
    local s=redis.pcall('INCRBY',k,d) \
    if type(s)=='table' and s.err then \
    if string.find(s.err,'not an integer') or string.find(s.err,'overflow') then return false end \
    return s end \
    return redis.call('GET',k)";

/// Sets a value where the present one is the expected one.
const SWAP: &[u8] = b"if redis.call('GET',KEYS[1])~=ARGV[1] then return 0 end \
    redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3]) return 1";

/// Why an operation got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Gone {
    /// Redis cannot be reached; the operation was not sent.
    Down = 0,
    Timeout = 1,
    /// The connection ended before the answer.
    Broken = 2,
    /// Redis answered with an error.
    Refused = 3,
}

impl Gone {
    /// As in metrics and on spans, by number.
    pub const REASONS: [&'static str; 4] = ["down", "timeout", "broken", "refused"];

    pub fn reason(self) -> &'static str {
        Self::REASONS[self as usize]
    }
}

/// A Redis, as all workers share it.
#[derive(Debug)]
pub struct Redis {
    config: Arc<config::Redis>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    /// One a thread, made when it is first needed. It ends with what is here.
    links: Mutex<HashMap<ThreadId, mpsc::Sender<Command>>>,
}

/// The values of one plugin, as one instance of it uses them.
#[derive(Clone)]
pub struct Values {
    redis: Arc<Redis>,
    /// What the plugin's keys begin with.
    prefix: Arc<str>,
    link: Option<mpsc::Sender<Command>>,
}

impl Redis {
    /// What a configuration asks for: the very one of before, if it is the same.
    pub fn of(
        config: Option<&config::Redis>,
        before: Option<&Arc<Self>>,
        metrics: &Arc<Metrics>,
    ) -> Option<Arc<Self>> {
        let config = config?;
        match before {
            Some(before) if *before.config == *config => Some(Arc::clone(before)),
            _ => Some(Arc::new(Self {
                health: Health::new(config.endpoint.authority()),
                config: Arc::new(config.clone()),
                metrics: Arc::clone(metrics),
                links: Mutex::default(),
            })),
        }
    }

    pub fn state(&self) -> State {
        self.health.state()
    }

    /// Connects from this thread, so that it is known whether that can be done before a plugin needs it.
    pub fn watch(&self) {
        self.link();
    }

    /// The values of a plugin, by its normal name.
    pub fn values(self: &Arc<Self>, plugin: &str) -> Values {
        // A colon in a name must not reach into the keys of another plugin.
        let plugin = plugin.replace('%', "%25").replace(':', "%3A");
        Values {
            redis: Arc::clone(self),
            prefix: format!("{}:{plugin}:", self.config.prefix).into(),
            link: None,
        }
    }

    fn link(&self) -> mpsc::Sender<Command> {
        let thread = std::thread::current().id();
        let mut links = lock(&self.links);
        if let Some(link) = links.get(&thread).filter(|link| !link.is_closed()) {
            return link.clone();
        }
        links.retain(|_, link| !link.is_closed());
        let (sender, commands) = mpsc::channel(QUEUE);
        let link = Link {
            config: Arc::clone(&self.config),
            health: self.health.seat(thread),
            cells: self.metrics.kv(),
        };
        tokio::spawn(link.serve(commands));
        links.insert(thread, sender.clone());
        sender
    }
}

/// Tries once whether Redis can be reached and lets Weir in; for a thread that has no runtime.
pub fn probe(config: &config::Redis) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let tried = runtime.block_on(link::probe(config));
    // A resolver that gives no answer is not waited for.
    runtime.shutdown_background();
    tried
}

/// Each operation is a future of its own, which borrows nothing of who asks.
impl Values {
    pub fn get(
        &mut self,
        key: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Error>> + Send + use<> {
        let asked = fits(key, b"").then(|| self.ask(&[b"GET", &self.key(key)]));
        async move {
            let Some(asked) = asked else { return Ok(None) };
            match asked.await? {
                Reply::Bytes(value) => Ok(Some(value)),
                Reply::Nothing => Ok(None),
                _ => Err(UNLIKELY),
            }
        }
    }

    pub fn set(
        &mut self,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let ttl = millis(ttl);
        let asked =
            fits(key, value).then(|| self.ask(&[b"SET", &self.key(key), value, b"PX", &ttl]));
        async move {
            match asked.ok_or(Error::TooLarge)?.await? {
                Reply::Status => Ok(()),
                _ => Err(UNLIKELY),
            }
        }
    }

    /// Whether there was a value.
    pub fn delete(
        &mut self,
        key: &str,
    ) -> impl Future<Output = Result<bool, Error>> + Send + use<> {
        let asked = fits(key, b"").then(|| self.ask(&[b"DEL", &self.key(key)]));
        async move {
            let Some(asked) = asked else { return Ok(false) };
            was_done(&asked.await?)
        }
    }

    /// As [`super::Kv::add`].
    pub fn add(
        &mut self,
        key: &str,
        delta: i64,
        ttl: Duration,
    ) -> impl Future<Output = Result<i64, Error>> + Send + use<> {
        let (delta, ttl) = (delta.to_string(), millis(ttl));
        let asked = fits(key, delta.as_bytes())
            .then(|| self.ask(&[b"EVAL", ADD, b"1", &self.key(key), delta.as_bytes(), &ttl]));
        async move {
            match asked.ok_or(Error::TooLarge)?.await? {
                Reply::Bytes(sum) => {
                    let sum = std::str::from_utf8(&sum).ok();
                    sum.and_then(|sum| sum.parse().ok()).ok_or(UNLIKELY)
                }
                Reply::Nothing => Err(Error::NotANumber),
                _ => Err(UNLIKELY),
            }
        }
    }

    /// As [`super::Kv::compare_and_set`].
    pub fn compare_and_set(
        &mut self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl: Duration,
    ) -> impl Future<Output = Result<bool, Error>> + Send + use<> {
        let ttl = millis(ttl);
        // What is longer than any value is not there.
        let possible = expected.is_none_or(|expected| fits(key, expected));
        let asked = (possible && fits(key, value)).then(|| {
            let key = self.key(key);
            match expected {
                None => self.ask(&[b"SET", &key, value, b"PX", &ttl, b"NX"]),
                Some(expected) => self.ask(&[b"EVAL", SWAP, b"1", &key, expected, value, &ttl]),
            }
        });
        async move {
            match asked {
                None if possible => Err(Error::TooLarge),
                None => Ok(false),
                Some(asked) => was_done(&asked.await?),
            }
        }
    }

    fn key(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    fn ask(
        &mut self,
        parts: &[&[u8]],
    ) -> impl Future<Output = Result<Reply, Error>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let command = Command {
            bytes: resp::command(parts),
            asked: Instant::now(),
            answer,
        };
        let link = match self.link.take().filter(|link| !link.is_closed()) {
            Some(link) => link,
            None => self.redis.link(),
        };
        self.link = Some(link.clone());
        async move {
            // The link is gone only where its thread ends.
            let gone = Error::Unavailable(Gone::Down);
            link.send(command).await.map_err(|_| gone)?;
            let answer = answered.await.unwrap_or(Err(Gone::Down));
            answer.map_err(Error::Unavailable)
        }
    }
}

/// An answer that Redis does not give to such a command.
const UNLIKELY: Error = Error::Unavailable(Gone::Refused);

fn was_done(reply: &Reply) -> Result<bool, Error> {
    match reply {
        Reply::Status => Ok(true),
        Reply::Nothing => Ok(false),
        Reply::Integer(count) => Ok(*count > 0),
        _ => Err(UNLIKELY),
    }
}

fn fits(key: &str, value: &[u8]) -> bool {
    key.len() + value.len() <= ENTRY_BYTES
}

fn millis(ttl: Duration) -> Vec<u8> {
    bounded(ttl).as_millis().max(1).to_string().into_bytes()
}

/// What Redis said, to be told on.
fn text(said: &str) -> String {
    let end = said.floor_char_boundary(TEXT);
    said[..end].replace(char::is_control, " ")
}
