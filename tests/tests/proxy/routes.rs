//! Which upstream a request goes to, and what is answered where it goes to none.

use std::process::Command;

use weir_tests::client::{self, Response};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::{Setup, assert_problem};

/// An upstream that is told from others by its body.
fn named(response: &'static str) -> Upstream {
    Upstream::answering(response)
}

struct Routed {
    weir: Weir,
}

impl Routed {
    fn start() -> Self {
        let one = named("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none");
        let two = named("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo");
        let weir = Weir::start(&format!(
            "
listeners: [{{ address: \"127.0.0.1:0\" }}]
admin: {{ address: \"127.0.0.1:0\" }}
upstreams:
  one: {{ endpoints: [\"{}\"] }}
  two: {{ endpoints: [\"{}\"] }}
routes:
  - {{ match: {{ host: two.example, path: /v1/* }}, upstream: two }}
  - {{ match: {{ path: /v1/*, methods: [GET, POST] }}, upstream: one }}
  - {{ match: {{ path: /v1/*, methods: [PUT] }}, upstream: two }}
  - {{ match: {{ path: '/users/{{id}}/posts' }}, upstream: two }}
  - {{ match: {{ path: /exact }}, upstream: one }}
",
            one.url(),
            two.url()
        ));
        Self { weir }
    }

    fn send(&self, method: &str, host: &str, path: &str) -> Response {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        client::send(self.weir.proxy(), request)
    }
}

#[test]
fn routes_by_host_path_and_method_in_the_order_of_the_configuration() {
    let routed = Routed::start();
    for (method, host, path, expected) in [
        ("GET", "one.example", "/v1/a/b?c=d", "one"),
        ("GET", "two.example", "/v1/a/b", "two"),
        ("GET", "TWO.example.:8080", "/v1/a/b", "two"),
        ("PUT", "one.example", "/v1/a", "two"),
        ("GET", "one.example", "/users/7/posts", "two"),
        ("DELETE", "one.example", "/exact", "one"),
        // A host in the target rules, whatever `Host` says.
        ("GET", "one.example", "http://two.example/v1/a", "two"),
        ("GET", "two.example", "http://one.example/v1/a", "one"),
    ] {
        let response = routed.send(method, host, path);
        assert_eq!(response.text(), expected, "{method} {host} {path}");
    }
}

#[test]
fn a_request_that_no_route_takes_is_answered_with_404() {
    let routed = Routed::start();
    for path in [
        "/",
        "/v1",
        "/users/7",
        "/users//posts/x",
        "/exact/",
        "/Exact",
    ] {
        assert_problem(&routed.send("GET", "one.example", path), 404);
    }
}

/// What an upstream decodes to the path of a route is of that route, with all that it demands.
#[test]
fn no_spelling_of_a_path_passes_by_the_plugins_of_its_route() {
    let upstream = Upstream::hello();
    let weir = Weir::start(&format!(
        "
listeners: [{{ address: \"127.0.0.1:0\" }}]
admin: {{ address: \"127.0.0.1:0\" }}
upstreams: {{ up: {{ endpoints: [\"{}\"] }} }}
plugins: {{ auth: {{ module: 'builtin:key-auth', config: {{ keys: [k] }} }} }}
routes:
  - {{ match: {{ path: /admin/* }}, upstream: up, plugins: [auth] }}
  - {{ match: {{ path: /@me:all }}, upstream: up, plugins: [auth] }}
  - {{ match: {{ path: '/%7Eme/caf%C3%A9/{{id}}' }}, upstream: up, plugins: [auth] }}
  - {{ match: {{ path: /* }}, upstream: up }}
",
        upstream.url()
    ));
    for path in [
        "/admin/x",
        "/%61dmin/x",
        "/%61%64%6D%69%6e/",
        "/%40me:all",
        "/@me%3aall",
        "/~me/caf%c3%a9/1",
        "/%7eme/%63af%C3%a9/%31",
    ] {
        assert_eq!(weir.get(path, &[]).status, 401, "{path}");
        assert_eq!(upstream.seen().len(), 0, "{path}");
    }
    // These are other paths, to upstreams too.
    for path in [
        "/%2561dmin/x",
        "/Admin/x",
        "/adminx",
        "/%7Eme/caf%25C3%25A9/1",
    ] {
        assert_eq!(weir.get(path, &[]).status, 200, "{path}");
    }
}

#[test]
fn a_method_that_no_route_takes_there_is_answered_with_405_and_those_allowed() {
    let routed = Routed::start();
    for method in ["DELETE", "PATCH"] {
        let response = routed.send(method, "one.example", "/v1/a");
        assert_problem(&response, 405);
        assert_eq!(response.header("allow"), Some("GET, HEAD, POST, PUT"));
    }
}

#[test]
fn endpoints_are_taken_in_turn() {
    let one = Upstream::hello();
    let two = Upstream::hello();
    let weir = Setup::to(format!("{}\", \"{}", one.url(), two.url())).start();
    for _ in 0..6 {
        assert_eq!(weir.get("/", &[]).status, 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (3, 3));
}

#[test]
fn curl_uploads_and_downloads_through_weir() {
    let upstream = Upstream::new(|seen, stream| {
        use std::io::Write;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            seen.body.len()
        );
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&seen.body);
    });
    let weir = Setup::to(upstream.url()).start();
    // Large enough that curl sends `Expect: 100-continue` and waits.
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let file = weir.folder().join("body");
    std::fs::write(&file, &body).expect("write the body");
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "60",
            "--data-binary",
        ])
        .arg(format!("@{}", file.display()))
        .arg(format!("http://{}/echo", weir.proxy()))
        .output()
        .expect("curl is installed");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert!(
        output.stdout == body,
        "{} bytes came back",
        output.stdout.len()
    );
}
