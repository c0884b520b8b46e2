//! `weir traces tail` on topics of a real Kafka.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::config::{config, exporter};
use weir_tests::kafka::{shared, unique};
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, binary};

/// A proxy whose traces go to a topic in each format, and its configuration's file.
struct Traffic {
    weir: Weir,
    topics: [String; 3],
    folder: TempDir,
}

const FORMATS: [&str; 3] = ["json", "otlp_json", "otlp_protobuf"];

impl Traffic {
    /// Three requests: one that went well, one that a plugin answered, one that failed.
    fn new() -> Self {
        let upstream = Upstream::new(|seen, stream| {
            use std::io::Write as _;
            let status = if seen.target == "/fails" {
                "500 Wrong"
            } else {
                "200 OK"
            };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        });
        let mut config = config(&upstream);
        config["plugins"]["auth"] =
            json!({ "module": "builtin:key-auth", "config": { "keys": ["right"] } });
        config["plugins"]["id"] = json!({ "module": "builtin:request-id" });
        config["routes"] = json!([
            { "name": "open", "match": { "path": "/open" }, "upstream": "up", "plugins": ["id"] },
            { "name": "all", "upstream": "up", "plugins": ["auth"] },
        ]);
        let topics = FORMATS.map(|format| {
            let topic = shared().topic();
            config["exporters"][format] = exporter(shared(), &topic);
            config["exporters"][format]["kafka"]["format"] = json!(format);
            topic
        });
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("weir.yaml"), config.to_string()).expect("write");
        let weir = Weir::start(&config.to_string());
        assert_eq!(weir.get("/open", &[]).status, 200);
        assert_eq!(weir.get("/closed", &[]).status, 401);
        assert_eq!(weir.get("/fails", &["x-api-key: right"]).status, 500);
        for topic in &topics {
            shared().read(topic, 3);
        }
        Self {
            weir,
            topics,
            folder,
        }
    }

    /// What it prints of an exporter's topic, from its beginning to its end.
    fn tail(&self, exporter: &str, more: &[&str]) -> Vec<String> {
        let config = self.folder.path().join("weir.yaml");
        let config = config.to_str().expect("a path");
        let all = ["--from", "beginning", "--no-follow"];
        let words = [
            &["--config", config, "--exporter", exporter],
            &all[..],
            more,
        ]
        .concat();
        tail(&words).0
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["traces", "tail"]).args(words);
    command
}

/// Lines of standard output, and standard error.
fn tail(words: &[&str]) -> (Vec<String>, String) {
    let output = command(words).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8(output.stdout).expect("text");
    (text.lines().map(str::to_owned).collect(), errors)
}

#[test]
fn traces_of_every_format_are_shown_and_filtered_alike() {
    let traffic = Traffic::new();
    let traces = shared().traces(&traffic.topics[0], 3);
    for format in FORMATS {
        let lines = traffic.tail(format, &[]);
        assert_eq!(lines.len(), 3, "{format}: {lines:#?}");
        for (line, trace) in lines.iter().zip(&traces) {
            let (id, name) = (&trace.0["TraceID"], &trace.root()["Name"]);
            let status = &trace.root()["Attributes"]["http.response.status_code"];
            for part in [id.as_str(), name.as_str(), Some(&*status.to_string())] {
                assert!(line.contains(part.expect("text")), "{line}");
            }
            // What failed may hide a short hook.
            assert!(line.contains(['▒', '!']), "{line}");
            assert!(!line.contains('\u{1b}'), "{line}");
        }
        assert!(
            lines[0].contains('█') && !lines[1].contains('█'),
            "{lines:#?}"
        );
        assert!(lines[2].contains('!'), "{lines:#?}");

        let shown = |filter: &[&str]| -> Vec<usize> {
            let some = traffic.tail(format, filter);
            let place = |line: &String| lines.iter().position(|other| other == line);
            some.iter()
                .map(|line| place(line).expect("a line"))
                .collect()
        };
        assert_eq!(shown(&["--status", "401"]), [1], "{format}");
        assert_eq!(shown(&["--status", "400-599"]), [1, 2], "{format}");
        assert_eq!(shown(&["--errors"]), [2], "{format}");
        assert_eq!(shown(&["--plugin", "auth"]), [1, 2], "{format}");
        assert_eq!(shown(&["--route", "/op*"]), [0], "{format}");
        assert_eq!(shown(&["--slower-than", "1h"]), [0; 0], "{format}");
        assert_eq!(shown(&["--count", "2"]), [0, 1], "{format}");
        assert_eq!(shown(&["--from", "-1"]), [2], "{format}");

        for (line, trace) in traffic.tail(format, &["--json"]).iter().zip(&traces) {
            let shown: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(shown["TraceID"], trace.0["TraceID"]);
            assert_eq!(shown["RequestID"], trace.0["RequestID"]);
            let names = |trace: &Trace| -> Vec<String> {
                trace.names().into_iter().map(str::to_owned).collect()
            };
            assert_eq!(names(&Trace(shown)), names(trace));
        }
    }
    drop(traffic.weir);
}

#[test]
fn it_follows_the_topic_and_ends_on_ctrl_c() {
    let traffic = Traffic::new();
    let words = [
        "--brokers",
        shared().address(),
        "--topic",
        &traffic.topics[0],
    ];
    let colored = ["--from", "-1", "--color", "always"];
    let mut child = command(&[&words[..], &colored].concat())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().contains("\u{1b}[31m500\u{1b}[0m"));
    traffic.weir.get("/open", &[]);
    assert!(next().contains("\u{1b}[32m200\u{1b}[0m"));
    let kill = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status();
    assert!(kill.expect("kill").success());
    let status = eventually("it ends", || child.try_wait().expect("wait"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let traffic = Traffic::new();
    let all = ["--from", "beginning"];
    let words = [
        "--brokers",
        shared().address(),
        "--topic",
        &traffic.topics[0],
    ];
    let mut child = command(&[&words[..], &all].concat())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    // Whatever it writes from now on, nobody reads.
    let status = eventually("it ends", || {
        traffic.weir.get("/open", &[]);
        child.try_wait().expect("wait")
    });
    assert_eq!(status.code(), Some(0));
}

#[test]
fn trouble_is_said_in_the_words_of_an_exporter() {
    let missing = unique("nowhere");
    let brokers = ["--brokers", shared().address()];
    let (_, errors) = tail(&[&brokers[..], &["--topic", &missing]].concat());
    assert_eq!(
        errors,
        format!("kafka plugin: topic \"{missing}\" does not exist\n")
    );
    let (_, errors) = tail(&["--brokers", "127.0.0.1:1", "--topic", "t"]);
    assert_eq!(
        errors,
        "kafka plugin: failed to connect/authenticate with broker: 127.0.0.1:1: connection refused\n"
    );
    let of_tls = shared().listener("SSL");
    let (_, errors) = tail(&["--brokers", of_tls, "--topic", "t"]);
    assert!(errors.contains("expect TLS"), "{errors}");
    let (_, errors) = tail(&["--config", "/nowhere.yaml"]);
    assert!(errors.contains("cannot read the configuration"), "{errors}");
}

#[test]
fn a_secured_listener_is_read_by_flags() {
    let topic = shared().topic();
    let folder = TempDir::new().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, shared().ca()).expect("write");
    let output = command(&[
        "--brokers",
        shared().listener("SASL_SSL"),
        "--topic",
        &topic,
    ])
    .args(["--ca-cert", ca.to_str().expect("a path")])
    .args([
        "--sasl-mechanism",
        "SCRAM-SHA-512",
        "--sasl-username",
        "weir",
    ])
    .args(["--sasl-password", "env.PASSWORD", "--no-follow"])
    .env("PASSWORD", weir_tests::kafka::PASSWORD)
    .output()
    .expect("it runs");
    assert!(output.status.success(), "{output:?}");
}
