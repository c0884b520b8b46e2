//! Trailers on their way through, in either direction; and the status of gRPC, which is one.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, EXPECT, FORWARDED, HOST, MAX_FORWARDS, PROXY_AUTHORIZATION, RANGE,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName};

use super::forwarded;
use super::head::{KEEP_ALIVE, PROXY_CONNECTION};
use super::state::State;
use crate::trace::SpanIndex;

/// Fields that frame, route, authorise or change a message, or say who sent it: behind its body they come
/// too late, or past who checked its head (RFC 9110, section 6.5.1).
const NEVER: [HeaderName; 21] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    FORWARDED,
    HOST,
    KEEP_ALIVE,
    MAX_FORWARDS,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    RANGE,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Whether a field may be one. Some upstreams read `_` as `-`, and trailers as fields of the head.
pub fn may_be(name: &HeaderName) -> bool {
    let name = name.as_str();
    if name.contains('_') {
        !is_never(&name.replace('_', "-"))
    } else {
        !is_never(name)
    }
}

fn is_never(name: &str) -> bool {
    NEVER.iter().any(|never| never.as_str() == name) || name.starts_with(forwarded::PREFIX)
}

/// Removes what may not be a trailer.
pub fn strip(trailers: &mut HeaderMap) {
    let never = |name: &&HeaderName| !may_be(name);
    let never: Vec<HeaderName> = trailers.keys().filter(never).cloned().collect();
    for name in never {
        trailers.remove(name);
    }
}

/// Whether a request is a call of gRPC.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

/// Notes a gRPC call's service and method on the root span.
pub(super) fn note_call(state: &mut State) {
    let path = state.request.uri.path();
    let Some((service, method)) = path
        .strip_prefix('/')
        .and_then(|path| path.rsplit_once('/'))
    else {
        return;
    };
    state.recorder.attributes(SpanIndex::ROOT, |attributes| {
        attributes.add("rpc.system", "grpc");
        attributes.add("rpc.service", bounded(service));
        attributes.add("rpc.method", bounded(method));
    });
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(1024)]
}

/// Notes the status of a gRPC call, where these fields, a head's or trailers, have it: on the root
/// span and on the call's.
pub(super) fn note_status(state: &mut State, fields: &HeaderMap) {
    if !state.request.grpc {
        return;
    }
    let Some(code) = fields
        .get(GRPC_STATUS)
        .and_then(|status| status.to_str().ok()?.parse::<u16>().ok())
    else {
        return;
    };
    // Of a server's span, what the server is to blame for (OpenTelemetry's conventions for gRPC).
    let servers = matches!(code, 2 | 4 | 12 | 13 | 14 | 15);
    let spans = [(Some(SpanIndex::ROOT), servers), (state.call, code != 0)];
    for (span, failed) in spans {
        let Some(span) = span else { continue };
        let recorder = &mut state.recorder;
        recorder.attribute(span, "rpc.grpc.status_code", code);
        if failed {
            let mut text = itoa::Buffer::new();
            recorder.attribute(span, "error.type", text.format(code));
            recorder.mark_error(span, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_frames_or_routes_a_message_is_no_trailer() {
        let mut trailers = HeaderMap::new();
        for name in [
            "content-length",
            "host",
            "authorization",
            "keep-alive",
            "x-forwarded-for",
            "x_forwarded_for",
            "content_length",
            "forwarded",
            "x-sum",
            "x_sum",
            "grpc-status",
        ] {
            trailers.insert(name, HeaderValue::from_static("0"));
        }
        strip(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-status", "x-sum", "x_sum"]);
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (kind, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_grpc(&headers), grpc, "{kind}");
        }
    }
}
