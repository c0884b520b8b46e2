//! What OTLP/HTTP answers to what.

use std::io::Write as _;
use std::process::{Command, Stdio};

use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir::otlp::Signal;
use weir_tests::client;
use weir_tests::service::nobody;

use crate::ways::{Doors, PROTOCOLS, items};
use crate::{EXAMPLE, JSON, Otlp, PROTOBUF, post, request, shared};

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[test]
fn what_is_malformed_is_told_in_the_requests_own_type() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let http = weir.otlp("http");

    let response = post(http, "/v1/traces", JSON, &[], b"{\"resourceSpans\": 1}");
    assert_eq!(response.status, 400);
    assert_eq!(response.header("content-type"), Some(JSON));
    assert_eq!(response.json()["code"], 3);
    let message = response.json()["message"].to_string();
    assert!(message.contains("resourceSpans: is no list"), "{message}");

    let response = post(http, "/v1/traces", PROTOBUF, &[], b"\x0a\x7fshort");
    assert_eq!(response.status, 400);
    assert_eq!(response.header("content-type"), Some(PROTOBUF));
    let status = Status::decode(&response.body[..]).expect("a status");
    assert_eq!(status.code, 3);
    assert!(status.message.contains("longer than"), "{}", status.message);
    assert_eq!(response.header("retry-after"), None);
}

#[test]
fn an_empty_request_succeeds_and_produces_nothing() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let http = weir.otlp("http");
    let doors = Doors::of(&weir);
    for signal in Signal::ALL {
        let path = format!("/v1/{}", signal.as_str());
        let empty = items(signal, &[]);
        let text = empty.to_string();
        for (kind, body) in [(PROTOBUF, &b""[..]), (JSON, b"{}"), (JSON, text.as_bytes())] {
            let response = post(http, &path, kind, &[], body);
            assert_eq!(response.status, 200);
            let expected: &[u8] = if kind == JSON { b"{}" } else { b"" };
            assert_eq!(response.body, expected);
        }
        for request in [&json!({}), &empty] {
            for protocol in PROTOCOLS {
                assert_eq!(doors.export(signal, protocol, request), Ok(()));
            }
        }
        // The first message is of the first request that has something.
        let one = items(signal, &["something".to_owned()]);
        assert_eq!(doors.export(signal, "grpc", &one), Ok(()));
        let arrived = shared().read(&otlp.topics[signal as usize], 1).remove(0);
        let arrived: Value = serde_json::from_slice(&arrived.payload).expect("JSON");
        assert_eq!(arrived, one);
        for (protocol, count) in PROTOCOLS.into_iter().zip([1, 0, 0]) {
            let signal = signal.as_str();
            let made =
                format!(r#"weir_otlp_messages_total{{signal="{signal}",protocol="{protocol}"}}"#);
            assert_eq!(weir.count(&made), count, "{made}");
        }
    }
}

#[test]
fn media_types_may_have_parameters() {
    let otlp = Otlp::new("otlp_protobuf");
    let weir = otlp.start();
    let body = request(1, 1, 10).encode_to_vec();
    let kinds = [
        "application/x-protobuf; charset=utf-8",
        "Application/X-Protobuf;proto=\"opentelemetry\" ; a=b",
        "application/protobuf",
    ];
    for kind in kinds {
        let response = post(weir.otlp("http"), "/v1/traces", kind, &[], &body);
        assert_eq!(response.status, 200, "{kind}");
        assert_eq!(response.header("content-type"), Some(PROTOBUF));
    }
    let doors = Doors::of(&weir);
    let of_grpc = [
        "application/grpc+proto",
        "application/grpc; charset=utf-8",
        "Application/gRPC+Proto;a=b",
    ];
    for kind in of_grpc {
        assert_eq!(doors.call(Signal::Traces, kind, &body), Ok(()), "{kind}");
    }
    for message in otlp.traces(kinds.len() + of_grpc.len()) {
        assert_eq!(message.payload, body);
    }
    for kind in ["application/grpc+json", "application/grpc-web+proto"] {
        let refused = doors.call(Signal::Traces, kind, &body);
        assert_eq!(
            refused.map_err(|refused| refused.status),
            Err(415),
            "{kind}"
        );
    }
}

#[test]
fn other_paths_methods_and_types_are_refused() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let http = weir.otlp("http");
    assert_eq!(post(http, "/v1/profiles", JSON, &[], b"{}").status, 404);
    let response = client::get(http, "/v1/traces", &[]);
    assert_eq!(response.status, 405);
    assert_eq!(response.header("allow"), Some("POST"));
    assert_eq!(
        post(http, "/v1/traces", "text/plain", &[], b"{}").status,
        415
    );
    let encoding = ["content-encoding: br"];
    let response = post(http, "/v1/traces", JSON, &encoding, b"{}");
    assert_eq!(response.status, 415);
    assert_eq!(
        response.header("accept-encoding"),
        Some("gzip, zstd, deflate")
    );
}

/// What a program writes that is given this on standard input.
fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("written");
    assert!(output.status.success());
    output.stdout
}

#[test]
fn bodies_may_be_compressed_and_are_bounded_when_they_are_not_any_more() {
    let mut otlp = Otlp::new("otlp_protobuf");
    otlp.otlp()["http"]["max_body_bytes"] = json!("64KiB");
    let weir = otlp.start();
    let http = weir.otlp("http");
    let zlib = "import sys, zlib; sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read()))";
    let body = request(10, 1, 100).encode_to_vec();
    let large = request(10, 1, 10_000).encode_to_vec();
    for (name, program, arguments) in [
        ("gzip", "gzip", vec!["-c"]),
        ("deflate", "python3", vec!["-c", zlib]),
    ] {
        let header = format!("content-encoding: {name}");
        let compressed = piped(program, &arguments, &body);
        let response = post(http, "/v1/traces", PROTOBUF, &[&header], &compressed);
        assert_eq!(response.status, 200, "{name}");
        let compressed = piped(program, &arguments, &large);
        assert!(compressed.len() < 64 << 10);
        let response = post(http, "/v1/traces", PROTOBUF, &[&header], &compressed);
        assert_eq!(response.status, 413, "{name}");
        let broken = &compressed[..compressed.len() / 2];
        let response = post(http, "/v1/traces", PROTOBUF, &[&header], broken);
        assert!([400, 413].contains(&response.status), "{name}");
    }
    let refused = post(http, "/v1/traces", PROTOBUF, &[], &large);
    assert_eq!(refused.status, 413);
    assert_eq!(refused.header("retry-after"), None);
    for message in otlp.traces(2) {
        assert_eq!(message.payload, body);
    }
}

#[test]
fn a_bearer_token_is_demanded_where_there_is_one() {
    let mut otlp = Otlp::new("otlp_json");
    otlp.otlp()["token"] = json!("right");
    let weir = otlp.start();
    let http = weir.otlp("http");
    let post = |headers: &[&str]| post(http, "/v1/traces", JSON, headers, EXAMPLE.as_bytes());
    let response = post(&[]);
    assert_eq!(response.status, 401);
    assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    assert_eq!(post(&["authorization: Bearer wrong"]).status, 401);
    assert_eq!(post(&["authorization: Bearer right"]).status, 200);
    assert!(!weir.logged("right"));
}

#[test]
fn pages_of_allowed_origins_may_send() {
    let mut otlp = Otlp::new("otlp_json");
    otlp.otlp()["http"]["cors"] = json!({
        "allowed_origins": ["https://*.example.com"], "allowed_headers": ["x-team"],
    });
    let weir = otlp.start();
    let http = weir.otlp("http");
    let preflight = |origin: &str| {
        client::send(
            http,
            format!(
                "OPTIONS /v1/traces HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
                 origin: {origin}\r\naccess-control-request-method: POST\r\n\
                 access-control-request-headers: content-type,x-team\r\n\r\n"
            ),
        )
    };
    let response = preflight("https://app.example.com");
    assert_eq!(response.status, 204);
    let header = |name| response.header(name).unwrap_or_default();
    assert_eq!(
        header("access-control-allow-origin"),
        "https://app.example.com"
    );
    assert_eq!(header("access-control-allow-methods"), "POST");
    assert!(header("access-control-allow-headers").contains("x-team"));
    let refused = preflight("https://example.org");
    assert_eq!(refused.header("access-control-allow-origin"), None);

    let origin = ["origin: https://app.example.com"];
    let response = post(http, "/v1/traces", JSON, &origin, EXAMPLE.as_bytes());
    assert_eq!(response.status, 200);
    assert_eq!(
        response.header("access-control-allow-origin"),
        Some("https://app.example.com")
    );
}

#[test]
fn pages_of_allowed_origins_can_read_why_they_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let topics = ["traces", "metrics", "logs"].map(str::to_owned);
    let mut otlp = Otlp::to(&nobody().to_string(), topics, "otlp_json");
    otlp.config["data_dir"] = json!(folder.path());
    otlp.otlp()["queue_size"] = json!(1);
    otlp.otlp()["token"] = json!("right");
    otlp.otlp()["http"]["max_body_bytes"] = json!("10KiB");
    otlp.otlp()["http"]["cors"] = json!({ "allowed_origins": ["https://app.example.com"] });
    let weir = otlp.start();
    let (token, brotli) = ("authorization: Bearer right", "content-encoding: br");
    let large = b" ".repeat(20 << 10);
    let example = EXAMPLE.as_bytes();
    for (status, path, kind, headers, body) in [
        (401, "/v1/traces", JSON, &[][..], example),
        (400, "/v1/traces", JSON, &[token][..], &b"{"[..]),
        (413, "/v1/traces", JSON, &[token][..], &large[..]),
        (415, "/v1/traces", "text/plain", &[token][..], example),
        (415, "/v1/traces", JSON, &[token, brotli][..], example),
        (404, "/v1/profiles", JSON, &[token][..], example),
        (200, "/v1/traces", JSON, &[token][..], example),
        (429, "/v1/traces", JSON, &[token][..], example),
    ] {
        for (origin, is_allowed) in [
            ("https://app.example.com", true),
            ("https://example.org", false),
        ] {
            if status == 200 && !is_allowed {
                continue;
            }
            let origin_line = format!("origin: {origin}");
            let headers = [headers, &[&origin_line]].concat();
            let response = post(weir.otlp("http"), path, kind, &headers, body);
            assert_eq!(response.status, status);
            let allowed = response.header("access-control-allow-origin");
            assert_eq!(allowed, is_allowed.then_some(origin), "{status}");
            let exposed = response.header("access-control-expose-headers");
            assert_eq!(exposed, is_allowed.then_some("retry-after"), "{status}");
            assert_eq!(response.header("retry-after").is_some(), status == 429);
            assert!(status == 200 || !response.body.is_empty(), "{status}");
        }
    }
}

#[test]
fn without_cors_a_preflight_is_another_method() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let request = "OPTIONS /v1/traces HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
                   origin: https://a.example\r\naccess-control-request-method: POST\r\n\r\n";
    assert_eq!(client::send(weir.otlp("http"), request).status, 405);
}
