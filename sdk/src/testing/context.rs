//! What the functions of the contract that are no resource's work on: the running hook's span and
//! log lines, and the exchange. A thread has one, as an instance of a component has one caller.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::kv;
use crate::log::Level;
use crate::span::Value;
use crate::testing::calls::{Called, Upstreams};

/// As Weir's.
const MAX_ENTRY_BYTES: usize = 64 << 10;
const DAY: Duration = Duration::from_hours(24);

thread_local! {
    static CONTEXT: RefCell<Context> = RefCell::default();
}

/// Values, and when each expires.
pub(crate) type Values = BTreeMap<String, (Vec<u8>, Duration)>;

/// A span as a plugin left it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// The attributes, by name.
    pub attributes: BTreeMap<String, Value<'static>>,
    /// The events, in order.
    pub events: Vec<Event>,
    /// The message of the last [`set_error`](crate::span::set_error), or of
    /// [`upstream::set_error`](crate::span::upstream::set_error).
    pub error: Option<String>,
    /// What the call to the upstream was last
    /// [described](crate::span::upstream::describe) as: its kind and name.
    pub call: Option<(crate::span::upstream::Kind, String)>,
    /// How many attributes the host dropped, because their name begins with `weir.`.
    pub dropped: usize,
}

impl Span {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&Value<'static>> {
        self.attributes.get(name)
    }
}

/// An event of a [`Span`].
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its attributes, in order.
    pub attributes: Vec<(String, Value<'static>)>,
}

/// A line a plugin wrote to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Severity.
    pub level: Level,
    /// The line.
    pub message: String,
}

/// A metric as a plugin defined it.
#[derive(Debug, PartialEq)]
pub(crate) struct Defined {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
}

/// A plugin's metrics, and their values by name and labels.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) defined: Vec<Defined>,
    pub(crate) values: BTreeMap<(String, Vec<String>), f64>,
}

/// The state around one plugin in one exchange.
#[derive(Default)]
pub(crate) struct Context {
    pub(crate) hook: Span,
    pub(crate) upstream: Span,
    pub(crate) logs: Vec<Log>,
    pub(crate) request_id: String,
    pub(crate) values: BTreeMap<String, String>,
    /// The values, and when each expires; of the host, over its exchanges.
    pub(crate) kv: Rc<RefCell<Values>>,
    pub(crate) kv_is_gone: bool,
    pub(crate) upstreams: Upstreams,
    /// Of all hooks so far, and how many of the one that runs.
    pub(crate) calls: Vec<Called>,
    pub(crate) calls_of_hook: usize,
    pub(crate) numbers: Rc<RefCell<Numbers>>,
    pub(crate) now: Duration,
    pub(crate) random: u64,
    /// While `Plugin::new` runs, which has no exchange to work on.
    pub(crate) configuring: bool,
}

impl Context {
    /// Works on the thread's context: that of the running hook, or outside of hooks one that no
    /// test sees.
    pub(crate) fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        CONTEXT.with_borrow_mut(work)
    }

    /// Works on what only an exchange has.
    pub(crate) fn with_exchange<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        Self::with(|context| {
            assert!(
                !context.configuring,
                "only hooks have an exchange; `Plugin::new` has none"
            );
            work(context)
        })
    }

    pub(crate) fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, kv::Error> {
        if self.kv_is_gone {
            return Err(kv::Error::Unavailable);
        }
        let kv = self.kv.borrow();
        let live = kv.get(key).filter(|(_, expires)| *expires > self.now);
        Ok(live.map(|(value, _)| value.clone()))
    }

    pub(crate) fn kv_put(
        &self,
        key: &str,
        value: &[u8],
        expires: Duration,
    ) -> Result<(), kv::Error> {
        if key.len() + value.len() > MAX_ENTRY_BYTES {
            return Err(kv::Error::TooLarge);
        }
        if self.kv_is_gone {
            return Err(kv::Error::Unavailable);
        }
        let entry = (value.to_vec(), expires);
        self.kv.borrow_mut().insert(key.into(), entry);
        Ok(())
    }

    pub(crate) fn kv_expiry(&self, ttl_ms: u64) -> Duration {
        let ttl = Duration::from_millis(ttl_ms);
        self.now + if ttl.is_zero() { DAY } else { ttl.min(DAY) }
    }

    /// Makes this the thread's context for the length of `hook`.
    pub(crate) fn enter<T>(&mut self, hook: impl FnOnce() -> T) -> T {
        Self::with(|current| std::mem::swap(current, self));
        let result = hook();
        Self::with(|current| std::mem::swap(current, self));
        result
    }
}
