//! Sends a request through Weir itself, for who wants to see its trace: to an own listener and nowhere
//! else, as any client could.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::{Answer, Problem};
use crate::admin::{body, guard};
use crate::app::App;

/// Longest wait for the response's end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most bytes of it that are waited for.
const MOST: usize = 1 << 20;

/// Headers that say how the message is framed, or that ask for more than one response.
const OWN: [HeaderName; 7] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A request to send.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Wanted {
    #[serde(default)]
    method: Option<String>,
    /// A path, or a URL with the host to ask for.
    url: String,
    #[serde(default)]
    headers: IndexMap<String, String>,
    #[serde(default)]
    body: String,
}

/// What came of it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Sent {
    status: u16,
    /// Of its trace, which may be on its way to the store.
    trace_id: String,
    duration_ms: f64,
}

pub(super) async fn send(app: &App, wanted: Wanted) -> Result<Answer, Problem> {
    let address = listener(app)?;
    let trace_id = format!("{:032x}", fastrand::u128(1..));
    let request = request(&wanted, address, &trace_id)?;
    let start = Instant::now();
    let exchange = tokio::time::timeout(PATIENCE, exchange(address, request));
    let failed = |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why);
    let status = exchange
        .await
        .map_err(|_| failed(format!("no response within {PATIENCE:?}")))?
        .map_err(failed)?;
    let sent = Sent {
        status: status.as_u16(),
        trace_id,
        duration_ms: start.elapsed().as_secs_f64() * 1e3,
    };
    Ok(body(StatusCode::OK, &sent))
}

/// Why no request can be sent from here, where none can.
pub(super) fn may_send(app: &App) -> Result<(), String> {
    guard::may_act(app)?;
    listener(app).map_err(|Problem(_, why)| why)?;
    Ok(())
}

/// The first that plain HTTP can be spoken to.
fn listener(app: &App) -> Result<SocketAddr, Problem> {
    let generation = app.generation();
    let plain = generation.config.listeners.iter();
    let mut plain = plain.filter(|listener| listener.tls.is_none() && !listener.proxy_protocol);
    let bound = app.bound();
    let why = "no listener speaks plain HTTP: send a request from elsewhere";
    let missing = || Problem::new(StatusCode::CONFLICT, why);
    let configured = plain.next().ok_or_else(missing)?.address;
    // Port 0 is a free one each time.
    let is_it = |bound: &&SocketAddr| {
        bound.ip() == configured.ip()
            && (configured.port() == 0 || bound.port() == configured.port())
    };
    let mut address = *bound.iter().find(is_it).ok_or_else(missing)?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(address)
}

fn request(
    wanted: &Wanted,
    address: SocketAddr,
    trace_id: &str,
) -> Result<Request<Full<Bytes>>, Problem> {
    let method = wanted.method.as_deref().unwrap_or("GET");
    let method: Method = method
        .parse()
        .map_err(|_| Problem::invalid("`method` must be a method, such as GET"))?;
    if method == Method::CONNECT {
        return Err(Problem::invalid("CONNECT is no request to a route"));
    }
    let uri: Uri = wanted
        .url
        .parse()
        .map_err(|_| Problem::invalid("`url` must be a path, or a URL such as http://host/path"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if !path.starts_with('/') {
        return Err(Problem::invalid(
            "`url` must have a path that begins with /",
        ));
    }
    let host = uri
        .authority()
        .map(|authority| authority.as_str().to_owned());
    let host = host.unwrap_or_else(|| address.to_string());
    let mut request = Request::new(Full::new(Bytes::from(wanted.body.clone())));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(Problem::invalid)?;
    let headers = request.headers_mut();
    for (name, value) in &wanted.headers {
        let name = HeaderName::try_from(name).map_err(Problem::invalid)?;
        if OWN.contains(&name) {
            let why = format!("`{name}` is a header of the connection, which Weir sets itself");
            return Err(Problem::invalid(why));
        }
        let value = HeaderValue::try_from(value).map_err(Problem::invalid)?;
        headers.append(name, value);
    }
    // Ours win: by the one the trace is found, by the others the exchange ends.
    let traceparent = format!("00-{trace_id}-{:016x}-01", fastrand::u64(1..));
    headers.insert(
        "traceparent",
        HeaderValue::try_from(traceparent).map_err(Problem::invalid)?,
    );
    if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::try_from(host).map_err(Problem::invalid)?);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

async fn exchange(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| said(&error))?;
    let made = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = made.map_err(|error| said(&error))?;
    // It ends with the response, or when the sender is dropped.
    tokio::spawn(connection);
    let response = sender.send_request(request).await;
    let response = response.map_err(|error| said(&error))?;
    let status = response.status();
    // What is longer was long enough: a client that leaves has its trace too.
    let _ = Limited::new(response.into_body(), MOST).collect().await;
    Ok(status)
}
