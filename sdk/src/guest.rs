//! The plugin as a component: what `export!` exports, and the host's functions as
//! the rest of the crate calls them.
//!
//! Its twin for native code is `testing::backend`, which has the same items.

mod outward;

use std::cell::OnceCell;
use std::mem::ManuallyDrop;
use std::panic::{self, PanicHookInfo};
use std::thread::LocalKey;

use bindings::weir::plugin as wit;

use crate::log::Level;
use crate::span::{Target, Value, upstream};
use crate::{
    Action, AlternativeNames, BodyError, Certificate, Flow, HeaderError, Hook, Plugin,
    RerouteError, RespondError, kv, plugin,
};

#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    unsafe_code
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
        export_macro_name: "export_component",
        pub_export_macro: true,
    });
}

pub type Instance<P> = LocalKey<OnceCell<P>>;

pub fn configure<P: Plugin>(
    instance: &'static Instance<P>,
    config: &str,
) -> Result<bindings::Interests, String> {
    panic::set_hook(Box::new(panicked));
    let plugin = plugin::configure::<P>(config)?;
    let interests = plugin.interests();
    instance.with(|cell| cell.set(plugin).map_err(|_| "configured twice"))?;

    let body = |most: Option<u64>, streams: bool| match most {
        _ if streams => bindings::BodyMode::Stream,
        Some(most) => bindings::BodyMode::Buffer(most),
        None => bindings::BodyMode::None,
    };
    let hook = |hook, flag| {
        if interests.contains(hook) {
            flag
        } else {
            bindings::Hooks::empty()
        }
    };
    Ok(bindings::Interests {
        hooks: hook(Hook::PreRequest, bindings::Hooks::PRE_REQUEST)
            | hook(Hook::Request, bindings::Hooks::REQUEST)
            | hook(Hook::Response, bindings::Hooks::RESPONSE),
        request_body: body(
            interests.buffers_request_body(),
            interests.streams_request_body(),
        ),
        response_body: body(
            interests.buffers_response_body(),
            interests.streams_response_body(),
        ),
        request_head: interests.wants_request_head(),
        decoded: interests.sees_decoded(),
    })
}

pub fn config_schema<P: Plugin>() -> String {
    plugin::config_schema::<P>()
}

pub fn on_pre_request<P: Plugin>(
    instance: &'static Instance<P>,
    request: &wit::http::Request,
) -> bindings::Action {
    on_request_head(instance, request, P::on_pre_request)
}

pub fn on_request<P: Plugin>(
    instance: &'static Instance<P>,
    request: &wit::http::Request,
) -> bindings::Action {
    on_request_head(instance, request, P::on_request)
}

pub fn on_response<P: Plugin>(
    instance: &'static Instance<P>,
    response: &wit::http::Response,
) -> bindings::Action {
    let action = with(instance, |plugin| {
        plugin.on_response(&mut crate::Response(Response::lend(response)))
    });
    finish(action, |status, headers, body| match body {
        Some(body) => response.respond(status, headers, body),
        None => response.respond_streamed(status, headers),
    })
}

pub fn on_request_body<P: Plugin>(
    instance: &'static Instance<P>,
    chunk: &wit::http::Chunk,
) -> bindings::Flow {
    on_body(instance, chunk, P::on_request_body)
}

pub fn on_response_body<P: Plugin>(
    instance: &'static Instance<P>,
    chunk: &wit::http::Chunk,
) -> bindings::Flow {
    on_body(instance, chunk, P::on_response_body)
}

pub fn on_answer_body<P: Plugin>(
    instance: &'static Instance<P>,
    chunk: &wit::http::Chunk,
) -> bindings::Flow {
    on_body(instance, chunk, P::on_answer_body)
}

fn on_body<P: Plugin>(
    instance: &'static Instance<P>,
    chunk: &wit::http::Chunk,
    hook: impl FnOnce(&P, &mut crate::Chunk) -> Flow,
) -> bindings::Flow {
    let flow = with(instance, |plugin| {
        hook(plugin, &mut crate::Chunk(Chunk::lend(chunk)))
    });
    match flow {
        Flow::Pass => bindings::Flow::Pass,
        Flow::Replace(bytes) => {
            if !bytes.is_empty()
                && let Err(refused) = chunk.write(&bytes)
            {
                panic!(
                    "the host refused what goes on: {}",
                    BodyError::from(refused)
                );
            }
            bindings::Flow::Replace
        }
        Flow::Respond(answer) => answered(chunk, Action::Respond(answer)),
        Flow::RespondStreamed(answer) => answered(chunk, Action::RespondStreamed(answer)),
        Flow::Abort => bindings::Flow::Abort,
    }
}

fn answered(chunk: &wit::http::Chunk, answer: Action) -> bindings::Flow {
    finish(answer, |status, headers, body| match body {
        Some(body) => chunk.respond(status, headers, body),
        None => chunk.respond_streamed(status, headers),
    });
    bindings::Flow::Respond
}

fn on_request_head<P: Plugin>(
    instance: &'static Instance<P>,
    request: &wit::http::Request,
    hook: impl FnOnce(&P, &mut crate::Request) -> Action,
) -> bindings::Action {
    let action = with(instance, |plugin| {
        hook(plugin, &mut crate::Request(Request::lend(request)))
    });
    finish(action, |status, headers, body| match body {
        Some(body) => request.respond(status, headers, body),
        None => request.respond_streamed(status, headers),
    })
}

fn with<P, T>(instance: &'static Instance<P>, hook: impl FnOnce(&P) -> T) -> T {
    instance.with(|cell| {
        hook(
            cell.get()
                .expect("the host configures an instance before it calls a hook"),
        )
    })
}

/// Gives an answer to the host, which a hook cannot see refused: it fails instead. Of one that streams
/// there is no body.
fn finish(
    action: Action,
    respond: impl FnOnce(u16, &[(&str, &[u8])], Option<&[u8]>) -> Result<(), wit::http::RespondError>,
) -> bindings::Action {
    let answer = match action {
        Action::Continue => return bindings::Action::Proceed,
        Action::Respond(answer) => answer.map(Some),
        Action::RespondStreamed(answer) => answer.map(|()| None),
    };
    let headers: Vec<_> = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let body = answer.body().as_deref();
    if let Err(refused) = respond(answer.status().as_u16(), &headers, body) {
        panic!(
            "the host refused the answer: {}",
            RespondError::from(refused)
        );
    }
    bindings::Action::Respond
}

fn panicked(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("panicked");
    match info.location() {
        Some(at) => wit::log::panicked(&format!(
            "{message}, at {}:{}:{}",
            at.file(),
            at.line(),
            at.column()
        )),
        None => wit::log::panicked(message),
    }
}

/// A resource of the host for the length of one hook; the glue of the bindings drops the borrow.
pub(crate) struct Lent<T>(ManuallyDrop<T>);
pub(crate) type Request = Lent<wit::http::Request>;
pub(crate) type Response = Lent<wit::http::Response>;
pub(crate) type Chunk = Lent<wit::http::Chunk>;

impl Request {
    fn lend(request: &wit::http::Request) -> Self {
        // SAFETY: the handle is that of a live borrow, `ManuallyDrop` leaves its one drop to the
        // owner, and hooks only ever see a reference to what is made here.
        #[allow(unsafe_code, reason = "hides the bindings' lifetime from authors")]
        Self(ManuallyDrop::new(unsafe {
            wit::http::Request::from_handle(request.handle())
        }))
    }

    pub(crate) fn client_certificate(&self) -> Option<Certificate> {
        let shown = self.0.client_certificate()?;
        let names = shown.alternative_names;
        Some(Certificate {
            subject: shown.subject,
            issuer: shown.issuer,
            sha256: shown.sha256,
            alternative_names: AlternativeNames {
                dns: names.dns,
                uri: names.uri,
                email: names.email,
                ip: names.ip,
            },
        })
    }
}

impl Response {
    fn lend(response: &wit::http::Response) -> Self {
        // SAFETY: as for `Request::lend`.
        #[allow(unsafe_code, reason = "hides the bindings' lifetime from authors")]
        Self(ManuallyDrop::new(unsafe {
            wit::http::Response::from_handle(response.handle())
        }))
    }
}

impl Chunk {
    fn lend(chunk: &wit::http::Chunk) -> Self {
        // SAFETY: as for `Request::lend`.
        #[allow(unsafe_code, reason = "hides the bindings' lifetime from authors")]
        Self(ManuallyDrop::new(unsafe {
            wit::http::Chunk::from_handle(chunk.handle())
        }))
    }
}

impl<T> std::ops::Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

pub(crate) fn set_attribute(on: Target, name: &str, value: &Value<'_>) {
    wit::span::set_attribute(on.into(), name, lower(value, &texts(value)));
}

pub(crate) fn add_event(on: Target, name: &str, attributes: &[(&str, Value<'_>)]) {
    let lists: Vec<_> = attributes.iter().map(|(_, value)| texts(value)).collect();
    let attributes: Vec<_> = attributes
        .iter()
        .zip(&lists)
        .map(|((name, value), texts)| (*name, lower(value, texts)))
        .collect();
    wit::span::add_event(on.into(), name, &attributes);
}

pub(crate) fn describe_call(kind: upstream::Kind, name: &str) {
    let kind = match kind {
        upstream::Kind::Http => wit::span::CallKind::Http,
        upstream::Kind::Llm => wit::span::CallKind::Llm,
    };
    wit::span::describe_call(kind, name);
}

pub(crate) use wit::clock::{monotonic, now};
pub(crate) use wit::exchange::{get, request_id, set, set_request_id};
pub(crate) use wit::random::{bytes as random_bytes, next as random};
pub(crate) use wit::span::{set_call_error, set_error};

pub(crate) use outward::{
    counter, digest, equal, gauge, histogram, hmac, may_call, metric_add, metric_set, send, verify,
};

pub(crate) fn kv_get(key: &str) -> Result<Option<Vec<u8>>, kv::Error> {
    Ok(wit::kv::get(key)?)
}

pub(crate) fn kv_set(key: &str, value: &[u8], ttl_ms: u64) -> Result<(), kv::Error> {
    Ok(wit::kv::set(key, value, ttl_ms)?)
}

pub(crate) fn kv_delete(key: &str) -> Result<bool, kv::Error> {
    Ok(wit::kv::delete(key)?)
}

pub(crate) fn kv_add(key: &str, delta: i64, ttl_ms: u64) -> Result<i64, kv::Error> {
    Ok(wit::kv::add(key, delta, ttl_ms)?)
}

pub(crate) fn kv_compare_and_set(
    key: &str,
    expected: Option<&[u8]>,
    value: &[u8],
    ttl_ms: u64,
) -> Result<bool, kv::Error> {
    Ok(wit::kv::compare_and_set(key, expected, value, ttl_ms)?)
}

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Trace => wit::log::Level::Trace,
        Level::Debug => wit::log::Level::Debug,
        Level::Info => wit::log::Level::Info,
        Level::Warn => wit::log::Level::Warn,
        Level::Error => wit::log::Level::Error,
    };
    wit::log::write(level, message);
}

impl From<Target> for wit::span::Target {
    fn from(target: Target) -> Self {
        match target {
            Target::Hook => Self::Hook,
            Target::Upstream => Self::Upstream,
        }
    }
}

/// Of a list its texts, of another value none.
fn texts<'a>(value: &'a Value<'_>) -> Vec<&'a str> {
    match value {
        Value::Texts(texts) => texts.iter().map(|text| &**text).collect(),
        _ => Vec::new(),
    }
}

fn lower<'a>(value: &'a Value<'_>, texts: &'a [&'a str]) -> wit::span::Value<'a> {
    match value {
        Value::Text(text) => wit::span::Value::Text(text),
        Value::Boolean(boolean) => wit::span::Value::Boolean(*boolean),
        Value::Integer(integer) => wit::span::Value::Integer(*integer),
        Value::Float(float) => wit::span::Value::Float(*float),
        Value::Texts(_) => wit::span::Value::Texts(texts),
    }
}

impl From<wit::http::HeaderError> for HeaderError {
    fn from(error: wit::http::HeaderError) -> Self {
        match error {
            wit::http::HeaderError::InvalidName => Self::InvalidName,
            wit::http::HeaderError::InvalidValue => Self::InvalidValue,
            wit::http::HeaderError::Forbidden => Self::Forbidden,
            wit::http::HeaderError::TooLarge => Self::TooLarge,
            wit::http::HeaderError::Immutable => Self::Immutable,
        }
    }
}

impl From<wit::http::BodyError> for BodyError {
    fn from(error: wit::http::BodyError) -> Self {
        match error {
            wit::http::BodyError::NotBuffered => Self::NotBuffered,
            wit::http::BodyError::TooLarge => Self::TooLarge,
            wit::http::BodyError::Immutable => Self::Immutable,
        }
    }
}

impl From<wit::kv::Error> for kv::Error {
    fn from(error: wit::kv::Error) -> Self {
        match error {
            wit::kv::Error::TooLarge => Self::TooLarge,
            wit::kv::Error::NotANumber => Self::NotANumber,
            wit::kv::Error::Unavailable => Self::Unavailable,
        }
    }
}

impl From<wit::http::RespondError> for RespondError {
    fn from(error: wit::http::RespondError) -> Self {
        match error {
            wit::http::RespondError::InvalidStatus => Self::InvalidStatus,
            wit::http::RespondError::Header(error) => Self::Header(error.into()),
            wit::http::RespondError::TooLarge => Self::TooLarge,
            wit::http::RespondError::TooLate => Self::TooLate,
        }
    }
}

impl From<wit::http::RerouteError> for RerouteError {
    fn from(error: wit::http::RerouteError) -> Self {
        match error {
            wit::http::RerouteError::TooLate => Self::TooLate,
            wit::http::RerouteError::Invalid(reason) => Self::Invalid(reason),
        }
    }
}
