//! Weir's JSON beside what protobuf's own printer and parser make of the same requests.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};
use weir::otlp::json::{Dialect, write};
use weir::otlp::read::read;
use weir::otlp::schema::{Kind, Label, Message};
use weir::otlp::testing::Generator;
use weir::otlp::{Signal, check::check};

use crate::clients::{python, script};

/// Requests of each signal.
const REQUESTS: u64 = 400;

/// Broken ones of each signal that are tried.
const BROKEN: u64 = 3000;

/// What a script prints that is given these lines.
fn run(name: &str, lines: String) -> String {
    let mut child = Command::new(python())
        .arg(script(name))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python runs: see services/install.sh");
    let mut stdin = child.stdin.take().expect("piped");
    let writing = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{said}");
    writing.join().expect("no panic").expect("all was read");
    said
}

/// Has protobuf's printer judge what Weir writes of these requests.
fn judge(requests: &[(Signal, Vec<u8>)]) {
    let mut cases = String::new();
    for (signal, request) in requests {
        let text = |dialect| {
            let mut out = Vec::new();
            write(signal.request(), request, dialect, &mut out);
            String::from_utf8(out).expect("UTF-8")
        };
        let case = json!({
            "signal": signal.as_str(),
            "protobuf": STANDARD.encode(request),
            "snake": text(Dialect::SnakeCase),
            "otlp": text(Dialect::Otlp),
        });
        writeln!(cases, "{case}").expect("memory");
    }
    let judged = run("compare_json.py", cases);
    assert_eq!(judged.trim(), requests.len().to_string());
}

/// Requests with every field there is.
fn requests() -> Vec<(Signal, Vec<u8>)> {
    let each = |seed| Signal::ALL.map(|signal| (signal, Generator::new(seed).request(signal)));
    (0..REQUESTS).flat_map(each).collect()
}

#[test]
fn both_dialects_are_what_protobufs_own_printer_writes() {
    let requests = requests();
    for (signal, request) in &requests {
        check(signal.request(), request).expect("well-formed");
    }
    judge(&requests);
}

#[test]
fn what_is_taken_of_broken_requests_is_what_protobufs_own_parser_takes() {
    let mut taken = Vec::new();
    for seed in 0..BROKEN {
        for signal in Signal::ALL {
            let mut request = Generator::new(seed).request(signal);
            let mut rng = Rng::with_seed(seed);
            for _ in 0..rng.usize(1..4) {
                if !request.is_empty() {
                    let at = rng.usize(..request.len());
                    match rng.u8(..4) {
                        0 => drop(request.remove(at)),
                        1 => request.insert(at, rng.u8(..)),
                        2 => request.truncate(at),
                        _ => request[at] = rng.u8(..),
                    }
                }
            }
            if check(signal.request(), &request).is_ok() {
                taken.push((signal, request));
            }
        }
    }
    assert!(taken.len() > 500, "{} are taken", taken.len());
    judge(&taken);
}

/// The number of a message among those that are known, which it joins with all that are in it.
fn number(message: &'static Message, known: &mut Vec<&'static Message>) -> usize {
    if let Some(number) = known.iter().position(|other| std::ptr::eq(*other, message)) {
        return number;
    }
    let own = known.len();
    known.push(message);
    for field in message.fields {
        if let Kind::Message(of) = field.kind {
            number(of, known);
        }
    }
    own
}

#[test]
fn the_tables_are_the_descriptors_of_protobufs_own_messages() {
    let mut known = Vec::new();
    let mut tables = json!({});
    for signal in Signal::ALL {
        tables[signal.as_str()] = json!(number(signal.request(), &mut known));
    }
    let mut messages = Vec::new();
    for message in known.clone() {
        let fields = message.fields.iter().map(|field| {
            let (kind, of) = match field.kind {
                Kind::Text => ("string".to_owned(), Value::Null),
                Kind::Id(_) => ("bytes".to_owned(), Value::Null),
                Kind::Enum(names) => ("enum".to_owned(), json!(names)),
                Kind::Message(of) => ("message".to_owned(), json!(number(of, &mut known))),
                kind => (format!("{kind:?}").to_lowercase(), Value::Null),
            };
            let label = match field.label {
                Label::Plain => "plain",
                Label::Optional => "optional",
                Label::Repeated => "repeated",
                Label::Oneof => "oneof",
            };
            json!([field.number, field.name, field.camel, kind, label, of])
        });
        messages.push(fields.collect::<Vec<_>>());
    }
    tables["messages"] = json!(messages);
    let compared = run("compare_schema.py", tables.to_string());
    assert_eq!(compared.trim(), known.len().to_string());
}

/// What prost makes of a request, written in its own way.
fn canonical(signal: Signal, bytes: &[u8]) -> Vec<u8> {
    let read = match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(bytes).map(|it| it.encode_to_vec()),
        Signal::Metrics => ExportMetricsServiceRequest::decode(bytes).map(|it| it.encode_to_vec()),
        Signal::Logs => ExportLogsServiceRequest::decode(bytes).map(|it| it.encode_to_vec()),
    };
    read.expect("protobuf")
}

#[test]
fn json_of_other_writers_is_read_as_protobufs_own_parser_reads_it() {
    let mut cases = String::new();
    for (signal, request) in requests() {
        let case = json!({ "signal": signal.as_str(), "protobuf": STANDARD.encode(request) });
        writeln!(cases, "{case}").expect("memory");
    }
    let mut count = 0;
    for line in run("write_json.py", cases).lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| case[key].as_str().expect("a text");
        let named = |signal: &Signal| signal.as_str() == text("signal");
        let signal = Signal::ALL.into_iter().find(named).expect("a signal");
        let read = read(signal.request(), text("json").as_bytes());
        let read = read.unwrap_or_else(|error| panic!("{}: {error}", text("way")));
        check(signal.request(), &read).expect("well-formed");
        let expected = STANDARD.decode(text("protobuf")).expect("base64");
        let (read, expected) = (canonical(signal, &read), canonical(signal, &expected));
        assert_eq!(read, expected, "{} {}", text("way"), text("json"));
        count += 1;
    }
    assert_eq!(count, 3 * REQUESTS);
}
