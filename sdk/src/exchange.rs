//! The exchange a hook works on: its id, and what a plugin's hooks leave for each other. There is
//! none in [`Plugin::new`](crate::Plugin::new), which must not call these.

use crate::backend;

/// The request's id: its `x-request-id` where it had one, else made by Weir. Also the trace's
/// `RequestID`.
pub fn request_id() -> String {
    backend::request_id()
}

/// Makes this the request's id, in the trace too. An id with control characters is ignored; at
/// most 200 bytes are kept.
pub fn set_request_id(id: &str) {
    backend::set_request_id(id);
}

/// What this plugin left for itself in an earlier hook of the same exchange.
pub fn get(key: &str) -> Option<String> {
    backend::get(key)
}

/// Leaves a value for this plugin's later hooks of the same exchange.
///
/// # Panics
///
/// The hook fails if key and value have more than 16 KiB, or there are more than 64 values.
///
/// ```
/// use weir_sdk::exchange;
///
/// exchange::set("tenant", "acme");
/// assert_eq!(exchange::get("tenant").as_deref(), Some("acme"));
/// ```
pub fn set(key: &str, value: &str) {
    backend::set(key, value);
}
