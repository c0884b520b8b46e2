//! Bodies that were read whole for a hook.

use bytes::Bytes;

use super::Host;
use crate::exchange::content;
use crate::exchange::state::Held;
use crate::plugin::contract::weir::plugin::http::BodyError;
use crate::plugin::refusals::Refused;
use crate::plugin::{BodyMode, Side};

impl Host {
    /// The body of a side, which is shared and not copied.
    pub(in crate::plugin) fn body(
        &mut self,
        side: Side,
    ) -> wasmtime::Result<Result<Bytes, BodyError>> {
        let mode = self.bodies[side as usize];
        let held = self.state()?.body(side);
        Ok(match (mode, held) {
            (BodyMode::Buffer(most), Held::Whole(bytes)) if bytes.len() <= most => {
                Ok(bytes.clone())
            }
            (BodyMode::Buffer(_), Held::Whole(_) | Held::Part) => Err(BodyError::TooLarge),
            _ => Err(BodyError::NotBuffered),
        })
    }

    /// Puts another body in its place, or counts that it may not be.
    pub(in crate::plugin) fn set_body(
        &mut self,
        side: Side,
        bytes: &[u8],
    ) -> wasmtime::Result<Result<(), BodyError>> {
        let told = self.replace_body(side, bytes)?;
        Ok(self.counted(Refused::Body, told))
    }

    fn replace_body(
        &mut self,
        side: Side,
        bytes: &[u8],
    ) -> wasmtime::Result<Result<(), BodyError>> {
        let before = match self.body(side)? {
            Ok(body) => body.len(),
            Err(error) => return Ok(Err(error)),
        };
        let is_part = side == Side::Response && content::is_part(&self.state()?.response);
        if self.has_answered() || (is_part && bytes.len() != before) {
            return Ok(Err(BodyError::Immutable));
        }
        if bytes.len() > self.body_limit {
            return Ok(Err(BodyError::TooLarge));
        }
        self.remember();
        let state = self.state()?;
        *state.body(side) = Held::Whole(Bytes::copy_from_slice(bytes));
        state.body_replaced = true;
        Ok(Ok(()))
    }

    /// Most bytes of a body that the guest may pass.
    pub(in crate::plugin) fn body_limit(&self) -> usize {
        self.body_limit
    }
}
