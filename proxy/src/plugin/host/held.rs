//! The exchange's id, and what plugins leave for their later hooks.

use super::Host;
use crate::plugin::Failure;
use crate::plugin::refusals::Refused;

/// Most values, and bytes of each key and value, that plugins may hold for later hooks.
const HELD: usize = 64;
const HELD_BYTES: usize = 16 << 10;

/// Most bytes of a request's id that are kept.
const REQUEST_ID: usize = 200;

impl Host {
    pub(in crate::plugin) fn request_id(&mut self) -> wasmtime::Result<&str> {
        Ok(self.state()?.recorder.request_id())
    }

    pub(in crate::plugin) fn set_request_id(&mut self, id: &str) -> wasmtime::Result<()> {
        if id.is_empty() || id.chars().any(char::is_control) {
            self.measures.refuse(Refused::RequestId, 1);
            return Ok(());
        }
        let end = id.floor_char_boundary(REQUEST_ID);
        self.state()?.recorder.set_request_id(&id[..end]);
        Ok(())
    }

    pub(in crate::plugin) fn held(&mut self, key: &str) -> wasmtime::Result<Option<&str>> {
        let plugin = self.plugin;
        let held = &self.state()?.held;
        Ok(held
            .iter()
            .find(|(id, name, _)| *id == plugin && *name == key)
            .map(|(_, _, value)| value.as_str()))
    }

    pub(in crate::plugin) fn hold(&mut self, key: &str, value: &str) -> wasmtime::Result<()> {
        let plugin = self.plugin;
        let held = &mut self.state()?.held;
        let bounds = |what| Err(wasmtime::Error::new(Failure::Bounds(what)));
        if key.len() + value.len() > HELD_BYTES {
            return bounds(format!("a value of {} bytes to hold", value.len()));
        }
        match held
            .iter()
            .position(|(id, name, _)| *id == plugin && *name == key)
        {
            Some(index) => value.clone_into(&mut held[index].2),
            None if held.len() < HELD => held.push((plugin, key.to_owned(), value.to_owned())),
            None => return bounds(format!("more than {HELD} values to hold")),
        }
        Ok(())
    }
}
