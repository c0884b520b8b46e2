//! The span of the hook that is running, and that of the call to the upstream ([`upstream`]). There
//! is none in [`Plugin::new`](crate::Plugin::new), which must not call these.
//!
//! ```
//! use weir_sdk::span;
//!
//! span::set_attribute("cache.hit", false);
//! span::set_attribute("cache.bytes", b"hello".len());
//! span::add_event("lookup", &[("cache.tier", "memory".into()), ("cache.entries", 12.into())]);
//! ```

use std::borrow::Cow;

use crate::backend;

/// Sets an attribute of the hook's span. The last value set holds.
///
/// Names that begin with `weir.` are the host's and are dropped, as is what exceeds the host's
/// bounds; the span counts what was dropped.
pub fn set_attribute<'a>(name: &str, value: impl Into<Value<'a>>) {
    backend::set_attribute(Target::Hook, name, &value.into());
}

/// Adds an event with the present time to the hook's span.
pub fn add_event(name: &str, attributes: &[(&str, Value<'_>)]) {
    backend::add_event(Target::Hook, name, attributes);
}

/// Marks the hook's span as failed, without failing the hook.
pub fn set_error(message: &str) {
    backend::set_error(message);
}

/// The span of the call to the upstream. What is set before the call is kept for it.
pub mod upstream {
    use super::{Target, Value};
    use crate::backend;

    /// Sets an attribute, as [`span::set_attribute`](super::set_attribute) does.
    pub fn set_attribute<'a>(name: &str, value: impl Into<Value<'a>>) {
        backend::set_attribute(Target::Upstream, name, &value.into());
    }

    /// Adds an event with the present time.
    pub fn add_event(name: &str, attributes: &[(&str, Value<'_>)]) {
        backend::add_event(Target::Upstream, name, attributes);
    }

    /// Says what the call is: the kind and the name of its span. What is said last holds, by
    /// whichever plugin and in whichever hook, those for pieces of a body among them.
    ///
    /// ```no_run
    /// use weir_sdk::span::upstream::{self, Kind};
    ///
    /// upstream::describe(Kind::Llm, "chat gpt-4o");
    /// ```
    pub fn describe(kind: Kind, name: &str) {
        backend::describe_call(kind, name);
    }

    /// Marks the call's span as failed, for an error that its status does not tell.
    pub fn set_error(message: &str) {
        backend::set_call_error(message);
    }

    /// What a call to the upstream is, in the trace.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Kind {
        /// `http.client`, as every call is at first.
        #[default]
        Http,
        /// `llm.call`: a call to a generative model.
        Llm,
    }
}

/// The value of an attribute, as in OpenTelemetry.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A truth value.
    Boolean(bool),
    /// A signed integer.
    Integer(i64),
    /// A floating-point number.
    Float(f64),
    /// A list of texts.
    Texts(Vec<Cow<'a, str>>),
}

impl Value<'_> {
    /// The value with its text copied.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Boolean(boolean) => Value::Boolean(boolean),
            Self::Integer(integer) => Value::Integer(integer),
            Self::Float(float) => Value::Float(float),
            Self::Texts(texts) => Value::Texts(
                texts
                    .into_iter()
                    .map(|text| Cow::Owned(text.into_owned()))
                    .collect(),
            ),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<String>> for Value<'_> {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts.into_iter().map(Into::into).collect())
    }
}

impl From<bool> for Value<'_> {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

macro_rules! from_numbers {
    ($($number:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$number> for Value<'_> {
            fn from(number: $number) -> Self {
                Self::$variant(number.into())
            }
        }
    )+};
}

from_numbers! {
    i8 => Integer, i16 => Integer, i32 => Integer, i64 => Integer,
    u8 => Integer, u16 => Integer, u32 => Integer,
    f32 => Float, f64 => Float,
}

/// Lengths and counts. What is past the largest integer of an attribute is told as that.
macro_rules! from_counts {
    ($($number:ty),+) => {$(
        impl From<$number> for Value<'_> {
            fn from(number: $number) -> Self {
                Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }
    )+};
}

from_counts!(u64, usize);

/// Which span is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Hook,
    Upstream,
}
