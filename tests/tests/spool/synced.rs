//! `fsync: always`: the order of what Weir asks of the kernel.

use std::fs::{File, read_to_string};
use std::io::Write as _;
use std::process::{Child, Command};

use serde_json::json;
use tempfile::TempDir;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::Spooled;

/// Has strace write down in `calls` what is written and synced, and hold each sync up for a while; `None`
/// where there is no strace, or where it may not look.
fn traced(weir: &Weir, folder: &TempDir) -> Option<Child> {
    let said = folder.path().join("said");
    let mut strace = Command::new("strace")
        .args(["-f", "-s", "200", "-p", &weir.id().to_string()])
        .args(["-e", "trace=msync,fdatasync,write,writev,sendto,sendmsg"])
        .args(["-e", "inject=msync,fdatasync:delay_enter=300000", "-o"])
        .arg(folder.path().join("calls"))
        .stderr(File::create(&said).expect("a file"))
        .spawn()
        .ok()?;
    eventually("strace looks, or says why it does not", || {
        if strace.try_wait().expect("wait").is_some() {
            return Some(false);
        }
        let said = read_to_string(&said).expect("text");
        said.contains("attached").then_some(true)
    })
    .then_some(strace)
}

#[test]
fn with_fsync_always_the_last_bytes_go_out_once_the_trace_is_synced() {
    let mut spooled = Spooled::new(&Upstream::hello());
    spooled.config["spool"]["fsync"] = json!("always");
    spooled.config["exporters"]["traces"]["kafka"] =
        json!({ "brokers": ["127.0.0.1:1"], "topic": "traces" });
    let mut weir = spooled.start();
    let folder = TempDir::new().expect("a folder");
    let Some(mut strace) = traced(&weir, &folder) else {
        // Past what keeps the output of tests that pass.
        let why = "not tested: that an end waits for fsync, for strace is missing or may not look";
        let _ = writeln!(std::io::stderr(), "{why}");
        return;
    };
    assert_eq!(weir.get("/", &[]).text(), "hello");
    weir.signal("KILL");
    weir.wait();
    strace.wait().expect("it ends with what it looks at");
    let calls = read_to_string(folder.path().join("calls")).expect("text");
    let places = |is: fn(&str) -> bool| -> Vec<usize> {
        let lines = calls.lines().enumerate();
        lines
            .filter(|(_, line)| is(line))
            .map(|(at, _)| at)
            .collect()
    };
    let head = places(|line| line.contains("HTTP/1.1 200"));
    let body = places(|line| line.contains("\"hello\""));
    let synced = places(|line| line.contains("sync") && line.contains("= 0"));
    let ([head], [body]) = (&head[..], &body[..]) else {
        panic!("one response: {calls}");
    };
    assert!(
        synced.iter().any(|synced| (head..body).contains(&synced)),
        "the body did not wait: {calls}"
    );
}
