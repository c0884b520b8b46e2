//! The certificate that a client shows, as the census of either ABI gets it over real TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, DnType, OtherNameValue, SanType};
use serde_json::json;
use tokio_rustls::TlsConnector;
use weir_tests::abi::Abi;
use weir_tests::http2::{Client, run};
use weir_tests::kafka::shared;
use weir_tests::tls::{Authority, Dial, Identity};
use weir_tests::trace::Trace;

use super::{Census, HOOKS};

/// A census whose listener lets clients in with a certificate and without.
struct Stand {
    census: Census,
    authority: Authority,
    clients: Authority,
}

impl Stand {
    fn new(abi: Abi) -> Self {
        let (authority, clients) = (Authority::default(), Authority::new("Clients, Inc."));
        let tls = json!({
            "certificates": [authority.issue(&["a.example"]).json()],
            "client_auth": { "mode": "optional", "ca": clients.pem() },
        });
        Self {
            census: Census::listening(abi, &json!({}), json!({ "tls": tls })),
            authority,
            clients,
        }
    }

    fn dial<'d>(&'d self, identity: Option<&'d Identity>, alpn: &'d [&'d str]) -> Dial<'d> {
        Dial {
            identity,
            alpn,
            ..Dial::to(&self.authority, "a.example")
        }
    }

    /// A request by HTTP/1.1.
    fn ask(&self, identity: Option<&Identity>) {
        let dial = self.dial(identity, &["http/1.1"]);
        let mut session = dial.connect(self.census.0.weir.proxy()).expect("a session");
        let answer = session.get("/").expect("a response");
        assert!(answer.starts_with("http/1.1 299"), "{answer}");
    }

    /// Two requests on one connection of HTTP/2.
    fn ask_http2(&self, identity: Option<&Identity>) {
        let config = self.dial(identity, &["h2"]).config();
        run(async {
            let stream = tokio::net::TcpStream::connect(self.census.0.weir.proxy()).await;
            let name = "a.example".try_into().expect("a name");
            let stream = TlsConnector::from(config)
                .connect(name, stream.expect("connect"))
                .await
                .expect("a session");
            let client = Client::over(stream, &h2::client::Builder::new()).await;
            for _ in 0..2 {
                let answer = client.get("/").await.expect("a response");
                assert_eq!(answer.status(), 299);
            }
        });
    }

    fn traces(&self, count: usize) -> Vec<Trace> {
        shared().traces(&self.census.0.topic, count)
    }
}

/// Her names by kind: DNS, URI, mail, IP.
const ALICE: [&[&str]; 4] = [&["alice.example"], &["spiffe://x/alice"], &[], &[]];

/// As the census says it.
fn shown(subject: &str, identity: &Identity, names: [&[&str]; 4]) -> String {
    let issuer = r"CN=Clients\, Inc.";
    format!("{:?}", Some((subject, issuer, identity.sha256(), names)))
}

/// Both request hooks get it.
#[track_caller]
fn assert_shown(trace: &Trace, shown: &str) {
    for hook in &HOOKS[..2] {
        let got = trace.attribute(hook, "census.client-certificate");
        assert_eq!(*got, shown, "{hook}");
    }
}

#[test]
fn a_certificate_is_there_in_both_versions_of_http_where_one_was_shown() {
    for abi in Abi::BOTH {
        let stand = Stand::new(abi);
        let alice = stand.clients.issue_client("alice", "spiffe://x/alice");
        let bob = stand.clients.issue_client("bob", "spiffe://x/bob");
        stand.ask(None);
        stand.ask(Some(&alice));
        // What one connection shows is nothing to another.
        stand.ask(None);
        stand.ask_http2(None);
        stand.ask_http2(Some(&bob));
        let alice = shown("CN=alice", &alice, ALICE);
        let names: [&[&str]; 4] = [&["bob.example"], &["spiffe://x/bob"], &[], &[]];
        let bob = shown("CN=bob", &bob, names);
        let expected = [
            ("1.1", "None"),
            ("1.1", alice.as_str()),
            ("1.1", "None"),
            ("2", "None"),
            ("2", "None"),
            ("2", bob.as_str()),
            ("2", bob.as_str()),
        ];
        for (trace, (version, shown)) in stand.traces(expected.len()).iter().zip(expected) {
            let root = &trace.root()["Attributes"];
            assert_eq!(root["network.protocol.version"], version);
            assert_shown(trace, shown);
        }
    }
}

#[test]
fn a_session_that_is_resumed_has_the_certificate_it_began_with() {
    for abi in Abi::BOTH {
        let stand = Stand::new(abi);
        let alice = stand.clients.issue_client("alice", "spiffe://x/alice");
        let dial = stand.dial(Some(&alice), &["http/1.1"]);
        let config = dial.config();
        for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
            let session = dial.connect_by(config.clone(), stand.census.0.weir.proxy());
            let mut session = session.expect("a session");
            session.get("/").expect("a response");
            assert_eq!(session.0.conn.handshake_kind(), Some(kind));
        }
        let shown = shown("CN=alice", &alice, ALICE);
        for trace in stand.traces(2) {
            assert_shown(&trace, &shown);
        }
    }
}

/// What could be read as another's subject, every kind of name, and more of all than a trace keeps.
#[test]
fn a_plugin_gets_all_that_a_certificate_says_and_cannot_be_misled_by_it() {
    let long = "o".repeat(3000);
    let dns: Vec<String> = (0..100).map(|n| format!("n{n}.example")).collect();
    let mut params = CertificateParams::new(dns.clone()).expect("names");
    let text = |text: &str| Ia5String::try_from(text).expect("ASCII");
    params.subject_alt_names.extend([
        SanType::URI(text("spiffe://x/eve?a=b,c")),
        SanType::Rfc822Name(text("eve@x.example")),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        // Of a kind that is left out.
        SanType::OtherName((vec![1, 2, 3, 4], OtherNameValue::Utf8String("eve".into()))),
    ]);
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, long.as_str());
    subject.push(DnType::CustomDnType(vec![1, 2, 3, 4]), "x");
    subject.push(DnType::CommonName, "eve,CN=alice\r\nx-admin: 1");
    params.distinguished_name = subject;

    for abi in Abi::BOTH {
        let stand = Stand::new(abi);
        let eve = stand.clients.sign(params.clone());
        stand.ask(Some(&eve));
        let trace = stand.traces(1).remove(0);
        let subject = format!(r"CN=eve\,CN=alice\0d\0ax-admin: 1,1.2.3.4=#0c0178,O={long}");
        let dns: Vec<&str> = dns.iter().map(String::as_str).collect();
        let names: [&[&str]; 4] = [
            &dns,
            &["spiffe://x/eve?a=b,c"],
            &["eve@x.example"],
            &["192.0.2.7", "::1"],
        ];
        assert_shown(&trace, &shown(&subject, &eve, names));

        let root = &trace.root()["Attributes"];
        assert_eq!(root["tls.client.subject"], &subject[..1024]);
        assert_eq!(root["tls.client.hash.sha256"], eve.sha256());
        let names = root["tls.client.x509.alternative_names"].as_array();
        assert_eq!(names.map(Vec::len), Some(32));
    }
}
