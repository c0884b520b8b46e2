//! What belongs to no exchange: time and random numbers.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Host;
use crate::plugin::{Failure, sandbox};

/// Most random bytes at once.
const RANDOM_BYTES: u32 = 4096;

impl Host {
    /// Nanoseconds since the Unix epoch.
    pub(in crate::plugin) fn now() -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Nanoseconds after an arbitrary origin.
    pub(in crate::plugin) fn monotonic() -> u64 {
        sandbox::nanos(Instant::now())
    }

    pub(in crate::plugin) fn random() -> wasmtime::Result<u64> {
        let mut bytes = [0; 8];
        fill(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    pub(in crate::plugin) fn random_bytes(len: u32) -> wasmtime::Result<Vec<u8>> {
        if len > RANDOM_BYTES {
            let what = format!("{len} random bytes at once");
            return Err(wasmtime::Error::new(Failure::Bounds(what)));
        }
        let mut bytes = vec![0; len as usize];
        fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// From the operating system: plugins make keys of them.
fn fill(bytes: &mut [u8]) -> wasmtime::Result<()> {
    getrandom::fill(bytes)
        .map_err(|error| wasmtime::Error::msg(format!("no random bytes: {error}")))
}
