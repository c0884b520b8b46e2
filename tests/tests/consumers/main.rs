//! The example consumers, as the consumers' guide has them run, on traces of a real topic.

mod collector;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use weir_tests::config::{config, exporter};
use weir_tests::kafka::shared;
use weir_tests::service::service;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

/// A topic with traces of a request that went well, one that a plugin answered and one that failed;
/// and the traces.
fn traces() -> (String, Vec<Trace>) {
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
    config["plugins"] = json!({
        "id": { "module": "builtin:request-id" },
        "auth": { "module": "builtin:key-auth", "config": { "keys": ["right"] } },
    });
    config["routes"][0]["plugins"] = json!(["id", "auth"]);
    let topic = shared().topic();
    config["exporters"]["traces"] = exporter(shared(), &topic);
    let weir = Weir::start(&config.to_string());
    assert_eq!(weir.get("/", &["x-api-key: right"]).status, 200);
    assert_eq!(weir.get("/", &["x-request-id: no key"]).status, 401);
    assert_eq!(weir.get("/fails", &["x-api-key: right"]).status, 500);
    let traces = shared().traces(&topic, 3);
    (topic, traces)
}

/// What a consumer is to print of a trace, without the durations.
fn lines(trace: &Trace) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ids = (text(&trace.0["TraceID"]), text(&trace.0["RequestID"]));
    let mut lines = vec![format!("trace {}  request {}", ids.0, ids.1)];
    let mut open = vec![(1, trace.root())];
    let mut shown = HashSet::new();
    while let Some((depth, span)) = open.pop() {
        assert!(
            shown.insert(text(&span["SpanID"])),
            "{span} is its own ancestor"
        );
        let said = match (span["Status"].as_str(), text(&span["StatusMsg"])) {
            (Some("error"), said) => format!("  error: {said}"),
            (_, said) if said.is_empty() => String::new(),
            (_, said) => format!("  {said}"),
        };
        lines.push(format!(
            "{}{}  ms{said}",
            "  ".repeat(depth),
            text(&span["Name"])
        ));
        let children = trace
            .spans()
            .iter()
            .filter(|child| child["ParentID"] == span["SpanID"]);
        open.extend(children.rev().map(|child| (depth + 1, child)));
    }
    lines
}

/// A consumer's output, with its durations apart.
fn read(output: &str) -> (Vec<String>, Vec<f64>) {
    let mut durations = Vec::new();
    let lines = output.lines().map(|line| {
        let Some((head, tail)) = line.split_once(" ms") else {
            return line.to_owned();
        };
        let (name, duration) = head.rsplit_once("  ").expect("a name and a duration");
        durations.push(duration.parse().expect("a number"));
        format!("{name}  ms{tail}")
    });
    (lines.collect(), durations)
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the consumer runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/consumers")
        .join(name)
}

#[test]
fn both_consumers_print_the_trees_that_are_in_the_topic() {
    let (topic, traces) = traces();
    let expected: Vec<String> = traces.iter().flat_map(lines).collect();

    let mut in_python = Command::new(service("consumers/bin/python"));
    in_python
        .arg(example("traces.py"))
        .args(["--brokers", shared().address(), "--topic", &topic]);
    let (printed, in_python) = read(&run(in_python.args(["--count", "3"])));
    assert_eq!(printed, expected);

    let mut in_shell = Command::new(example("traces.sh"));
    let (printed, in_shell) = read(&run(in_shell.args([shared().address(), &topic, "-c", "3"])));
    assert_eq!(printed, expected);

    assert_eq!(in_python.len(), in_shell.len());
    for (one, other) in in_python.iter().zip(&in_shell) {
        assert!((one - other).abs() < 0.002, "{one} ms is not {other} ms");
    }
}

#[test]
fn the_consumer_in_python_joins_the_messages_of_a_large_trace() {
    let mut config = config(&Upstream::hello());
    config["plugins"] = json!({
        "id": { "module": "builtin:request-id" },
        "auth": { "module": "builtin:key-auth", "config": { "keys": ["right"] } },
    });
    config["routes"][0]["plugins"] = json!(["id", "auth"]);
    let [whole, parts] = [(); 2].map(|()| shared().topic());
    config["exporters"]["whole"] = exporter(shared(), &whole);
    config["exporters"]["parts"] = exporter(shared(), &parts);
    config["exporters"]["parts"]["kafka"]["producer"] = json!({ "max_message_bytes": 3000 });
    let weir = Weir::start(&config.to_string());
    assert_eq!(weir.get("/", &["x-api-key: right"]).status, 200);
    let message = shared().read(&parts, 2).remove(1);
    let part = message.header("weir-part").expect("it is split");
    assert!(part.starts_with("2/"), "{part}");

    let print = |topic: &str| {
        let mut command = Command::new(service("consumers/bin/python"));
        command
            .arg(example("traces.py"))
            .args(["--brokers", shared().address(), "--topic", topic])
            .args(["--count", "1"]);
        run(&mut command)
    };
    let printed = print(&whole);
    assert_eq!(printed.lines().count(), 7, "{printed}");
    assert_eq!(print(&parts), printed);
}
