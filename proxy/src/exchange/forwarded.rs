//! Who the client is, and what upstreams are told of it: `X-Forwarded-*` and `Forwarded` (RFC 7239).
//!
//! Only a trusted peer is believed about clients behind it. What others send in these fields is taken
//! out before a plugin or an upstream sees it.

use std::net::{IpAddr, SocketAddr};

use http::header::{Entry, FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{Clients, Forwarded};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const PREFIX: &str = "x-forwarded-";

/// Most hops that are looked at.
const HOPS: usize = 64;

/// The client's address: the peer's, or where that is trusted, the last that is not among those that
/// it names.
pub(super) fn client(headers: &HeaderMap, peer: SocketAddr, clients: &Clients) -> SocketAddr {
    if !clients.trusts(peer.ip()) {
        return peer;
    }
    let mut hops: Vec<Option<IpAddr>> = Vec::new();
    if headers.contains_key(FOR) {
        let lines = headers.get_all(FOR).iter();
        let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        hops.extend(names.map(address));
    } else {
        for line in headers.get_all(FORWARDED) {
            elements(line.as_bytes(), &mut hops);
        }
    }
    let mut client = peer;
    for hop in hops.into_iter().rev().take(HOPS) {
        // A hop that hides its name ends what is known.
        let Some(ip) = hop else { break };
        client = SocketAddr::new(ip, 0);
        if !clients.trusts(ip) {
            break;
        }
    }
    client
}

/// Puts Weir's own fields in the place of what came, or after it where the peer is trusted.
/// `address` is the peer's, as these fields have it.
pub(super) fn tell(
    headers: &mut HeaderMap,
    peer: SocketAddr,
    address: &HeaderValue,
    scheme: &'static str,
    clients: &Clients,
) {
    let trusted = clients.trusts(peer.ip());
    if !trusted {
        remove(headers);
    }
    let fields = clients.forwarded;
    if fields == Forwarded::Off {
        return;
    }
    let host = headers.get(HOST).cloned();
    if fields.has_standard() {
        let own = element(peer.ip(), host.as_ref(), scheme);
        append(headers, FORWARDED, own);
    } else if trusted {
        // It would end with a hop that is not the last.
        headers.remove(FORWARDED);
    }
    if !fields.has_x_forwarded() {
        headers.remove(FOR);
        return;
    }
    append(headers, FOR, Some(address.clone()));
    if !trusted || !headers.contains_key(PROTO) {
        headers.insert(PROTO, HeaderValue::from_static(scheme));
    }
    if let Some(host) = host
        && (!trusted || !headers.contains_key(X_HOST))
    {
        headers.insert(X_HOST, host);
    }
}

/// The peer's address for [`tell`].
pub(crate) fn field(peer: SocketAddr) -> HeaderValue {
    let text = peer.ip().to_canonical().to_string();
    HeaderValue::from_str(&text).expect("an address is visible ASCII")
}

fn remove(headers: &mut HeaderMap) {
    let spoofed = |name: &HeaderName| name.as_str().starts_with(PREFIX) || *name == FORWARDED;
    while let Some(name) = headers.keys().find(|name| spoofed(name)).cloned() {
        headers.remove(name);
    }
}

/// Adds an element to a list, on one line.
fn append(headers: &mut HeaderMap, name: HeaderName, own: Option<HeaderValue>) {
    let Some(own) = own else { return };
    match headers.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(own);
        }
        Entry::Occupied(mut entry) => {
            let mut list: Vec<u8> = Vec::new();
            for line in entry.iter().filter(|line| !line.is_empty()) {
                list.extend_from_slice(line.as_bytes());
                list.extend_from_slice(b", ");
            }
            list.extend_from_slice(own.as_bytes());
            // What came in fields may go out in one.
            entry.insert(HeaderValue::from_bytes(&list).unwrap_or(own));
        }
    }
}

/// `for=…;host=…;proto=…`
fn element(peer: IpAddr, host: Option<&HeaderValue>, scheme: &str) -> Option<HeaderValue> {
    let mut out = match peer.to_canonical() {
        IpAddr::V4(ip) => format!("for={ip}"),
        IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
    };
    // It holds no quote and no backslash: heads with such a one are refused.
    if let Some(host) = host.and_then(|host| host.to_str().ok()) {
        out.push_str(";host=\"");
        out.push_str(host);
        out.push('"');
    }
    out.push_str(";proto=");
    out.push_str(scheme);
    HeaderValue::from_str(&out).ok()
}

/// An address with or without port: `10.0.0.1`, `10.0.0.1:80`, `::1`, `[::1]:80`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let ip = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(ip.to_canonical())
}

/// The `for` of each element of a `Forwarded` line.
fn elements(line: &[u8], hops: &mut Vec<Option<IpAddr>>) {
    for element in unquoted(line, b',') {
        let mut found = None;
        for pair in unquoted(element, b';') {
            let pair = pair.trim_ascii();
            if pair.len() > 4 && pair[..4].eq_ignore_ascii_case(b"for=") {
                let value = &pair[4..];
                let quoted = value
                    .strip_prefix(b"\"")
                    .and_then(|rest| rest.strip_suffix(b"\""));
                found = address(quoted.unwrap_or(value));
            }
        }
        hops.push(found);
    }
}

/// The pieces between separators that stand in no quotes.
fn unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    text.split(move |byte| {
        quoted ^= *byte == b'"';
        !quoted && *byte == separator
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clients(forwarded: Forwarded) -> Clients {
        Clients {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            forwarded,
        }
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn client_of(peer: &str, fields: &[(&'static str, &str)]) -> String {
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        client(&headers(fields), peer, &clients(Forwarded::Both))
            .ip()
            .to_string()
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_not_trusted() {
        for (peer, fields, expected) in [
            ("1.1.1.1", &[("x-forwarded-for", "2.2.2.2")][..], "1.1.1.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[("x-forwarded-for", "2.2.2.2")], "2.2.2.2"),
            (
                "10.0.0.1",
                &[("x-forwarded-for", "3.3.3.3, 2.2.2.2,10.0.0.2")],
                "2.2.2.2",
            ),
            (
                "10.0.0.1",
                &[
                    ("x-forwarded-for", "3.3.3.3"),
                    ("x-forwarded-for", "10.9.9.9"),
                ],
                "3.3.3.3",
            ),
            (
                "10.0.0.1",
                &[("x-forwarded-for", "10.0.0.3, 10.0.0.2")],
                "10.0.0.3",
            ),
            ("10.0.0.1", &[("x-forwarded-for", "2.2.2.2:80")], "2.2.2.2"),
            ("10.0.0.1", &[("x-forwarded-for", "[2::2]:80")], "2::2"),
            ("fd00::1", &[("x-forwarded-for", "2::2")], "2::2"),
            (
                "10.0.0.1",
                &[("x-forwarded-for", "2.2.2.2, unknown, 10.0.0.2")],
                "10.0.0.2",
            ),
            ("10.0.0.1", &[("x-forwarded-for", "unknown")], "10.0.0.1"),
            (
                "10.0.0.1",
                &[("forwarded", "for=2.2.2.2;proto=http, for=10.0.0.2")],
                "2.2.2.2",
            ),
            (
                "10.0.0.1",
                &[("forwarded", "proto=https;For=\"[2::2]:80\"")],
                "2::2",
            ),
            (
                "10.0.0.1",
                &[("forwarded", "for=\"_a,b\";by=x, for=10.0.0.2")],
                "10.0.0.2",
            ),
            (
                "::ffff:10.0.0.1",
                &[("x-forwarded-for", "::ffff:2.2.2.2")],
                "2.2.2.2",
            ),
        ] {
            assert_eq!(client_of(peer, fields), expected, "{peer} {fields:?}");
        }
    }

    fn told(
        peer: &str,
        forwarded: Forwarded,
        fields: &[(&'static str, &str)],
    ) -> Vec<(String, String)> {
        let mut headers = headers(fields);
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        tell(
            &mut headers,
            peer,
            &field(peer),
            "http",
            &clients(forwarded),
        );
        let mut all: Vec<(String, String)> = headers
            .iter()
            .filter(|(name, _)| *name != HOST)
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        all.sort();
        all
    }

    fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        fields.iter().map(owned).collect()
    }

    const SPOOFED: [(&str, &str); 6] = [
        ("host", "a.test:80"),
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=9.9.9.9"),
    ];

    #[test]
    fn what_an_untrusted_peer_says_is_replaced() {
        assert_eq!(
            told("1.1.1.1", Forwarded::Both, &SPOOFED),
            owned(&[
                ("forwarded", "for=1.1.1.1;host=\"a.test:80\";proto=http"),
                ("x-forwarded-for", "1.1.1.1"),
                ("x-forwarded-host", "a.test:80"),
                ("x-forwarded-proto", "http"),
            ])
        );
        assert_eq!(told("1.1.1.1", Forwarded::Off, &SPOOFED), []);
        assert_eq!(
            told("2::2", Forwarded::Standard, &SPOOFED),
            owned(&[("forwarded", "for=\"[2::2]\";host=\"a.test:80\";proto=http")])
        );
    }

    #[test]
    fn what_a_trusted_peer_says_is_kept_and_the_peer_added() {
        assert_eq!(
            told("10.0.0.1", Forwarded::Both, &SPOOFED),
            owned(&[
                (
                    "forwarded",
                    "for=9.9.9.9, for=10.0.0.1;host=\"a.test:80\";proto=http"
                ),
                ("x-forwarded-for", "9.9.9.9, 10.0.0.1"),
                ("x-forwarded-host", "evil.test"),
                ("x-forwarded-prefix", "/evil"),
                ("x-forwarded-proto", "https"),
            ])
        );
        let two = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
        ];
        assert_eq!(
            told("10.0.0.1", Forwarded::XForwarded, &two)[0].1,
            "1.1.1.1, 2.2.2.2, 10.0.0.1"
        );
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(x in "[ -~]{0,40}", forwarded in "[ -~]{0,40}") {
            client_of("10.0.0.1", &[("x-forwarded-for", &x)]);
            client_of("10.0.0.1", &[("forwarded", &forwarded)]);
            told("10.0.0.1", Forwarded::Both, &[("forwarded", &forwarded), ("x-forwarded-for", &x)]);
        }
    }
}
