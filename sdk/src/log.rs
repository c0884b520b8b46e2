//! Lines that go to Weir's log and into the trace: [`trace!`](crate::trace),
//! [`debug!`](crate::debug), [`info!`](crate::info), [`warn!`](crate::warn) and
//! [`error!`](crate::error), which take what `format!` takes.
//!
//! Lines and bytes a request are bounded; the span counts what is more. Never log a secret.
//!
//! ```
//! let (country, blocked) = ("FR", 3);
//! weir_sdk::info!("blocked {blocked} requests from {country}");
//! ```

use std::borrow::Cow;
use std::fmt;

use crate::backend;

/// Severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Finer than [`Level::Debug`].
    Trace,
    /// For the plugin's author.
    Debug,
    /// For the operator.
    Info,
    /// Something the operator should look at.
    Warn,
    /// Something failed.
    Error,
}

/// Writes a line; the macros are the short way.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    let message = message
        .as_str()
        .map_or_else(|| Cow::Owned(message.to_string()), Cow::Borrowed);
    backend::log(level, &message);
}

/// Logs at [`Level::Trace`](crate::log::Level::Trace).
#[macro_export]
macro_rules! trace {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Trace, format_args!($($message)+)) };
}

/// Logs at [`Level::Debug`](crate::log::Level::Debug).
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Debug, format_args!($($message)+)) };
}

/// Logs at [`Level::Info`](crate::log::Level::Info).
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Info, format_args!($($message)+)) };
}

/// Logs at [`Level::Warn`](crate::log::Level::Warn).
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Warn, format_args!($($message)+)) };
}

/// Logs at [`Level::Error`](crate::log::Level::Error).
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Error, format_args!($($message)+)) };
}
