//! The API behind the pages, and who may use it.

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
fn names_that_were_made_to_point_here_read_nothing() {
    let weir = Weir::start(&with_store().to_string());
    for path in ["/api/overview", "/api/traces", "/traces", "/assets/x.js"] {
        let answer = send(&weir, "GET", path, &["host: evil.test"], "");
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text().contains("admin.hosts"), "{}", answer.text());
    }
    let page = send(
        &weir,
        "GET",
        "/",
        &["host: evil.test", "origin: http://evil.test"],
        "",
    );
    assert_eq!(page.status, 403);
    assert_eq!(get(&weir, "/api/overview").status, 200);
    let mut config = with_store();
    config["admin"]["hosts"] = json!(["Console.Internal"]);
    assert_eq!(weir.reload(&config.to_string()).status, 200);
    let named = send(
        &weir,
        "GET",
        "/api/overview",
        &["host: console.internal:9901"],
        "",
    );
    assert_eq!(named.status, 200);
}

#[test]
fn other_sites_write_nothing() {
    let weir = Weir::start(&with_store().to_string());
    let json = "content-type: application/json";
    for stranger in [
        "origin: http://evil.test",
        "sec-fetch-site: cross-site",
        "sec-fetch-site: same-site",
    ] {
        for path in [
            "/api/configuration/save",
            "/reload",
            "/api/exporters/test",
            "/api/requests",
        ] {
            let answer = send(&weir, "POST", path, &[LOCAL, json, stranger], "{}");
            assert_eq!(answer.status, 403, "{path} {stranger}");
        }
    }
    let own = ["host: localhost:1", "origin: http://localhost:1", json];
    let answer = send(
        &weir,
        "POST",
        "/api/exporters/test",
        &own,
        "{\"exporter\":\"x\"}",
    );
    assert_eq!(answer.status, 404, "{}", answer.text());
    // A form of another site needs no leave to send this.
    let form = "content-type: text/plain";
    let answer = send(&weir, "POST", "/api/exporters/test", &[LOCAL, form], "{}");
    assert_eq!(answer.status, 415);
}

#[test]
fn other_sites_start_no_reads() {
    let weir = Weir::start(&with_store().to_string());
    let strangers = [
        "origin: http://evil.test",
        "origin: null",
        "sec-fetch-site: cross-site",
        "sec-fetch-site: same-site",
    ];
    for stranger in strangers {
        for path in [
            "/api/traces/tail",
            "/api/traces?attribute=a",
            "/api/configuration/form?at=plugins&at=x",
            "/api/overview",
        ] {
            let local = format!("host: {}", weir.admin());
            let answer = send(&weir, "GET", path, &[&local, stranger], "");
            assert_eq!(answer.status, 403, "{path} {stranger}");
        }
        // Links from elsewhere lead to pages.
        let page = [LOCAL, "accept: text/html", stranger];
        assert_eq!(send(&weir, "GET", "/traces/abc", &page, "").status, 200);
    }
    for own in ["sec-fetch-site: same-origin", "sec-fetch-site: none"] {
        let answer = send(&weir, "GET", "/api/overview", &[LOCAL, own], "");
        assert_eq!(answer.status, 200, "{own}");
    }
}

#[test]
fn pages_load_nothing_from_elsewhere_and_are_no_ones_frame() {
    let weir = Weir::start(&with_store().to_string());
    let page = send(
        &weir,
        "GET",
        "/traces/abc",
        &[LOCAL, "accept: text/html"],
        "",
    );
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains("<base href=\"./../\">"),
        "{}",
        page.text()
    );
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    assert!(
        policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    let index = get(&weir, "/");
    assert!(
        index.text().starts_with("weir admin"),
        "for a terminal it is text"
    );
}

#[test]
fn the_token_opens_the_api_and_a_session_the_pages() {
    let mut config = with_store();
    config["admin"]["token"] = json!("env.TOKEN");
    let weir = Weir::start_with(&config.to_string(), &[("TOKEN", "s3cret-token")]);
    let html = "accept: text/html";
    assert_eq!(get(&weir, "/api/overview").status, 401);
    let form = send(&weir, "GET", "/traces/abc", &[LOCAL, html], "");
    assert_eq!(form.status, 401);
    assert!(form.text().contains("Admin token"), "{}", form.text());
    let wrong = send(&weir, "POST", "/traces/abc", &[LOCAL], "token=wrong");
    assert_eq!(wrong.status, 401);
    assert!(wrong.header("set-cookie").is_none());
    let cross = send(
        &weir,
        "POST",
        "/",
        &[LOCAL, "origin: http://evil.test"],
        "token=s3cret-token",
    );
    assert_eq!(cross.status, 403);
    let right = send(&weir, "POST", "/traces/abc", &[LOCAL], "token=s3cret-token");
    assert_eq!((right.status, right.header("location")), (303, Some("abc")));
    let cookie = right.header("set-cookie").expect("a session");
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("s3cret"), "{cookie}");
    let session = format!(
        "cookie: other=1; {}",
        cookie.split(';').next().expect("a value")
    );
    assert_eq!(
        send(&weir, "GET", "/api/overview", &[LOCAL, &session], "").status,
        200
    );
    assert_eq!(
        send(&weir, "GET", "/traces", &[LOCAL, html, &session], "").status,
        200
    );
    let bearer = "authorization: Bearer s3cret-token";
    // With a token, no name could have read anything without it.
    assert_eq!(
        send(
            &weir,
            "GET",
            "/api/overview",
            &["host: any.name", bearer],
            ""
        )
        .status,
        200
    );
    let forged = "cookie: weir_session=AAAA";
    assert_eq!(
        send(&weir, "GET", "/api/overview", &[LOCAL, forged], "").status,
        401
    );
    assert!(!weir.logged("s3cret-token"));
}

#[test]
fn an_address_that_others_reach_is_read_only_without_a_token() {
    let mut config = with_store();
    config["admin"]["address"] = json!("0.0.0.0:0");
    let weir = Weir::start(&config.to_string());
    let json = "content-type: application/json";
    let port = weir.admin().port();
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let post = |path: &str| {
        client::send(
            admin,
            format!(
                "POST {path} HTTP/1.1\r\nconnection: close\r\n{LOCAL}\r\n{json}\r\ncontent-length: 2\r\n\r\n{{}}"
            ),
        )
    };
    for path in [
        "/api/configuration/save",
        "/api/exporters/test",
        "/api/requests",
    ] {
        let answer = post(path);
        assert_eq!(answer.status, 403, "{path}");
        assert!(
            answer.text().contains("set `admin.token`"),
            "{}",
            answer.text()
        );
    }
    let overview = client::send(
        admin,
        format!("GET /api/overview HTTP/1.1\r\nconnection: close\r\n{LOCAL}\r\n\r\n"),
    );
    let overview = overview.json();
    assert!(overview["read_only"].is_string());
    assert_eq!(overview["no_send"], overview["read_only"]);
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
