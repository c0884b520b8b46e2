//! Values that all instances of the plugin share, on all workers.
//!
//! Each plugin has a store of its own, by its name in the configuration. In memory, as it is by
//! default, it outlives reloads, not the process, and is bounded in bytes by `limits.kv`: past that,
//! values that were not used for long make room. So it is for what may be forgotten, such as counters
//! of a rate, and caches. Routes that configure the plugin each in its own way share it too: a key
//! should have what its value depends on.
//!
//! Where the operator has values kept in Redis, other processes share them, and each function may fail
//! as [`Error::Unavailable`]. What a plugin can do without, it goes on without; where it cannot, it
//! panics, and the operator's `on_error` says what becomes of the request.
//!
//! ```
//! use std::time::Duration;
//! use weir_sdk::kv;
//!
//! const MINUTE: Duration = Duration::from_secs(60);
//!
//! assert_eq!(kv::add("seen", 1, MINUTE), Ok(1));
//! assert_eq!(kv::add("seen", 1, MINUTE), Ok(2));
//! assert_eq!(kv::get("seen"), Ok(Some(b"2".to_vec())));
//! assert_eq!(kv::compare_and_set("seen", Some(b"2"), b"0", MINUTE), Ok(true));
//! assert_eq!(kv::compare_and_set("seen", Some(b"2"), b"9", MINUTE), Ok(false));
//! assert_eq!(kv::delete("seen"), Ok(true));
//! ```

use std::time::Duration;

use crate::backend;

/// Why a value was not read or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Key and value have more than 64 KiB.
    #[error("an entry of more than 64 KiB")]
    TooLarge,
    /// [`add`] to a value that is no number, or past the range of one.
    #[error("a value that is no number, or would be none")]
    NotANumber,
    /// Redis cannot be reached, did not answer in time, or refused. What was to be stored may have
    /// been.
    #[error("a store that is not available")]
    Unavailable,
}

/// The value of a key; none where it was not set, has expired, or made room.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    backend::kv_get(key)
}

/// Sets a value for a time: in whole milliseconds, at most a day; zero means a day.
pub fn set(key: &str, value: impl AsRef<[u8]>, ttl: Duration) -> Result<(), Error> {
    backend::kv_set(key, value.as_ref(), millis(ttl))
}

/// Removes a value. Whether there was one.
pub fn delete(key: &str) -> Result<bool, Error> {
    backend::kv_delete(key)
}

/// Adds to a number, atomically, and gives the sum. A key without value counts as 0 and is set for
/// `ttl`; one that has a value keeps its time. The value reads as a decimal text.
pub fn add(key: &str, delta: i64, ttl: Duration) -> Result<i64, Error> {
    backend::kv_add(key, delta, millis(ttl))
}

/// Sets a value where the present one is `expected` (`None`: where there is none), atomically.
/// Whether it was set.
pub fn compare_and_set(
    key: &str,
    expected: Option<&[u8]>,
    value: impl AsRef<[u8]>,
    ttl: Duration,
) -> Result<bool, Error> {
    backend::kv_compare_and_set(key, expected, value.as_ref(), millis(ttl))
}

/// At least one, for zero means the longest.
fn millis(ttl: Duration) -> u64 {
    let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    if ttl.is_zero() { 0 } else { millis.max(1) }
}
