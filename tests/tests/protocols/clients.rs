//! Clients as they are: curl, h2load, Python's websockets and gRPC, grpcurl, ghz, a browser's WebSocket,
//! and h2spec whole.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use weir_tests::service::service;
use weir_tests::tls::Authority;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{start, start_tls};

/// What curl prints of a request.
fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30"])
        .args(arguments)
        .output()
        .expect("curl");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_speaks_both_versions_with_and_without_tls() {
    let upstream = Upstream::hello();
    let plain = start(&upstream, json!({}));
    let (weir, authority) = start_tls(&upstream, json!({}));
    let ca = weir.folder().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("write");
    let ca = ca.to_str().expect("a path");
    let form = "%{http_version} %{http_code}";
    let url = format!("http://{}/", plain.proxy());
    let secure = format!("https://a.example:{}/", weir.proxy().port());
    let to = format!("a.example:{}:127.0.0.1", weir.proxy().port());
    let tls = ["--cacert", ca, "--resolve", &to, &secure];
    for (how, arguments, version) in [
        ("--http1.1", &[&url[..]][..], "1.1"),
        ("--http2-prior-knowledge", &[&url], "2"),
        ("--http1.1", &tls, "1.1"),
        ("--http2", &tls, "2"),
    ] {
        let all = [&["-w", form, how][..], arguments].concat();
        assert_eq!(curl(&all), format!("hello{version} 200"), "{how}");
        let body = "x".repeat(1 << 20);
        let file = weir.folder().join("body");
        std::fs::write(&file, &body).expect("write");
        let data = format!("@{}", file.display());
        let all = [&["-w", form, how, "--data-binary", &data][..], arguments].concat();
        assert_eq!(curl(&all), format!("hello{version} 200"), "{how}");
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(seen.body.len(), 1 << 20, "{how}");
        assert_eq!(seen.header("expect"), None, "{how}");
    }
}

#[test]
fn h2spec_finds_nothing() {
    let upstream = Upstream::hello();
    // Without TLS, what is no preface of HTTP/2 is a request of HTTP/1.1.
    let (weir, _) = start_tls(&upstream, json!({}));
    let output = Command::new(service("go/bin/h2spec"))
        .args(["--strict", "--tls", "--insecure", "--timeout", "10"])
        .args(["-h", "127.0.0.1", "-p"])
        .arg(weir.proxy().port().to_string())
        .output()
        .expect("h2spec");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    let summary = report.lines().last().unwrap_or_default();
    assert_eq!(summary, "146 tests, 146 passed, 0 skipped, 0 failed");
}

/// `tests/services/clients.py`, by the Python that has the libraries.
fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new(service("clients/bin/python"));
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/services/clients.py"))
        .args(arguments);
    command
}

/// A server of it; ends when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(kind: &str) -> Self {
        let mut child = python(&[kind, "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("a port");
        Self {
            child,
            port: line.trim().parse().expect("a port"),
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[track_caller]
fn assert_talks(arguments: &[&str]) {
    let output = python(arguments).output().expect("python");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

fn with_upstream(upstream: Value, listener: Value) -> Weir {
    let mut config = crate::config(&Upstream::hello(), listener);
    config["upstreams"]["up"] = upstream;
    Weir::start(&config.to_string())
}

#[test]
fn pythons_websockets_talk_through_weir() {
    let server = Server::start("websocket");
    let weir = with_upstream(json!({ "endpoints": [server.url()] }), json!({}));
    assert_talks(&["websocket", "talk", &format!("ws://{}/chat", weir.proxy())]);
    eventually("its trace has ended", || {
        let ended = weir.count("weir_requests_total{route=\"all\",status=\"1xx\"}");
        (ended == 1).then_some(())
    });
}

#[test]
fn websocket_passes_to_an_upstream_of_http2_as_a_stream() {
    let server = Server::start("websocket");
    let inner = with_upstream(json!({ "endpoints": [server.url()] }), json!({}));
    let upstream = json!({ "endpoints": [format!("http://{}", inner.proxy())], "protocol": "h2" });
    let outer = with_upstream(upstream, json!({}));
    for _ in 0..2 {
        assert_talks(&["websocket", "talk", &format!("ws://{}/chat", outer.proxy())]);
    }
    // Only CONNECT is answered with 200 there.
    for (weir, status) in [(&outer, "1xx"), (&inner, "2xx")] {
        let metric = format!("weir_requests_total{{route=\"all\",status=\"{status}\"}}");
        eventually("its traces have ended", || {
            (weir.count(&metric) == 2).then_some(())
        });
    }
    assert_eq!(inner.count("weir_connections_total"), 1);
}

#[test]
fn pythons_grpc_calls_through_weir_with_and_without_tls() {
    let server = Server::start("grpc");
    let upstream = json!({ "endpoints": [server.url()], "protocol": "h2" });
    let weir = with_upstream(upstream.clone(), json!({}));
    assert_talks(&["grpc", "talk", &weir.proxy().to_string()]);
    let authority = Authority::default();
    let tls = crate::tls(&[&authority.issue(&["a.example"])]);
    let weir = with_upstream(upstream, json!({ "tls": tls }));
    let ca = weir.folder().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("write");
    let ca = ca.to_str().expect("a path");
    assert_talks(&["grpc", "talk", &weir.proxy().to_string(), ca]);
    assert_eq!(
        weir.count("weir_upstream_connects_total{upstream=\"up\"}"),
        1
    );
}

/// What a program prints that ends well.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.output().expect("it is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{complaint}");
    said
}

const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/services");

#[test]
fn grpcurl_and_ghz_call_through_weir_with_and_without_tls() {
    let server = Server::start("grpc");
    let upstream = json!({ "endpoints": [server.url()], "protocol": "h2" });
    let plain = with_upstream(upstream.clone(), json!({}));
    let authority = Authority::default();
    let tls = crate::tls(&[&authority.issue(&["127.0.0.1"])]);
    let secure = with_upstream(upstream, json!({ "tls": tls }));
    let ca = secure.folder().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("write");
    let ca = ca.to_str().expect("a path");
    for (weir, grpcurl, ghz) in [
        (&plain, &["-plaintext"][..], &["--insecure"][..]),
        (&secure, &["-cacert", ca], &["--cacert", ca]),
    ] {
        let address = weir.proxy().to_string();
        let call = |method: &str, data: &str| {
            let mut command = Command::new(service("go/bin/grpcurl"));
            command
                .args(grpcurl)
                .args(["-import-path", SERVICES, "-proto", "echo.proto", "-d", data])
                .args([&address, method]);
            said(&mut command).matches("\"data\": \"aGVsbG8=\"").count()
        };
        let one = r#"{"data":"aGVsbG8="}"#;
        assert_eq!(call("echo.Echo/Unary", one), 1);
        assert_eq!(call("echo.Echo/Stream", one), 100);
        assert_eq!(call("echo.Echo/Both", &one.repeat(20)), 20);

        let report = said(
            Command::new(service("go/bin/ghz"))
                .args(ghz)
                .args(["--proto", &format!("{SERVICES}/echo.proto")])
                .args(["--call", "echo.Echo.Unary", "-d", one, "-O", "json"])
                .args([
                    "--total",
                    "400",
                    "--concurrency",
                    "20",
                    "--connections",
                    "4",
                ])
                .arg(&address),
        );
        let report: Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["statusCodeDistribution"], json!({ "OK": 400 }));
    }
}

#[test]
fn h2load_is_answered_in_every_version_as_often_as_it_asks() {
    let upstream = Upstream::hello();
    let plain = start(&upstream, json!({}));
    let (secure, _) = start_tls(&upstream, json!({}));
    let plain = format!("http://{}/", plain.proxy());
    let secure = format!("https://a.example:{}/", secure.proxy().port());
    let to = format!(
        "--connect-to={}",
        secure[8..].replace("a.example", "127.0.0.1")
    );
    let to = to.trim_end_matches('/');
    for arguments in [
        &["--h1", &plain][..],
        &[&plain],
        &["--h1", to, &secure],
        &[to, &secure],
    ] {
        let report = said(
            Command::new("h2load")
                .args([
                    "--requests=2000",
                    "--clients=10",
                    "--max-concurrent-streams=20",
                ])
                .args(arguments),
        );
        let line = "status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx";
        assert!(report.contains(line), "{arguments:?}: {report}");
    }
    assert_eq!(upstream.seen().len(), 8000);
}

#[test]
fn a_browsers_websocket_is_a_stream_of_its_connection_where_that_is_http2() {
    let server = Server::start("websocket");
    let authority = Authority::default();
    let mut config = crate::config(&Upstream::hello(), json!({}));
    config["listeners"] = json!([
        { "address": "127.0.0.1:0" },
        { "address": "127.0.0.1:0", "tls": crate::tls(&[&authority.issue(&["127.0.0.1"])]) },
    ]);
    config["upstreams"]["up"] = json!({ "endpoints": [server.url()] });
    config["routes"] = json!([
        {
            "match": { "path": "/page" },
            "respond": {
                "status": 200,
                "headers": { "content-type": "text/html" },
                "body": "<!doctype html><title>a page</title>",
            },
        },
        { "name": "all", "upstream": "up" },
    ]);
    let folder = tempfile::TempDir::new().expect("a folder");
    let log = folder.path().join("access.log");
    config["access_log"] = json!({ "path": log });
    let weir = Weir::start(&config.to_string());
    for (secure, version) in [("", "1.1"), ("s", "2")] {
        let address = weir.proxies()[usize::from(secure == "s")];
        said(
            Command::new("node")
                .arg(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/browser/websocket.mjs"
                ))
                .arg(format!("http{secure}://{address}/page"))
                .arg(format!("ws{secure}://{address}/chat-{version}")),
        );
        eventually("it is in the log", || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            let mut lines = log
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"));
            let line: Value =
                lines.find(|line: &Value| line["path"] == format!("/chat-{version}"))?;
            assert_eq!(line["protocol"], version, "{line}");
            Some(())
        });
    }
}
