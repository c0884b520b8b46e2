//! `http-client`, `metrics` and `crypto`. What each gave is one attribute.

use crate::bindings::weir::plugin::crypto::{self, Algorithm, Hash, PublicKey, Rsa};
use crate::bindings::weir::plugin::http_client::{self, send};
use crate::bindings::weir::plugin::metrics;
use crate::{named, say};

pub(crate) fn all() {
    calls();
    numbers();
    secrets();
}

fn calls() {
    let may = ["other", "up", ""].map(http_client::may_call);
    say("may-call", may);
    let headers: [(&str, &[u8]); 3] =
        [("x-a", b"1"), ("X-A", b"caf\xe9"), ("host", b"census.test")];
    let reply = send("other", "POST", "/called?x=1", &headers, b"a body", 0);
    match reply {
        Ok(reply) => {
            let fields: Vec<_> = reply
                .headers()
                .into_iter()
                .filter(|(name, _)| name != "date")
                .collect();
            let type_of = reply.header("Content-Type");
            let got = (
                reply.status(),
                type_of,
                reply.header("x-none"),
                fields,
                reply.body(),
            );
            say("reply", got);
        }
        Err(error) => say("reply", error.name()),
    }
    // Two replies at once.
    let two = ["/one", "/two"].map(|path| send("other", "GET", path, &[], b"", 60_000));
    let two = two.map(|reply| named!(reply.map(|reply| (reply.status(), reply.body()))));
    say("replies", two);
    let refused = [
        send("up", "GET", "/", &[], b"", 0),
        send("other", "BAD METHOD", "/", &[], b"", 0),
        send("other", "CONNECT", "/", &[], b"", 0),
        send("other", "GET", "relative", &[], b"", 0),
        send(
            "other",
            "GET",
            "/",
            &[("transfer-encoding", b"chunked")],
            b"",
            0,
        ),
        send("other", "GET", "/", &[("x-a", b"a\r\nb: c")], b"", 0),
        send("other", "GET", "/", &[("host", b"a@b")], b"", 0),
    ];
    say("refused", refused.map(|reply| named!(reply.map(|_| ()))));
}

fn numbers() {
    let counter = metrics::counter("seen", "Seen.", &["kind"]);
    let gauge = metrics::gauge("level", "", &[]);
    let histogram = metrics::histogram("sizes", "", &[], &[1.0, 2.5]);
    let wrong = [
        metrics::counter("", "", &[]),
        metrics::gauge("seen", "", &["kind"]),
        metrics::counter("labelled", "", &["plugin"]),
        metrics::histogram("falling", "", &[], &[2.0, 1.0]),
        metrics::counter("many", "", &["a"; 9]),
    ];
    say("metrics", wrong.map(|metric| named!(metric)));
    say(
        "metrics.ids",
        [&counter, &gauge, &histogram].map(|metric| metric.is_ok()),
    );
    if let (Ok(counter), Ok(gauge), Ok(histogram)) = (counter, gauge, histogram) {
        metrics::add(counter, &["a"], 1.0);
        metrics::add(counter, &[], 1.0);
        metrics::set(gauge, &[], 2.5);
        metrics::add(histogram, &[], 2.0);
        metrics::add(99, &[], 1.0);
    }
}

fn secrets() {
    let hashes = [Hash::Sha256, Hash::Sha384, Hash::Sha512];
    say("digests", hashes.map(|hash| crypto::digest(hash, b"abc")));
    say(
        "hmacs",
        hashes.map(|hash| crypto::hmac(hash, b"key", b"abc")),
    );
    // RFC 8032, section 7.1, test 1.
    let key = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let signature = bytes(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    );
    let check = |algorithm, key: PublicKey<'_>, message: &[u8]| {
        crypto::verify(algorithm, key, message, &signature)
    };
    let checked = [
        check(Algorithm::Ed25519, PublicKey::Point(&key), b""),
        check(Algorithm::Ed25519, PublicKey::Point(&key), b"another"),
        check(Algorithm::Ed25519, PublicKey::Spki(b"none"), b""),
        check(Algorithm::Es256, PublicKey::Point(&key), b""),
        check(
            Algorithm::Rs256,
            PublicKey::Rsa(Rsa {
                n: &key,
                e: b"\x03",
            }),
            b"",
        ),
        check(
            Algorithm::Ps512,
            PublicKey::Rsa(Rsa { n: b"", e: b"" }),
            b"",
        ),
    ];
    say("verified", checked);
    let same = [
        crypto::equal(b"a", b"a"),
        crypto::equal(b"a", b"b"),
        crypto::equal(b"", b"a"),
    ];
    say("equal", same);
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|c| c.to_digit(16)?.try_into().ok())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}
