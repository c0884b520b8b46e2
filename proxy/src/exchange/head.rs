//! Heads on their way through: what is read off a request, what is stripped, what is sent on.

use std::net::Ipv6Addr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, request};
use http_body::Body as _;

use super::state::{RequestHead, ResponseHead, State};
use super::{Client, Content, extended, forwarded, http1, http2, method, target, trailers, tunnel};
use crate::app::generation::Generation;
use crate::config::{self, Rewrite};
use crate::router::template::Template;
use crate::server::respond::Refusal;
use crate::trace::SpanIndex;
use crate::trace::context::TRACEPARENT;
use crate::upstream::Outgoing;
use crate::upstream::body::RequestBody;

pub(super) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub(super) const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `x-request-id` that is believed.
const LONGEST_REQUEST_ID: usize = 200;

/// Takes a request's head in: one host, one target in origin form, no hop-by-hop fields.
pub(super) fn read(
    state: &mut State,
    mut head: request::Parts,
    client: &Client,
    generation: &Generation,
    listener: &config::Listener,
) -> Result<(), Refusal> {
    let clients = &generation.config.clients;
    state.version = head.version;
    state.request.upgrade = extended::take(&mut head)?;
    state.request.client = Some(forwarded::client(&head.headers, client.peer, clients));
    state.request.local = Some(client.local);
    let tls = client.tls.as_ref();
    state.request.certificate = tls.and_then(|tls| tls.certificate().cloned());
    state.request.scheme = client.scheme();
    name_request(state, &head.headers);
    note_root(state, &head, client);
    generation
        .capture
        .capture_headers(&head.headers, &mut state.recorder);

    let request = &mut state.request;
    request.method = head.method.clone();
    if request.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    http1::check(&head)?;
    if head.version == Version::HTTP_2 {
        http2::normalise(&mut head)?;
    }
    let mut headers = head.headers;
    http1::underscores(&mut headers, listener.underscores)?;
    let host = single_host(&headers)?;
    let may_lack_host = match head.version {
        Version::HTTP_10 => true,
        // Whatever its target says (RFC 9112, section 3.2).
        Version::HTTP_11 => false,
        _ => head.uri.authority().is_some(),
    };
    if host.is_none() && !may_lack_host {
        return Err(Refusal::BadRequest("no Host"));
    }
    request.uri = match head.uri.authority() {
        // An absolute target rules over `Host` (RFC 9112, section 3.2.2).
        Some(authority) => {
            if authority.as_str().contains('@') {
                return Err(Refusal::BadRequest("userinfo in the request's target"));
            }
            if !is_authority(authority.as_str()) {
                return Err(Refusal::BadRequest("target's authority is malformed"));
            }
            authority.as_str().clone_into(&mut request.authority);
            let value = HeaderValue::from_str(authority.as_str())
                .map_err(|_| Refusal::BadRequest("target's authority is malformed"))?;
            headers.insert(HOST, value);
            head.uri
                .path_and_query()
                .cloned()
                .map_or_else(|| Uri::from_static("/"), Uri::from)
        }
        None => {
            host.unwrap_or_default().clone_into(&mut request.authority);
            head.uri
        }
    };
    if let Some(normal) = target::normal(&request.uri).map_err(Refusal::BadRequest)? {
        request.uri = normal;
    }
    if head.version == Version::HTTP_11 {
        request.upgrade = tunnel::asked(&headers);
    }
    // The client is told to go on when the upstream takes the body's first piece.
    let known = |expected: &HeaderValue| expected.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !headers.get_all(EXPECT).iter().all(known) {
        return Err(Refusal::Expectation);
    }
    headers.remove(EXPECT);
    strip_hop_by_hop(&mut headers);
    // After `Connection` had its say, so that it cannot take these away.
    let scheme = client.scheme();
    forwarded::tell(&mut headers, client.peer, &client.address, scheme, clients);
    if state.recorder.parent().is_none() {
        // Without a valid traceparent it says nothing (W3C Trace Context, section 3.3).
        headers.remove(TRACESTATE);
    }
    request.grpc = trailers::is_grpc(&headers);
    request.headers = headers;
    if request.grpc {
        trailers::note_call(state);
    }
    Ok(())
}

/// The `Host`, which may be given once, as an authority without userinfo.
fn single_host(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        return Ok(None);
    };
    if hosts.next().is_some() {
        return Err(Refusal::BadRequest("several Host fields"));
    }
    let host = host
        .to_str()
        .map_err(|_| Refusal::BadRequest("Host is malformed"))?;
    if !is_authority(host) {
        return Err(Refusal::BadRequest("Host is malformed"));
    }
    Ok(Some(host))
}

/// Whether it is a host, with a port or without (RFC 3986, section 3.2.2): what is taken here can be
/// sent as `:authority` too.
fn is_authority(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
            None => return false,
        },
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let plain = |byte: u8| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
            };
            (!host.is_empty() && host.bytes().all(plain), port)
        }
    };
    let mut port = port.bytes();
    is_host
        && port.next().is_none_or(|colon| colon == b':')
        && port.all(|digit| digit.is_ascii_digit())
}

/// The request's id: its own where that is sane, else a new one.
fn name_request(state: &mut State, headers: &HeaderMap) {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    match given {
        Some(id) if !id.is_empty() && id.len() <= LONGEST_REQUEST_ID => {
            state.recorder.set_request_id(id);
        }
        _ => state.recorder.make_request_id(),
    }
}

/// What the root span says of the request.
fn note_root(state: &mut State, head: &request::Parts, client: &Client) {
    let recorder = &mut state.recorder;
    let text = |name| {
        head.headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if let Some(client) = state.request.client {
        recorder.address(SpanIndex::ROOT, "client.address", client.ip());
    }
    recorder.attributes(SpanIndex::ROOT, |attributes| {
        attributes.add("http.request.method", method::attribute(&head.method));
        if !method::is_known(&head.method) {
            let original = bounded(head.method.as_str());
            attributes.add("http.request.method_original", original);
        }
        attributes.add("url.scheme", client.scheme());
        attributes.add("url.path", bounded(head.uri.path()));
        attributes.add(
            "network.protocol.version",
            match head.version {
                Version::HTTP_10 => "1.0",
                Version::HTTP_2 => "2",
                _ => "1.1",
            },
        );
        let authority = match head.version {
            Version::HTTP_2 => head.uri.authority().map(Authority::as_str),
            _ => None,
        };
        if let Some(host) = authority.or_else(|| text(HOST)) {
            attributes.add("server.address", bounded(host));
        }
        if let Some(agent) = text(http::header::USER_AGENT) {
            attributes.add("user_agent.original", bounded(agent));
        }
    });
    if let Some(tls) = &client.tls {
        recorder.template(SpanIndex::ROOT, tls.attributes(), |_| ());
    }
}

/// A text of a client's, no longer than an attribute should be.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(2048)]
}

/// What concerns one connection only (RFC 9110, section 7.6.1).
static HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    TRANSFER_ENCODING,
    TE,
    UPGRADE,
    KEEP_ALIVE,
    PROXY_CONNECTION,
];

/// Removes hop-by-hop fields, with what `Connection` names; but never what says whom the message is for
/// or how long it is.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let mut present = [false; HOP_BY_HOP.len()];
    let mut names_others = false;
    for (name, value) in &*headers {
        // Hardly another field's name is as long as one of these.
        if matches!(name.as_str().len(), 2 | 7 | 10 | 16 | 17)
            && let Some(index) = HOP_BY_HOP.iter().position(|hop| hop == name)
        {
            present[index] = true;
            names_others |= *name == CONNECTION && !is_plain(value);
        }
    }
    if names_others {
        for name in named(headers) {
            headers.remove(name);
        }
    }
    for (name, _) in HOP_BY_HOP.iter().zip(present).filter(|(_, is)| *is) {
        headers.remove(name);
    }
}

/// Whether `Connection` says what nearly every peer says, and names no other field.
fn is_plain(connection: &HeaderValue) -> bool {
    matches!(connection.as_bytes(), b"keep-alive" | b"close")
}

/// The fields that `Connection` names.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    values
        .filter(|value| !is_plain(value))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect()
}

/// Makes the request for the upstream of the head as hooks left it. `keep` leaves the fields to
/// response hooks.
pub(super) fn send(
    head: &mut RequestHead,
    traceparent: HeaderValue,
    body: RequestBody,
    rewrite: &Rewrite,
    keep: bool,
) -> Outgoing {
    // With some methods, hyper sends a body of unknown length only where it is told so.
    let chunked = !body.is_end_stream()
        && body.size_hint().exact().is_none()
        && !head.headers.contains_key(CONTENT_LENGTH);
    let mut request = Box::new(Request::new(body));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = match &rewrite.path {
        None => head.uri.clone(),
        Some(template) => rewritten(&head.uri, template),
    };
    *request.headers_mut() = if keep {
        head.headers.clone()
    } else {
        std::mem::take(&mut head.headers)
    };
    if let Some(host) = &rewrite.host {
        request.headers_mut().insert(HOST, host.clone());
    }
    request.headers_mut().insert(TRACEPARENT, traceparent);
    if chunked {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
    request
}

/// The target with another path; as it is where the route's pattern does not match it, because a
/// plugin chose the route.
fn rewritten(uri: &Uri, template: &Template) -> Uri {
    match template.expand(uri.path()) {
        Some(path) => target::with_path(uri, path),
        None => uri.clone(),
    }
}

/// Takes a response's head in, for response hooks to see.
pub(super) fn receive(state: &mut State, content: &mut Content) {
    state.response = match content {
        Content::Answer(answer) => ResponseHead {
            status: answer.status,
            headers: answer.headers.clone(),
        },
        Content::Upstream(reply) => {
            let mut headers = std::mem::take(reply.response.headers_mut());
            if reply.response.status() == StatusCode::SWITCHING_PROTOCOLS {
                let answered = extended::is_answered(&state.request, &headers);
                reply.switched = headers.get(UPGRADE).filter(|_| answered).cloned();
            }
            strip_hop_by_hop(&mut headers);
            trailers::note_status(state, &headers);
            ResponseHead {
                status: reply.response.status(),
                headers,
            }
        }
        Content::Whole(_) | Content::Streamed(_) => return,
    };
}

/// States the length of a body that is known.
pub(super) fn set_length(response: &mut Response<()>, len: usize) {
    let status = response.status();
    if status != http::StatusCode::NO_CONTENT && status != http::StatusCode::NOT_MODIFIED {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_authority_is_a_host_with_or_without_a_port() {
        for text in [
            "a",
            "A.example:80",
            "a_b.example.",
            "127.0.0.1:1",
            "a:",
            "[::1]",
            "[2001:DB8::1]:443",
            "[::ffff:10.0.0.1]",
        ] {
            assert!(is_authority(text), "{text}");
        }
        for text in [
            "",
            ":",
            ":80",
            "a:b",
            "a:b:c",
            "a:80:80",
            "a:+1",
            "[",
            "]",
            "[]",
            "[a]",
            "[::1",
            "::1",
            "[::1]a",
            "[::1]:a",
            "[fe80::1%25eth0]",
            "a%41",
            "a@b",
            "a/b",
            "a,b",
            "a b",
        ] {
            assert!(!is_authority(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_can_be_sent_over_http2(text in "\\[?[a-z0-9:.%_~-]{0,12}\\]?(:[0-9]{0,3})?") {
            if is_authority(&text) {
                let sent: Authority = text.parse().unwrap();
                prop_assert_eq!(sent.as_str(), text.as_str());
            }
        }
    }
}
