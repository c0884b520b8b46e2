//! The admin address: health, readiness, metrics, reload, the console and its API. Runs on the main
//! thread; no worker waits for it.

mod api;
mod body;
mod certificates;
mod guard;
mod login;
mod pages;
mod patient;
mod process;
mod query;
mod seats;

mod endpoints;
mod exporters;
mod exposition;
pub(crate) mod gather;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinError;

use crate::app::{App, Error};
use crate::export::spool;
use crate::health::State;
use crate::plugin::kv::redis::Redis;
use crate::receive::lane::Lane;
use crate::transport::Stream;
use body::Body;
use patient::Patient;
use seats::{Seat, Seats};

/// Longest wait for a request's body, and for a client to take a piece of what it asked for. (For a
/// head, hyper waits 30 s.)
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

const INDEX: &str = "\
weir admin

GET  /healthz   200 while the process runs
GET  /readyz    200 once all listeners accept, until drain begins; how the rest fares in the body
GET  /metrics   OpenMetrics, or Prometheus text where that is asked for
POST /reload    read the configuration anew
GET  /          for browsers: the console
GET  /api/      what the console shows, as JSON
";

/// Held while a client's reload is under way.
static RELOADING: Mutex<()> = Mutex::const_new(());

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, app: Arc<App>) {
    std::sync::LazyLock::force(&api::STARTED);
    std::sync::LazyLock::force(&process::STARTED);
    let mut seats = Seats::default();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let seat = seats.take();
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            tokio::select! {
                () = connection(&app, &seat, stream, peer) => {}
                () = seat.wanted() => {}
            }
        });
    }
}

async fn connection(app: &Arc<App>, seat: &Arc<Seat>, stream: TcpStream, peer: SocketAddr) {
    let tls = app.generation().config.admin.tls.clone();
    let stream = match tls {
        None => Stream::Plain(stream),
        Some(tls) => match tls.accept(stream, HANDSHAKE).await {
            Ok(Some(stream)) => Stream::Tls(Box::new(stream.into())),
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%peer, %error, "no TLS handshake at the admin address");
                return;
            }
        },
    };
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(app, seat, request).await));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(Patient::new(stream, PATIENCE)), service);
    if let Err(error) = served.await {
        tracing::debug!(%peer, %error, "admin connection ended");
    }
}

async fn answer(
    app: &Arc<App>,
    seat: &Arc<Seat>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let admitted = guard::admit(app, &request);
    match admitted {
        Err(guard::Refused::Unknown) if pages::is_page(&request) => {
            return login::answer(app, &mut request).await;
        }
        Err(guard::Refused::Unknown) => {
            let mut response = problem(
                StatusCode::UNAUTHORIZED,
                "admin.token is required as a bearer token",
            );
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
            return response.map(Body::from);
        }
        Err(guard::Refused::Forbidden(why)) => {
            return problem(StatusCode::FORBIDDEN, &why).map(Body::from);
        }
        Ok(()) => {}
    }
    let busy = seat.busy();
    if pages::is_page(&request) {
        return pages::answer(&request);
    }
    let path = request.uri().path();
    if let Some(path) = path.strip_prefix("/api/") {
        let path = path.to_owned();
        return api::answer(app, busy, &path, request).await;
    }
    operate(app, &request, path).await.map(Body::from)
}

/// What is not for browsers alone.
async fn operate<B>(app: &Arc<App>, request: &Request<B>, path: &str) -> Response<Full<Bytes>> {
    match (request.method(), path) {
        (&Method::GET | &Method::HEAD, "/") => text(INDEX.to_owned()),
        (&Method::GET | &Method::HEAD, "/healthz") => text("ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") => ready(app),
        (&Method::GET | &Method::HEAD, "/metrics") => metrics(app, request.headers()).await,
        (&Method::POST, "/reload") => {
            // Who leaves before its turn is forgotten.
            let one = RELOADING.lock().await;
            let app = Arc::clone(app);
            // A client that leaves now would end it half done.
            let whole = tokio::spawn(async move {
                let _one = one;
                reload(&app).await
            });
            let lost =
                |error: JoinError| problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
            whole.await.unwrap_or_else(lost)
        }
        (_, "/" | "/healthz" | "/readyz" | "/metrics" | "/reload") => {
            not_allowed(if path == "/reload" {
                "POST"
            } else {
                "GET, HEAD"
            })
        }
        _ => problem(StatusCode::NOT_FOUND, "there is nothing here; see /"),
    }
}

async fn reload(app: &App) -> Response<Full<Bytes>> {
    match app.reload().await {
        Ok(generation) => body(StatusCode::OK, &json!({ "generation": generation })),
        Err(error) => {
            let status = match error {
                Error::Config(_) | Error::Plugins(_) => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            tracing::error!(%error, "reload changed nothing");
            problem(status, &error.to_string())
        }
    }
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allowed}"));
    response
        .headers_mut()
        .insert(http::header::ALLOW, http::HeaderValue::from_static(allowed));
    response
}

fn ready(app: &App) -> Response<Full<Bytes>> {
    let exporters: Vec<_> = app.exporters().iter().map(exporters::ready).collect();
    let spool = app.spool().map(|spool| {
        let (state, message) = match &spool.problem {
            Some(problem) => ("degraded", Some(problem.as_str())),
            None if spool.is_full() => ("degraded", Some("spool: full: new traces are dropped")),
            None => ("ok", None),
        };
        json!({ "state": state, "message": message, "bytes": spool.bytes })
    });
    let upstreams = endpoints::ready(&app.generation());
    let lanes = app
        .receiver()
        .into_iter()
        .flat_map(|receiver| receiver.lanes());
    let receivers: Vec<_> = lanes.map(received).collect();
    let certificates = certificates::of(app);
    let kv = app.generation().kv.as_ref().map(|kv| kv_state(kv));
    let generation = app.generation().number;
    let (code, status) = if app.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ready")
    };
    body(
        code,
        &json!({
            "status": status,
            "generation": generation,
            "exporters": exporters,
            "spool": spool,
            "upstreams": upstreams,
            "receivers": receivers,
            "certificates": certificates.ready(SystemTime::now()),
            "kv": kv,
        }),
    )
}

/// How the Redis of plugins' values fares.
fn kv_state(kv: &Redis) -> serde_json::Value {
    let fares = kv.state();
    let (state, message) = fares.told();
    json!({ "state": state, "message": message })
}

/// How a signal of the OTLP receiver fares, and what is wrong where something is.
fn lane_state(lane: &Lane) -> (&'static str, Option<String>) {
    let state = lane.status().map(|status| status.state);
    let spool = lane.spool();
    let full = spool.as_ref().is_some_and(spool::Status::is_full);
    match (state, spool.and_then(|spool| spool.problem)) {
        (Some(State::Degraded(message)), _) => ("degraded", Some(message)),
        (_, Some(problem)) => ("degraded", Some(problem)),
        _ if full => {
            let message = "spool: full: requests are refused";
            ("degraded", Some(message.to_owned()))
        }
        (Some(State::Ok), _) => ("ok", None),
        _ => ("starting", None),
    }
}

fn received(lane: &Lane) -> serde_json::Value {
    let (state, message) = lane_state(lane);
    json!({ "name": "otlp", "signal": lane.signal.as_str(), "state": state, "message": message })
}

async fn metrics(app: &App, headers: &http::HeaderMap) -> Response<Full<Bytes>> {
    let Ok(out) = gather::text(app) else {
        return problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "metrics could not be encoded",
        );
    };
    let (out, kind) = exposition::of(app.store(), headers, out).await;
    let mut response = text(out);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

fn text(text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let kind = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn body(status: StatusCode, json: &impl serde::Serialize) -> Response<Full<Bytes>> {
    // Only a map whose keys are no strings fails.
    let mut text = serde_json::to_string(json).unwrap_or_default();
    text.push('\n');
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    let mut response = body(
        status,
        &json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": detail,
        }),
    );
    let kind = http::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
