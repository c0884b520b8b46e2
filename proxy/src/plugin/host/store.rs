//! The plugin's key-value store.

use std::time::{Duration, Instant};

use super::Host;
use crate::plugin::contract::weir::plugin::kv::Error;
use crate::plugin::kv;

impl From<kv::Error> for Error {
    fn from(error: kv::Error) -> Self {
        match error {
            kv::Error::TooLarge => Self::TooLarge,
            kv::Error::NotANumber => Self::NotANumber,
        }
    }
}

impl Host {
    pub(in crate::plugin) fn kv_get(&self, key: &str) -> Option<Vec<u8>> {
        self.kv.get(key, Instant::now())
    }

    pub(in crate::plugin) fn kv_set(
        &self,
        key: &str,
        value: &[u8],
        ttl_ms: u64,
    ) -> Result<(), Error> {
        let ttl = Duration::from_millis(ttl_ms);
        Ok(self.kv.set(key, value, ttl, Instant::now())?)
    }

    pub(in crate::plugin) fn kv_delete(&self, key: &str) -> bool {
        self.kv.delete(key, Instant::now())
    }

    pub(in crate::plugin) fn kv_add(
        &self,
        key: &str,
        delta: i64,
        ttl_ms: u64,
    ) -> Result<i64, Error> {
        let ttl = Duration::from_millis(ttl_ms);
        Ok(self.kv.add(key, delta, ttl, Instant::now())?)
    }

    pub(in crate::plugin) fn kv_compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl_ms: u64,
    ) -> Result<bool, Error> {
        let ttl = Duration::from_millis(ttl_ms);
        let now = Instant::now();
        Ok(self.kv.compare_and_set(key, expected, value, ttl, now)?)
    }
}
