//! A wall clock that is set while a request is under way. It is faked for the process of Weir alone, by
//! libfaketime, which leaves the monotonic clock as it is.
//!
//! It is only ever set back: what librdkafka waits for with a deadline of the wall clock is waited for in the
//! C library, which knows nothing of a fake, so that a faked clock ahead would stop it where a real one does not.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;
use weir_tests::config::exporter;
use weir_tests::kafka::shared;
use weir_tests::trace::lasted;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::two_plugins;

/// Debian has a folder of libraries for each kind of machine.
fn libfaketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("libraries").flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let library = libraries.find(|library| library.is_file());
    library.expect("libfaketime is missing: see services/install.sh")
}

/// Sets the clock that this file says, at once and whole.
fn set(clock: &Path, offset: &str) {
    let new = clock.with_extension("new");
    fs::write(&new, format!("{offset}\n")).expect("a file");
    fs::rename(&new, clock).expect("a file");
}

#[test]
fn a_clock_that_is_set_back_by_a_day_changes_no_duration_and_loses_no_trace() {
    let folder = TempDir::new().expect("a folder");
    let clock = folder.path().join("clock");
    set(&clock, "+0");
    let of_upstream = clock.clone();
    // A day and an hour, for a day alone shows in no time of day.
    let upstream = Upstream::new(move |seen, stream| {
        if seen.target == "/sets-the-clock" {
            set(&of_upstream, "-25h");
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    });
    let topic = shared().topic();
    let mut config = two_plugins(&upstream);
    config["data_dir"] = json!(folder.path().join("data"));
    config["exporters"]["traces"] = exporter(shared(), &topic);
    let library = libfaketime();
    let weir = Weir::start_with(
        &config.to_string(),
        &[
            ("LD_PRELOAD", library.to_str().expect("a path")),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("a path")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ],
    );
    for target in ["/before", "/sets-the-clock", "/after"] {
        assert_eq!(weir.get(target, &[]).text(), "hello");
    }

    let traces = shared().traces(&topic, 3);
    let time = |of: &serde_json::Value, key: &str| of[key].as_str().expect("a time").to_owned();
    for (trace, target) in traces.iter().zip(["/before", "/sets-the-clock", "/after"]) {
        let root = trace.root();
        assert_eq!(root["Attributes"]["url.path"], target);
        let of = |name: &str| root["Attributes"][name].as_f64().expect("a number");
        let (upstream, overhead) = (
            of("weir.upstream.duration_ms"),
            of("weir.overhead.duration_ms"),
        );
        assert!(upstream > 0.0 && overhead > 0.0, "{upstream} {overhead}");
        let rest = lasted(root) - upstream - overhead;
        assert!(rest.abs() < 0.001, "{target}: {rest} ms are neither");
        // By one anchor, times of one form are in the order of their texts.
        let (start, end) = (time(root, "StartTime"), time(root, "EndTime"));
        for span in trace.spans() {
            let (of_span, until) = (time(span, "StartTime"), time(span, "EndTime"));
            assert!(
                start <= of_span && of_span <= until && until <= end,
                "{span}"
            );
        }
    }
    let start = |index: usize| time(traces[index].root(), "StartTime");
    assert!(start(0) < start(1), "the clock is as it was");
    assert!(start(2) < start(0), "the clock is back");
    let status = weir.ready()["exporters"][0].clone();
    assert_eq!(status["dropped"], json!({}), "{status}");
}
