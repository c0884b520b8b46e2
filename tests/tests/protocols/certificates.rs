//! Which certificate is shown, who may come in, and what a reload does.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use weir::demo::broker::Broker;
use weir::demo::consumer::Consumer;
use weir_tests::tls::{Authority, Dial, Identity, Valid, is};
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{config, counted, dial, start, start_tls, tls};

#[track_caller]
fn assert_shown(weir: &Weir, authority: &Authority, name: &str, identity: &Identity) {
    // The client's own check of the name is not what is looked at.
    let session = Dial::to(authority, name).connect(weir.proxy());
    let shown = session.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(is(&shown.certificate(), identity), "{name}");
}

#[test]
fn a_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let authority = Authority::default();
    let first = authority.issue(&["a.example", "127.0.0.1", "other.example", "x.y.b.example"]);
    let wildcard = authority.issue(&["*.b.example"]);
    let exact = authority.issue(&["c.b.example"]);
    let upstream = Upstream::hello();
    let weir = start(
        &upstream,
        json!({ "tls": tls(&[&first, &wildcard, &exact]) }),
    );
    assert_shown(&weir, &authority, "a.example", &first);
    assert_shown(&weir, &authority, "A.Example", &first);
    assert_shown(&weir, &authority, "www.b.example", &wildcard);
    assert_shown(&weir, &authority, "c.b.example", &exact);
    // A wildcard is for one label, and who asks for no name at all gets the default.
    assert_shown(&weir, &authority, "x.y.b.example", &first);
    assert_shown(&weir, &authority, "127.0.0.1", &first);
    let unknown = Dial::to(&authority, "unknown.example").connect(weir.proxy());
    assert!(
        unknown.is_err_and(|error| error.to_string().contains("certificate not valid for name"))
    );
}

static OLD: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
static NEW: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

#[test]
fn tls_1_2_and_1_3_are_spoken_and_1_2_may_be_refused() {
    let upstream = Upstream::hello();
    for (least, old_is_served) in [("1.2", true), ("1.3", false)] {
        let (weir, authority) = start_tls(&upstream, json!({ "min_version": least }));
        for (versions, served) in [(&OLD, old_is_served), (&NEW, true)] {
            let dial = Dial {
                versions,
                ..dial(&authority)
            };
            let session = dial.connect(weir.proxy());
            assert_eq!(session.is_ok(), served, "{least}");
            if let Ok(mut session) = session {
                assert!(session.get("/").expect("a response").ends_with("hello"));
            }
        }
        let failed = || counted(&weir, "weir_tls_handshake_failures_total", "protocol");
        eventually("it is counted", || {
            (failed() == u64::from(!old_is_served)).then_some(())
        });
    }
}

#[test]
fn who_speaks_nothing_newer_than_tls_1_1_is_refused() {
    let upstream = Upstream::hello();
    let (weir, _) = start_tls(&upstream, json!({}));
    // OpenSSL's client has the old versions where it is told that they are good enough.
    for (version, served) in [("-tls1", false), ("-tls1_1", false), ("-tls1_2", true)] {
        let output = Command::new("openssl")
            .args(["s_client", version, "-cipher", "DEFAULT@SECLEVEL=0"])
            .args(["-servername", "a.example", "-connect"])
            .arg(weir.proxy().to_string())
            .stdin(Stdio::null())
            .output()
            .expect("openssl");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), served, "{version}: {said}");
        // It was Weir that refused.
        assert_eq!(said.contains(" alert "), !served, "{version}: {said}");
    }
    eventually("they are counted", || {
        (counted(&weir, "weir_tls_handshake_failures_total", "protocol") == 2).then_some(())
    });
}

#[test]
fn a_handshake_that_is_not_made_ends_at_its_deadline() {
    let upstream = Upstream::hello();
    let authority = Authority::default();
    let weir = start(
        &upstream,
        json!({
            "tls": tls(&[&authority.issue(&["a.example"])]),
            "timeouts": { "handshake": "2s" },
        }),
    );
    let mut silent = TcpStream::connect(weir.proxy()).expect("connect");
    silent
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    assert_eq!(silent.read(&mut [0]).expect("a clean end"), 0);
    eventually("it is counted", || {
        (counted(&weir, "weir_tls_handshake_failures_total", "timeout") == 1).then_some(())
    });
    // HTTP without TLS is no handshake.
    let answer = weir_tests::client::Connection::open(weir.proxy())
        .send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .read_to_end();
    assert!(!answer.starts_with(b"HTTP"));
    eventually("it is counted", || {
        (counted(&weir, "weir_tls_handshake_failures_total", "protocol") == 1).then_some(())
    });
    assert!(dial(&authority).connect(weir.proxy()).is_ok());
    eventually("it is counted", || {
        let made = weir.count("weir_tls_handshakes_total{listener=\"127.0.0.1:0\"}");
        (made == 1).then_some(())
    });
}

#[test]
fn a_session_is_resumed_also_after_a_reload_that_leaves_tls_as_it_is() {
    let upstream = Upstream::hello();
    let authority = Authority::default();
    let identity = authority.issue(&["a.example"]);
    let mut config = config(&upstream, json!({ "tls": tls(&[&identity]) }));
    let weir = Weir::start(&config.to_string());
    let dial = dial(&authority);
    let client = dial.config();
    let kind = || {
        let mut session = dial
            .connect_by(client.clone(), weir.proxy())
            .expect("a session");
        // Tickets come behind the handshake.
        session.get("/").expect("a response");
        session.0.conn.handshake_kind()
    };
    assert_eq!(kind(), Some(rustls::HandshakeKind::Full));
    assert_eq!(kind(), Some(rustls::HandshakeKind::Resumed));
    config["shutdown_grace"] = json!("7s");
    assert_eq!(weir.reload(&config.to_string()).status, 200);
    assert_eq!(kind(), Some(rustls::HandshakeKind::Resumed));
}

#[test]
fn a_session_ends_with_the_certificate_that_it_began_with() {
    static OLD: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
    static NEW: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    let upstream = Upstream::hello();
    let clients = Authority::new("Clients");
    for versions in [&OLD[..], &NEW[..]] {
        let auth = json!({ "client_auth": { "ca": clients.pem() } });
        let (weir, authority) = start_tls(&upstream, auth);
        let identity = clients.issue_valid(&["alice.example"], Valid::Seconds(8));
        let dial = Dial {
            identity: Some(&identity),
            versions,
            ..dial(&authority)
        };
        // Tickets are kept: each session goes on from the one before.
        let client = dial.config();
        let mut kinds = Vec::new();
        eventually("it is refused", || {
            let asked = dial.connect_by(client.clone(), weir.proxy());
            let asked = asked.and_then(|mut session| {
                session.get("/")?;
                kinds.push(session.0.conn.handshake_kind());
                Ok(())
            });
            asked.is_err().then_some(())
        });
        let resumed = Some(rustls::HandshakeKind::Resumed);
        assert_eq!(kinds.last(), Some(&resumed), "{versions:?}");
        eventually("it is counted", || {
            let name = "weir_tls_handshake_failures_total";
            (counted(&weir, name, "client_certificate") >= 1).then_some(())
        });
    }
}

#[test]
fn who_has_no_right_certificate_is_kept_out() {
    let upstream = Upstream::hello();
    let clients = Authority::new("Clients");
    let auth = json!({ "client_auth": { "ca": clients.pem() } });
    let (weir, authority) = start_tls(&upstream, auth);
    let stranger = Authority::new("Strangers").issue_client("mallory", "spiffe://x/mallory");
    let right = clients.issue_client("alice", "spiffe://x/alice");
    let expired = clients.issue_valid(&["old.example"], Valid::Expired);
    let come = |identity: Option<&Identity>| {
        let dial = Dial {
            identity,
            ..dial(&authority)
        };
        // With TLS 1.3 the refusal comes behind the client's handshake.
        dial.connect(weir.proxy())
            .and_then(|mut session| session.get("/"))
    };
    assert!(come(None).is_err());
    assert!(come(Some(&stranger)).is_err());
    assert!(come(Some(&expired)).is_err());
    assert!(come(Some(&right)).expect("a response").ends_with("hello"));
    eventually("they are counted", || {
        let failed = |reason| counted(&weir, "weir_tls_handshake_failures_total", reason);
        (failed("no_client_certificate") == 1 && failed("client_certificate") == 2).then_some(())
    });
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_client_certificate_may_be_optional_and_is_on_the_trace() {
    let broker = Broker::start(&["weir-traces"]).expect("a broker");
    let upstream = Upstream::hello();
    let (authority, clients) = (Authority::default(), Authority::new("Clients"));
    let mut tls = tls(&[&authority.issue(&["a.example"])]);
    tls["client_auth"] = json!({ "mode": "optional", "ca": clients.pem() });
    let mut config = config(&upstream, json!({ "tls": tls }));
    config["exporters"]["traces"] = json!({ "kafka": {
        "brokers": [broker.bootstrap_servers()], "topic": "weir-traces", "flush_interval_ms": 10,
    }});
    let weir = Weir::start(&config.to_string());
    let consumer = Consumer::new(broker.bootstrap_servers(), "weir-traces").expect("a consumer");
    let trace = || {
        let message = eventually("the trace arrives", || {
            consumer
                .recv(Duration::from_millis(100))
                .expect("the topic can be read")
        });
        Trace::new(&message.payload).root()["Attributes"].clone()
    };

    let mut nobody = dial(&authority).connect(weir.proxy()).expect("a session");
    nobody.get("/").expect("a response");
    let attributes = trace();
    assert_eq!(attributes["url.scheme"], "https");
    assert_eq!(attributes["tls.protocol.version"], "1.3");
    assert_eq!(attributes["tls.resumed"], false);
    assert_eq!(attributes["tls.client.server_name"], "a.example");
    let cipher = attributes["tls.cipher"].as_str().expect("a cipher");
    assert!(cipher.starts_with("TLS_AES_"), "{cipher}");
    assert!(attributes.get("tls.client.subject").is_none());

    let alice = clients.issue_client("alice", "spiffe://x/alice");
    let dial = Dial {
        identity: Some(&alice),
        ..dial(&authority)
    };
    let mut session = dial.connect(weir.proxy()).expect("a session");
    session.get("/").expect("a response");
    let attributes = trace();
    assert_eq!(attributes["tls.client.subject"], "CN=alice");
    assert_eq!(attributes["tls.client.issuer"], "CN=Clients");
    assert_eq!(
        attributes["tls.client.x509.alternative_names"],
        json!(["alice.example", "spiffe://x/alice"])
    );
    let digest = attributes["tls.client.hash.sha256"].as_str();
    assert_eq!(digest.map(str::len), Some(64));
}

#[test]
fn certificates_are_read_anew_by_a_reload_and_connections_stay() {
    let upstream = Upstream::hello();
    let authority = Authority::default();
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (
        authority.issue(&["a.example"]),
        authority.issue(&["a.example"]),
    );
    let (cert, key) = old.write(folder.path(), "a");
    let certificates = json!([{ "cert": cert, "key": key }]);
    let text = config(
        &upstream,
        json!({ "tls": { "certificates": certificates } }),
    )
    .to_string();
    let weir = Weir::start(&text);
    let mut kept = dial(&authority).connect(weir.proxy()).expect("a session");
    assert!(is(&kept.certificate(), &old));
    kept.get("/").expect("a response");

    // Half of a change is refused, and the old pair stays.
    std::fs::write(&cert, &new.cert).expect("write");
    let refused = weir.reload(&text);
    assert_eq!(refused.status, 422);
    assert!(
        refused.text().contains("is not the key of the certificate"),
        "{}",
        refused.text()
    );
    assert_shown(&weir, &authority, "a.example", &old);

    new.write(folder.path(), "a");
    weir.signal("HUP");
    eventually("the new certificate is shown", || {
        let session = dial(&authority).connect(weir.proxy()).expect("a session");
        is(&session.certificate(), &new).then_some(())
    });
    assert!(
        kept.get("/")
            .expect("the same connection")
            .ends_with("hello")
    );
}

#[test]
fn what_is_wrong_with_pem_files_is_told_with_the_keys_that_name_them() {
    let authority = Authority::default();
    let upstream = Upstream::hello();
    let right = authority.issue(&["a.example"]);
    let other = authority.issue(&["b.example"]);
    let pem = |cert: &str, key: &str| json!({ "cert": cert, "key": key });
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let listener = json!({ "tls": {
        "certificates": [
            pem(&right.cert, &right.key),
            pem("/nowhere/cert.pem", &right.key),
            pem(&right.cert, &other.key),
            pem(&right.key, &right.key),
            pem(&right.cert, encrypted),
            pem(&right.cert, &right.cert),
        ],
        "client_auth": { "ca": right.key },
    }});
    let said = Weir::refusal(&config(&upstream, listener).to_string());
    for line in [
        "listeners[0].tls.certificates[1].cert: is neither PEM text nor a file that can be read",
        "listeners[0].tls.certificates[2].key: is not the key of the certificate",
        "listeners[0].tls.certificates[3].cert: holds no certificate",
        "listeners[0].tls.certificates[4].key: the private key is encrypted",
        "listeners[0].tls.certificates[5].key: holds no private key",
        "listeners[0].tls.client_auth.ca: holds no certificate",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(!said.contains("certificates[0]"), "{said}");
    let secret = right.key.lines().nth(1).expect("a line of the key");
    assert!(!said.contains(secret));
}

#[test]
fn certificates_that_clients_will_not_accept_are_warned_of() {
    let authority = Authority::default();
    let upstream = Upstream::hello();
    let expired = authority.issue_valid(&["a.example"], Valid::Expired);
    let early = authority.issue_valid(&["b.example"], Valid::NotYet);
    let nameless = authority.issue(&[]);
    let weir = start(
        &upstream,
        json!({ "tls": tls(&[&expired, &early, &nameless]) }),
    );
    for line in [
        "the certificate has expired",
        "the certificate is not valid yet",
        "no client can ask for it",
        "WEIR-C105",
    ] {
        weir.says(line);
    }
}

#[test]
fn when_certificates_expire_is_on_metrics_and_readyz() {
    let authority = Authority::default();
    let late = authority.issue_valid(&["a.example", "b.example"], Valid::Days(90));
    let soon = authority.issue_valid(&["a.example"], Valid::Days(5));
    let expired = authority.issue_valid(&["c.example"], Valid::Expired);
    let mut config = config(
        &Upstream::hello(),
        json!({ "tls": tls(&[&late, &soon, &expired]) }),
    );
    let admin = authority.issue_valid(&["127.0.0.1"], Valid::Days(30));
    config["receivers"]["otlp"] = json!({
        "grpc": { "enabled": false },
        "http": { "address": "127.0.0.1:0", "tls": tls(&[&admin]) },
        "exporter": { "kafka": { "brokers": ["127.0.0.1:1"] } },
    });
    let weir = Weir::start(&config.to_string());
    let days = |name: &str| {
        let labels = format!("address=\"127.0.0.1:0\",name=\"{name}\"");
        let at = weir.metric(&format!(
            "weir_certificate_expiry_timestamp_seconds{{{labels}}}"
        ));
        let now = UNIX_EPOCH
            .elapsed()
            .expect("a clock after 1970")
            .as_secs_f64();
        (at - now) / 86_400.0
    };
    // Of two for a name, the one that expires first.
    for (name, wanted) in [("a.example", 5.0), ("", 30.0)] {
        let days = days(name);
        assert!(days > wanted - 1.0 && days <= wanted, "{name}: {days}");
    }
    assert!(days("c.example") < -365.0);

    let ready = weir.ready();
    let shown = ready["certificates"].as_array().expect("a list").iter();
    let shown: Vec<(&str, &str)> = shown
        .map(|one| {
            (
                one["name"].as_str().expect("a name"),
                one["state"].as_str().expect("a state"),
            )
        })
        .collect();
    let names = [
        ("a.example", "ok"),
        ("a.example", "ok"),
        ("c.example", "degraded"),
        ("127.0.0.1:0", "ok"),
    ];
    assert_eq!(shown, names);
    assert_eq!(
        ready["certificates"][2]["message"],
        "the certificate has expired"
    );
    assert_eq!(ready["certificates"][2]["expires"], "2001-01-01T00:00:00Z");
}
