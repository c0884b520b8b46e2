//! What becomes of a route's requests: rewritten, shared out, redirected, answered at once.

use std::process::Command;

use weir_tests::client::{self, Response};
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, binary};

use crate::assert_problem;

const HEAD: &str = "
listeners: [{ address: \"127.0.0.1:0\" }]
admin: { address: \"127.0.0.1:0\" }
workers: 1
";

fn start(upstreams: &[(&str, &Upstream)], routes: &str) -> Weir {
    let upstreams: String = upstreams
        .iter()
        .map(|(name, upstream)| format!("  {name}: {{ endpoints: [\"{}\"] }}\n", upstream.url()))
        .collect();
    Weir::start(&format!("{HEAD}upstreams:\n{upstreams}routes:\n{routes}"))
}

fn send(weir: &Weir, head: &str) -> Response {
    client::send(
        weir.proxy(),
        format!("{head}\r\n\r\n")
            .replace('\n', "\r\n")
            .replace("\r\r", "\r"),
    )
}

#[test]
fn the_upstream_sees_the_rewritten_path_and_host_and_the_query_as_it_was() {
    let upstream = Upstream::hello();
    let weir = start(
        &[("api", &upstream)],
        "
  - { match: { path: '/v1/*' }, upstream: api, rewrite: { path: '/v2/*' } }
  - { match: { path: '/users/{id}/posts/{post}' }, upstream: api, rewrite: { path: '/{post}/by/{id}', host: 'inner.test:81' } }
  - { match: { path: '/strip/*' }, upstream: api, rewrite: { path: '/*' } }
  - { upstream: api }
",
    );
    for target in [
        "/v1/a/b?c=%20d",
        "/users/7/posts/8",
        "/strip//x",
        "/strip/",
        "/other?x",
    ] {
        assert_eq!(weir.get(target, &[]).status, 200);
    }
    let seen = upstream.seen();
    let targets: Vec<_> = seen.iter().map(|seen| seen.target.as_str()).collect();
    assert_eq!(
        targets,
        ["/v2/a/b?c=%20d", "/8/by/7", "/x", "/", "/other?x"]
    );
    let hosts: Vec<_> = seen.iter().map(|seen| seen.header("host")).collect();
    assert_eq!(hosts[0], Some("test"));
    assert_eq!(hosts[1], Some("inner.test:81"));
    let count = |seen: &weir_tests::upstream::Seen| {
        seen.headers
            .iter()
            .filter(|(name, _)| name == "host")
            .count()
    };
    assert!(seen.iter().all(|seen| count(seen) == 1));
}

#[test]
fn a_redirect_and_an_answer_reach_no_upstream() {
    let upstream = Upstream::hello();
    let weir = start(
        &[("api", &upstream)],
        "
  - match: { path: '/old/*' }
    redirect: { status: 308, scheme: https, host: new.test, path: '/new/*' }
  - match: { path: /gone }
    respond: { status: 410, headers: { content-type: text/plain, x-a: b }, body: gone }
  - match: { path: /empty }
    respond: { status: 204 }
  - { upstream: api }
",
    );
    let moved = weir.get("/old/a?b=c", &[]);
    assert_eq!(moved.status, 308);
    assert_eq!(moved.header("location"), Some("https://new.test/new/a?b=c"));
    let gone = weir.get("/gone", &[]);
    assert_eq!((gone.status, gone.text().as_str()), (410, "gone"));
    assert_eq!(gone.header("x-a"), Some("b"));
    assert_eq!(gone.header("content-length"), Some("4"));
    let empty = weir.get("/empty", &[]);
    assert_eq!((empty.status, empty.header("content-length")), (204, None));
    assert!(upstream.seen().is_empty());
    assert_eq!(weir.get("/x", &[]).status, 200);
    assert_eq!(
        weir.count("weir_requests_total{route=\"/gone\",status=\"4xx\"}"),
        1
    );
}

#[test]
fn requests_are_shared_out_by_weight() {
    let (many, few, none) = (Upstream::hello(), Upstream::hello(), Upstream::hello());
    let weir = start(
        &[("many", &many), ("few", &few), ("none", &none)],
        "
  - split: [{ upstream: many, weight: 3 }, { upstream: few, weight: 1 }, { upstream: none, weight: 0 }]
",
    );
    let mut connection = client::Connection::open(weir.proxy());
    for _ in 0..800 {
        connection.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        assert_eq!(connection.receive().expect("a response").status, 200);
    }
    let counts = (many.seen().len(), few.seen().len(), none.seen().len());
    assert_eq!(counts.0 + counts.1, 800);
    // Eight standard deviations about the mean of 600.
    assert!(
        (502..698).contains(&counts.0) && counts.2 == 0,
        "{counts:?}"
    );
}

#[test]
fn fields_parameters_and_hosts_below_choose_the_route() {
    let (one, two) = (
        Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none"),
        Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo"),
    );
    let weir = start(
        &[("one", &one), ("two", &two)],
        "
  - { match: { headers: { x-version: '2', x-beta: '*' } }, upstream: two }
  - { match: { query: { v: '2*' } }, upstream: two }
  - { match: { host: '*.two.test' }, upstream: two }
  - { match: { host: one.test }, upstream: one }
",
    );
    for (head, expected) in [
        (
            "GET / HTTP/1.1\nhost: one.test\nx-version: 2\nx-beta:",
            "two",
        ),
        ("GET / HTTP/1.1\nhost: one.test\nx-version: 2", "one"),
        ("GET /?a&v=2.1 HTTP/1.1\nhost: one.test", "two"),
        ("GET /?v=1 HTTP/1.1\nhost: one.test", "one"),
        ("GET / HTTP/1.1\nhost: A.B.Two.Test:80", "two"),
    ] {
        assert_eq!(send(&weir, head).text(), expected, "{head}");
    }
    assert_problem(&send(&weir, "GET / HTTP/1.1\nhost: two.test"), 404);
}

#[test]
fn a_route_may_wait_less_than_its_upstream() {
    let silent = Upstream::new(|_, _| {});
    let weir = start(
        &[("api", &silent)],
        "
  - { match: { path: /quick }, upstream: api, timeouts: { response: 50ms } }
  - { upstream: api }
",
    );
    assert_problem(&weir.get("/quick", &[]), 504);
}

/// What `weir check --route` prints and returns.
fn check(request: &str, header: &[&str]) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weir.yaml");
    let config = "
listeners: [{ address: 127.0.0.1:0 }]
upstreams: { api: { endpoints: ['http://127.0.0.1:9000'] } }
routes:
  - { name: admin, match: { host: admin.test }, upstream: api }
  - { name: beta, match: { path: /v1/*, headers: { x-beta: 'y*' } }, upstream: api }
  - { name: v1, match: { path: /v1/*, methods: [GET] }, redirect: {} }
  - { name: one, match: { query: { q: '1' } }, upstream: api }
";
    std::fs::write(&file, config).expect("write the configuration");
    let mut command = Command::new(binary());
    command
        .args(["check", "--route", request, "--config"])
        .arg(&file);
    for field in header {
        command.args(["--header", field]);
    }
    let output = command.output().expect("run weir");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code())
}

#[test]
fn check_says_which_route_a_request_takes_and_why_others_do_not() {
    let (text, code) = check("GET http://a.test/v1/x?q=1", &[]);
    assert_eq!(
        text,
        "GET http://a.test/v1/x?q=1 takes routes[2] `v1`: redirect with 307
  routes[0] `admin`: the host is not `admin.test`
  routes[1] `beta`: no field `x-beta` with a value that begins with `y`
  routes[2] `v1`: matches
  routes[3] `one`: matches too, but stands later
"
    );
    assert_eq!(code, Some(0));
    let (text, _) = check("GET http://a.test/v1/x", &["X-Beta: yes"]);
    assert!(
        text.contains("takes routes[1] `beta`: upstream `api`\n"),
        "{text}"
    );
    let (text, code) = check("POST /v1/x", &[]);
    assert!(
        text.starts_with("POST /v1/x takes no route: it is answered with 405\n"),
        "{text}"
    );
    assert!(text.contains("`v1`: the method is not GET\n"), "{text}");
    assert_eq!(code, Some(1));
    let (text, code) = check("GET /", &[]);
    assert!(
        text.starts_with("GET / takes no route: it is answered with 404\n"),
        "{text}"
    );
    assert!(
        text.contains("`one`: no parameter `q` with the value `1`\n"),
        "{text}"
    );
    assert_eq!(code, Some(1));
    assert_eq!(check("nonsense", &[]).1, Some(2));
    // As they are served.
    let (text, code) = check("GET /v1/%2e%2e/x", &[]);
    assert_eq!(
        text,
        "GET /v1/%2e%2e/x takes no route: it is answered with 400, because the path holds a dot segment\n"
    );
    assert_eq!(code, Some(1));
    let (text, _) = check("GET /%761/x", &[]);
    assert!(text.contains("takes routes[2] `v1`"), "{text}");
    let (text, _) = check("GET http://a.test/v1/x", &["host: admin.test"]);
    assert!(text.contains("takes routes[2] `v1`"), "{text}");
    let (text, _) = check("GET /", &["host: admin.test"]);
    assert!(text.contains("takes routes[0] `admin`"), "{text}");
}
