//! 5–8 — One request's life.
//!
//! [`run`] is what a request meets, in order: its head is read, pre-request hooks run, a route is
//! chosen, request hooks run, the upstream is called, response hooks run, and the response goes
//! out. Its body carries the [`life::Life`] on, which hands the trace off when the end is ready.

pub mod body;
pub mod buffer;
mod call;
mod callout;
pub mod content;
mod direct;
pub mod extended;
mod forwarded;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod head;
pub mod http1;
mod http2;
pub mod life;
pub mod method;
pub mod mirror;
pub mod patience;
pub mod state;
pub mod stream;
pub mod target;
pub mod trailers;
pub mod tunnel;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::app::generation::{Action, Generation, Listener, Route};
use crate::listener::{self, proxy_protocol::Addresses};
use crate::plugin::chain::{Chain, Outcome, Progress, Runner};
use crate::plugin::{Hook, Side};
use crate::router;
use crate::server::respond::{self, Refusal};
use crate::tls;
use crate::trace::SpanIndex;
use crate::trace::context;
use crate::upstream::Reply;
use crate::upstream::body::Upload;
use crate::upstream::driver::Received;
use crate::worker::{Current, Work, Worker};
use body::Body;
use buffer::{RequestSource, ResponseSource, Whole};
use call::Call;
use callout::Outward;
use life::Life;
use state::{Answer, ResponseHead, State};
use stream::Through;
use tunnel::Tunnel;

/// Where a request came in.
#[derive(Clone)]
pub struct Client {
    pub worker: Rc<Worker>,
    pub listener: Rc<listener::Local>,
    /// Who is connected, or whom a trusted load balancer names in its place.
    pub peer: SocketAddr,
    /// What it connected to.
    pub local: SocketAddr,
    /// The peer's address as fields have it.
    address: HeaderValue,
    /// What the TLS handshake told; `None` on an unencrypted connection.
    pub tls: Option<Rc<tls::Peer>>,
    /// Whether it has asked for something on this connection.
    has_asked: Cell<bool>,
}

impl Client {
    pub fn new(
        worker: Rc<Worker>,
        listener: Rc<listener::Local>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Self {
        Self {
            worker,
            listener,
            peer,
            local,
            address: forwarded::field(peer),
            tls: None,
            has_asked: Cell::new(false),
        }
    }

    /// The peer speaks for this client.
    pub fn name(&mut self, client: Addresses) {
        self.peer = client.source;
        self.local = client.destination;
        self.address = forwarded::field(client.source);
    }

    /// What serves its next request.
    pub fn generation(&self) -> Rc<Current> {
        self.listener.generation(&self.worker)
    }

    /// Whether each response is the last of its connection: the worker drains, or a reload has removed the
    /// listener.
    pub fn is_leaving(&self) -> bool {
        self.worker.drain.is_leaving() || self.listener.has_left()
    }

    /// Of the connection.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// What the response's body is going to be, beside its head.
enum Content {
    Answer(Answer),
    /// Of an upstream, read for a hook.
    Whole(Whole),
    Upstream(Box<Reply>),
    /// An answer that a plugin gives piece by piece; or one, or a body read whole, on its way through
    /// plugins.
    Streamed(Through<Received>),
}

/// Serves one request; every failure is a response.
pub async fn serve(client: Rc<Client>, request: Request<Incoming>) -> Response<Body> {
    let mut response = run(client, request).await;
    response.body_mut().may_begin().await;
    response
}

async fn run(client: Rc<Client>, request: Request<Incoming>) -> Response<Body> {
    let now = Instant::now();
    let worker = &client.worker;
    let generation = client.generation();
    let (mut life, body, admitted) = admit(&client, &generation, request, now);
    let listener = match admitted {
        Ok(listener) => listener,
        Err(answer) => return self::answer(&mut life, answer, None),
    };

    worker.overload.turn(Work::Request).await;
    let mut progress = Progress::new(Instant::now());
    let upload = Upload::new(now);
    life.watch(upload.clone());
    let config = &listener.config;
    let mut body = RequestSource::new(worker, body, upload.clone(), config, life.state());
    let outward = Outward {
        worker: Rc::clone(worker),
        generation: Rc::clone(&generation),
    };
    let (chain, outcome) =
        run_request_hooks(&outward, listener, &mut life, &mut progress, &mut body).await;
    let begun = body.begun.take();
    // Also what is answered without an upstream: a hook that held the body had it read through others.
    life.follow(Side::Request, body.flow());
    let mut content = match outcome {
        Ok(route) => match &route.action {
            Action::Upstream(targets) => {
                let body = body.send(life.state());
                let call = Call {
                    worker,
                    route,
                    generation: &generation,
                    // The access log has the user agent.
                    keep_head: chain.wants_request_head() || generation.access_log.is_some(),
                };
                call.run(targets, &mut life, &mut progress, body, &upload)
                    .await
            }
            Action::Redirect(redirect) => Content::Answer(direct::redirect(
                redirect,
                &life.state().request,
                client.scheme(),
            )),
            Action::Respond(respond) => Content::Answer(direct::respond(respond)),
        },
        Err(answer) => Content::Answer(answer),
    };

    if let Some(answer) = life.answered_in_stream() {
        content = Content::Answer(answer);
    }
    let begun = begun.or_else(|| life.begun_in_stream(&outward));

    if chain.wants(Hook::Response) && worker.overload.turn(Work::Response).await {
        progress.now = Instant::now();
    }
    head::receive(life.state(), &mut content);
    let mut source = ResponseSource::new(worker, content);
    if let Some(begun) = begun {
        source.begin(begun, life.state());
    }
    chain
        .run_response(runner(&outward), life.slot(), &mut progress, &mut source)
        .await;
    life.waited(source.waited);
    life.idled(source.idle);
    life.follow(Side::Response, source.flow());
    let content = source.send(life.state());
    respond(&mut life, content)
}

/// Steps 1 and 2: reads the head into a new life. Gives the body, and the listener or what is answered
/// instead.
fn admit<'g>(
    client: &Client,
    generation: &'g Generation,
    request: Request<Incoming>,
    now: Instant,
) -> (Life, Incoming, Result<&'g Listener, Answer>) {
    let worker = &client.worker;
    let (head, body) = request.into_parts();
    let mut context = context::parse(&head.headers);
    if context.is_none() && generation.config.b3.is_some() {
        context = context::b3::parse(&head.headers);
    }
    let takers = !generation.capture.is_empty();
    let first = !client.has_asked.replace(true);
    let mut life = Life::begin(worker, context.as_ref(), takers, first, now);
    let listener = client.listener.of(generation);
    if let Err(refusal) = head::read(life.state(), head, client, generation, &listener.config) {
        return (life, body, Err(respond::refusal(&refusal)));
    }
    if let Some(answer) = direct::acme(generation, &life.state().request) {
        return (life, body, Err(answer));
    }
    if worker.overload.refuses() {
        worker.cells().shed.inc();
        let root = SpanIndex::ROOT;
        life.state().recorder.attribute(root, "weir.shed", true);
        return (life, body, Err(respond::refusal(&Refusal::Shed)));
    }
    (life, body, Ok(listener))
}

/// Whether a client of HTTP/2 would take this response for a tunnel, and there is none.
fn feigns_a_tunnel(state: &State) -> bool {
    state.asks_by_connect() && (state.response.status.is_success() || state.response.status == 101)
}

/// Steps 3–5: pre-request hooks, the router, request hooks. Gives the chain whose response hooks
/// are to run, and the route or what is answered instead.
async fn run_request_hooks<'g>(
    outward: &'g Outward,
    listener: &'g Listener,
    life: &mut Life,
    progress: &mut Progress,
    body: &mut RequestSource<'_>,
) -> (&'g Chain, Result<&'g Route, Answer>) {
    let generation = &*outward.generation;
    let chain = &listener.chain;
    let outcome = chain
        .run_request(
            Hook::PreRequest,
            runner(outward),
            life.slot(),
            progress,
            body,
        )
        .await;
    if outcome != Outcome::Proceed {
        return (chain, Err(stopped(outcome, life.state())));
    }
    let index = match choose_route(generation, life.state()) {
        Ok(index) => index,
        Err(refusal) => {
            if let Refusal::NoUpstream(name) = &refusal {
                // The hook ended well, and the client is told nothing of it.
                let recorder = &mut life.state().recorder;
                recorder.attribute(SpanIndex::ROOT, "weir.missing_upstream", name.as_str());
            }
            return (chain, Err(respond::refusal(&refusal)));
        }
    };
    let route = &generation.routes[index];
    life.routed(route);
    let chain = &listener.chains[index];
    if let Some(most) = route.max_body_bytes {
        body.limit(most);
    }
    if let Some(least) = route.min_body_rate {
        body.pace(least);
    }
    if body.is_too_large() {
        return (chain, Err(respond::refusal(&Refusal::RequestTooLarge)));
    }
    let outcome = chain
        .run_request(Hook::Request, runner(outward), life.slot(), progress, body)
        .await;
    match outcome {
        Outcome::Proceed => (chain, Ok(route)),
        _ => (chain, Err(stopped(outcome, life.state()))),
    }
}

/// By the router, or the upstream that a pre-request hook named.
fn choose_route(generation: &Generation, state: &State) -> Result<usize, Refusal> {
    let request = &state.request;
    if let Some(name) = &state.upstream {
        return generation
            .routes
            .iter()
            .position(|route| route.leads_to(name))
            .ok_or_else(|| Refusal::NoUpstream(name.clone()));
    }
    generation
        .router
        .route(&router::Head {
            authority: &request.authority,
            path: request.uri.path(),
            query: request.uri.query(),
            method: &request.method,
            headers: &request.headers,
        })
        .map_err(Refusal::NoRoute)
}

fn runner(outward: &Outward) -> Runner<'_> {
    Runner {
        instances: &outward.worker.instances,
        worker: outward.worker.index,
        calls: outward,
    }
}

/// What is answered when a hook did not go on.
fn stopped(outcome: Outcome, state: &mut State) -> Answer {
    match (outcome, state.answer.take()) {
        (Outcome::Answered, Some(answer)) => answer,
        _ => respond::refusal(&Refusal::PluginFailed),
    }
}

/// Step 7: the response goes out.
fn respond(life: &mut Life, content: Content) -> Response<Body> {
    let switched = matches!(&content, Content::Upstream(reply) if reply.switched.is_some())
        && life.state().response.status == StatusCode::SWITCHING_PROTOCOLS;
    if !switched && feigns_a_tunnel(life.state()) {
        return answer(life, respond::refusal(&Refusal::NoTunnel), None);
    }
    match content {
        Content::Answer(answer) => {
            let head = std::mem::take(&mut life.state().response);
            self::answer(life, answer, Some(head))
        }
        Content::Whole(Whole { bytes, trailers }) => {
            let response = upstreams_head(life);
            let body = Body::whole(bytes, trailers, life.take());
            response.map(|()| body)
        }
        Content::Streamed(body) => {
            life.streams();
            let response = upstreams_head(life);
            let body = Body::streamed(body, life.take());
            response.map(|()| body)
        }
        Content::Upstream(mut reply) => {
            let head = &mut life.state().response;
            let switched = Tunnel::open(&mut reply, head.status, &mut head.headers);
            if switched.is_some() && life.state().asks_by_connect() {
                extended::switch(&mut life.state().response);
            }
            let response = upstreams_head(life);
            let body = match switched {
                Some(upstream) => Body::tunnel(reply, upstream, life.take()),
                None => Body::upstream(reply, life.take()),
            };
            response.map(|()| body)
        }
    }
}

/// The head of an upstream's response, as hooks left it.
fn upstreams_head(life: &mut Life) -> Response<()> {
    let mut response = Response::new(());
    let head = std::mem::take(&mut life.state().response);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if head.status == StatusCode::NO_CONTENT {
        // Clients of HTTP/2 would wait for it, or refuse the response (RFC 9110, section 8.6).
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    life.answered(response.status());
    response
}

/// A response that did not come from an upstream; `head` where hooks may have changed it.
fn answer(life: &mut Life, answer: Answer, head: Option<ResponseHead>) -> Response<Body> {
    let mut response = Response::new(());
    let head = head.unwrap_or(ResponseHead {
        status: answer.status,
        headers: answer.headers,
    });
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    life.answered(response.status());
    head::set_length(&mut response, answer.body.len());
    let body = Body::whole(answer.body, None, life.take());
    response.map(|()| body)
}
