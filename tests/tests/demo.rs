//! `weir demo`: the first thing that anyone sees of Weir.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use weir_tests::client;
use weir_tests::service::Running;
use weir_tests::wait::{PATIENCE, eventually};
use weir_tests::weir::binary;

/// Longest wait for what is shown at once, on a machine that has much else to do.
const AT_ONCE: Duration = Duration::from_secs(30);

#[test]
fn the_demo_shows_each_of_its_traces_readable_and_as_json() {
    let output = Command::new(binary())
        .args([
            "demo",
            "--once",
            "--address",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ])
        .output()
        .expect("start weir");
    let (text, complaints) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{text}{complaints}");

    let readable: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("trace ")?.split_whitespace().next())
        .collect();
    let json: Vec<Value> = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a message is JSON"))
        .collect();
    let ids: Vec<&str> = json
        .iter()
        .filter_map(|trace| trace["TraceID"].as_str())
        .collect();
    assert_eq!(ids.len(), 3, "{text}");
    assert_eq!(readable, ids);

    let names = |trace: &Value| -> Vec<String> {
        let spans = trace["Spans"].as_array().expect("spans");
        spans
            .iter()
            .map(|span| span["Name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let of = |status: u64| {
        let status = Value::from(status);
        let found = json
            .iter()
            .find(|trace| trace["RootSpan"]["Attributes"]["http.response.status_code"] == status);
        names(found.unwrap_or_else(|| panic!("no trace with {status}: {text}")))
    };
    assert_eq!(
        of(200),
        [
            "GET hello",
            "plugin.request-id.prehook",
            "plugin.auth.prehook",
            "plugin.headers.prehook",
            "GET",
            "plugin.headers.posthook",
            "plugin.auth.posthook",
            "plugin.request-id.posthook",
        ]
    );
    assert!(of(401).contains(&"plugin.auth.prehook".to_owned()));
    assert!(!of(401).contains(&"plugin.headers.prehook".to_owned()));
    assert_eq!(of(404)[0], "GET");
    for span in of(200) {
        assert!(
            text.lines()
                .any(|line| line.contains(&span) && !line.starts_with('{')),
            "{span}"
        );
    }
}

#[test]
fn the_demo_takes_another_port_where_its_own_is_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = Command::new(binary())
        .args([
            "demo",
            "--once",
            "--address",
            &address,
            "--admin",
            "127.0.0.1:0",
        ])
        .output()
        .expect("start weir");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_demo_names_its_console_which_has_the_traces() {
    let addresses = ["--address", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let folder = tempfile::tempdir().expect("a folder");
    let (_demo, mut lines) =
        Running::speaking(Command::new(binary()).arg("demo").args(addresses), folder);
    let console: SocketAddr = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| {
            let rest = line.trim_start().strip_prefix("console")?;
            let address = rest.trim_start().strip_prefix("http://")?;
            address.split('/').next()?.parse().ok()
        })
        .expect("it names its console");
    let get = |target: &str, accept: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\naccept: {accept}");
        client::send(console, format!("{head}\r\nconnection: close\r\n\r\n"))
    };
    let page = get("/", "text/html");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<base href"), "{}", page.text());
    eventually("its three traces are there", || {
        let answer = get("/api/traces", "application/json").json();
        (answer["traces"].as_array()?.len() == 3).then_some(())
    });
}

/// A demo that stays up, with the lines that it prints; killed where its test ends before it does.
struct Demo {
    child: Child,
    lines: Receiver<String>,
}

impl Demo {
    /// What it leaves for others while it runs is in `folder`.
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(binary())
            .args(["demo", "--address", "127.0.0.1:0"])
            .args(["--admin", "127.0.0.1:0"])
            .env("TMPDIR", folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start weir");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // Whether somebody still waits for them, it goes on to write.
            lines.for_each(|line| drop(sender.send(line)));
        });
        Self { child, lines }
    }

    /// The lines up to the first for which `wanted` gives something, and that.
    fn read_to<T>(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> (Vec<String>, T) {
        let mut read = Vec::new();
        loop {
            let line = self.lines.recv_timeout(patience);
            let line = line.unwrap_or_else(|error| panic!("{what}: {error}: {read:#?}"));
            let found = wanted(&line);
            read.push(line);
            if let Some(found) = found {
                return (read, found);
            }
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_request_by_the_demos_own_curl_line_shows_its_trace_and_an_interrupt_ends_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = Demo::start(folder.path());
    let (before, (header, url)) = demo.read_to("its curl line", PATIENCE, |line| {
        let rest = line.trim().strip_prefix("curl -i -H '")?;
        let (header, url) = rest.strip_suffix('\'')?.split_once("' 'http://")?;
        Some((header.to_owned(), url.to_owned()))
    });
    let (address, path) = url.split_once('/').expect("a path");
    let names = |name: &str, part: &str| {
        let named = |line: &String| line.trim().starts_with(name) && line.contains(part);
        assert!(before.iter().any(named), "{name} {part}: {before:#?}");
    };
    names("proxy", &format!("http://{address}/"));
    names("console", "http://127.0.0.1:");
    names("broker", "topic weir-traces");

    let address = address.parse().expect("an address");
    let headers = [&*header, "user-agent: by-hand"];
    let response = client::get(address, &format!("/{path}"), &headers);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("x-demo"), Some("yes"));
    let (shown, trace) = demo.read_to("its trace", AT_ONCE, |line| {
        let trace: Value = serde_json::from_str(line).ok()?;
        (trace["RequestHeaders"]["user-agent"] == "by-hand").then_some(trace)
    });
    let id = trace["TraceID"].as_str().expect("an id");
    let picture = shown
        .iter()
        .position(|line| line.starts_with(&format!("trace {id} ")))
        .unwrap_or_else(|| panic!("no picture of {id}: {shown:#?}"));
    let spans = trace["Spans"].as_array().expect("spans");
    assert_eq!(spans.len(), 8, "{trace}");
    // A line a span, in their order, and then the message.
    for (span, line) in spans.iter().zip(&shown[picture + 1..]) {
        let name = span["Name"].as_str().expect("a name");
        assert!(line.trim().starts_with(&format!("{name} ")), "{line}");
        assert!(line.contains('█') && line.contains(" ms"), "{line}");
    }

    let interrupt = ["-s", "INT", &demo.child.id().to_string()];
    let sent = Command::new("kill").args(interrupt).status();
    assert!(sent.expect("kill").success());
    let status = eventually("it ends", || demo.child.try_wait().expect("wait"));
    assert_eq!(status.code(), Some(0));
    let left = std::fs::read_dir(folder.path()).expect("its folder");
    let left: Vec<_> = left.map(|entry| entry.expect("an entry").path()).collect();
    assert!(left.is_empty(), "it leaves {left:?}");
}

#[test]
fn the_demo_ends_without_a_panic_where_nobody_reads_it() {
    let mut child = Command::new(binary())
        .args(["demo", "--address", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn the_demo_listens_on_ipv6_too() {
    let output = Command::new(binary())
        .args([
            "demo",
            "--address",
            "[::1]:0",
            "--admin",
            "[::1]:0",
            "--once",
        ])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("http://[::1]:"), "{said}");
}
