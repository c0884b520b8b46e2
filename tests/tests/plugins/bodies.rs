//! Bodies that hooks hold whole: read before the hook, replaced by it, bounded.

use std::io::Write as _;
use std::net::{Shutdown, TcpListener};

use http::HeaderValue;
use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client::{Connection, Response};
use weir_tests::config::config;
use weir_tests::http2::{Client, run};
use weir_tests::upstream::Upstream;
use weir_tests::weir::guest;

use crate::Stand;

fn wrap(config: Value) -> Value {
    json!({ "module": guest("wrap"), "config": config })
}

fn stand(upstream: Upstream, config: Value) -> Stand {
    Stand::before(upstream, &[("wrap", wrap(config))])
}

/// Both bodies, up to a thousand bytes.
fn both() -> Value {
    json!({ "request": 1000, "response": 1000 })
}

fn post(stand: &Stand, body: &str) -> Response {
    let len = body.len();
    exchange(
        stand,
        &format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {len}\r\n\r\n{body}"),
    )
}

fn exchange(stand: &Stand, request: &str) -> Response {
    let mut connection = Connection::open(stand.weir.proxy());
    connection.send(request).receive().expect("a response")
}

const PREHOOK: &str = "plugin.wrap.prehook";
const POSTHOOK: &str = "plugin.wrap.posthook";

#[test]
fn a_hook_replaces_both_bodies_and_their_lengths_are_put_right() {
    for abi in Abi::BOTH {
        let plugin = json!({ "module": abi.guest("wrap"), "config": both() });
        let stand = Stand::before(Upstream::hello(), &[("wrap", plugin)]);
        let response = post(&stand, "question");
        assert_eq!(response.text(), "<hello>");
        assert_eq!(response.header("content-length"), Some("7"));
        assert_eq!(response.header("x-wrapped"), Some("response"));
        let seen = stand.seen();
        assert_eq!(seen.body, b"<question>");
        assert_eq!(seen.header("content-length"), Some("10"));
        assert_eq!(seen.header("x-wrapped"), Some("request"));
        let trace = stand.trace();
        assert_eq!(trace.attribute(PREHOOK, "wrap.length"), 8);
        assert_eq!(trace.attribute(PREHOOK, "weir.hook.body"), "replaced");
        assert_eq!(trace.attribute(POSTHOOK, "wrap.length"), 5);
        assert_eq!(trace.span("POST")["Status"], "ok");
    }
}

#[test]
fn bodies_in_chunks_go_on_with_a_length() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    );
    let stand = stand(upstream, both());
    let response = exchange(
        &stand,
        "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n\
         4\r\nques\r\n4\r\ntion\r\n0\r\n\r\n",
    );
    assert_eq!(response.text(), "<hello>");
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(stand.seen().body, b"<question>");
    assert_eq!(stand.seen().header("transfer-encoding"), None);
    assert_eq!(stand.seen().header("content-length"), Some("10"));
}

#[test]
fn trailers_pass_behind_what_is_held() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let nobody = Upstream::hello();
    let mut config = config(&nobody);
    config["upstreams"]["up"]["endpoints"] = json!([format!("http://{address}")]);
    config["plugins"]["wrap"] = wrap(both());
    config["routes"][0]["plugins"] = json!(["wrap"]);
    let stand = Stand::with(nobody, config);
    let mut client = Connection::open(stand.weir.proxy());
    client.send(
        "POST / HTTP/1.1\r\nhost: test\r\nte: trailers\r\nconnection: te\r\ntrailer: x-end\r\n\
         transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n",
    );
    let read = |from: &mut Connection| {
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        while let Some(piece) = from.read_chunk_and_trailers(&mut trailers) {
            body.extend(piece);
        }
        [body, trailers].map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    assert_eq!(read(&mut upstream), ["<abc>", "x-end: 1\r\n"]);
    upstream.send(
        "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
         x-sum: 7\r\nset-cookie: a=b\r\n\r\n",
    );
    let head = client.receive_head().expect("a head");
    assert_eq!(head.header("content-length"), None);
    assert_eq!(read(&mut client), ["<ok>", "x-sum: 7\r\n"]);
}

#[test]
fn a_body_decides_where_the_request_goes() {
    let (alpha, beta) = (
        Upstream::hello(),
        Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbeta"),
    );
    let mut config = config(&alpha);
    config["upstreams"]["beta"] = json!({ "endpoints": [beta.url()] });
    config["plugins"]["route"] = wrap(json!({ "request": 100, "route": true }));
    config["listeners"][0]["plugins"] = json!(["route"]);
    config["routes"] = json!([
        { "name": "all", "upstream": "up" },
        { "name": "beta", "upstream": "beta", "match": { "host": "nobody.test" } },
    ]);
    let stand = Stand::with(alpha, config);
    let mut client = Connection::open(stand.weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbe");
    client.send("ta");
    assert_eq!(client.receive().expect("a response").text(), "beta");
    assert_eq!(beta.seen()[0].body, b"beta");
    assert!(stand.upstream.seen().is_empty());
}

#[test]
fn an_upstream_that_no_route_leads_to_is_named_in_the_trace() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"]["route"] = wrap(json!({ "request": 100, "route": true }));
    config["listeners"][0]["plugins"] = json!(["route"]);
    let stand = Stand::with(upstream, config);
    let response = post(&stand, "nowhere");
    assert_eq!(response.status, 500);
    // Who asks need not know what is configured.
    assert!(!response.text().contains("nowhere"), "{}", response.text());
    assert!(stand.upstream.seen().is_empty());
    let trace = stand.trace();
    let root = &trace.root()["Attributes"];
    assert_eq!(root["weir.missing_upstream"], "nowhere");
    assert_eq!(root["http.route"], Value::Null);
}

#[test]
fn a_request_without_a_body_gets_none() {
    // Held, and left as it was.
    let quiet = json!({
        "module": guest("wrap"), "config": { "request": 10, "trap": true }, "on_error": "continue",
    });
    let stand = Stand::before(Upstream::hello(), &[("quiet", quiet)]);
    assert_eq!(stand.get(&[]).text(), "hello");
    assert_eq!(stand.seen().header("content-length"), None);
    assert_eq!(stand.seen().header("transfer-encoding"), None);
}

#[test]
fn what_a_failed_hook_did_to_a_body_is_undone() {
    let plugin = json!({
        "module": guest("wrap"), "on_error": "continue",
        "config": { "request": 1000, "response": 1000, "trap": true },
    });
    let stand = Stand::before(Upstream::hello(), &[("wrap", plugin)]);
    let response = post(&stand, "question");
    assert_eq!(response.text(), "hello");
    assert_eq!(response.header("content-length"), Some("5"));
    assert_eq!(response.header("x-wrapped"), None);
    assert_eq!(stand.seen().body, b"question");
    let trace = stand.trace();
    assert_eq!(trace.attribute(PREHOOK, "wrap.set"), "Ok(())");
    assert_eq!(trace.attribute(PREHOOK, "weir.hook.body"), "held");
}

fn assert_too_large(stand: &Stand, request: &str) {
    let response = exchange(stand, request);
    assert_eq!(response.status, 413);
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
    assert!(stand.upstream.seen().is_empty());
    let trace = stand.trace();
    let span = trace.span(PREHOOK);
    assert_eq!(span["Status"], "error");
    assert_eq!(
        span["StatusMsg"],
        "the request's body has more than 10 bytes"
    );
    assert_eq!(span["Attributes"]["error.type"], "body_too_large");
    assert_eq!(span["Attributes"]["weir.hook.decision"], "refuse");
    // It was reached: its response hook sees the answer.
    assert_eq!(trace.span(POSTHOOK)["Status"], "ok");
}

#[test]
fn a_request_that_says_it_is_too_large_is_refused_before_it_is_read() {
    let stand = stand(Upstream::hello(), json!({ "request": 10 }));
    assert_too_large(
        &stand,
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 11\r\n\r\n",
    );
}

#[test]
fn a_request_that_turns_out_too_large_is_refused() {
    let stand = stand(Upstream::hello(), json!({ "request": 10 }));
    assert_too_large(
        &stand,
        "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n\
         a\r\n0123456789\r\n1\r\n0\r\n",
    );
}

#[test]
fn a_body_of_just_the_bound_is_held() {
    let stand = stand(Upstream::hello(), json!({ "request": 10 }));
    post(&stand, "0123456789");
    assert_eq!(stand.seen().body, b"<0123456789>");
}

#[test]
fn the_operators_bound_holds_where_it_is_less() {
    let plugin = json!({
        "module": guest("wrap"), "config": { "request": 10_000, "response": 10_000, "grow": 100 },
        "limits": { "body": "1KiB" },
    });
    let stand = Stand::before(Upstream::hello(), &[("wrap", plugin)]);
    assert_eq!(post(&stand, &"x".repeat(1025)).status, 413);
    // What it sets is bounded too.
    assert_eq!(post(&stand, &"x".repeat(1000)).status, 200);
    assert_eq!(stand.seen().body.len(), 1000);
    let traces = weir_tests::kafka::shared().traces(&stand.topic, 2);
    assert_eq!(traces[1].attribute(PREHOOK, "wrap.set"), "Err(TooLarge)");
}

fn bypassing(config: Value) -> Value {
    let mut plugin = wrap(config);
    plugin["on_large_body"] = "bypass".into();
    plugin
}

#[test]
fn a_large_request_passes_by_where_it_may() {
    let plugin = bypassing(json!({ "request": 10 }));
    let stand = Stand::before(Upstream::hello(), &[("wrap", plugin)]);
    let body = "0123456789".repeat(10_000);
    assert_eq!(post(&stand, &body).text(), "hello");
    assert_eq!(stand.seen().body, body.as_bytes());
    assert_eq!(stand.seen().header("content-length"), Some("100000"));
    let chunks = "5\r\n01234\r\n".repeat(1000);
    exchange(
        &stand,
        &format!(
            "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        ),
    );
    assert_eq!(stand.seen().body, "01234".repeat(1000).as_bytes());
    assert_eq!(stand.seen().header("content-length"), None);
    for trace in weir_tests::kafka::shared().traces(&stand.topic, 2) {
        assert_eq!(trace.attribute(PREHOOK, "wrap.error"), "TooLarge");
        assert_eq!(trace.attribute(PREHOOK, "weir.hook.body"), "bypassed");
    }
}

#[test]
fn a_large_response_passes_by_where_it_may() {
    let plugin = bypassing(json!({ "response": 10 }));
    let upstream = Upstream::new(|seen, stream| {
        let body = "0123456789".repeat(10_000);
        let response = if seen.target == "/chunked" {
            let chunks = "5\r\n01234\r\n".repeat(1000);
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
        } else {
            format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{body}")
        };
        let _ = stream.write_all(response.as_bytes());
    });
    let stand = Stand::before(upstream, &[("wrap", plugin)]);
    let response = stand.get(&[]);
    assert_eq!(response.body, "0123456789".repeat(10_000).as_bytes());
    let response = stand.weir.get("/chunked", &[]);
    assert_eq!(response.body, "01234".repeat(1000).as_bytes());
    assert!(response.complete);
}

#[test]
fn a_response_that_is_too_large_becomes_a_502() {
    let upstream = Upstream::new(|seen, stream| {
        let framing = if seen.target == "/chunked" {
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        } else {
            "content-length: 11\r\n\r\nhello world"
        };
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes());
    });
    let stand = stand(upstream, json!({ "response": 10 }));
    for target in ["/", "/chunked"] {
        let response = stand.weir.get(target, &[]);
        assert_eq!(response.status, 502, "{target}");
        let kind = response.header("content-type");
        assert_eq!(kind, Some("application/problem+json"));
        // As any answer of Weir's own, it meets the response hooks: which it is too large for.
        assert!(!response.text().contains("hello"));
    }
}

#[test]
fn one_plugin_may_hold_what_passes_another_by() {
    let stand = Stand::before(
        Upstream::hello(),
        &[
            ("small", bypassing(json!({ "request": 10 }))),
            ("wrap", wrap(json!({ "request": 100 }))),
            ("again", bypassing(json!({ "request": 10 }))),
        ],
    );
    post(&stand, &"x".repeat(50));
    assert_eq!(stand.seen().body.len(), 52);
    let trace = stand.trace();
    for name in ["plugin.small.prehook", "plugin.again.prehook"] {
        assert_eq!(trace.attribute(name, "wrap.error"), "TooLarge");
    }
}

#[test]
fn bodies_that_are_none_stay_none() {
    let upstream = Upstream::new(|seen, stream| {
        let response = match seen.target.as_str() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        };
        let _ = stream.write_all(response.as_bytes());
    });
    let stand = stand(upstream, both());
    let mut client = Connection::open(stand.weir.proxy());
    for (method, target) in [("GET", "/204"), ("GET", "/304"), ("HEAD", "/")] {
        client.send(format!("{method} {target} HTTP/1.1\r\nhost: test\r\n\r\n"));
        let response = client.receive_to(method).expect("a response");
        assert!(response.body.is_empty(), "{target}");
        // It was that of what the hook has put another in the place of.
        assert_eq!(response.header("content-length"), None, "{target}");
    }
    assert_eq!(length_of_304(&stand), None);
}

/// As HTTP/2 has it; in HTTP/1.1 it is never sent.
fn length_of_304(stand: &Stand) -> Option<HeaderValue> {
    run(async {
        let client = Client::open(stand.weir.proxy()).await;
        let answer = client.get("/304").await.expect("a response");
        assert_eq!(answer.status(), 304);
        answer.head.headers().get("content-length").cloned()
    })
}

#[test]
fn a_length_without_a_body_stays_where_nothing_is_replaced() {
    let upstream = Upstream::new(|seen, stream| {
        let status = match seen.target.as_str() {
            "/304" => "304 Not Modified",
            _ => "200 OK",
        };
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\n");
    });
    let remove = json!({ "remove": ["/a"] });
    let transform = json!({ "module": "builtin:response-transform", "config": remove });
    let stand = Stand::before(upstream, &[("it", transform)]);
    let mut client = Connection::open(stand.weir.proxy());
    client.send("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n");
    let response = client.receive_to("HEAD").expect("a response");
    assert_eq!(response.header("content-length"), Some("5"));
    assert_eq!(length_of_304(&stand), Some(HeaderValue::from(5)));
}

#[test]
fn an_answer_to_head_has_the_length_that_get_would_have() {
    let respond = json!({ "status": 200, "body": "hello" });
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"]["wrap"] = wrap(json!({ "response": 1000 }));
    config["routes"] = json!([{ "name": "all", "respond": respond, "plugins": ["wrap"] }]);
    let stand = Stand::with(upstream, config);
    let mut client = Connection::open(stand.weir.proxy());
    for (method, body) in [("GET", "<hello>"), ("HEAD", "")] {
        client.send(format!("{method} / HTTP/1.1\r\nhost: test\r\n\r\n"));
        let response = client.receive_to(method).expect("a response");
        assert_eq!(response.text(), body);
        assert_eq!(response.header("content-length"), Some("7"), "{method}");
    }
}

#[test]
fn a_hook_that_did_not_ask_is_told_so() {
    let stand = stand(Upstream::hello(), json!({}));
    assert_eq!(post(&stand, "question").text(), "hello");
    let trace = stand.trace();
    for hook in [PREHOOK, POSTHOOK] {
        assert_eq!(trace.attribute(hook, "wrap.error"), "NotBuffered");
        assert!(trace.attribute(hook, "weir.hook.body").is_null());
    }
}

#[test]
fn a_held_response_that_breaks_off_becomes_a_502() {
    let upstream = Upstream::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello");
        let _ = stream.shutdown(Shutdown::Both);
    });
    let stand = stand(upstream, both());
    let response = stand.get(&[]);
    assert_eq!(response.status, 502);
    assert!(!response.text().contains("hello"));
    let trace = stand.trace();
    let call = trace.span("GET");
    assert_eq!(call["Status"], "error");
    assert_eq!(call["Attributes"]["error.type"], "upstream_body");
}

#[test]
fn a_held_response_that_stalls_becomes_a_504() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello");
    let mut config = config(&upstream);
    config["upstreams"]["up"]["timeouts"] = json!({ "body": "50ms" });
    config["plugins"]["wrap"] = wrap(both());
    config["routes"][0]["plugins"] = json!(["wrap"]);
    let stand = Stand::with(upstream, config);
    assert_eq!(stand.get(&[]).status, 504);
    let trace = stand.trace();
    let reason = trace.attribute("GET", "error.type");
    assert_eq!(reason, "upstream_body_timeout");
}

#[test]
fn a_held_request_that_stalls_is_given_up() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["listeners"][0]["timeouts"] = json!({ "body": "50ms" });
    config["plugins"]["wrap"] = wrap(both());
    config["routes"][0]["plugins"] = json!(["wrap"]);
    let stand = Stand::with(upstream, config);
    let response = exchange(
        &stand,
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 11\r\n\r\nhello",
    );
    assert_eq!(response.status, 408);
    assert!(stand.upstream.seen().is_empty());
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let stand = stand(Upstream::hello(), both());
    let mut client = Connection::open(stand.weir.proxy());
    client
        .send("POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 8\r\n\r\n");
    let head = client.read_head().expect("an interim response");
    assert!(head[0].starts_with("HTTP/1.1 100"), "{head:?}");
    client.send("question");
    assert_eq!(client.receive().expect("a response").text(), "<hello>");
    assert_eq!(stand.seen().body, b"<question>");
}
