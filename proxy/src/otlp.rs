//! OTLP requests as bytes: checked, turned from JSON to protobuf and back, split, keyed.
//!
//! Everything is a walk over protobuf's wire format by the tables of [`schema`]. Nothing is decoded
//! into objects, so what these tables do not know is carried along untouched: protobuf that comes in
//! and goes out as protobuf is only looked at ([`check`]). JSON that comes in becomes protobuf first
//! ([`read`]); JSON that goes out is written from protobuf ([`json`]). A request that is too large
//! for one message, or has to be parted by keys, is taken apart as ranges of bytes ([`split`]); so is a
//! message again that its topic does not take ([`again`]).
//!
//! Values in, values out: no I/O here.

pub mod again;
pub mod answer;
mod attribute;
pub mod check;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod json;
pub mod keys;
mod lexer;
pub mod messages;
pub mod read;
pub mod schema;
pub mod split;
pub mod status;
pub mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use schema::Message;

pub use lexer::Error as JsonError;
pub use wire::Error;

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// As in metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// Its `Export…ServiceRequest`.
    pub fn request(self) -> &'static Message {
        match self {
            Self::Traces => &schema::TRACES_REQUEST,
            Self::Metrics => &schema::METRICS_REQUEST,
            Self::Logs => &schema::LOGS_REQUEST,
        }
    }

    /// The field of a JSON response that counts what was refused.
    pub fn rejected(self) -> &'static str {
        match self {
            Self::Traces => "rejectedSpans",
            Self::Metrics => "rejectedDataPoints",
            Self::Logs => "rejectedLogRecords",
        }
    }
}
