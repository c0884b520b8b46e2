//! What hooks say: attributes and events of spans, and lines of the log.

use std::sync::Arc;
use std::time::Instant;

use super::Host;
use crate::exchange::state::{State, UpstreamNote};
use crate::plugin::contract::weir::plugin::span::{CallKind, Target};
use crate::plugin::refusals::Refused;
use crate::trace::{Kind, Level, SpanIndex, Value};

/// Most attributes and events a hook may add, and the longest name and text of one.
const NOTES: u32 = 128;
const NOTE_NAME: usize = 256;
const NOTE_TEXT: usize = 64 << 10;

/// Most bytes of an error's message that are kept for the call's span.
const NOTE_ERROR: usize = 1024;

/// Most lines and bytes that the plugins of one request may log.
const LOG_LINES: u32 = 64;
const LOG_BYTES: u32 = 64 << 10;

/// Most bytes of a panic's message that are kept.
const PANIC_BYTES: usize = 1024;

impl Host {
    pub(in crate::plugin) fn set_attribute(
        &mut self,
        on: Target,
        name: &str,
        value: Value<'_>,
    ) -> wasmtime::Result<()> {
        if !self.may_note(name, value.len())? {
            return Ok(());
        }
        let (state, span) = self.target(on)?;
        match span {
            Some(span) => state.recorder.attribute(span, name, value),
            None => {
                let note = UpstreamNote::Attribute(name.to_owned(), value.into());
                state.keep_for_upstream(note);
            }
        }
        Ok(())
    }

    pub(in crate::plugin) fn add_event(
        &mut self,
        on: Target,
        name: &str,
        attributes: &[(&str, Value<'_>)],
    ) -> wasmtime::Result<()> {
        let len = attributes
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if !self.may_note(name, len)? {
            return Ok(());
        }
        let (state, span) = self.target(on)?;
        let now = Instant::now();
        match span {
            Some(span) => state.recorder.event(span, name, attributes, now),
            None => {
                let attributes = attributes
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.clone().into()));
                let note = UpstreamNote::Event(name.to_owned(), attributes.collect(), now);
                state.keep_for_upstream(note);
            }
        }
        Ok(())
    }

    pub(in crate::plugin) fn describe_call(
        &mut self,
        kind: CallKind,
        name: &str,
    ) -> wasmtime::Result<()> {
        let kind = match kind {
            CallKind::Http => Kind::HttpClient,
            CallKind::Llm => Kind::LlmCall,
        };
        if self.may_note("name", name.len())? && !name.is_empty() {
            let end = name.floor_char_boundary(NOTE_NAME);
            self.state()?.call_named = Some((kind, name[..end].to_owned()));
        }
        Ok(())
    }

    pub(in crate::plugin) fn set_call_error(&mut self, message: &str) -> wasmtime::Result<()> {
        if self.may_note("error", message.len())? {
            let end = message.floor_char_boundary(NOTE_ERROR);
            self.state()?.call_failed = Some(message[..end].to_owned());
        }
        Ok(())
    }

    pub(in crate::plugin) fn set_error(&mut self, message: &str) -> wasmtime::Result<()> {
        if self.may_note("error", message.len())? {
            let span = self.span;
            let recorder = &mut self.state()?.recorder;
            recorder.attribute(span, "error.message", message);
            recorder.mark_error(span, message);
        }
        Ok(())
    }

    /// The span that is meant; `None` for an upstream call that has not begun.
    fn target(&mut self, on: Target) -> wasmtime::Result<(&mut State, Option<SpanIndex>)> {
        let hook = self.span;
        let state = self.state()?;
        let span = match on {
            Target::Hook => Some(hook),
            Target::Upstream => state.call,
        };
        Ok((state, span))
    }

    /// Whether another attribute or event of this size may be added.
    fn may_note(&mut self, name: &str, len: usize) -> wasmtime::Result<bool> {
        self.notes += 1;
        let fits = self.notes <= NOTES
            && !name.is_empty()
            && name.len() <= NOTE_NAME
            && len <= NOTE_TEXT
            && !name.starts_with("weir.");
        if !fits {
            self.state()?.recorder.count_dropped();
            self.measures.refuse(Refused::Note, 1);
        }
        Ok(fits)
    }

    pub(in crate::plugin) fn log(&mut self, level: Level, message: &str) {
        let name = Arc::clone(&self.name);
        let span = self.span;
        if let Some(state) = self.state.as_deref_mut() {
            let (lines, bytes) = &mut state.logged;
            *lines += 1;
            *bytes = bytes.saturating_add(u32::try_from(message.len()).unwrap_or(u32::MAX));
            if *lines > LOG_LINES || *bytes > LOG_BYTES {
                state.recorder.count_dropped();
                self.measures.refuse(Refused::Log, 1);
                return;
            }
            state
                .recorder
                .plugin_log(span, &name, level, message, Instant::now());
        } else {
            // In configure there is no trace to count in.
            self.notes += 1;
            if self.notes > LOG_LINES || message.len() > LOG_BYTES as usize {
                self.measures.refuse(Refused::Log, 1);
                return;
            }
        }
        match level {
            Level::Trace => tracing::trace!(plugin = %name, message),
            Level::Debug => tracing::debug!(plugin = %name, message),
            Level::Info => tracing::info!(plugin = %name, message),
            Level::Warn => tracing::warn!(plugin = %name, message),
            Level::Error => tracing::error!(plugin = %name, message),
        }
    }

    /// The guest is about to trap, and says why.
    pub(in crate::plugin) fn panicked(&mut self, message: &str) {
        let end = message.floor_char_boundary(PANIC_BYTES);
        self.panic = Some(message[..end].to_owned());
    }
}
