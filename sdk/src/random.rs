//! Random numbers, fit for keys.

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
