//! The fake host's way of an exchange: the plugin's hooks, in order, with what lies between.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Uri};

use super::backend;
use super::calls::{Called, Upstreams};
use super::context::{Context, Log, Numbers, Span, Values};
use super::head::{Fields, check_answer};
use super::stream::InPieces;
use crate::{Action, Certificate, Hook, Interests, Plugin, Request, Response, plugin};

/// 2026-01-02T03:04:05Z.
const START: Duration = Duration::from_secs(1_767_323_045);

/// A configured plugin in a host without Weir; see the [module](crate::testing).
pub struct Host<P> {
    plugin: P,
    interests: Interests,
    now: Duration,
    exchanges: Cell<u64>,
    kv: Rc<RefCell<Values>>,
    kv_is_gone: bool,
    upstreams: Upstreams,
    numbers: Rc<RefCell<Numbers>>,
}

impl<P: Plugin> Host<P> {
    /// Configures the plugin as Weir would, `json!(null)` being no `config`. The error is what the
    /// operator would read.
    #[allow(clippy::needless_pass_by_value, reason = "`json!` makes a value")]
    pub fn new(config: serde_json::Value) -> Result<Self, String> {
        Self::calling(Upstreams::new(), config)
    }

    /// As [`Host::new`], of a plugin that may call these upstreams.
    #[allow(clippy::needless_pass_by_value, reason = "`json!` makes a value")]
    pub fn calling(upstreams: Upstreams, config: serde_json::Value) -> Result<Self, String> {
        let mut context = Context {
            now: START,
            configuring: true,
            upstreams: upstreams.clone(),
            ..Context::default()
        };
        let plugin = context.enter(|| plugin::configure::<P>(&config.to_string()))?;
        Ok(Self {
            upstreams,
            numbers: context.numbers,
            ..Self::with_plugin(plugin)
        })
    }

    /// The value of a metric of the plugin's, with the values of its labels; of a histogram, the sum.
    pub fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let labels = labels.iter().map(|label| (*label).into()).collect();
        let numbers = self.numbers.borrow();
        numbers.values.get(&(name.into(), labels)).copied()
    }

    /// The JSON Schema of the plugin's `config`, as it is exported.
    pub fn config_schema() -> serde_json::Value {
        serde_json::from_str(&plugin::config_schema::<P>()).expect("a schema is JSON")
    }

    pub(super) fn with_plugin(plugin: P) -> Self {
        let interests = plugin.interests();
        Self {
            plugin,
            interests,
            now: START,
            exchanges: Cell::new(0),
            kv: Rc::default(),
            kv_is_gone: false,
            upstreams: Upstreams::new(),
            numbers: Rc::default(),
        }
    }

    /// What the plugin asked for.
    pub fn interests(&self) -> Interests {
        self.interests
    }

    /// Moves the clock of exchanges that begin later.
    pub fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    /// Lets exchanges that begin later find the key-value store gone, as where it is in Redis and that
    /// cannot be reached, or there again.
    pub fn lose_kv(&mut self, gone: bool) {
        self.kv_is_gone = gone;
    }

    /// Begins an exchange and runs `on_pre_request` and `on_request`, until one answers.
    ///
    /// Scheme and authority are those of the URI, or else `http` and the `host` header's; the
    /// client's address is 192.0.2.1. A [`Certificate`] that it shows is an extension of the request, as
    /// are the [pieces](InPieces) in which its body comes.
    ///
    /// # Panics
    ///
    /// If the body is larger than the plugin asked for: Weir would answer 413, or let it pass by.
    pub fn request<B: Body>(&self, request: http::Request<B>) -> Exchange<'_, P> {
        self.request_from("192.0.2.1", request)
    }

    /// As [`Host::request`], of a client with another address.
    ///
    /// # Panics
    ///
    /// As [`Host::request`].
    pub fn request_from<B: Body>(
        &self,
        client: &str,
        request: http::Request<B>,
    ) -> Exchange<'_, P> {
        let (mut head, body) = request.into_parts();
        let pieces = head.extensions.remove();
        let fields = Fields::new(head.headers);
        let authority = match head.uri.authority() {
            Some(authority) => authority.to_string(),
            None => fields.header("host").unwrap_or_default(),
        };
        let context = Context {
            request_id: fields
                .header("x-request-id")
                .unwrap_or_else(|| "made-by-weir".into()),
            now: self.now,
            kv: Rc::clone(&self.kv),
            kv_is_gone: self.kv_is_gone,
            upstreams: self.upstreams.clone(),
            numbers: Rc::clone(&self.numbers),
            random: self.exchanges.replace(self.exchanges.get() + 1) << 32,
            ..Context::default()
        };
        let request = backend::Request {
            method: head.method.to_string(),
            scheme: head.uri.scheme_str().unwrap_or("http").into(),
            authority,
            path: head.uri.path().into(),
            query: head.uri.query().map(Into::into),
            client_address: client.into(),
            client_certificate: head.extensions.get::<Certificate>().cloned(),
            fields,
            upstream: None,
            routed: false,
            skips_body: false,
            body: held(body.into_bytes(), self.interests.buffers_request_body()),
        };
        let mut exchange = Exchange {
            host: self,
            request,
            answer: None,
            streamed: None,
            context,
            spans: [const { None }; 3],
        };
        exchange.run_request_hook(Hook::PreRequest, P::on_pre_request);
        exchange.request.routed = true;
        exchange.run_request_hook(Hook::Request, P::on_request);
        exchange.send_request(pieces);
        exchange
    }
}

impl<P> fmt::Debug for Host<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("interests", &self.interests)
            .finish_non_exhaustive()
    }
}

/// What a request of a test may have as its body.
pub trait Body {
    /// Its bytes.
    fn into_bytes(self) -> Vec<u8>;
}

impl Body for () {
    fn into_bytes(self) -> Vec<u8> {
        Vec::new()
    }
}

macro_rules! bodies {
    ($($body:ty),*) => {$(
        impl Body for $body {
            fn into_bytes(self) -> Vec<u8> {
                self.into()
            }
        }
    )*};
}

bodies!(Vec<u8>, String, &str, &[u8]);

fn held(bytes: Vec<u8>, most: Option<u64>) -> backend::Body {
    assert!(
        most.is_none_or(|most| bytes.len() as u64 <= most),
        "the body is larger than the plugin asked for: no hook would see it"
    );
    backend::Body {
        bytes,
        most,
        replaced: false,
    }
}

/// A body as it comes: in one piece where nothing else is said.
fn pieces_of(body: Vec<u8>, pieces: Option<InPieces>) -> Vec<Vec<u8>> {
    pieces.map_or_else(|| vec![body], |InPieces(pieces)| pieces)
}

/// A request on its way, and what the plugin did with it so far.
pub struct Exchange<'host, P> {
    host: &'host Host<P>,
    request: backend::Request,
    answer: Option<http::Response<Vec<u8>>>,
    /// The hook whose answer streams, until its body has ended.
    pub(super) streamed: Option<Hook>,
    context: Context,
    spans: [Option<Span>; 3],
}

impl<P: Plugin> Exchange<'_, P> {
    /// Runs `on_response` on the upstream's response, or on the answer of a request hook where
    /// there is one; then the upstream is not called, and `upstream` plays no part. Gives what the
    /// client would receive: of an answer that streams what is left of its body, of one that does not
    /// end the first thousand pieces.
    pub fn response<B: Into<Vec<u8>>>(
        &mut self,
        upstream: http::Response<B>,
    ) -> http::Response<Vec<u8>> {
        let answer = match self.answer.clone() {
            Some(answer) => self.whole(answer),
            None => upstream.map(Into::into),
        };
        let (mut head, body) = answer.into_parts();
        let pieces = head.extensions.remove();
        if !self.host.interests.contains(Hook::Response) {
            return http::Response::from_parts(head, body);
        }
        self.request.body.most = None;
        let mut response = Response(backend::Response {
            status: head.status.as_u16(),
            fields: Fields::new(head.headers),
            request: self.request.clone(),
            has_request_head: self.host.interests.wants_request_head(),
            body: held(body, self.host.interests.buffers_response_body()),
            skips_body: false,
        });
        let plugin = &self.host.plugin;
        if let Some(answer) = self.run(Hook::Response, |_| plugin.on_response(&mut response)) {
            return self.whole(answer);
        }
        let replaced = response.0.body.replaced;
        response.0.fields.settle_response(replaced);
        head.status = response.status();
        head.headers = response.0.fields.0;
        let mut body = response.0.body.bytes;
        let streams = self.host.interests.streams_response_body() && !response.0.skips_body;
        if streams && !body.is_empty() {
            body = self.stream_response(pieces_of(body, pieces)).bytes();
        }
        http::Response::from_parts(head, body)
    }

    /// The request's body, where the plugin streams it.
    fn send_request(&mut self, pieces: Option<InPieces>) {
        let body = &mut self.request.body.bytes;
        let streams = self.host.interests.streams_request_body() && !self.request.skips_body;
        if !streams || body.is_empty() || self.answer.is_some() {
            return;
        }
        let body = std::mem::take(body);
        let stream = self.stream_request(pieces_of(body, pieces));
        self.request.body.bytes = stream.bytes();
        self.answer = stream.answer;
    }

    /// Runs a hook whose notes are those of another, which ran before.
    pub(super) fn note_on<T>(&mut self, hook: Hook, call: impl FnOnce(&P) -> T) -> T {
        let plugin = &self.host.plugin;
        self.context.hook = self.spans[hook as usize].take().unwrap_or_default();
        self.context.calls_of_hook = 0;
        let result = self.context.enter(|| call(plugin));
        self.spans[hook as usize] = Some(std::mem::take(&mut self.context.hook));
        result
    }

    pub(super) fn interests(&self) -> Interests {
        self.host.interests
    }

    fn run_request_hook(&mut self, hook: Hook, call: fn(&P, &mut Request) -> Action) {
        if self.host.interests.contains(hook) && self.answer.is_none() {
            let plugin = &self.host.plugin;
            self.answer = self.run(hook, |request| call(plugin, request));
        }
    }

    fn run(
        &mut self,
        hook: Hook,
        call: impl FnOnce(&mut Request) -> Action,
    ) -> Option<http::Response<Vec<u8>>> {
        let mut request = Request(std::mem::take(&mut self.request));
        self.context.calls_of_hook = 0;
        let action = self.context.enter(|| call(&mut request));
        self.request = request.0;
        let replaced = std::mem::take(&mut self.request.body.replaced);
        self.request.fields.settle(replaced);
        self.spans[hook as usize] = Some(std::mem::take(&mut self.context.hook));
        let answer = match action {
            Action::Continue => return None,
            Action::Respond(answer) => answer,
            Action::RespondStreamed(answer) => {
                self.streamed = Some(hook);
                answer.map(|()| Vec::new())
            }
        };
        if let Err(refused) = check_answer(&answer) {
            panic!("the host refuses the answer: {refused}");
        }
        Some(answer)
    }

    /// An answer, with what is left of its body where that streams.
    fn whole(&mut self, answer: http::Response<Vec<u8>>) -> http::Response<Vec<u8>> {
        const MOST: usize = 1000;
        let bodiless =
            self.request.method == "HEAD" || matches!(answer.status().as_u16(), 204 | 304);
        if self.streamed.is_none() || bodiless {
            return answer;
        }
        let body = self.stream_answer(MOST).bytes();
        answer.map(|_| body)
    }
}

impl<P> Exchange<'_, P> {
    /// The answer of a request hook, as it gave it.
    pub fn answer(&self) -> Option<&http::Response<Vec<u8>>> {
        self.answer.as_ref()
    }

    /// The request's headers, as the next plugin or the upstream would see them.
    pub fn request_headers(&self) -> &HeaderMap {
        &self.request.fields.0
    }

    /// The request's body, as the next plugin or the upstream would see it.
    pub fn request_body(&self) -> &[u8] {
        &self.request.body.bytes
    }

    /// What the request asks for, after any reroute.
    pub fn uri(&self) -> Uri {
        let query = self
            .request
            .query
            .as_deref()
            .map_or_else(String::new, |query| format!("?{query}"));
        let uri = format!(
            "{}://{}{}{query}",
            self.request.scheme, self.request.authority, self.request.path
        );
        uri.parse().expect("made of the parts of a URI")
    }

    /// The upstream that a reroute named.
    pub fn upstream(&self) -> Option<&str> {
        self.request.upstream.as_deref()
    }

    /// Whether the hook was called.
    pub fn called(&self, hook: Hook) -> bool {
        self.spans[hook as usize].is_some()
    }

    /// The span of a hook.
    ///
    /// # Panics
    ///
    /// If the hook was not called: `interests` does not name it, or its turn has not come.
    pub fn span(&self, hook: Hook) -> &Span {
        let span = self.spans[hook as usize].as_ref();
        span.unwrap_or_else(|| panic!("the hook {hook:?} was not called; do `interests` name it?"))
    }

    /// What the plugin set on the span of the call to the upstream.
    pub fn upstream_span(&self) -> &Span {
        &self.context.upstream
    }

    /// The calls that the plugin made, in order.
    pub fn calls(&self) -> &[Called] {
        &self.context.calls
    }

    /// The lines written to the log by all hooks so far.
    pub fn logs(&self) -> &[Log] {
        &self.context.logs
    }

    /// The request's id.
    pub fn request_id(&self) -> &str {
        &self.context.request_id
    }
}
