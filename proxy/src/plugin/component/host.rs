//! What guests may ask of the host: the imports of the world `plugin`.
//!
//! Everything works on the state that the running call lent. Nothing a guest passes is trusted: names
//! and values are checked, and what piles up has a bound.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use smallvec::SmallVec;
use wasmtime::component::Resource;

use super::bindings::weir::plugin::http::{HeaderError, RerouteError, RespondError};
use super::bindings::weir::plugin::span::Target;
use super::bindings::weir::plugin::{clock, exchange, http as http_host, log, random, span};
use crate::exchange::state::{Answer, OwnedValue, ResponseHead, State, UpstreamNote};
use crate::plugin::{Call, Failure, Hook};
use crate::trace::{Level, SpanIndex, Value};

/// Names of the fields a hook changed, in order, each once.
pub type Changed = SmallVec<[HeaderName; 4]>;

/// Most fields and bytes that a head may have after a plugin's change.
const HEAD_FIELDS: usize = 256;
const HEAD_BYTES: usize = 64 << 10;

/// Most attributes and events a hook may add, and the longest name and text of one.
const NOTES: u32 = 128;
const NOTE_NAME: usize = 256;
const NOTE_TEXT: usize = 64 << 10;

/// Most lines and bytes that the plugins of one request may log.
const LOG_LINES: u32 = 64;
const LOG_BYTES: u32 = 64 << 10;

/// Most bytes of a body that a plugin answers with at once.
const ANSWER_BYTES: usize = 4 << 20;

/// Most values, and bytes of each key and value, that plugins may hold for later hooks.
const HELD: usize = 64;
const HELD_BYTES: usize = 16 << 10;

/// Stand for `request` and `response`: a handle means the exchange that is lent, there is no other.
#[allow(unreachable_pub, reason = "the bindings export them again")]
pub enum RequestHandle {}
#[allow(unreachable_pub, reason = "the bindings export them again")]
pub enum ResponseHandle {}

/// A store's data.
pub(super) struct Host {
    state: Option<Box<State>>,
    plugin: u32,
    name: Arc<str>,
    hook: Hook,
    span: SpanIndex,
    changed: Changed,
    notes: u32,
    /// Answer that stood before this hook.
    before: Option<Answer>,
    answered: bool,
    /// The heads before this hook's first change, where a failure is to leave no trace of it.
    heads: Option<Heads>,
    restores: bool,
    panic: Option<String>,
    pub(super) request_head: bool,
    memory: usize,
    memory_limit: usize,
    denied: bool,
}

impl Host {
    pub(super) fn new(plugin: u32, name: Arc<str>, memory_limit: usize) -> Self {
        Self {
            state: None,
            plugin,
            name,
            hook: Hook::Request,
            span: SpanIndex::ROOT,
            changed: Changed::new(),
            notes: 0,
            before: None,
            answered: false,
            heads: None,
            restores: false,
            panic: None,
            request_head: false,
            memory: 0,
            memory_limit,
            denied: false,
        }
    }

    pub(super) fn lend(&mut self, state: Option<Box<State>>, call: &Call) {
        self.state = state;
        self.hook = call.hook;
        self.span = call.span;
        self.restores = call.restores;
        self.heads = None;
        self.notes = 0;
        self.answered = false;
        self.denied = false;
    }

    pub(super) fn take_back(&mut self) -> Option<Box<State>> {
        self.state.take()
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
            } => {
                state.request.uri = uri;
                state.request.authority = authority;
                state.request.headers = headers;
                state.upstream = upstream;
            }
            Heads::Response(head) => state.response = head,
        }
        self.changed.clear();
    }

    /// Before each change of a head.
    fn remember(&mut self) {
        let (true, None, Some(state)) = (self.restores, &self.heads, &self.state) else {
            return;
        };
        self.heads = Some(match self.hook {
            Hook::PreRequest | Hook::Request => Heads::Request {
                uri: state.request.uri.clone(),
                authority: state.request.authority.clone(),
                headers: state.request.headers.clone(),
                upstream: state.upstream.clone(),
            },
            Hook::Response => Heads::Response(ResponseHead {
                status: state.response.status,
                headers: state.response.headers.clone(),
            }),
        });
    }

    pub(super) fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn take_panic(&mut self) -> Option<String> {
        self.panic.take()
    }

    pub(super) fn was_denied_memory(&self) -> bool {
        self.denied
    }

    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// The exchange, which every hook has; `configure` has none.
    fn state(&mut self) -> wasmtime::Result<&mut State> {
        self.state
            .as_deref_mut()
            .ok_or_else(|| wasmtime::Error::msg("there is no exchange in configure"))
    }

    fn headers(&mut self, which: Which) -> wasmtime::Result<&mut HeaderMap> {
        let state = self.state()?;
        Ok(match which {
            Which::Request => &mut state.request.headers,
            Which::Response => &mut state.response.headers,
        })
    }

    fn values(&mut self, which: Which, name: &str) -> wasmtime::Result<Vec<Vec<u8>>> {
        let values = self.headers(which)?.get_all(name);
        Ok(values
            .iter()
            .map(|value| value.as_bytes().to_vec())
            .collect())
    }

    fn all(&mut self, which: Which) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        let headers = self.headers(which)?;
        Ok(headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect())
    }

    /// Changes a head within its bounds. `value` is `None` to remove.
    fn change(
        &mut self,
        which: Which,
        name: &str,
        value: Option<&str>,
        replace: bool,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        self.state()?;
        if self.answered {
            return Ok(Err(HeaderError::Immutable));
        }
        let name = match field_name(name) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        self.remember();
        let headers = self.headers(which)?;
        let Some(value) = value else {
            if headers.remove(&name).is_some() {
                self.note_changed(name);
            }
            return Ok(Ok(()));
        };
        let Ok(value) = HeaderValue::from_str(value) else {
            return Ok(Err(HeaderError::InvalidValue));
        };
        if value.len() > HEAD_BYTES || headers.len() >= HEAD_FIELDS {
            return Ok(Err(HeaderError::TooLarge));
        }
        // Names are few and short: what can grow is values, and `HEAD_FIELDS` of them.
        if value.len() > 1024 && value.len() + size(headers) > HEAD_BYTES {
            return Ok(Err(HeaderError::TooLarge));
        }
        if replace {
            headers.insert(name.clone(), value);
        } else {
            headers.append(name.clone(), value);
        }
        self.note_changed(name);
        Ok(Ok(()))
    }

    fn note_changed(&mut self, name: HeaderName) {
        if !self.changed.contains(&name) {
            self.changed.push(name);
        }
    }

    fn answer(
        &mut self,
        status: u16,
        fields: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
    ) -> wasmtime::Result<Result<(), RespondError>> {
        let status = match answer_status(status) {
            Ok(status) => status,
            Err(error) => return Ok(Err(error)),
        };
        if body.len() > ANSWER_BYTES {
            return Ok(Err(RespondError::TooLarge));
        }
        if fields.len() > HEAD_FIELDS
            || fields
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>()
                > HEAD_BYTES
        {
            return Ok(Err(RespondError::Header(HeaderError::TooLarge)));
        }
        let mut headers = HeaderMap::with_capacity(fields.len() + 1);
        for (name, value) in fields {
            let name = match field_name(&name) {
                Ok(name) => name,
                Err(error) => return Ok(Err(RespondError::Header(error))),
            };
            let Ok(value) = HeaderValue::from_bytes(&value) else {
                return Ok(Err(RespondError::Header(HeaderError::InvalidValue)));
            };
            headers.append(name, value);
        }
        let answered = self.answered;
        let state = self.state()?;
        let before = state.answer.replace(Answer {
            status,
            headers,
            body: Bytes::from(body),
        });
        if !answered {
            self.before = before;
            self.answered = true;
        }
        Ok(Ok(()))
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
        }
        Ok(fits)
    }
}

/// What a hook of either side may change.
enum Heads {
    Request {
        uri: Uri,
        authority: String,
        headers: HeaderMap,
        upstream: Option<String>,
    },
    Response(ResponseHead),
}

/// Which head.
#[derive(Clone, Copy)]
enum Which {
    Request,
    Response,
}

/// A field name that a plugin may change.
fn field_name(name: &str) -> Result<HeaderName, HeaderError> {
    if name.starts_with(':') {
        return Err(HeaderError::Forbidden);
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::InvalidName)?;
    if is_proxys(&name) {
        Err(HeaderError::Forbidden)
    } else {
        Ok(name)
    }
}

/// Fields that only the proxy may set: the host, framing and hop-by-hop fields.
fn is_proxys(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "connection"
            | "content-length"
            | "transfer-encoding"
            | "te"
            | "trailer"
            | "upgrade"
            | "keep-alive"
            | "proxy-connection"
    )
}

fn answer_status(status: u16) -> Result<StatusCode, RespondError> {
    if !(200..600).contains(&status) {
        return Err(RespondError::InvalidStatus);
    }
    StatusCode::from_u16(status).map_err(|_| RespondError::InvalidStatus)
}

fn size(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

/// A field's value as text: UTF-8, else ISO-8859-1.
fn text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value
            .as_bytes()
            .iter()
            .map(|byte| char::from(*byte))
            .collect(),
    }
}

impl http_host::Host for Host {}

impl http_host::HostRequest for Host {
    fn method(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.state()?.request.method.as_str().to_owned())
    }

    fn scheme(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        self.state()?;
        Ok("http".to_owned())
    }

    fn authority(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.state()?.request.authority.clone())
    }

    fn path(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.state()?.request.uri.path().to_owned())
    }

    fn query(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.state()?.request.uri.query().map(str::to_owned))
    }

    fn client_address(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self
            .state()?
            .request
            .client
            .map_or_else(String::new, |client| client.ip().to_string()))
    }

    fn header(
        &mut self,
        _: Resource<RequestHandle>,
        name: String,
    ) -> wasmtime::Result<Option<String>> {
        Ok(self.headers(Which::Request)?.get(name).map(text))
    }

    fn header_values(
        &mut self,
        _: Resource<RequestHandle>,
        name: String,
    ) -> wasmtime::Result<Vec<Vec<u8>>> {
        self.values(Which::Request, &name)
    }

    fn headers(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        self.all(Which::Request)
    }

    fn set_header(
        &mut self,
        _: Resource<RequestHandle>,
        name: String,
        value: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        self.change(Which::Request, &name, Some(&value), true)
    }

    fn add_header(
        &mut self,
        _: Resource<RequestHandle>,
        name: String,
        value: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        self.change(Which::Request, &name, Some(&value), false)
    }

    fn remove_header(
        &mut self,
        _: Resource<RequestHandle>,
        name: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        self.change(Which::Request, &name, None, true)
    }

    fn respond(
        &mut self,
        _: Resource<RequestHandle>,
        status: u16,
        headers: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
    ) -> wasmtime::Result<Result<(), RespondError>> {
        self.answer(status, headers, body)
    }

    fn reroute(
        &mut self,
        _: Resource<RequestHandle>,
        authority: Option<String>,
        path_and_query: Option<String>,
        upstream: Option<String>,
    ) -> wasmtime::Result<Result<(), RerouteError>> {
        if self.hook != Hook::PreRequest {
            return Ok(Err(RerouteError::TooLate));
        }
        let authority = match authority.map(|text| (text.parse::<http::uri::Authority>(), text)) {
            Some((Err(_), text)) => {
                return Ok(Err(RerouteError::Invalid(format!("authority {text:?}"))));
            }
            Some((Ok(authority), _)) if authority.as_str().contains('@') => {
                return Ok(Err(RerouteError::Invalid(format!(
                    "authority {:?}",
                    authority.as_str()
                ))));
            }
            Some((Ok(authority), _)) => Some(authority),
            None => None,
        };
        let path = match path_and_query.map(|text| (text.parse::<PathAndQuery>(), text)) {
            Some((Ok(path), text)) if text.starts_with('/') => Some(path),
            Some((_, text)) => return Ok(Err(RerouteError::Invalid(format!("path {text:?}")))),
            None => None,
        };
        self.remember();
        let state = self.state()?;
        if let Some(authority) = authority {
            authority.as_str().clone_into(&mut state.request.authority);
            if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
                state.request.headers.insert(http::header::HOST, host);
            }
        }
        if let Some(path) = path {
            state.request.uri = Uri::from(path);
        }
        if upstream.is_some() {
            state.upstream = upstream;
        }
        Ok(Ok(()))
    }

    fn drop(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl http_host::HostResponse for Host {
    fn status(&mut self, _: Resource<ResponseHandle>) -> wasmtime::Result<u16> {
        Ok(self.state()?.response.status.as_u16())
    }

    fn set_status(
        &mut self,
        _: Resource<ResponseHandle>,
        status: u16,
    ) -> wasmtime::Result<Result<(), RespondError>> {
        Ok(match answer_status(status) {
            Ok(status) => {
                self.remember();
                self.state()?.response.status = status;
                Ok(())
            }
            Err(error) => Err(error),
        })
    }

    fn header(
        &mut self,
        _: Resource<ResponseHandle>,
        name: String,
    ) -> wasmtime::Result<Option<String>> {
        Ok(self.headers(Which::Response)?.get(name).map(text))
    }

    fn header_values(
        &mut self,
        _: Resource<ResponseHandle>,
        name: String,
    ) -> wasmtime::Result<Vec<Vec<u8>>> {
        self.values(Which::Response, &name)
    }

    fn headers(&mut self, _: Resource<ResponseHandle>) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        self.all(Which::Response)
    }

    fn set_header(
        &mut self,
        _: Resource<ResponseHandle>,
        name: String,
        value: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        self.change(Which::Response, &name, Some(&value), true)
    }

    fn add_header(
        &mut self,
        _: Resource<ResponseHandle>,
        name: String,
        value: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        self.change(Which::Response, &name, Some(&value), false)
    }

    fn remove_header(
        &mut self,
        _: Resource<ResponseHandle>,
        name: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        self.change(Which::Response, &name, None, true)
    }

    fn respond(
        &mut self,
        _: Resource<ResponseHandle>,
        status: u16,
        headers: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
    ) -> wasmtime::Result<Result<(), RespondError>> {
        self.answer(status, headers, body)
    }

    fn request_header(
        &mut self,
        _: Resource<ResponseHandle>,
        name: String,
    ) -> wasmtime::Result<Option<String>> {
        if !self.request_head {
            return Err(wasmtime::Error::new(Failure::NoRequestHead));
        }
        Ok(self.headers(Which::Request)?.get(name).map(text))
    }

    fn request_method(&mut self, _: Resource<ResponseHandle>) -> wasmtime::Result<String> {
        Ok(self.state()?.request.method.as_str().to_owned())
    }

    fn request_path(&mut self, _: Resource<ResponseHandle>) -> wasmtime::Result<String> {
        Ok(self.state()?.request.uri.path().to_owned())
    }

    fn drop(&mut self, _: Resource<ResponseHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl exchange::Host for Host {
    fn request_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.state()?.recorder.request_id().to_owned())
    }

    fn set_request_id(&mut self, id: String) -> wasmtime::Result<()> {
        if !id.is_empty() && !id.chars().any(char::is_control) {
            let end = id.floor_char_boundary(200);
            self.state()?.recorder.set_request_id(&id[..end]);
        }
        Ok(())
    }

    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        let plugin = self.plugin;
        let held = &self.state()?.held;
        Ok(held
            .iter()
            .find(|(id, name, _)| *id == plugin && *name == key)
            .map(|(_, _, value)| value.clone()))
    }

    fn set(&mut self, key: String, value: String) -> wasmtime::Result<()> {
        let plugin = self.plugin;
        let held = &mut self.state()?.held;
        if key.len() + value.len() > HELD_BYTES {
            return Err(wasmtime::Error::new(Failure::Bounds(format!(
                "a value of {} bytes to hold",
                value.len()
            ))));
        }
        match held
            .iter()
            .position(|(id, name, _)| *id == plugin && *name == key)
        {
            Some(index) => held[index].2 = value,
            None if held.len() < HELD => held.push((plugin, key, value)),
            None => {
                return Err(wasmtime::Error::new(Failure::Bounds(format!(
                    "more than {HELD} values to hold"
                ))));
            }
        }
        Ok(())
    }
}

impl span::Host for Host {
    fn set_attribute(
        &mut self,
        on: Target,
        name: String,
        value: span::Value,
    ) -> wasmtime::Result<()> {
        let len = if let span::Value::Text(text) = &value {
            text.len()
        } else {
            8
        };
        if !self.may_note(&name, len)? {
            return Ok(());
        }
        let hook = self.span;
        let state = self.state()?;
        let span = match on {
            Target::Hook => Some(hook),
            Target::Upstream => state.call,
        };
        match span {
            Some(span) => state.recorder.attribute(span, &name, borrowed(&value)),
            None => state
                .for_upstream
                .push(UpstreamNote::Attribute(name, owned(value))),
        }
        Ok(())
    }

    fn add_event(
        &mut self,
        on: Target,
        name: String,
        attributes: Vec<(String, span::Value)>,
    ) -> wasmtime::Result<()> {
        let len = attributes
            .iter()
            .map(|(name, value)| name.len() + borrowed_len(value))
            .sum();
        if !self.may_note(&name, len)? {
            return Ok(());
        }
        let hook = self.span;
        let state = self.state()?;
        let span = match on {
            Target::Hook => Some(hook),
            Target::Upstream => state.call,
        };
        let Some(span) = span else {
            let attributes = attributes
                .into_iter()
                .map(|(name, value)| (name, owned(value)));
            let event = UpstreamNote::Event(name, attributes.collect(), Instant::now());
            state.for_upstream.push(event);
            return Ok(());
        };
        let attributes: Vec<_> = attributes
            .iter()
            .map(|(name, value)| (name.as_str(), borrowed(value)))
            .collect();
        state
            .recorder
            .event(span, &name, &attributes, Instant::now());
        Ok(())
    }

    fn set_error(&mut self, message: String) -> wasmtime::Result<()> {
        if self.may_note("error", message.len())? {
            let span = self.span;
            let recorder = &mut self.state()?.recorder;
            recorder.attribute(span, "error.message", message.as_str());
            recorder.mark_error(span, &message);
        }
        Ok(())
    }
}

fn borrowed(value: &span::Value) -> Value<'_> {
    match value {
        span::Value::Text(text) => Value::Text(text),
        span::Value::Boolean(value) => Value::Boolean(*value),
        span::Value::Integer(value) => Value::Integer(*value),
        span::Value::Float(value) => Value::Float(*value),
    }
}

fn borrowed_len(value: &span::Value) -> usize {
    if let span::Value::Text(text) = value {
        text.len()
    } else {
        8
    }
}

fn owned(value: span::Value) -> OwnedValue {
    match value {
        span::Value::Text(text) => OwnedValue::Text(text),
        span::Value::Boolean(value) => OwnedValue::Boolean(value),
        span::Value::Integer(value) => OwnedValue::Integer(value),
        span::Value::Float(value) => OwnedValue::Float(value),
    }
}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let name = Arc::clone(&self.name);
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        let span = self.span;
        if let Some(state) = self.state.as_deref_mut() {
            let (lines, bytes) = &mut state.logged;
            *lines += 1;
            *bytes = bytes.saturating_add(u32::try_from(message.len()).unwrap_or(u32::MAX));
            if *lines > LOG_LINES || *bytes > LOG_BYTES {
                state.recorder.count_dropped();
                return Ok(());
            }
            state
                .recorder
                .plugin_log(span, &name, level, &message, Instant::now());
        } else {
            // In configure there is no trace to count in.
            self.notes += 1;
            if self.notes > LOG_LINES || message.len() > LOG_BYTES as usize {
                return Ok(());
            }
        }
        match level {
            Level::Trace => tracing::trace!(plugin = %name, message),
            Level::Debug => tracing::debug!(plugin = %name, message),
            Level::Info => tracing::info!(plugin = %name, message),
            Level::Warn => tracing::warn!(plugin = %name, message),
            Level::Error => tracing::error!(plugin = %name, message),
        }
        Ok(())
    }

    fn panicked(&mut self, message: String) -> wasmtime::Result<()> {
        let end = message.floor_char_boundary(1024);
        self.panic = Some(message[..end].to_owned());
        Ok(())
    }
}

impl clock::Host for Host {
    fn now(&mut self) -> wasmtime::Result<u64> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
    }

    fn monotonic(&mut self) -> wasmtime::Result<u64> {
        Ok(super::nanos(Instant::now()))
    }
}

impl random::Host for Host {
    fn next(&mut self) -> wasmtime::Result<u64> {
        let mut bytes = [0; 8];
        fill(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        if len > 4096 {
            return Err(wasmtime::Error::new(Failure::Bounds(format!(
                "{len} random bytes at once"
            ))));
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
