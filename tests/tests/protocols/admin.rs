//! TLS at the admin address, which speaks HTTP/1.1.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::{Value, json};
use weir_tests::client;
use weir_tests::tls::{Authority, Connection, Dial, is};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{dial, tls};

fn config(admin: Value) -> Value {
    let mut config = weir_tests::config::config(&Upstream::hello());
    let keys = admin.as_object().expect("keys").clone();
    config["admin"].as_object_mut().expect("keys").extend(keys);
    config
}

fn start(admin: Value) -> Weir {
    Weir::start(&config(admin).to_string())
}

/// The answer's head and body.
#[track_caller]
fn ask(mut connection: Connection, request: &str) -> String {
    let session = &mut connection.0;
    session.write_all(request.as_bytes()).expect("a request");
    let mut bytes = Vec::new();
    // Some ends come without a word of TLS.
    let _ = session.read_to_end(&mut bytes);
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn it_speaks_tls_and_http_1_alone() {
    let authority = Authority::default();
    let certificate = authority.issue(&["a.example", "127.0.0.1"]);
    let weir = start(json!({ "tls": tls(&[&certificate]) }));
    // Who says nothing keeps nobody out.
    let _silent = TcpStream::connect(weir.admin()).expect("connect");
    let dial = Dial {
        alpn: &["h2", "http/1.1"],
        ..dial(&authority)
    };
    let mut session = dial.connect(weir.admin()).expect("a handshake");
    assert_eq!(session.alpn(), Some("http/1.1"));
    assert!(is(&session.certificate(), &certificate));
    for path in ["/healthz", "/readyz", "/metrics", "/api/overview"] {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        let answer = ask(dial.connect(weir.admin()).expect("a handshake"), &request);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    let answer = session.get("/healthz").expect("an answer");
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    let mut plain = client::Connection::open(weir.admin());
    plain.send("GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n");
    let answer = plain.read_to_end();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[test]
fn curl_and_its_check_of_the_name_come_in() {
    let authority = Authority::default();
    let certificate = authority.issue(&["127.0.0.1"]);
    let weir = start(json!({ "tls": tls(&[&certificate]), "token": "t0k" }));
    let ca = weir.folder().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("write");
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--write-out",
                "%{http_code}",
                "--cacert",
            ])
            .arg(&ca)
            .args(arguments)
            .arg(format!("https://{}/metrics", weir.admin()))
            .output()
            .expect("curl");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let metrics = curl(&["--header", "authorization: Bearer t0k"]);
    assert!(metrics.contains("weir_build_info{version=\""), "{metrics}");
    assert!(metrics.ends_with("200"), "{metrics}");
    assert!(curl(&[]).ends_with("401"));
}

/// The cookie that a browser is given for the token.
fn cookie(answer: &str) -> &str {
    let mut lines = answer.lines();
    let cookie = lines.find_map(|line| line.strip_prefix("set-cookie: "));
    cookie.unwrap_or_else(|| panic!("no cookie in {answer}"))
}

#[test]
fn a_browsers_session_goes_over_tls_alone_where_it_began_so() {
    let authority = Authority::default();
    let request = "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/html\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: 9\r\n\r\ntoken=t0k";
    let secured = start(json!({
        "tls": tls(&[&authority.issue(&["a.example"])]),
        "token": "t0k",
    }));
    let session = dial(&authority).connect(secured.admin());
    let answer = ask(session.expect("a handshake"), request);
    assert!(cookie(&answer).ends_with("; Secure"), "{answer}");
    // Browsers leave out the cookie of an unencrypted answer that says so.
    let plain = start(json!({ "token": "t0k" }));
    let mut connection = client::Connection::open(plain.admin());
    connection.send(request);
    let answer = String::from_utf8(connection.read_to_end()).expect("UTF-8");
    assert!(!cookie(&answer).contains("Secure"), "{answer}");
}

const RELOAD: &str =
    "POST /reload HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[test]
fn a_certificate_that_must_be_shown_does_for_a_token() {
    let (authority, clients) = (Authority::default(), Authority::default());
    let client = clients.issue_client("operator", "spiffe://example/operator");
    let stranger = authority.issue_client("stranger", "spiffe://example/stranger");
    let with = |mode: &str| {
        let mut tls = tls(&[&authority.issue(&["a.example"])]);
        tls["client_auth"] = json!({ "mode": mode, "ca": clients.pem() });
        start(json!({ "address": "0.0.0.0:0", "tls": tls }))
    };
    let known = Dial {
        identity: Some(&client),
        ..dial(&authority)
    };
    let open = "WEIR-C103";

    let weir = with("required");
    let address = SocketAddr::from(([127, 0, 0, 1], weir.admin().port()));
    assert!(!weir.logged(open));
    let reloaded = ask(known.connect(address).expect("a handshake"), RELOAD);
    assert!(reloaded.starts_with("HTTP/1.1 200 "), "{reloaded}");
    for identity in [None, Some(&stranger)] {
        let dial = Dial {
            identity,
            ..dial(&authority)
        };
        // TLS 1.3 tells a client afterwards.
        let answer = dial
            .connect(address)
            .and_then(|mut session| session.get("/healthz"));
        assert!(answer.is_err(), "{answer:?}");
    }

    let weir = with("optional");
    let address = SocketAddr::from(([127, 0, 0, 1], weir.admin().port()));
    assert!(weir.logged(open));
    let refused = ask(known.connect(address).expect("a handshake"), RELOAD);
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
}

#[test]
fn a_reload_changes_the_certificate_and_ends_no_connection() {
    let authority = Authority::default();
    let (old, new) = (
        authority.issue(&["a.example"]),
        authority.issue(&["a.example"]),
    );
    let weir = start(json!({ "tls": tls(&[&old]) }));
    let mut session = dial(&authority).connect(weir.admin()).expect("a handshake");
    let shown = || {
        let session = dial(&authority).connect(weir.admin()).expect("a handshake");
        session.certificate()
    };
    assert!(is(&shown(), &old));

    weir.write(&config(json!({ "tls": { "certificates": [] } })).to_string());
    weir.signal("HUP");
    weir.says("reload changed nothing");
    assert!(is(&shown(), &old));

    weir.write(&config(json!({ "tls": tls(&[&new]) })).to_string());
    weir.signal("HUP");
    eventually("the new certificate is shown", || {
        is(&shown(), &new).then_some(())
    });
    assert!(session.get("/healthz").is_ok());

    weir.write(&config(json!({})).to_string());
    weir.signal("HUP");
    eventually("TLS is off", || {
        let mut plain = client::Connection::open(weir.admin());
        plain.send("GET /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        plain
            .read_to_end()
            .starts_with(b"HTTP/1.1 200 ")
            .then_some(())
    });
    assert!(session.get("/healthz").is_ok());
}
