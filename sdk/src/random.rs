//! Random numbers, fit for keys.
//!
//! ```
//! use weir_sdk::random;
//!
//! /// One of so many requests.
//! fn is_sampled(one_of: u64) -> bool {
//!     random::next() % one_of == 0
//! }
//!
//! fn nonce() -> [u8; 16] {
//!     random::bytes(16).try_into().expect("as many as were asked for")
//! }
//! ```

use crate::backend;

/// 64 random bits.
pub fn next() -> u64 {
    backend::random()
}

/// So many random bytes.
///
/// # Panics
///
/// The hook fails if `len` is more than 4096.
pub fn bytes(len: u32) -> Vec<u8> {
    backend::random_bytes(len)
}
