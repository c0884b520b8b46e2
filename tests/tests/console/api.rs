//! The API behind the pages.

use serde_json::{Value, json};
use weir_tests::client::{self, Connection, Response};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

pub(crate) const LOCAL: &str = "host: localhost";

pub(crate) fn get(weir: &Weir, target: &str) -> Response {
    send(weir, "GET", target, &[LOCAL], "")
}

pub(crate) fn send(
    weir: &Weir,
    method: &str,
    target: &str,
    headers: &[&str],
    body: &str,
) -> Response {
    let mut request = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n{body}", body.len());
    client::send(weir.admin(), request)
}

pub(crate) fn with_store() -> Value {
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["store"] = json!({});
    config
}

pub(crate) fn traces(weir: &Weir, query: &str, count: usize) -> Vec<Value> {
    eventually("the traces are there", || {
        let answer = get(weir, &format!("/api/traces?{query}")).json();
        let traces = answer["traces"].as_array().expect("a list").clone();
        (traces.len() == count).then_some(traces)
    })
}

#[test]
fn a_request_is_found_with_its_whole_trace() {
    let weir = Weir::start(&with_store().to_string());
    weir.get("/one?two=three", &[]);
    weir.get("/other", &[]);
    let found = &traces(&weir, "q=/one", 1)[0];
    assert_eq!(
        (&found["status"], &found["route"]),
        (&json!(200), &json!("all"))
    );
    // A list carries none of their spans.
    assert!(
        found["spans"].is_u64() && !found.to_string().contains("url.path"),
        "{found}"
    );
    let id = found["trace_id"].as_str().expect("an id");
    let whole = get(&weir, &format!("/api/traces/{id}")).json();
    assert_eq!(whole["requests"][0], *found);
    assert_eq!(whole["trace"]["TraceID"], id);
    assert_eq!(whole["trace"]["Spans"][0]["Attributes"]["url.path"], "/one");
    assert_eq!(get(&weir, "/api/traces/0123").status, 404);
    assert_eq!(get(&weir, "/api/traces?status=teapot").status, 400);
}

#[test]
fn without_a_store_nothing_is_kept_and_the_answer_says_how_to() {
    let mut config = with_store();
    config.as_object_mut().expect("an object").remove("store");
    let weir = Weir::start(&config.to_string());
    weir.get("/", &[]);
    let answer = get(&weir, "/api/traces");
    assert_eq!(answer.status, 409);
    assert!(answer.text().contains("store: {}"), "{}", answer.text());
}

#[test]
fn a_reload_turns_the_store_on_and_off() {
    let mut config = with_store();
    let mut without = config.clone();
    without.as_object_mut().expect("an object").remove("store");
    let weir = Weir::start(&without.to_string());
    assert_eq!(weir.reload(&config.to_string()).status, 200);
    weir.get("/kept", &[]);
    traces(&weir, "", 1);
    config["store"]["max_bytes"] = json!("2MiB");
    assert_eq!(weir.reload(&config.to_string()).status, 200);
    weir.get("/too", &[]);
    traces(&weir, "", 2);
    let overview = get(&weir, "/api/overview").json();
    assert_eq!(overview["store"]["max_bytes"], 2 << 20);
    assert_eq!(weir.reload(&without.to_string()).status, 200);
    assert_eq!(get(&weir, "/api/traces").status, 409);
}

#[test]
fn traces_survive_a_restart_where_there_is_a_data_dir() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = with_store();
    config["data_dir"] = json!(folder.path());
    let mut weir = Weir::start(&config.to_string());
    for n in 0..20 {
        weir.get(&format!("/{n}"), &[]);
    }
    weir.signal("TERM");
    weir.wait();
    let weir = Weir::start(&config.to_string());
    traces(&weir, "", 20);
}

#[test]
fn a_tail_gives_those_that_fit_as_they_end() {
    let weir = Weir::start(&with_store().to_string());
    let mut tail = Connection::open(weir.admin());
    tail.send("GET /api/traces/tail?q=/wanted HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let head = tail.receive_head().expect("a head");
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    weir.get("/other", &[]);
    weir.get("/wanted", &[]);
    let mut text = String::new();
    while !text.contains("event: trace") {
        let chunk = tail.read_chunk().expect("more");
        text += &String::from_utf8_lossy(&chunk);
    }
    assert!(
        text.contains("\"path\":\"/wanted\"") && !text.contains("/other"),
        "{text}"
    );
}

#[test]
fn a_tail_gives_all_that_end_together() {
    const COUNT: usize = 100;
    let weir = Weir::start(&with_store().to_string());
    let mut tail = Connection::open(weir.admin());
    tail.send("GET /api/traces/tail HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(tail.receive_head().expect("a head").status, 200);
    let mut load = Connection::open(weir.proxy());
    for n in 0..COUNT {
        load.send(format!("GET /{n} HTTP/1.1\r\nhost: load\r\n\r\n"));
        assert_eq!(load.receive().expect("a response").status, 200);
    }
    let mut text = String::new();
    while text.matches("event: trace\n").count() < COUNT {
        let chunk = tail.read_chunk().expect("more");
        text += &String::from_utf8_lossy(&chunk);
    }
    for n in 0..COUNT {
        assert!(text.contains(&format!("\"path\":\"/{n}\"")), "{n}: {text}");
    }
}

#[test]
fn past_the_rate_what_failed_and_what_opened_a_connection_is_found() {
    let mut config = with_store();
    config["store"]["max_traces_per_second"] = json!(1);
    config["routes"] = json!([
        { "name": "broken", "match": { "path": "/broken" }, "respond": { "status": 503 } },
        { "name": "all", "upstream": "up", "plugins": [] },
    ]);
    let weir = Weir::start(&config.to_string());
    let mut load = Connection::open(weir.proxy());
    let mut ask = |path: &str| {
        load.send(format!("GET {path} HTTP/1.1\r\nhost: load\r\n\r\n"));
        load.receive().expect("a response").status
    };
    for _ in 0..50 {
        assert_eq!(ask("/load"), 200);
    }
    assert_eq!(weir.get("/by-hand", &[]).status, 200);
    assert_eq!(ask("/broken"), 503);
    traces(&weir, "q=/by-hand", 1);
    traces(&weir, "failed=true", 1);
    let store = &get(&weir, "/api/overview").json()["store"];
    let count = |key: &str| store[key].as_u64().expect("a number");
    assert!(count("skipped") > 0, "{store}");
    assert_eq!(count("traces") + count("skipped"), 52, "{store}");
}

#[test]
fn a_message_is_told_before_and_after_the_filters() {
    let mut config = with_store();
    config["plugins"] = json!({ "request-id": { "module": "builtin:request-id" } });
    config["listeners"][0]["plugins"] = json!(["request-id"]);
    config["exporters"]["traces"]["kafka"] = json!({
        "brokers": ["127.0.0.1:1"],
        "topic": "t",
        "plugin_span_filter": { "mode": "exclude", "plugins": ["request-id"] },
    });
    let weir = Weir::start(&config.to_string());
    weir.get("/one", &[]);
    let id = traces(&weir, "", 1)[0]["trace_id"].clone();
    let id = id.as_str().expect("an id");
    let answer = get(&weir, &format!("/api/traces/{id}/message?exporter=traces")).json();
    let hooks = |message: &Value| message.to_string().matches("plugin.request-id.").count();
    assert_eq!(hooks(&answer["message"]), 0, "{answer}");
    assert!(hooks(&answer["whole"]) > 0, "{answer}");
}

#[test]
fn endpoints_tell_how_they_fare() {
    let mut config = with_store();
    let well = config["upstreams"]["up"]["endpoints"][0].clone();
    config["upstreams"]["up"] = json!({
        "endpoints": [well, "http://127.0.0.1:1"],
        "health": { "interval": "100ms" },
    });
    let weir = Weir::start(&config.to_string());
    let endpoints = eventually("the check has failed", || {
        let answer = get(&weir, "/api/upstreams").json();
        let endpoints = answer["upstreams"][0]["endpoints"].clone();
        (endpoints[1]["state"] == "unhealthy").then_some(endpoints)
    });
    assert_eq!(endpoints[1]["endpoint"], "127.0.0.1:1");
    let message = endpoints[1]["message"].as_str().expect("a reason");
    assert!(message.contains("cannot connect"), "{message}");
    assert_eq!(endpoints[0]["state"], "ok");
    assert_eq!(endpoints[0]["certificate_expires"], Value::Null);
}

#[test]
fn a_plugin_has_a_form_by_its_own_schema() {
    let mut config = with_store();
    config["plugins"]["auth"] =
        json!({ "module": "builtin:key-auth", "config": { "keys": ["hunter2"], "hide": true } });
    let weir = Weir::start(&config.to_string());
    let answer = get(&weir, "/api/configuration/form?at=plugins&at=auth");
    assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    let answer = answer.json();
    let fields = answer["fields"].as_array().expect("fields");
    let field = |key: &str| {
        let found = fields.iter().find(|field| field["key"] == key);
        found.unwrap_or_else(|| panic!("no {key}"))
    };
    assert_eq!(field("config.hide")["value"], true);
    assert_eq!(field("config.keys")["hidden"], true);
    assert_eq!(field("config.header")["default"], "x-api-key");
}

#[test]
fn a_route_tells_its_latest_request_though_no_trace_is_kept() {
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["routes"] = json!([
        { "name": "rare", "match": { "path": "/rare" }, "upstream": "up" },
        { "name": "unused", "match": { "path": "/unused" }, "upstream": "up" },
        { "name": "rest", "upstream": "up" },
    ]);
    let weir = Weir::start(&config.to_string());
    let last = |index: usize| {
        let answer = get(&weir, "/api/routes").json();
        answer["routes"][index]["metrics"]["last_us"].clone()
    };
    assert_eq!(last(0), Value::Null);
    assert_eq!(weir.get("/rare", &[]).status, 200);
    let first = last(0).as_u64().expect("a time");
    assert_eq!(weir.get("/other", &[]).status, 200);
    assert_eq!(last(0), first);
    assert!(last(2).as_u64().expect("a time") >= first);
    assert_eq!(weir.get("/rare", &[]).status, 200);
    assert!(last(0).as_u64().expect("a time") > first);
    assert_eq!(last(1), Value::Null);
}

#[test]
fn a_route_is_found_for_a_request_with_the_reason_for_each() {
    let mut config = with_store();
    config["routes"] = json!([
        { "name": "only-host", "match": { "host": "api.test", "path": "/*" }, "upstream": "up" },
        { "name": "posts", "match": { "path": "/v1/*", "methods": ["POST"] }, "upstream": "up" },
        { "name": "rest", "match": { "path": "/v1/*" }, "upstream": "up" },
    ]);
    let weir = Weir::start(&config.to_string());
    let test = |query: &str| get(&weir, &format!("/api/routes/test?{query}")).json();
    let answer = test("method=GET&url=/v1/a");
    assert_eq!(answer["answer"]["route"], "rest");
    assert_eq!(answer["routes"][0]["host"], false);
    assert_eq!(answer["routes"][1]["method"], false);
    assert_eq!(answer["routes"][2]["result"], "taken");
    assert_eq!(
        test("url=http://api.test/x")["answer"]["route"],
        "only-host"
    );
    assert_eq!(test("url=/nowhere")["answer"]["status"], 404);
    let host = "url=/x&header=host:%20api.test:8080";
    assert_eq!(test(host)["answer"]["route"], "only-host");
}

#[test]
fn the_route_that_is_told_is_the_one_that_a_request_takes() {
    let mut config = with_store();
    config["routes"] = json!([
        {
            "name": "tenant",
            "match": { "path": "/v1/*", "headers": { "x-tenant": "acme" } },
            "upstream": "up",
        },
        { "name": "rest", "upstream": "up" },
    ]);
    let weir = Weir::start(&config.to_string());
    let test = |query: &str| get(&weir, &format!("/api/routes/test?{query}")).json();
    let route = |query: &str| test(query)["answer"]["route"].clone();
    assert_eq!(route("url=/v1/a"), "rest");
    assert_eq!(
        route("url=/v1/a&header=X-Other:%20b&header=x-tenant:acme"),
        "tenant"
    );
    for path in [
        "/v1/../b",
        "/v1/%2e%2e/b",
        "/v1/a%2fb",
        "/v1/%00",
        "/v1/%zz",
    ] {
        let answered = weir.get(path, &["x-tenant: acme"]).status;
        let escaped = path.replace('%', "%25");
        let answer = test(&format!("url={escaped}&header=x-tenant:acme"));
        assert_eq!(answer["answer"]["status"], answered, "{path}: {answer}");
        assert_eq!(answer["answer"]["route"], Value::Null, "{path}: {answer}");
        assert!(answer["answer"]["why"].is_string(), "{path}: {answer}");
    }
    assert_eq!(test("url=http://me@any.test/")["answer"]["status"], 400);
    for wrong in ["x-tenant", ":b", "a%20b:c", "a:b%0d%0ac:d"] {
        let answer = get(&weir, &format!("/api/routes/test?url=/&header={wrong}"));
        assert_eq!(answer.status, 400, "{wrong}");
    }
}
