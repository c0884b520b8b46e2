//! What the API tells and does beside traces: a request sent from it, what plugins wrote, generations, and
//! a tail with a token.

use serde_json::{Value, json};
use socket2::SockRef;
use weir_tests::client::Connection;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::api::{LOCAL, get, send, traces, with_store};

#[test]
fn a_request_from_the_console_goes_through_the_proxy_and_has_its_trace() {
    let upstream = Upstream::hello();
    let mut config = weir_tests::config::config(&upstream);
    config["store"] = json!({});
    let weir = Weir::start(&config.to_string());
    let post = |body: Value| {
        let json = "content-type: application/json";
        send(
            &weir,
            "POST",
            "/api/requests",
            &[LOCAL, json],
            &body.to_string(),
        )
    };
    let sent = post(json!({
        "method": "POST",
        "url": "http://api.test/one?two=3",
        "headers": { "x-asked": "yes", "traceparent": "00-00000000000000000000000000000001-0000000000000001-01" },
        "body": "hello",
    }));
    assert_eq!(sent.status, 200, "{}", sent.text());
    let sent = sent.json();
    assert_eq!(sent["status"], 200);
    let id = sent["trace_id"].as_str().expect("an id");
    let found = eventually("its trace is kept", || {
        let answer = get(&weir, &format!("/api/traces/{id}"));
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!(found["requests"][0]["path"], "/one");
    let seen = upstream.seen();
    assert_eq!(&*seen[0].body, b"hello");
    assert_eq!(
        (seen[0].header("host"), seen[0].header("x-asked")),
        (Some("api.test"), Some("yes"))
    );
    for wrong in [
        json!({ "url": "*" }),
        json!({ "url": "/", "method": "G T" }),
        json!({ "url": "/", "method": "CONNECT" }),
        json!({ "url": "/", "headers": { "content-length": "9" } }),
        json!({ "url": "/", "headers": { "a\nb": "c" } }),
        json!({ "url": "/", "headers": { "a": "b\nc: d" } }),
    ] {
        assert_eq!(post(wrong.clone()).status, 400, "{wrong}");
    }
}

#[test]
fn where_no_listener_speaks_plain_http_the_overview_says_so() {
    let mut config = with_store();
    let weir = Weir::start(&config.to_string());
    let overview = get(&weir, "/api/overview").json();
    assert_eq!(overview["no_send"], Value::Null);
    config["listeners"][0]["proxy_protocol"] = json!(true);
    config["trusted_proxies"] = json!(["127.0.0.0/8"]);
    let weir = Weir::start(&config.to_string());
    let overview = get(&weir, "/api/overview").json();
    let why = overview["no_send"].as_str().expect("a reason");
    assert!(why.contains("no listener speaks plain HTTP"), "{why}");
    let json = "content-type: application/json";
    let sent = send(
        &weir,
        "POST",
        "/api/requests",
        &[LOCAL, json],
        r#"{"url":"/"}"#,
    );
    assert_eq!(sent.status, 409);
    assert!(sent.text().contains(why), "{}", sent.text());
}

#[test]
fn what_plugins_wrote_is_told_with_its_traces() {
    let mut config = with_store();
    config["plugins"]["chatty"] =
        json!({ "module": weir_tests::weir::guest("census"), "on_error": "continue" });
    config["listeners"][0]["plugins"] = json!(["chatty"]);
    let weir = Weir::start(&config.to_string());
    weir.get("/", &[]);
    let id = traces(&weir, "", 1)[0]["trace_id"].clone();
    let lines = get(&weir, "/api/plugins/chatty/logs").json();
    let lines = lines["lines"].as_array().expect("lines");
    assert!(lines.iter().all(|line| line["trace_id"] == id), "{lines:?}");
    let levels: Vec<&Value> = lines.iter().map(|line| &line["level"]).collect();
    assert!(
        levels.contains(&&json!("warn")) && levels.contains(&&json!("error")),
        "{levels:?}"
    );
    assert_eq!(get(&weir, "/api/plugins/none/logs").status, 404);
}

#[test]
fn generations_are_told_with_reloads_that_changed_nothing() {
    let config = with_store();
    let weir = Weir::start(&config.to_string());
    let told = || get(&weir, "/api/configuration").json();
    assert_eq!(told()["loads"].as_array().map(Vec::len), Some(1));
    let mut changed = config.clone();
    changed["store"]["max_bytes"] = json!("2MiB");
    assert_eq!(weir.reload(&changed.to_string()).status, 200);
    changed["store"]["max_bytes"] = json!("nothing");
    assert_eq!(weir.reload(&changed.to_string()).status, 422);
    let told = told();
    let loads = told["loads"].as_array().expect("a list");
    assert_eq!(
        (&loads[0]["generation"], &loads[1]["generation"]),
        (&json!(2), &json!(2))
    );
    let why = loads[0]["refused"].as_str().expect("a reason");
    assert!(why.contains("store.max_bytes"), "{why}");
    assert_eq!(
        (&loads[1]["refused"], &loads[2]["generation"]),
        (&Value::Null, &json!(1))
    );
    let difference = told["difference"].to_string();
    assert!(
        difference.contains("nothing") && difference.contains("2MiB"),
        "{difference}"
    );
}

#[test]
fn a_tail_asks_for_the_token_too() {
    let mut config = with_store();
    config["admin"]["token"] = json!("s3cret-token");
    let weir = Weir::start(&config.to_string());
    assert_eq!(get(&weir, "/api/traces/tail").status, 401);
    let right = send(&weir, "POST", "/", &[LOCAL], "token=s3cret-token");
    let cookie = right.header("set-cookie").expect("a session");
    let session = cookie.split(';').next().expect("a value").to_owned();
    for allowed in [
        "authorization: Bearer s3cret-token".to_owned(),
        format!("cookie: {session}"),
    ] {
        let mut tail = Connection::open(weir.admin());
        tail.send(format!(
            "GET /api/traces/tail HTTP/1.1\r\nhost: localhost\r\n{allowed}\r\n\r\n"
        ));
        let head = tail.receive_head().expect("a head");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        weir.get("/wanted", &[]);
        let mut text = String::new();
        while !text.contains("\"path\":\"/wanted\"") {
            text += &String::from_utf8_lossy(&tail.read_chunk().expect("more"));
        }
    }
}

/// One that follows traces, with the status that it is answered with.
fn follow(weir: &Weir) -> (Connection, u16) {
    let mut tail = Connection::open(weir.admin());
    tail.send("GET /api/traces/tail HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let status = tail.receive_head().expect("a head").status;
    (tail, status)
}

#[test]
fn no_more_than_32_follow_traces_at_once() {
    let weir = Weir::start(&with_store().to_string());
    let mut all = Vec::new();
    for _ in 0..32 {
        let (tail, status) = follow(&weir);
        assert_eq!(status, 200);
        all.push(tail);
    }
    assert_eq!(follow(&weir).1, 429);
    let refused = get(&weir, "/api/traces/tail");
    assert!(
        refused.text().contains("too many follow traces live"),
        "{}",
        refused.text()
    );
    // Those who follow still do, and who leaves makes room.
    weir.get("/one", &[]);
    let mut text = String::new();
    while !text.contains("\"path\":\"/one\"") {
        text += &String::from_utf8_lossy(&all[31].read_chunk().expect("more"));
    }
    all.pop();
    eventually("there is room for another", || {
        (follow(&weir).1 == 200).then_some(())
    });
}

#[test]
fn who_follows_slowly_is_told_how_many_it_missed() {
    // More than its queue and the sockets between hold: of each, the path alone is 8 KiB, the most that
    // a trace keeps of a text.
    const COUNT: u64 = 2000;
    let mut config = with_store();
    config["store"] = json!({ "max_traces_per_second": 10_000, "max_bytes": "1GiB" });
    let weir = Weir::start(&config.to_string());
    let (mut tail, status) = follow(&weir);
    assert_eq!(status, 200);
    let room = SockRef::from(&*tail.stream()).set_recv_buffer_size(64 << 10);
    room.expect("a buffer of that size");
    let mut load = Connection::open(weir.proxy());
    let path = "x".repeat(8 << 10);
    for _ in 0..COUNT {
        load.send(format!("GET /{path} HTTP/1.1\r\nhost: load\r\n\r\n"));
        assert_eq!(load.receive().expect("a response").status, 200);
    }
    let kept = eventually("all are written", || {
        let store = get(&weir, "/api/overview").json()["store"].clone();
        let count = |key: &str| store[key].as_u64().expect("a number");
        (count("traces") + count("skipped") == COUNT).then(|| count("traces"))
    });
    // Now it reads.
    let (mut shown, mut missed) = (0, 0);
    let mut text = String::new();
    while shown + missed < kept {
        text += &String::from_utf8_lossy(&tail.read_chunk().expect("more"));
        while let Some((event, rest)) = text.split_once("\n\n") {
            if let Some(data) = event.strip_prefix("event: missed\ndata: ") {
                let data: Value = serde_json::from_str(data).expect("JSON");
                missed += data["count"].as_u64().expect("a count");
            } else if event.starts_with("event: trace\n") {
                shown += 1;
            }
            text = rest.to_owned();
        }
    }
    assert_eq!(shown + missed, kept);
    assert!(missed > 0 && shown >= 512, "{shown} shown, {missed} missed");
}

/// All that the specification of Kafka exporters names.
#[test]
fn the_form_of_a_kafka_exporter_has_every_key() {
    let weir = Weir::start(&with_store().to_string());
    let at = "at=exporters&at=new&at=kafka";
    let answer = get(&weir, &format!("/api/configuration/form?{at}")).json();
    let fields = answer["fields"].as_array().expect("fields");
    for key in [
        "enabled",
        "brokers",
        "topic",
        "format",
        "tls_enabled",
        "ca_cert",
        "client_cert",
        "client_key",
        "sasl_enabled",
        "sasl.mechanism",
        "sasl.username",
        "sasl.password",
        "compression",
        "batch_size",
        "flush_interval_ms",
        "auto_create_topic",
        "disable_content_logging",
        "excluded_attributes",
        "request_headers",
        "redact_headers",
        "plugin_span_filter.mode",
        "plugin_span_filter.plugins",
        "sampling.ratio",
        "producer.acks",
        "producer.client_id",
        "producer.max_message_bytes",
        "producer.linger_ms",
        "producer.retries",
        "producer.retry_backoff_ms",
        "producer.retry_backoff_max_ms",
        "producer.message_timeout_ms",
        "producer.request_timeout_ms",
        "producer.batch_size",
        "producer.partitioner",
        "producer.security_protocol",
        "producer.custom_config",
        "dead_letter.topic",
        "dead_letter.file",
        "buffer_bytes",
    ] {
        assert!(
            fields.iter().any(|field| field["key"] == key),
            "no {key}: {fields:?}"
        );
    }
}
