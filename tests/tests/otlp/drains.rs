//! What SIGTERM leaves of connections that senders keep.

use std::io::{Read as _, Write as _};

use prost::Message as _;
use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::grpc;
use weir_tests::http2::{ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, Raw, frame};
use weir_tests::wait::eventually;

use crate::{Otlp, PROTOBUF, request};

/// The header block of an export over gRPC: fields of HPACK's static table, and literals.
fn export_block() -> Vec<u8> {
    let text = |text: &str| {
        let len = u8::try_from(text.len()).expect("a short one");
        [&[len], text.as_bytes()].concat()
    };
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let mut block = vec![0x83, 0x86, 0x04];
    block.extend(text(path));
    block.push(0x01);
    block.extend(text("test"));
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        block.push(0);
        block.extend([text(name), text(value)].concat());
    }
    block
}

/// Sends what there is of an export on a stream.
fn send(raw: &mut Raw, stream: u32, is_first: bool, flags: u8, bytes: &[u8]) {
    let mut frames = Vec::new();
    if is_first {
        frames.extend(frame(HEADERS, END_HEADERS, stream, &export_block()));
    }
    frames.extend(frame(DATA, flags, stream, bytes));
    raw.0.write_all(&frames).expect("send");
}

/// The next frame of a kind, of a stream; what asks whether somebody is there is answered meanwhile.
fn next(raw: &mut Raw, wanted: u8, of: u32) -> Vec<u8> {
    loop {
        let (kind, flags, stream, payload) = raw.read().expect("a frame");
        if kind == PING && flags & ACK == 0 {
            raw.0
                .write_all(&frame(PING, ACK, 0, &payload))
                .expect("send");
        }
        if (kind, stream) == (wanted, of) {
            return payload;
        }
    }
}

/// Nothing more comes, and that in time.
fn assert_closed(connection: &mut Connection) {
    let read = connection.stream().read(&mut [0]);
    assert_eq!(read.expect("it is closed"), 0);
}

#[test]
fn at_a_stop_uploads_end_and_connections_that_are_kept_are_told_to_go() {
    let mut otlp = Otlp::new("otlp_protobuf");
    // Longer than anybody waits here.
    otlp.config["shutdown_grace"] = json!("10m");
    let mut weir = otlp.start();
    let body = request(5, 1, 100).encode_to_vec();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: test\r\ncontent-type: {PROTOBUF}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let message = grpc::frame(false, &body);
    // What gRPC answers to what is acknowledged, and only to that.
    let acknowledged = grpc::frame(false, b"");

    // All of them have asked before.
    let [mut idle, mut upload] = [(); 2].map(|()| {
        let mut connection = Connection::open(weir.otlp("http"));
        connection.send(&head).send(&body);
        assert_eq!(connection.receive().expect("an answer").status, 200);
        connection
    });
    let mut raw = Raw::open(weir.otlp("grpc"));
    send(&mut raw, 1, true, END_STREAM, &message);
    assert_eq!(next(&mut raw, DATA, 1), acknowledged);

    let (half, rest) = body.split_at(body.len() / 2);
    upload.send(&head).send(half);
    let (half_message, rest_message) = message.split_at(message.len() / 2);
    send(&mut raw, 3, true, 0, half_message);
    for (protocol, count) in [("http/protobuf", 3), ("grpc", 2)] {
        let key = format!(r#"weir_otlp_received_total{{signal="traces",protocol="{protocol}"}}"#);
        eventually("the uploads are under way", || {
            (weir.count(&key) == count).then_some(())
        });
    }
    weir.signal("TERM");
    assert_closed(&mut idle);
    // First that there will be an end, then which stream is the last; without an error.
    let going = [i32::MAX.to_be_bytes(), [0; 4]].concat();
    assert_eq!(next(&mut raw, GOAWAY, 0), going);
    let last = [3_u32.to_be_bytes(), [0; 4]].concat();
    assert_eq!(next(&mut raw, GOAWAY, 0), last);

    upload.send(rest);
    assert_eq!(upload.receive().expect("an answer").status, 200);
    assert_closed(&mut upload);
    send(&mut raw, 3, false, END_STREAM, rest_message);
    assert_eq!(next(&mut raw, DATA, 3), acknowledged);
    while raw.read().is_some() {}
    assert!(weir.wait().success());
    assert!(!weir.logged("cutting what is still open"));
    for message in otlp.traces(5) {
        assert_eq!(message.payload, body);
    }
}
