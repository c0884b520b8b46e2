//! A request of HTTP/2 in the form that HTTP/1.1 has, or refused: what an upstream could read in
//! another way than Weir does goes no further (RFC 9113, sections 8.2 and 8.3).

use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderValue, request};

use crate::server::respond::Refusal;

/// Checks a head, and joins its cookies.
pub(super) fn normalise(head: &mut request::Parts) -> Result<(), Refusal> {
    let refused = |detail| Err(Refusal::BadRequest(detail));
    let mut hosts = head.headers.get_all(HOST).iter();
    if let (Some(host), Some(authority)) = (hosts.next(), head.uri.authority())
        && !host
            .as_bytes()
            .eq_ignore_ascii_case(authority.as_str().as_bytes())
    {
        return refused("Host and :authority differ");
    }
    if hosts.next().is_some() {
        return refused("several Host fields");
    }
    if head.headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return refused("several Content-Length fields");
    }
    if head.headers.values().any(is_padded) {
        return refused("a field's value begins or ends with white space");
    }
    join_cookies(&mut head.headers);
    Ok(())
}

fn is_padded(value: &HeaderValue) -> bool {
    let blank = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    let bytes = value.as_bytes();
    blank(bytes.first()) || blank(bytes.last())
}

/// HTTP/2 may send each cookie in a field of its own; HTTP/1.1 may not (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let cookies: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // What was made of values is one.
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn normalised(fields: &[(&str, &str)]) -> Result<request::Parts, Refusal> {
        let mut request = Request::get("https://a.example/x");
        for (name, value) in fields {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        normalise(&mut head)?;
        Ok(head)
    }

    #[test]
    fn cookies_become_one_field() {
        let head = normalised(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]).unwrap();
        let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
        assert_eq!(head.headers["x"], "y");
    }

    #[test]
    fn a_host_that_says_the_same_as_the_authority_is_taken() {
        assert!(normalised(&[("host", "A.example")]).is_ok());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for fields in [
            &[("host", "b.example")][..],
            &[("host", "a.example"), ("host", "a.example")],
            &[("host", "a.example:443")],
            &[("content-length", "1"), ("content-length", "1")],
            &[("x", " padded")],
            &[("x", "padded\t")],
        ] {
            assert!(normalised(fields).is_err(), "{fields:?}");
        }
    }
}
