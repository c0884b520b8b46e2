//! The bundled plugins do what their documentation says.

use serde_json::json;
use tokio_rustls::TlsConnector;
use weir_tests::client::Response;
use weir_tests::config::config;
use weir_tests::http2;
use weir_tests::tls::{Authority, Dial};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::{Stand, key_auth, request_id, values};

fn assert_unauthorized(stand: &Stand, response: &Response, result: &str) {
    assert_eq!(response.status, 401);
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        response.header("www-authenticate"),
        Some("Key header=\"x-api-key\"")
    );
    assert_eq!(response.json()["status"], 401);
    assert!(stand.upstream.seen().is_empty());
    let trace = stand.trace();
    assert_eq!(
        trace.attribute("plugin.auth.prehook", "key_auth.result"),
        result
    );
    assert_eq!(
        trace.attribute("plugin.auth.prehook", "short_circuit"),
        true
    );
    assert_eq!(
        trace.span("plugin.auth.prehook")["StatusMsg"],
        "short-circuit"
    );
}

#[test]
fn key_auth_answers_401_without_a_key() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["right"] })));
    assert_unauthorized(&stand, &stand.get(&[]), "missing");
}

#[test]
fn key_auth_answers_401_to_a_wrong_key() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["right"] })));
    assert_unauthorized(&stand, &stand.get(&["x-api-key: wrong"]), "unknown");
}

#[test]
fn key_auth_lets_each_of_its_keys_in() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["first", "second"] })));
    for key in ["first", "second"] {
        let header = format!("x-api-key: {key}");
        assert_eq!(stand.get(&[&header]).text(), "hello");
        assert_eq!(stand.seen().header("x-api-key"), Some(key));
    }
    let trace = stand.trace();
    assert_eq!(
        trace.attribute("plugin.auth.prehook", "key_auth.result"),
        "accepted"
    );
}

#[test]
fn key_auth_lets_no_key_through_that_it_has_not_compared() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["right"] })));
    let headers = ["x-api-key: right", "x-api-key: forged"];
    assert_unauthorized(&stand, &stand.get(&headers), "unknown");
}

#[test]
fn key_auth_hides_the_key_where_it_is_told_to() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["right"], "hide": true })));
    assert_eq!(stand.get(&["x-api-key: right"]).status, 200);
    assert_eq!(stand.seen().header("x-api-key"), None);
}

#[test]
fn key_auth_looks_at_the_header_it_is_given() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["right"], "header": "X-Door" })));
    assert_eq!(stand.get(&["x-api-key: right"]).status, 401);
    assert_eq!(stand.get(&["x-door: right"]).status, 200);
}

#[test]
fn key_auth_keeps_shared_caches_away_unless_the_upstream_spoke_of_caching() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["right"] })));
    assert_eq!(
        stand.get(&["x-api-key: right"]).header("cache-control"),
        Some("private")
    );

    let response = "HTTP/1.1 200 OK\r\ncache-control: public\r\ncontent-length: 0\r\n\r\n";
    let stand = Stand::before(
        Upstream::answering(response),
        &key_auth(json!({ "keys": ["right"] })),
    );
    assert_eq!(
        stand.get(&["x-api-key: right"]).header("cache-control"),
        Some("public")
    );
}

#[test]
fn request_id_makes_one_for_upstream_client_and_trace() {
    let stand = Stand::new(&request_id(json!({})));
    let response = stand.get(&[]);
    let id = response
        .header("x-request-id")
        .expect("the response has it");
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(stand.seen().header("x-request-id"), Some(id));
    let trace = stand.trace();
    assert_eq!(trace.0["RequestID"], id);
    assert_eq!(
        trace.attribute("plugin.id.prehook", "request_id.source"),
        "made"
    );
}

#[test]
fn request_id_keeps_the_clients() {
    let stand = Stand::new(&request_id(json!({})));
    let response = stand.get(&["x-request-id: mine-1"]);
    assert_eq!(response.header("x-request-id"), Some("mine-1"));
    assert_eq!(values(&stand.seen().headers, "x-request-id"), ["mine-1"]);
    let trace = stand.trace();
    assert_eq!(trace.0["RequestID"], "mine-1");
    assert_eq!(
        trace.attribute("plugin.id.prehook", "request_id.source"),
        "client"
    );
}

#[test]
fn request_id_replaces_one_that_is_not_sane() {
    let stand = Stand::new(&request_id(json!({})));
    let long = "x".repeat(201);
    let response = stand.get(&[&format!("x-request-id: {long}")]);
    let id = response
        .header("x-request-id")
        .expect("the response has it");
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(values(&stand.seen().headers, "x-request-id"), [id]);
    assert_eq!(stand.trace().0["RequestID"], id);
}

#[test]
fn request_id_is_not_echoed_where_it_is_told_so() {
    let stand = Stand::new(&request_id(json!({ "echo": false })));
    assert_eq!(
        stand.get(&["x-request-id: mine"]).header("x-request-id"),
        None
    );
    let names = stand.trace();
    assert_eq!(names.names(), ["GET all", "plugin.id.prehook", "GET"]);
}

#[test]
fn header_rewrite_changes_requests() {
    let rules = json!({ "request": {
        "remove": ["x-gone"], "set": { "x-set": "new" }, "add": { "x-added": "more" },
    } });
    let stand = Stand::new(&[(
        "headers",
        json!({ "module": "builtin:header-rewrite", "config": rules }),
    )]);
    stand.get(&["x-gone: a", "x-gone: b", "x-set: old", "x-added: first"]);
    let seen = stand.seen();
    assert_eq!(values(&seen.headers, "x-gone"), [""; 0]);
    assert_eq!(values(&seen.headers, "x-set"), ["new"]);
    assert_eq!(values(&seen.headers, "x-added"), ["first", "more"]);
    let trace = stand.trace();
    assert_eq!(trace.names(), ["GET all", "plugin.headers.prehook", "GET"]);
    assert_eq!(
        *trace.attribute("plugin.headers.prehook", "weir.hook.headers_changed"),
        json!(["x-gone", "x-set", "x-added"])
    );
}

#[test]
fn a_client_that_fills_a_head_takes_no_room_from_plugins() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["listeners"][0]["max_head_bytes"] = json!("128KiB");
    let rules = json!({ "request": { "set": { "x-set": "new" } } });
    config["plugins"]["headers"] = json!({ "module": "builtin:header-rewrite", "config": rules });
    config["routes"][0]["plugins"] = json!(["headers"]);
    let stand = Stand::with(upstream, config);
    let full = format!("x-full: {}", "x".repeat(100 << 10));
    assert_eq!(stand.get(&[&full]).status, 200);
    assert_eq!(stand.seen().header("x-set"), Some("new"));
}

#[test]
fn header_rewrite_changes_responses() {
    let rules = json!({ "response": {
        "remove": ["server"], "set": { "x-set": "new" }, "add": { "x-added": "more" },
    } });
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nserver: secret\r\nx-set: old\r\nx-added: first\r\ncontent-length: 0\r\n\r\n",
    );
    let plugin = json!({ "module": "builtin:header-rewrite", "config": rules });
    let stand = Stand::before(upstream, &[("headers", plugin)]);
    let response = stand.get(&[]);
    assert_eq!(response.header("server"), None);
    assert_eq!(values(&response.headers, "x-set"), ["new"]);
    assert_eq!(values(&response.headers, "x-added"), ["first", "more"]);
    assert_eq!(
        stand.trace().names(),
        ["GET all", "GET", "plugin.headers.posthook"]
    );
}

fn bundled(name: &str, config: serde_json::Value) -> Stand {
    let plugin = json!({ "module": format!("builtin:{name}"), "config": config });
    Stand::new(&[("it", plugin)])
}

#[test]
fn rate_limit_counts_over_all_workers() {
    let upstream = Upstream::hello();
    let mut config = weir_tests::config::config(&upstream);
    config["workers"] = 4.into();
    config["plugins"]["it"] = json!({
        "module": "builtin:rate-limit", "config": { "requests": 20, "seconds": 86_400 },
    });
    config["routes"][0]["plugins"] = json!(["it"]);
    let stand = Stand::with(upstream, config);
    // Each over a connection of its own, which any worker may accept.
    let statuses: Vec<u16> = (0..30).map(|_| stand.get(&[]).status).collect();
    assert_eq!(statuses[..20], [200; 20]);
    assert_eq!(statuses[20..], [429; 10]);
    let limited = stand.get(&[]);
    let wait: u64 = limited
        .header("retry-after")
        .expect("a wait")
        .parse()
        .expect("seconds");
    assert!((1..=4320).contains(&wait), "{wait}");
    assert_eq!(
        limited.header("ratelimit-policy"),
        Some("\"default\";q=20;w=86400")
    );
    assert_eq!(stand.upstream.seen().len(), 20);
}

#[test]
fn a_reload_keeps_what_was_counted() {
    let upstream = Upstream::hello();
    let mut config = weir_tests::config::config(&upstream);
    let limit = json!({ "requests": 2, "seconds": 86_400 });
    config["plugins"]["it"] = json!({ "module": "builtin:rate-limit", "config": limit });
    config["routes"][0]["plugins"] = json!(["it"]);
    let stand = Stand::with(upstream, config.clone());
    assert_eq!(stand.get(&[]).status, 200);
    assert_eq!(stand.get(&[]).status, 200);
    config["plugins"]["it"]["config"]["headers"] = false.into();
    assert_eq!(stand.weir.reload(&config.to_string()).status, 200);
    let limited = stand.get(&[]);
    assert_eq!(limited.status, 429);
    assert_eq!(limited.header("ratelimit"), None);
}

#[test]
fn basic_auth_lets_a_user_in_and_hides_the_password() {
    let stand = bundled(
        "basic-auth",
        json!({ "users": { "bob": "secret" }, "user_header": "x-user" }),
    );
    assert_eq!(stand.get(&[]).status, 401);
    assert_eq!(
        stand.get(&["authorization: Basic Ym9iOnNlY3JldA=="]).text(),
        "hello"
    );
    assert_eq!(stand.seen().header("authorization"), None);
    assert_eq!(stand.seen().header("x-user"), Some("bob"));
}

#[test]
fn ip_restriction_looks_at_the_peer() {
    assert_eq!(
        bundled("ip-restriction", json!({ "allow": ["127.0.0.0/8"] }))
            .get(&[])
            .status,
        200
    );
    let stand = bundled("ip-restriction", json!({ "deny": ["127.0.0.1"] }));
    assert_eq!(stand.get(&[]).status, 403);
    let trace = stand.trace();
    let result = trace.attribute("plugin.it.prehook", "ip_restriction.result");
    assert_eq!(result, "denied");
}

#[test]
fn cors_answers_a_preflight_and_marks_a_response() {
    let stand = bundled("cors", json!({ "origins": ["https://app.example"] }));
    let preflight = weir_tests::client::send(
        stand.weir.proxy(),
        "OPTIONS / HTTP/1.1\r\nhost: test\r\norigin: https://app.example\r\n\
         access-control-request-method: POST\r\nconnection: close\r\n\r\n",
    );
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-methods"),
        Some("GET, HEAD, POST")
    );
    assert!(stand.upstream.seen().is_empty());
    let response = stand.get(&["origin: https://app.example"]);
    assert_eq!(
        response.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    let response = stand.get(&["origin: https://evil.example"]);
    assert_eq!(response.header("access-control-allow-origin"), None);
}

#[test]
fn redirect_sends_elsewhere() {
    let stand = bundled("redirect", json!({ "to": "https://{host}{path}{query}" }));
    let response = stand.weir.get("/a?b=c", &[]);
    assert_eq!(response.status, 308);
    assert_eq!(response.header("location"), Some("https://test/a?b=c"));
    assert!(stand.upstream.seen().is_empty());
}

#[test]
fn redirect_to_https_lets_on_who_came_by_it() {
    let upstream = Upstream::hello();
    let authority = Authority::default();
    let identity = authority.issue(&["a.example"]);
    let mut config = weir_tests::config::config(&upstream);
    config["plugins"]["it"] = json!({
        "module": "builtin:redirect",
        "config": { "to": "https://{host}{path}{query}", "scheme": "http" },
    });
    config["routes"][0]["plugins"] = json!(["it"]);
    config["listeners"] = json!([
        { "address": "127.0.0.1:0" },
        { "address": "127.0.0.1:0", "tls": { "certificates": [identity.json()] } },
    ]);
    let weir = Weir::start(&config.to_string());
    let [plain, encrypted] = *weir.proxies() else {
        panic!("two listeners: {:?}", weir.proxies());
    };
    // What a client says of itself changes nothing.
    let response = weir.get("/a?b=c", &["x-forwarded-proto: https"]);
    assert_eq!(response.status, 308);
    assert_eq!(response.header("location"), Some("https://test/a?b=c"));
    http2::run(async {
        let client = http2::Client::open(plain).await;
        let answer = client.get("/").await.expect("a response");
        assert_eq!(answer.status(), 308);
    });
    assert!(upstream.seen().is_empty());

    let dial = Dial::to(&authority, "a.example");
    let mut session = dial.connect(encrypted).expect("a session");
    let response = session.get("/").expect("a response");
    assert!(response.starts_with("http/1.1 200"), "{response}");
    let dial = Dial {
        alpn: &["h2"],
        ..dial
    };
    http2::run(async {
        let stream = tokio::net::TcpStream::connect(encrypted).await;
        let name = "a.example".try_into().expect("a name");
        let stream = TlsConnector::from(dial.config())
            .connect(name, stream.expect("connect"))
            .await
            .expect("a session");
        let client = http2::Client::over(stream, &h2::client::Builder::new()).await;
        let answer = client.get("/").await.expect("a response");
        assert_eq!((answer.status(), answer.text()), (200, "hello".to_owned()));
    });
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn maintenance_answers_for_the_upstream() {
    let stand = bundled("maintenance", json!({ "retry_after": 60 }));
    let response = stand.get(&[]);
    assert_eq!(response.status, 503);
    assert_eq!(response.header("retry-after"), Some("60"));
    assert!(stand.upstream.seen().is_empty());
}

#[test]
fn response_transform_changes_json() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\netag: \"1\"\r\ncontent-length: 36\r\n\r\n\
         {\"user\":\"ada\",\"password\":\"secret!!\"}",
    );
    let config = json!({ "remove": ["/password"], "set": { "/by": "weir" } });
    let plugin = json!({ "module": "builtin:response-transform", "config": config });
    let stand = Stand::before(upstream, &[("it", plugin)]);
    let response = stand.get(&[]);
    assert_eq!(response.text(), r#"{"user":"ada","by":"weir"}"#);
    assert_eq!(response.header("content-length"), Some("26"));
    assert_eq!(response.header("etag"), Some("W/\"1\""));
}
