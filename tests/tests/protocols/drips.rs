//! Bodies that drip over HTTP/2: each byte is sent when the upstream has the last, so that the least rate
//! alone ends them.

use std::io::Write as _;
use std::net::TcpListener;
use std::thread;

use bytes::Bytes;
use http::Request;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use weir_tests::client::Connection;
use weir_tests::http2::{Client, run};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

/// An upstream that tells of each piece of a body, and answers at its end.
fn telling() -> (String, UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = unbounded_channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut connection = Connection::over(stream);
            while connection.read_head().is_some() {
                let mut piece = || connection.read_chunk().filter(|piece| !piece.is_empty());
                while piece().is_some() {
                    let _ = tell.send(());
                }
                // Nobody reads it where the body has broken off.
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                let _ = connection.stream().write_all(answer);
            }
        }
    });
    (format!("http://{address}"), told)
}

/// A request with this type of content, whose body drips: how many bytes came through before the answer, up
/// to `most`, and its status.
async fn drip(
    weir: &Weir,
    kind: &str,
    told: &mut UnboundedReceiver<()>,
    most: usize,
) -> (usize, u16) {
    let client = Client::open(weir.proxy()).await;
    let request = Request::post("http://test/").header("content-type", kind);
    let mut sender = client.sender.clone().ready().await.expect("ready");
    let (mut response, mut body) = sender
        .send_request(request.body(()).expect("a request"), false)
        .expect("sent");
    for count in 0..most {
        // It may be reset already.
        let _ = body.send_data(Bytes::from_static(b"x"), false);
        tokio::select! {
            biased;
            answer = &mut response => {
                return (count, answer.expect("a response").status().as_u16());
            }
            _ = told.recv() => {}
        }
    }
    body.send_data(Bytes::new(), true).expect("sent");
    let answer = response.await.expect("a response");
    (most, answer.status().as_u16())
}

#[test]
fn a_body_that_drips_is_answered_with_408_and_a_call_of_grpc_may_drip() {
    let (url, mut told) = telling();
    let listener = json!({ "timeouts": { "body": "500ms" }, "min_body_rate": "1GiB" });
    let mut config = crate::config(&Upstream::hello(), listener);
    config["upstreams"]["up"]["endpoints"] = json!([url]);
    let weir = Weir::start(&config.to_string());
    run(async {
        let (count, status) = drip(&weir, "text/plain", &mut told, 1_000_000).await;
        assert_eq!(status, 408);
        assert!(count > 2, "it was silent after {count}");
        let most = 2 * count;
        let call = drip(&weir, "application/grpc", &mut told, most).await;
        assert_eq!(call, (most, 200));
        // Where the route says how fast they are to be, they are to be it.
        config["routes"][0]["min_body_rate"] = json!("1GiB");
        assert_eq!(weir.reload(&config.to_string()).status, 200);
        let (_, status) = drip(&weir, "application/grpc", &mut told, 1_000_000).await;
        assert_eq!(status, 408);
    });
}
