//! `fsync: always`: the order of what Weir asks of the kernel.

use std::collections::HashSet;
use std::fs::read_to_string;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::client;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::Spooled;

/// A Weir with `fsync: always` of whose calls strace writes down what is received, sent and synced. It
/// holds each sync up for a while.
struct Traced {
    weir: Weir,
    folder: TempDir,
    _spooled: Spooled,
}

impl Traced {
    fn start(change: impl FnOnce(&mut Value)) -> Self {
        let mut spooled = Spooled::new(&Upstream::hello());
        spooled.config["spool"]["fsync"] = json!("always");
        spooled.config["exporters"]["traces"]["kafka"] =
            json!({ "brokers": ["127.0.0.1:1"], "topic": "traces" });
        change(&mut spooled.config);
        let folder = TempDir::new().expect("a folder");
        // `prlimit` runs what stands behind its options. Who may not look at others' processes may look
        // at what it starts; by `-D` that is the very process that was started here.
        let strace = format!(
            "--core=0 strace -D -f -s 200 -e trace=msync,fdatasync,recvfrom,write,writev,sendto,sendmsg \
             -e inject=msync,fdatasync:delay_enter=300000 -o '{}'",
            folder.path().join("calls").display()
        );
        Self {
            weir: Weir::limited(&spooled.config.to_string(), &strace),
            folder,
            _spooled: spooled,
        }
    }

    /// Its calls, once it has been killed.
    fn calls(mut self) -> Vec<String> {
        let process = self.weir.id().to_string();
        self.weir.signal("KILL");
        self.weir.wait();
        eventually("strace has written all", || {
            let calls = read_to_string(self.folder.path().join("calls")).expect("text");
            let lines: Vec<String> = calls.lines().map(str::to_owned).collect();
            let is_end = |line: &String| line.starts_with(&process) && line.contains("+++ killed");
            lines.iter().any(is_end).then_some(lines)
        })
    }
}

/// Where the one call is that has this in it.
fn place(calls: &[String], part: &str) -> usize {
    let found = calls.iter().enumerate();
    let found: Vec<usize> = found
        .filter(|(_, line)| line.contains(part))
        .map(|(at, _)| at)
        .collect();
    let [place] = found[..] else {
        panic!("{part:?} at {found:?}: {calls:#?}");
    };
    place
}

/// Whether a sync has succeeded in these calls.
fn has_synced(calls: &[String]) -> bool {
    calls
        .iter()
        .any(|line| line.contains("sync") && line.contains("= 0"))
}

/// Whether one has that began in them too: what others do meanwhile parts a call in two.
fn has_begun_and_synced(calls: &[String]) -> bool {
    let mut begun = HashSet::new();
    calls.iter().any(|line| {
        let (thread, call) = line.split_once(' ').unwrap_or_default();
        let call = call.trim_start();
        if call.starts_with("msync(") || call.starts_with("fdatasync(") {
            begun.insert(thread);
        }
        begun.contains(thread) && call.contains("sync") && call.contains("= 0")
    })
}

#[test]
fn with_fsync_always_the_last_bytes_go_out_once_the_trace_is_synced() {
    let traced = Traced::start(|_| {});
    assert_eq!(traced.weir.get("/", &[]).text(), "hello");
    let mut calls = traced.calls();
    // What the upstream sends looks the same.
    calls.retain(|line| !line.contains("recvfrom"));
    let head = place(&calls, "HTTP/1.1 200");
    let body = place(&calls, "\"hello\"");
    assert!(
        has_synced(&calls[head..body]),
        "the body did not wait: {calls:#?}"
    );
}

#[test]
fn with_fsync_always_otlp_is_acknowledged_once_it_is_synced() {
    let traced = Traced::start(|config| {
        config["receivers"]["otlp"] = json!({
            "grpc": { "enabled": false },
            "http": { "address": "127.0.0.1:0" },
            "exporter": { "kafka": { "brokers": ["127.0.0.1:1"] } },
        });
    });
    let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"operation"}]}]}]}"#;
    let request = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(client::send(traced.weir.otlp("http"), request).status, 200);
    let calls = traced.calls();
    let is_request = |line: &String| line.contains("POST /v1/traces");
    // It is looked at before it is read.
    let asked = calls.iter().rposition(is_request).expect("a request");
    let answered = place(&calls, "HTTP/1.1 200");
    assert!(
        has_begun_and_synced(&calls[asked..answered]),
        "the answer did not wait: {calls:#?}"
    );
}
