//! What holds for all that librdkafka calls.

use std::panic::{self, AssertUnwindSafe};

/// Runs a callback, and says whether it came to its end. None may unwind: of the messages that
/// librdkafka settles at once, those behind it would be forgotten.
pub(super) fn contained(callback: impl FnOnce()) -> bool {
    panic::catch_unwind(AssertUnwindSafe(callback)).is_ok()
}
