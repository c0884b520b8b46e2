//! Which paths are taken: those that a router, a plugin and an upstream cannot read differently.
//!
//! Pure. A path with dot segments, encoded slashes or backslashes, or broken escapes is refused
//! instead of being brought to a normal form. It holds for the client's path, and for one that a plugin
//! puts in its place before the router. What other escapes stand for is [`crate::router::escapes`].

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};

use crate::router::escapes;

/// A target as plugins and upstreams see it, where that is another than it came as. `Err` says why its
/// path is not taken.
pub fn normal(uri: &Uri) -> Result<Option<Uri>, &'static str> {
    check(uri.path())?;
    Ok(escapes::normal(uri.path()).map(|path| with_path(uri, path)))
}

/// The target with this path and the query it has.
pub(super) fn with_path(uri: &Uri, mut path: String) -> Uri {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    PathAndQuery::try_from(path).map_or_else(|_| uri.clone(), Uri::from)
}

/// Whom a request to this URL with these fields is for. `Err` says why it is answered with 400.
pub fn authority<'a>(url: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, &'static str> {
    check(url.path())?;
    let authority = match url.authority() {
        // It rules over `Host`, as it does in a request.
        Some(authority) => authority.as_str(),
        None => {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            host.unwrap_or_default()
        }
    };
    if authority.contains('@') {
        return Err("userinfo in the request's target");
    }
    Ok(authority)
}

/// Says what is wrong with a path, which has no query.
pub fn check(path: &str) -> Result<(), &'static str> {
    let bytes = path.as_bytes();
    let (mut before, mut has_dots) = (0, false);
    for &byte in bytes {
        if !byte.is_ascii_graphic() || byte == b'\\' || byte == b'#' {
            return Err("the path holds a character that must be escaped");
        }
        // Most paths have no segment that begins with a dot.
        has_dots |= byte == b'.' && before == b'/';
        before = byte;
    }
    if !bytes.contains(&b'%') {
        return if has_dots && has_dot_segment(path) {
            Err(DOTS)
        } else {
            Ok(())
        };
    }
    let mut plain = String::with_capacity(path.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            plain.push(char::from(*first));
            continue;
        }
        let (Some(high), Some(low)) = (hex(after.first()), hex(after.get(1))) else {
            return Err("the path holds a broken escape");
        };
        match 16 * high + low {
            0 => return Err("the path holds an escaped NUL"),
            b'/' | b'\\' => return Err("the path holds an escaped slash"),
            byte @ (b'.' | b';') => plain.push(char::from(byte)),
            _ => plain.push('x'),
        }
        rest = &after[2..];
    }
    if has_dot_segment(&plain) {
        Err(DOTS)
    } else {
        Ok(())
    }
}

const DOTS: &str = "the path holds a dot segment";

/// Also one with parameters, which servlets take off before they look: `/..;/` (RFC 3986, section 3.3).
fn has_dot_segment(path: &str) -> bool {
    let is_dots = |segment: &str| {
        let name = segment.split(';').next().unwrap_or(segment);
        name == "." || name == ".."
    };
    path.contains("/.") && path.split('/').any(is_dots)
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    char::from(*digit?)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::check;
    use crate::exchange::fuzz;

    proptest! {
        #[test]
        fn a_path_that_is_taken_has_the_same_segments_once_decoded(
            path in "/([a./%\\\\]|%2[0-9a-fA-F]|%5[cC]|%00|%[0-9a-f]{0,2}){0,12}",
        ) {
            fuzz::path(path.as_bytes());
        }

        #[test]
        fn no_path_makes_it_panic(path in ".{0,60}") {
            fuzz::path(path.as_bytes());
        }
    }

    #[test]
    fn plain_paths_are_taken() {
        for path in [
            "/",
            "/a/b",
            "/a.b/..c/d..",
            "/.well-known/x",
            "/a//b",
            "/a;b/c;.",
            "/...;/.a;b",
            "/%20/%C3%A9",
            "*",
            "/a%25",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for path in [
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/.",
            "/%2e%2e/b",
            "/.%2E/b",
            "/a/%2e",
            "/a/..;/b",
            "/.;x=y",
            "/a/%2e.%3Bx/b",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/%00",
            "/%zz",
            "/%2",
            "/%",
            "/a#b",
            "/\u{e9}",
            "/a b",
        ] {
            assert!(check(path).is_err(), "{path}");
        }
    }
}
