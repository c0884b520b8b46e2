//! Methods as traces have them: a client may make up any number, each as long as its head may be. Those
//! that nobody registered are one, as OpenTelemetry's conventions for HTTP have it.

use http::Method;

/// What is neither among [`EXTENSIONS`], nor in RFC 9110, nor `PATCH`.
const OTHER: &str = "_OTHER";

/// Of IANA's registry, those beyond RFC 9110 and `PATCH`, in order.
const EXTENSIONS: [&str; 30] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// The value of `http.request.method`.
pub fn attribute(method: &Method) -> &str {
    if is_known(method) {
        method.as_str()
    } else {
        OTHER
    }
}

/// What names of spans begin with.
pub fn name(method: &Method) -> &str {
    if is_known(method) {
        method.as_str()
    } else {
        "HTTP"
    }
}

pub(super) fn is_known(method: &Method) -> bool {
    match *method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS
        | Method::CONNECT
        | Method::PATCH
        | Method::TRACE => true,
        _ => EXTENSIONS.binary_search(&method.as_str()).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_registered_is_one() {
        assert!(EXTENSIONS.is_sorted());
        for name in ["GET", "PATCH", "PROPFIND", "ACL", "VERSION-CONTROL"] {
            let method: Method = name.parse().unwrap();
            assert_eq!(attribute(&method), name);
            assert_eq!(super::name(&method), name);
        }
        for name in ["GETS", "get", "Propfind", "X"] {
            let method: Method = name.parse().unwrap();
            assert_eq!(attribute(&method), "_OTHER");
            assert_eq!(super::name(&method), "HTTP");
        }
    }
}
