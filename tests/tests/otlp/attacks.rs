//! What hostile or broken clients send: it is refused, takes bounded memory, and holds up nobody.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::Request;
use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::grpc::{call, frame};
use weir_tests::http2::{PREFACE, run};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{EXAMPLE, JSON, Otlp, PROTOBUF, post};

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const MIB: usize = 1 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// What stands between these, so often.
fn nested(open: &str, times: usize, close: &str) -> String {
    open.repeat(times) + &close.repeat(times)
}

/// A traces request with this as its one span.
fn span(of: &str) -> Vec<u8> {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{of}]}}]}}]}}"#).into_bytes()
}

/// A message of protobuf, as this field of the one around it.
fn within(numbers: &[u8], mut message: Vec<u8>) -> Vec<u8> {
    for number in numbers {
        let mut around = vec![number << 3 | 2];
        let mut len = message.len();
        while len > 0x7f {
            around.push(u8::try_from(len & 0x7f).expect("seven bits") | 0x80);
            len >>= 7;
        }
        around.push(u8::try_from(len).expect("seven bits"));
        around.append(&mut message);
        message = around;
    }
    message
}

/// It still takes what is good, by both protocols.
#[track_caller]
fn is_well(weir: &Weir) {
    let response = post(
        weir.otlp("http"),
        "/v1/traces",
        JSON,
        &[],
        EXAMPLE.as_bytes(),
    );
    assert_eq!(response.status, 200, "{}", response.text());
    let headers = [("content-type", "application/grpc")];
    let answer = call(weir.otlp("grpc"), TRACES, &headers, frame(false, b""));
    assert_eq!(answer.status(), 0);
}

#[test]
fn a_small_body_that_becomes_large_takes_little_memory() {
    let otlp = Otlp::new("otlp_json_snake_case");
    let weir = otlp.start();
    is_well(&weir);
    let before = weir.peak_bytes();
    let zeros = vec![0; 300 * MIB];
    // Each of two bytes, and a request of nothing else.
    let empty = within(&[2, 1], [0x12, 0].repeat(8 * MIB));
    let post = |encoding: &str, body: &[u8]| {
        let header = format!("content-encoding: {encoding}");
        post(weir.otlp("http"), "/v1/traces", PROTOBUF, &[&header], body).status
    };
    let bomb = gzip(&zeros);
    assert!(bomb.len() < 2 * MIB);
    assert_eq!(post("gzip", &bomb), 413);
    assert_eq!(post("deflate", &zlib(&zeros)), 413);
    drop(zeros);
    let many = gzip(&empty);
    assert!(many.len() < MIB);
    assert_eq!(post("gzip", &many), 400);

    let grpc = |encoding: &str, message: &[u8]| {
        let headers = [
            ("content-type", "application/grpc"),
            ("grpc-encoding", encoding),
        ];
        call(weir.otlp("grpc"), TRACES, &headers, frame(true, message)).status()
    };
    assert_eq!(grpc("gzip", &bomb), 8);
    let many = gzip(&within(&[2, 1], [0x12, 0].repeat(MIB)));
    assert_eq!(grpc("gzip", &many), 3);
    let grown = weir.peak_bytes() - before;
    assert!(grown < 200 << 20, "{grown} bytes more");
    is_well(&weir);
}

#[test]
fn what_is_broken_is_refused_as_malformed() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let garbage = b"\x1f\x8b\x08\x00garbage that is no deflate".to_vec();
    let mut cut = gzip(EXAMPLE.as_bytes());
    cut.truncate(cut.len() / 2);
    let trailing = [gzip(EXAMPLE.as_bytes()), b"trailing".to_vec()].concat();
    for (encoding, body) in [
        ("gzip", garbage.clone()),
        ("gzip", cut),
        ("gzip", trailing),
        ("gzip", EXAMPLE.into()),
        ("deflate", garbage.clone()),
        ("zstd", garbage),
    ] {
        let header = format!("content-encoding: {encoding}");
        let response = post(weir.otlp("http"), "/v1/traces", JSON, &[&header], &body);
        assert_eq!(response.status, 400, "{encoding}");
    }

    let digits = "9".repeat(MIB);
    let values = nested(r#"{"arrayValue":{"values":["#, 200, "]}}");
    for json in [
        nested("[", 100_000, "]").into_bytes(),
        span(&format!(r#"{{"new":{}}}"#, nested("[", 100_000, "]"))),
        span(&format!(
            r#"{{"new":{}1{}}}"#,
            "{\"a\":".repeat(10_000),
            "}".repeat(10_000)
        )),
        span(&format!(
            r#"{{"attributes":[{{"key":"k","value":{values}}}]}}"#
        )),
        span(&format!(r#"{{"startTimeUnixNano":{digits}}}"#)),
        span(&format!(r#"{{"startTimeUnixNano":"{digits}"}}"#)),
        span(r#"{"startTimeUnixNano":1e999999999}"#),
        span(r#"{"startTimeUnixNano":-1}"#),
        span(r#"{"droppedLinksCount":4294967296}"#),
        span(r#"{"kind":99999999999}"#),
        span(r#"{"name":"\ud800"}"#),
        span("{\"name\":\"\u{1}\"}"),
        [&b"{\"resourceSpans\":\""[..], b"\xff\xfe", b"\"}"].concat(),
        b"".to_vec(),
        b"null".to_vec(),
        b"\0".to_vec(),
        b"{} {}".to_vec(),
    ] {
        let response = post(weir.otlp("http"), "/v1/traces", JSON, &[], &json);
        let start = String::from_utf8_lossy(&json[..json.len().min(60)]).into_owned();
        assert_eq!(response.status, 400, "{start}");
        // What is said of it does not grow with it.
        assert!(response.body.len() < 500, "{}", response.text());
    }

    let deep = within(&[5, 1].repeat(60), vec![]);
    let deep = within(&[2, 9, 2, 2, 1], deep);
    let endless = within(
        &[2, 1],
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
    );
    let no_text = within(&[5, 2, 2, 1], b"\xff\xfe".to_vec());
    for protobuf in [deep, endless, no_text, b"\x0a".to_vec(), b"{}".to_vec()] {
        let response = post(weir.otlp("http"), "/v1/traces", PROTOBUF, &[], &protobuf);
        assert_eq!(response.status, 400, "{protobuf:?}");
        let headers = [("content-type", "application/grpc")];
        let answer = call(weir.otlp("grpc"), TRACES, &headers, frame(false, &protobuf));
        assert_eq!(answer.status(), 3, "{protobuf:?}");
    }
    is_well(&weir);
    assert_eq!(otlp.traces(1).len(), 1);
}

#[test]
fn a_client_that_sends_too_much_hears_so() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let large = vec![b' '; 25 * MIB];
    let response = post(weir.otlp("http"), "/v1/traces", JSON, &[], &large);
    assert_eq!(response.status, 413);
    let mut asking = Connection::open(weir.otlp("http"));
    asking.send(format!(
        "POST /v1/traces HTTP/1.1\r\nhost: test\r\ncontent-type: {JSON}\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        EXAMPLE.len()
    ));
    assert_eq!(asking.receive().expect("an interim response").status, 100);
    let response = asking.send(EXAMPLE).receive().expect("a response");
    assert_eq!(response.status, 200);
    is_well(&weir);
}

#[test]
fn clients_that_send_slowly_hold_up_nobody() {
    let mut otlp = Otlp::new("otlp_json");
    otlp.otlp()["queue_size"] = json!(3);
    let weir = otlp.start();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        EXAMPLE.len()
    );
    let (half, rest) = EXAMPLE.split_at(EXAMPLE.len() / 2);
    let mut slow: Vec<Connection> = (0..50)
        .map(|_| {
            let mut connection = Connection::open(weir.otlp("http"));
            connection.send(&head).send(half);
            connection
        })
        .collect();
    let bytes = r#"weir_otlp_queue_bytes{signal="traces"}"#;
    let halves = 50 * half.len() as u64;
    eventually("the halves are there", || {
        (weir.count(bytes) >= halves).then_some(())
    });
    is_well(&weir);
    let first = &mut slow[0];
    let response = first.send(rest).receive().expect("an answer");
    assert_eq!(response.status, 200);
    drop(slow);
    eventually("those that left take no room", || {
        (weir.count(bytes) == 0).then_some(())
    });
    is_well(&weir);
}

#[test]
fn a_beginning_that_stays_half_holds_up_nobody_and_may_still_be_ended() {
    let weir = Otlp::new("otlp_json").start();
    let (half, rest) = PREFACE.split_at(10);
    let mut halves: Vec<Connection> = (0..100)
        .map(|_| {
            let mut connection = Connection::open(weir.otlp("http"));
            connection.send(half);
            connection
        })
        .collect();
    is_well(&weir);
    for connection in &mut halves {
        // With settings that are empty; the server answers with its own.
        connection.send(rest).send([0_u8, 0, 0, 4, 0, 0, 0, 0, 0]);
        assert_eq!(connection.read_exactly(9)[3], 4);
    }
    is_well(&weir);
}

/// Begins calls and never ends them; half of them are taken back.
async fn half_calls(address: std::net::SocketAddr, count: usize) {
    let socket = tokio::net::TcpStream::connect(address)
        .await
        .expect("connect");
    let (mut send, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let driver = tokio::spawn(connection);
    let mut open = Vec::new();
    for number in 0..count {
        let request = Request::post(format!("http://{address}{TRACES}"))
            .header("content-type", "application/grpc")
            .body(())
            .expect("a request");
        send = send.ready().await.expect("ready");
        let (response, mut body) = send.send_request(request, false).expect("sent");
        let _ = body.send_data(Bytes::from_static(&[0, 0, 0, 1, 0, b'x']), false);
        if number % 2 == 0 {
            body.send_reset(h2::Reason::CANCEL);
        } else {
            open.push((response, body));
        }
    }
    drop(open);
    driver.abort();
}

#[test]
fn calls_that_are_broken_off_leave_nothing_behind() {
    let mut otlp = Otlp::new("otlp_json");
    otlp.otlp()["queue_size"] = json!(3);
    let weir = otlp.start();
    for _ in 0..10 {
        run(half_calls(weir.otlp("grpc"), 90));
    }
    // A stream that ends in the middle of its message.
    let headers = [("content-type", "application/grpc")];
    let half = frame(false, EXAMPLE.as_bytes())[..50].to_vec();
    let answer = call(weir.otlp("grpc"), TRACES, &headers, half);
    assert_eq!(answer.status(), 13);
    let held = [
        r#"weir_otlp_queue_requests{signal="traces"}"#,
        r#"weir_otlp_queue_bytes{signal="traces"}"#,
    ];
    eventually("nothing is held", || {
        held.iter().all(|name| weir.count(name) == 0).then_some(())
    });
    is_well(&weir);
}

#[test]
fn connections_beyond_what_the_process_may_open_are_served_later() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    is_well(&weir);
    let id = weir.id();
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).expect("its files");
    let most = open.count() + 20;
    let limited = Command::new("prlimit")
        .arg(format!("--pid={id}"))
        .arg(format!("--nofile={most}:"))
        .status()
        .expect("prlimit runs");
    assert!(limited.success());
    let many: Vec<TcpStream> = (0..200)
        .map(|number| {
            let door = if number % 2 == 0 { "http" } else { "grpc" };
            TcpStream::connect(weir.otlp(door)).expect("the kernel takes it")
        })
        .collect();
    eventually("connections wait", || {
        (weir.count("weir_accept_paused") == 1).then_some(())
    });
    drop(many);
    is_well(&weir);
}
