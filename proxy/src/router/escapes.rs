//! Escapes in paths that say what their character says: upstreams undo them, so `/%61dmin` is `/admin`
//! to them, and may not be another route here.
//!
//! Pure. Escapes that could make other segments (of slashes, NUL, broken ones) are refused elsewhere.

use std::borrow::Cow;

/// The form that plugins and upstreams see: without escapes of characters that never need one (RFC
/// 3986, section 6.2.2.2), and else as it came. `None` where it is that already.
pub fn normal(path: &str) -> Option<String> {
    let unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    match undo(path, unreserved, false) {
        Cow::Owned(path) => Some(path),
        Cow::Borrowed(_) => None,
    }
}

/// The form in which patterns and paths are compared: of two that an upstream decodes to the same it is
/// the same. `/` parts segments, and `%` means something in what is made here.
pub(super) fn compared(path: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'/');
    undo(path, plain, true)
}

/// Undoes the escapes of `plain` characters; writes the digits of others as capitals where that is asked
/// for.
fn undo(path: &str, plain: impl Fn(u8) -> bool, capitals: bool) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = rest.get(1..3);
        let byte = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let len = match byte {
            Some(byte) if plain(byte) => {
                out.push(char::from(byte));
                3
            }
            Some(_) if capitals => {
                out.push_str(&rest[..3].to_ascii_uppercase());
                3
            }
            _ => {
                out.push('%');
                1
            }
        };
        rest = &rest[len..];
    }
    out.push_str(rest);
    if out == path {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_needs_no_escape_has_none() {
        for (path, expected) in [
            ("/%61dm%69n/%7Eme/a%2eb%2Dc%5f", "/admin/~me/a.b-c_"),
            ("/%2561%61/%c3", "/%2561a/%c3"),
        ] {
            assert_eq!(normal(path).as_deref(), Some(expected));
        }
        for path in ["/a", "/%2561", "/%40/%3a/%20/%c3%A9/%"] {
            assert_eq!(normal(path), None, "{path}");
        }
    }

    #[test]
    fn what_decodes_to_the_same_compares_as_the_same() {
        for (one, other) in [
            ("/%61%64min", "/admin"),
            ("/%40me%3Aall", "/@me:all"),
            ("/%c3%a9", "/%C3%A9"),
            ("/%7b%7D", "/{}"),
            ("/%2A", "/*"),
        ] {
            assert_eq!(compared(one), compared(other), "{one}");
        }
        for (one, other) in [
            ("/%2561", "/a"),
            ("/%2561", "/%61"),
            ("/%25C3", "/%C3"),
            ("/a%2Fb", "/a/b"),
        ] {
            assert_ne!(compared(one), compared(other), "{one}");
        }
    }

    proptest! {
        #[test]
        fn no_form_has_other_segments(path in "(/|%|[0-9a-fA-F]{2}|[é*.a]){0,20}") {
            let segments = path.split('/').count();
            prop_assert_eq!(compared(&path).split('/').count(), segments);
            if let Some(form) = normal(&path) {
                prop_assert_eq!(form.split('/').count(), segments);
            }
        }
    }
}
