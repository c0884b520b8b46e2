//! Filter 2, `request_headers` and `redact_headers`: which request headers stay, and which of them
//! without their value.

use super::{Disclosure, Rules};
use crate::config;

pub(super) fn add(config: &config::Filters, rules: &mut Rules) {
    let patterns = config.request_headers.clone();
    let redacts = config.redact_headers;
    rules.headers.push(Box::new(move |name| {
        if !patterns.iter().any(|pattern| matches(pattern, name)) {
            Disclosure::Hidden
        } else if redacts && is_credential(name) {
            Disclosure::Redacted
        } else {
            Disclosure::Shown
        }
    }));
}

/// Does a pattern, in which `*` stands for any run of characters, fit the whole of a name?
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    // Where to go on when a run was guessed too short: behind the last star, and one byte further.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, name) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                pattern = rest;
                retry = Some((rest, name));
            }
            ([p, ps @ ..], [n, ns @ ..]) if p == n => (pattern, name) = (ps, ns),
            _ => match retry {
                Some((after, [_, shorter @ ..])) => {
                    (pattern, name) = (after, shorter);
                    retry = Some((after, shorter));
                }
                _ => return false,
            },
        }
    }
}

/// Does a header of this lower-case name carry something that lets its holder in?
pub(crate) fn is_credential(name: &str) -> bool {
    let name = name.as_bytes();
    (0..name.len()).any(|at| {
        let rest = &name[at..];
        // By first letter, so that most positions cost one comparison.
        let words: &[&[u8]] = match rest[0] {
            b'a' => &[
                b"authorization",
                b"auth-key",
                b"api-key",
                b"api_key",
                b"apikey",
                b"access-key",
            ],
            b'c' => &[b"cookie", b"credential"],
            b'j' => &[b"jwt"],
            b'p' => &[b"password", b"passwd"],
            b's' => &[b"secret"],
            b't' => &[b"token"],
            _ => &[],
        };
        words.iter().any(|word| rest.starts_with(word))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_run_anywhere() {
        for (pattern, name) in [
            ("*", "anything"),
            ("*", ""),
            ("x-*-id", "x-request-id"),
            ("x-*-id", "x-a-id-b-id"),
            ("x-*", "x-"),
            ("*-id", "a-id"),
            ("a**b", "ab"),
            ("host", "host"),
            ("*a*b*", "xxaxxbxx"),
        ] {
            assert!(matches(pattern, name), "{pattern} fits {name}");
        }
        for (pattern, name) in [
            ("", "host"),
            ("host", "hosts"),
            ("x-*-id", "x-id"),
            ("x-*-id", "x-a-id-b"),
            ("*a*b*", "xxbxxaxx"),
        ] {
            assert!(!matches(pattern, name), "{pattern} does not fit {name}");
        }
    }

    #[test]
    fn credentials_are_known_by_name() {
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "x-api-key",
            "apikey",
            "api_key",
            "x-auth-token",
            "x-csrf-token",
            "x-amz-security-token",
            "client-secret",
            "x-jwt-assertion",
            "x-password",
        ] {
            assert!(is_credential(name), "{name}");
        }
        for name in [
            "accept",
            "host",
            "content-type",
            "x-request-id",
            "traceparent",
            "idempotency-key",
        ] {
            assert!(!is_credential(name), "{name}");
        }
    }

    /// The definition, slow and plain.
    fn fits(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], _) => name.is_empty(),
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|taken| fits(rest, &name[taken..])),
            ([p, rest @ ..], [n, others @ ..]) => p == n && fits(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(matches(&pattern, &name), fits(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
