//! Pieces of bodies that stream.

use bytes::Bytes;

use super::Host;
use crate::plugin::contract::weir::plugin::http::BodyError;
use crate::plugin::refusals::Refused;
use crate::plugin::stream::Piece;

/// Most pieces that a hook may write instead of one.
const WRITES: usize = 1024;

impl Host {
    /// The piece that the hook is called for.
    pub(in crate::plugin) fn chunk(&mut self) -> wasmtime::Result<&Piece> {
        Ok(&self.state()?.piece)
    }

    /// Keeps what is to go on instead of the piece.
    pub(in crate::plugin) fn write_chunk(
        &mut self,
        bytes: &[u8],
    ) -> wasmtime::Result<Result<(), BodyError>> {
        let most = self.body_limit();
        let written = &mut self.state()?.written;
        let before: usize = written.iter().map(Bytes::len).sum();
        if written.len() >= WRITES || bytes.len() > most.saturating_sub(before) {
            return Ok(self.counted(Refused::Body, Err(BodyError::TooLarge)));
        }
        written.push(Bytes::copy_from_slice(bytes));
        Ok(Ok(()))
    }

    /// The body of the head that the hook is called for is to pass by.
    pub(in crate::plugin) fn skip_body(&mut self) -> wasmtime::Result<()> {
        self.state()?.skips_body = true;
        Ok(())
    }
}
