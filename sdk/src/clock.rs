//! Time. There is no other clock: `SystemTime::now` and `Instant::now` panic in a plugin.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use weir_sdk::clock;
//!
//! fn has_expired(expires: SystemTime) -> bool {
//!     clock::now() >= expires
//! }
//!
//! fn took(work: impl FnOnce()) -> Duration {
//!     let before = clock::monotonic();
//!     work();
//!     clock::monotonic() - before
//! }
//! ```

use std::time::{Duration, SystemTime};

use crate::backend;

/// The wall clock.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(backend::now())
}

/// Time since an arbitrary origin, never going back: for measuring how long something took.
pub fn monotonic() -> Duration {
    Duration::from_nanos(backend::monotonic())
}
