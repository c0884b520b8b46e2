//! What guests may ask of the host, whatever their ABI: operations on the state that the running
//! call lent. Nothing a guest passes is trusted: names and values are checked, and what piles up
//! has a bound.

mod ambient;
mod bodies;
mod calls;
mod chunks;
mod crypto;
mod heads;
mod held;
mod measures;
mod notes;
mod store;

use std::sync::Arc;

use http::{HeaderMap, Uri};

use super::kv;
use super::measures::Measures;
use super::module::Exports;
use super::refusals::Refused;
use super::sandbox::Seed;
use super::{BodyMode, Call, Hook};
use crate::config::Limits;
use crate::exchange::state::{Answer, Held, ResponseHead, State};
use crate::trace::SpanIndex;

pub(super) use calls::Asked;
pub(super) use crypto::PublicKey;
pub(super) use heads::{Reroute, Which, text};

/// Stand for `request`, `response` and `chunk`: a handle means the exchange that is lent, there is no other.
#[allow(unreachable_pub, reason = "the bindings export them again")]
pub enum RequestHandle {}
#[allow(unreachable_pub, reason = "the bindings export them again")]
pub enum ResponseHandle {}
#[allow(unreachable_pub, reason = "the bindings export them again")]
pub enum ChunkHandle {}
/// Stands for what an upstream replied to a hook's own call, by its number.
#[allow(unreachable_pub, reason = "the bindings export it again")]
pub enum ReplyHandle {}

/// A store's data.
pub(super) struct Host {
    state: Option<Box<State>>,
    plugin: u32,
    name: Arc<str>,
    hook: Hook,
    span: SpanIndex,
    notes: u32,
    /// Answer that stood before this hook.
    before: Option<Answer>,
    answered: bool,
    /// The heads before this hook's first change, where a failure is to leave no trace of it.
    heads: Option<Heads>,
    restores: bool,
    panic: Option<String>,
    /// Response hooks may read fields of the request.
    pub(super) request_head: bool,
    /// As in [`super::Interests`].
    pub(super) bodies: [BodyMode; 2],
    /// Most bytes of a body that the plugin may set.
    body_limit: usize,
    kv: kv::Store,
    /// The hook was told that its values are not available.
    kv_gone: bool,
    /// Upstreams that the plugin may call, and how often in one hook.
    upstreams: Arc<[String]>,
    call_limit: u32,
    outward: calls::Outward,
    measures: Measures,
    /// What a core module exports, once it is there.
    pub(super) exports: Option<Exports>,
    memory: usize,
    memory_limit: usize,
    denied: bool,
}

/// What a hook of either side may change.
enum Heads {
    Request {
        uri: Uri,
        authority: String,
        headers: HeaderMap,
        upstream: Option<String>,
        body: Held,
    },
    Response(ResponseHead, Held),
}

impl Host {
    pub(super) fn new(seed: &Seed, limits: &Limits) -> Self {
        Self {
            state: None,
            plugin: seed.id,
            name: Arc::clone(&seed.name),
            hook: Hook::Request,
            span: SpanIndex::ROOT,
            notes: 0,
            before: None,
            answered: false,
            heads: None,
            restores: false,
            panic: None,
            request_head: false,
            bodies: [BodyMode::None; 2],
            body_limit: limits.body,
            kv: seed.kv.clone(),
            kv_gone: false,
            upstreams: Arc::clone(&seed.upstreams),
            call_limit: limits.calls,
            outward: calls::Outward::default(),
            measures: Measures::new(&seed.families),
            exports: None,
            memory: 0,
            memory_limit: limits.memory(),
            denied: false,
        }
    }

    pub(super) fn lend(&mut self, mut state: Option<Box<State>>, call: &Call<'_>) {
        if let Some(state) = &mut state {
            state.changed.clear();
            state.body_replaced = false;
            state.skips_body = false;
            state.streams_answer = false;
        }
        self.state = state;
        self.hook = call.hook;
        self.span = call.span;
        self.restores = call.restores;
        self.heads = None;
        self.notes = 0;
        self.answered = false;
        self.panic = None;
        self.denied = false;
        self.kv_gone = false;
        self.outward.begin();
    }

    pub(super) fn take_back(&mut self) -> Option<Box<State>> {
        self.end_calls();
        self.state.take()
    }

    /// The exchange, which every hook has; `configure` has none.
    fn state(&mut self) -> wasmtime::Result<&mut State> {
        self.state
            .as_deref_mut()
            .ok_or_else(|| wasmtime::Error::msg("there is no exchange in configure"))
    }

    /// Counts what is refused, of which the guest is told.
    fn counted<T, E>(&self, what: Refused, told: Result<T, E>) -> Result<T, E> {
        if told.is_err() {
            self.measures.refuse(what, 1);
        }
        told
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered
    }

    /// A hook that goes on gave no answer, whatever it called before.
    pub(super) fn forget_answer(&mut self) {
        if self.answered {
            let before = self.before.take();
            if let Some(state) = &mut self.state {
                state.answer = before;
            }
        }
    }

    /// A failed hook gave no answer; one that is passed over also changed no head.
    pub(super) fn undo(&mut self) {
        self.forget_answer();
        let (Some(heads), Some(state)) = (self.heads.take(), &mut self.state) else {
            return;
        };
        match heads {
            Heads::Request {
                uri,
                authority,
                headers,
                upstream,
                body,
            } => {
                state.request.uri = uri;
                state.request.authority = authority;
                state.request.headers = headers;
                state.upstream = upstream;
                state.request_body = body;
            }
            Heads::Response(head, body) => {
                state.response = head;
                state.response_body = body;
            }
        }
        state.changed.clear();
        for counted in &mut state.head_bytes {
            counted.taken = 0;
        }
        state.body_replaced = false;
    }

    /// Before each change of a head.
    fn remember(&mut self) {
        let (true, None, Some(state)) = (self.restores, &self.heads, &self.state) else {
            return;
        };
        self.heads = Some(match self.hook {
            Hook::RequestBody | Hook::ResponseBody | Hook::AnswerBody => return,
            Hook::PreRequest | Hook::Request => Heads::Request {
                uri: state.request.uri.clone(),
                authority: state.request.authority.clone(),
                headers: state.request.headers.clone(),
                upstream: state.upstream.clone(),
                body: state.request_body.clone(),
            },
            Hook::Response => Heads::Response(
                ResponseHead {
                    status: state.response.status,
                    headers: state.response.headers.clone(),
                },
                state.response_body.clone(),
            ),
        });
    }

    pub(super) fn take_panic(&mut self) -> Option<String> {
        self.panic.take()
    }

    pub(super) fn was_denied_memory(&self) -> bool {
        self.denied
    }

    /// Linear memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }
}

impl wasmtime::ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory + desired.saturating_sub(current);
        if total > self.memory_limit {
            self.denied = true;
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= 20_000)
    }
}
