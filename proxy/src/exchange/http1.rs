//! What a request says that an upstream could read in another way than Weir does: refused, or taken
//! out (RFC 9112, sections 3.2, 6.1 and 11.2). What concerns HTTP/2 alone is in [`super::http2`].

use http::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Version, request};

use crate::config::Underscores;
use crate::server::respond::Refusal;

/// Checks method, target and framing of a head of any version.
pub(super) fn check(head: &request::Parts) -> Result<(), Refusal> {
    let refused = |detail| Err(Refusal::BadRequest(detail));
    // Who compares them in any case would let it by a rule for the one in upper case.
    if head
        .method
        .as_str()
        .bytes()
        .any(|byte| byte.is_ascii_lowercase())
    {
        return refused("the method is not in upper case");
    }
    match (head.uri.scheme_str(), head.uri.authority()) {
        (None, Some(_)) if head.version < Version::HTTP_2 => {
            return refused("a target of host and port is for CONNECT alone");
        }
        (None | Some("http" | "https"), _) => {}
        _ => return refused("the scheme is neither http nor https"),
    }
    if head.uri.path() == "*" && head.method != Method::OPTIONS {
        return refused("the target `*` is for OPTIONS alone");
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return refused("no transfer coding is served but `chunked`");
    }
    if let Some(len) = head.headers.get(CONTENT_LENGTH) {
        if matches!(len.as_bytes(), [b'0', _, ..]) {
            return refused("Content-Length begins with a zero");
        }
        // Over HTTP/2 it may be empty, where no body follows.
        if !is_length(len) {
            return refused("Content-Length is no number");
        }
    }
    Ok(())
}

/// Whether it is one number, and nothing else.
pub fn is_length(value: &HeaderValue) -> bool {
    let digits = value.as_bytes().iter().all(u8::is_ascii_digit);
    digits && value.to_str().is_ok_and(|text| text.parse::<u64>().is_ok())
}

/// Does with fields that have `_` in their names, which some upstreams read as `-`, what is
/// configured.
pub(super) fn underscores(headers: &mut HeaderMap, what: Underscores) -> Result<(), Refusal> {
    let has = |name: &HeaderName| name.as_str().contains('_');
    if what == Underscores::Pass || !headers.keys().any(has) {
        return Ok(());
    }
    if what == Underscores::Refuse {
        return Err(Refusal::BadRequest("a field has `_` in its name"));
    }
    let names: Vec<HeaderName> = headers.keys().filter(|name| has(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(method: &str, target: &str, field: (&'static str, &'static str)) -> bool {
        let request = Request::builder().method(method).uri(target);
        let (head, ()) = request
            .header(field.0, field.1)
            .body(())
            .unwrap()
            .into_parts();
        check(&head).is_ok()
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let plain = ("x", "y");
        assert!(checked("GET", "/", plain));
        assert!(checked("OPTIONS", "*", plain));
        assert!(checked("GET", "http://a:80/", plain));
        assert!(checked("POST", "/", ("transfer-encoding", "Chunked")));
        assert!(checked("POST", "/", ("content-length", "0")));
        assert!(!checked("GET", "*", plain));
        assert!(!checked("get", "/", plain));
        assert!(!checked("GET", "a:80", plain));
        assert!(!checked("GET", "ftp://a/", plain));
        assert!(!checked(
            "POST",
            "/",
            ("transfer-encoding", "gzip, chunked")
        ));
        assert!(!checked("POST", "/", ("transfer-encoding", ",chunked")));
        for len in ["03", "", "+3", "3, 3", "0x3"] {
            assert!(!checked("POST", "/", ("content-length", len)), "{len}");
        }
    }

    #[test]
    fn fields_with_an_underscore_are_dropped_refused_or_passed() {
        let mut headers = HeaderMap::new();
        headers.insert("x_a", HeaderValue::from_static("1"));
        headers.insert("x-a", HeaderValue::from_static("2"));
        assert!(underscores(&mut headers, Underscores::Pass).is_ok());
        assert_eq!(headers.len(), 2);
        assert!(underscores(&mut headers, Underscores::Refuse).is_err());
        assert!(underscores(&mut headers, Underscores::Drop).is_ok());
        assert_eq!(headers.len(), 1);
        assert!(underscores(&mut headers, Underscores::Refuse).is_ok());
    }
}
