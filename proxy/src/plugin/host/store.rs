//! The plugin's key-value store.

use std::time::{Duration, Instant};

use super::Host;
use crate::plugin::contract::weir::plugin::kv::Error;
use crate::plugin::kv::redis::Values;
use crate::plugin::kv::{self, Kv, Store};
use crate::plugin::refusals::Refused;

impl From<kv::Error> for Error {
    fn from(error: kv::Error) -> Self {
        match error {
            kv::Error::TooLarge => Self::TooLarge,
            kv::Error::NotANumber => Self::NotANumber,
            kv::Error::Unavailable(_) => Self::Unavailable,
        }
    }
}

/// Imports are linked by where the values are; those of the one store are not called for the other.
fn elsewhere() -> wasmtime::Error {
    wasmtime::Error::msg("the plugin's values are elsewhere")
}

impl Host {
    fn kv(&self) -> wasmtime::Result<&Kv> {
        match &self.kv {
            Store::Memory(kv) => Ok(kv),
            Store::Redis(_) => Err(elsewhere()),
        }
    }

    pub(in crate::plugin) fn kv_get(&self, key: &str) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.kv()?.get(key, Instant::now()))
    }

    pub(in crate::plugin) fn kv_set(
        &self,
        key: &str,
        value: &[u8],
        ttl_ms: u64,
    ) -> wasmtime::Result<Result<(), Error>> {
        let ttl = Duration::from_millis(ttl_ms);
        let kv = self.kv()?;
        Ok(self.stored(kv, kv.set(key, value, ttl, Instant::now())))
    }

    pub(in crate::plugin) fn kv_delete(&self, key: &str) -> wasmtime::Result<bool> {
        Ok(self.kv()?.delete(key, Instant::now()))
    }

    pub(in crate::plugin) fn kv_add(
        &self,
        key: &str,
        delta: i64,
        ttl_ms: u64,
    ) -> wasmtime::Result<Result<i64, Error>> {
        let ttl = Duration::from_millis(ttl_ms);
        let kv = self.kv()?;
        Ok(self.stored(kv, kv.add(key, delta, ttl, Instant::now())))
    }

    pub(in crate::plugin) fn kv_compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl_ms: u64,
    ) -> wasmtime::Result<Result<bool, Error>> {
        let (ttl, now) = (Duration::from_millis(ttl_ms), Instant::now());
        let kv = self.kv()?;
        Ok(self.stored(kv, kv.compare_and_set(key, expected, value, ttl, now)))
    }

    /// What the guest is told of an operation that may store a value. What had to go for it is counted.
    fn stored<T>(&self, kv: &Kv, result: Result<T, kv::Error>) -> Result<T, Error> {
        let evicted = kv.take_evicted();
        if evicted > 0 {
            self.measures.refuse(Refused::Evicted, evicted);
        }
        self.told(result)
    }

    fn told<T>(&self, result: Result<T, kv::Error>) -> Result<T, Error> {
        if let Err(kv::Error::TooLarge) = result {
            self.measures.refuse(Refused::Value, 1);
        }
        result.map_err(Error::from)
    }

    /// The values where they are in Redis. What an operation gives is told by [`Host::kv_done`].
    pub(in crate::plugin) fn kv_in_redis(&mut self) -> wasmtime::Result<&mut Values> {
        match &mut self.kv {
            Store::Redis(values) => Ok(values),
            Store::Memory(_) => Err(elsewhere()),
        }
    }

    /// What the guest is told. The first operation of a hook that got no answer is an event on its span.
    pub(in crate::plugin) fn kv_done<T>(
        &mut self,
        result: Result<T, kv::Error>,
    ) -> Result<T, Error> {
        if let Err(kv::Error::Unavailable(gone)) = &result
            && !std::mem::replace(&mut self.kv_gone, true)
            && let Some(state) = &mut self.state
        {
            let attributes = [("error.type", gone.reason().into())];
            let recorder = &mut state.recorder;
            recorder.event(self.span, "kv unavailable", &attributes, Instant::now());
        }
        self.told(result)
    }
}
