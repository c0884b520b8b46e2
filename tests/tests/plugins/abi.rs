//! Both ABIs carry every function of the contract, and carry it alike: the guest `census` calls each
//! of them and says what it got.

mod certificates;
mod said;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use weir::config::Limits;
use weir::plugin::engine::Engine;
use weir::plugin::kv::{Kv, Store};
use weir::plugin::{Code, Guest, Seed};
use weir_tests::abi::{Abi, world};
use weir_tests::client::{Connection, Response};
use weir_tests::config::config;
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;
use weir_tests::upstream::{Seen, Upstream};
use weir_tests::weir::{Weir, guest};

use crate::Stand;

/// A Weir with the census of one ABI on its listener.
struct Census(Stand);

/// What became of a request.
struct Outcome {
    response: Response,
    seen: Vec<Seen>,
    trace: Trace,
}

impl Census {
    fn new(abi: Abi, of: &Value) -> Self {
        Self::listening(abi, of, json!({}))
    }

    /// On a listener with these further keys.
    fn listening(abi: Abi, of: &Value, mut listener: Value) -> Self {
        let upstream = Upstream::new(|seen, stream| {
            let mut response = b"HTTP/1.1 200 OK\r\nx-multi: one\r\nX-Multi: two\r\nx-empty:\r\n\
                x-latin: caf\xe9\r\nx-utf: \xc3\xbc\r\nx-gone: gone\r\ncontent-length: 5\r\n"
                .to_vec();
            response.extend(format!("x-long: {}\r\n\r\n", "y".repeat(20 << 10)).bytes());
            if seen.method != "HEAD" {
                response.extend(b"hello");
            }
            let _ = stream.write_all(&response);
        });
        let mut config = config(&upstream);
        let other = Upstream::hello();
        config["upstreams"]["other"] = json!({ "endpoints": [other.url()] });
        config["plugins"]["census"] = json!({
            "module": abi.guest("census"), "config": of, "upstreams": ["other"], "limits": { "calls": 12, "cpu_time": "5s" },
        });
        listener["address"] = json!("127.0.0.1:0");
        listener["plugins"] = json!(["census"]);
        config["listeners"] = json!([listener]);
        Self(Stand::with(upstream, config))
    }

    /// Sends each request over a connection of its own.
    fn serve(&self, requests: &[Vec<u8>]) -> Vec<Outcome> {
        let mut served = Vec::new();
        for request in requests {
            let before = self.0.upstream.seen().len();
            let method = if request.starts_with(b"HEAD") {
                "HEAD"
            } else {
                "GET"
            };
            let mut connection = Connection::open(self.0.weir.proxy());
            let response = connection.send(request).receive_to(method);
            let seen = self.0.upstream.seen().split_off(before);
            served.push((response.expect("a response"), seen));
        }
        let traces = shared().traces(&self.0.topic, requests.len());
        let served = served.into_iter().zip(traces);
        served
            .map(|((response, seen), trace)| Outcome {
                response,
                seen,
                trace,
            })
            .collect()
    }
}

/// A request with all kinds of fields.
fn request(line: &str, census: &str) -> Vec<u8> {
    let mut request = format!(
        "{line} HTTP/1.1\r\nhost: census.test:8080\r\nconnection: close\r\nx-census: {census}\r\n"
    )
    .into_bytes();
    request.extend(
        b"x-request-id: given\r\nx-multi: one\r\nX-Multi: two\r\nx-multi: three\r\nx-empty:\r\n\
        x-latin: caf\xe9\r\nx-utf: \xc3\xbc\r\nx-gone: gone\r\nx-gone: again\r\n",
    );
    for n in 0..80 {
        request.extend(format!("x-many-{n}: {n}\r\n").bytes());
    }
    request.extend(format!("x-long: {}\r\n\r\n", "x".repeat(20 << 10)).bytes());
    request
}

fn requests() -> Vec<Vec<u8>> {
    vec![
        request("GET /a/b%20c?x=1&y", "nothing"),
        request("REPORT /plain", "error"),
        request("HEAD /?", "nothing"),
        request("GET /", "pre-request"),
        request("GET /", "request"),
        request("GET /", "response"),
        request("GET /", "trap"),
        b"GET / HTTP/1.1\r\nhost: census.test\r\nx-request-id: given\r\nconnection: close\r\n\r\n"
            .to_vec(),
        with_body("content-length: 300", &"b".repeat(300)),
        with_body("transfer-encoding: chunked", "3\r\n\0\u{ff}\r\r\n0\r\n\r\n"),
        with_body("content-length: 1048577", ""),
        request("GET /", "call"),
    ]
}

fn with_body(framing: &str, body: &str) -> Vec<u8> {
    let head =
        "POST /body HTTP/1.1\r\nhost: census.test\r\nx-request-id: given\r\nconnection: close";
    let mut request = format!("{head}\r\n{framing}\r\n\r\n").into_bytes();
    request.extend(body.chars().map(|byte| u8::try_from(byte).expect("a byte")));
    request
}

const HOOKS: [&str; 3] = [
    "plugin.census.prerequesthook",
    "plugin.census.prehook",
    "plugin.census.posthook",
];

/// Leaves out of a trace what differs from run to run; a span's parent is told by name.
fn comparable(trace: &Trace) -> Value {
    fn strip(value: &mut Value, names: &[(Value, Value)]) {
        const VARIES: [&str; 8] = [
            "TraceID",
            "SpanID",
            "StartTime",
            "EndTime",
            "Timestamp",
            "timestamp",
            "weir.hook.module_digest",
            "weir.hook.cpu_ns",
        ];
        match value {
            Value::Object(members) => {
                members.retain(|key, _| {
                    !VARIES.contains(&key.as_str())
                        && key != "weir.hook.wait_ns"
                        && key != "weir.hook.made_ns"
                        && !key.ends_with("duration_ms")
                        && key.rsplit('.').next() != Some("port")
                });
                for (key, value) in members {
                    if key == "ParentID" {
                        let parent = names.iter().find(|(id, _)| id == value);
                        *value = parent.map_or(Value::Null, |(_, name)| name.clone());
                    }
                    strip(value, names);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| strip(item, names)),
            _ => {}
        }
    }
    let names: Vec<_> = trace
        .spans()
        .iter()
        .map(|span| (span["SpanID"].clone(), span["Name"].clone()))
        .collect();
    let mut trace = trace.0.clone();
    strip(&mut trace, &names);
    trace
}

#[test]
fn both_abis_do_the_same() {
    compare(&json!({}), &requests());
}

#[test]
fn both_abis_carry_the_pieces_of_bodies() {
    let requests = [
        with_body("content-length: 300", &"b".repeat(300)),
        with_body("transfer-encoding: chunked", "3\r\n\0\u{ff}\r\r\n0\r\n\r\n"),
        with_body("content-length: 4", "pass"),
        with_body("content-length: 7", "respond"),
        with_body("content-length: 5", "abort"),
        request("GET /", "skip"),
        request("GET /", "streamed"),
        request("GET /", "streamed-back"),
        with_body("content-length: 8", "streamed"),
    ];
    let outcomes = compare(&json!({ "stream": true }), &requests);
    let said = |request: usize, hook: usize, name: &str| {
        let trace: &Trace = &outcomes[request].trace;
        trace
            .attribute(HOOKS[hook], &format!("census.{name}"))
            .clone()
    };
    assert_eq!(said(0, 1, "chunk.data"), "b".repeat(300));
    assert_eq!(said(0, 1, "chunk.len"), "300");
    assert_eq!(said(0, 1, "chunk.is-last"), "true");
    assert_eq!(said(0, 1, "chunk.set-trailer"), "Ok(())");
    assert_eq!(said(0, 1, "chunk.write.large"), "Err(\"too-large\")");
    assert_eq!(said(0, 1, "chunk.respond"), "Ok(())");
    assert_eq!(
        said(0, 1, "chunk.respond.status"),
        "Err(RespondError::InvalidStatus)"
    );
    assert_eq!(said(0, 2, "chunk.respond"), "Err(RespondError::TooLate)");
    assert_eq!(outcomes[0].response.text(), "[hello]");
    // The answer goes through the plugin too.
    assert_eq!(outcomes[3].response.text(), "[tea]");
    let refused = outcomes[4].response.text();
    assert!(refused.contains("could not be processed"), "{refused}");
    assert!(said(5, 1, "chunk.data").is_null(), "it was let by");
    // An answer's pieces go through the plugin too, but for one of its response hook.
    for (request, hook, text) in [(6, 1, "[given][]"), (7, 2, "given")] {
        let response = &outcomes[request].response;
        assert_eq!((response.status, &*response.text()), (299, text));
        assert!(response.complete);
        for (name, expected) in [
            ("streamed.199", "Err(RespondError::InvalidStatus)"),
            (
                "streamed.forbidden",
                "Err(RespondError::Header(HeaderError::Forbidden))",
            ),
            ("streamed", "Ok(())"),
            ("streamed.immutable", "Err(HeaderError::Immutable)"),
            ("given.data", "[]"),
            ("given.is-last", "true"),
            ("given.respond", "Err(RespondError::TooLate)"),
            ("given.streamed", "Err(RespondError::TooLate)"),
            ("given.write.large", "Err(\"too-large\")"),
            ("given.set-trailer", "Ok(())"),
        ] {
            assert_eq!(said(request, hook, name), expected, "{name}");
        }
    }
    // A piece of a request may be answered so, one of a response not.
    for (hook, name, expected) in [
        (
            1,
            "chunk.streamed.status",
            "Err(RespondError::InvalidStatus)",
        ),
        (1, "chunk.streamed", "Ok(())"),
        (1, "chunk.streamed.last", "Ok(())"),
        (1, "given.respond", "Err(RespondError::TooLate)"),
        (2, "chunk.streamed", "Err(RespondError::TooLate)"),
    ] {
        assert_eq!(said(8, hook, name), expected, "{name}");
    }
    let response = &outcomes[8].response;
    assert!(response.complete);
    assert_eq!(response.text(), "[given][]");
    assert_eq!(response.header("x-tea"), Some("2"));
}

/// What the census of the one ABI says, and what comes of requests, is that of the other.
fn compare(of: &Value, requests: &[Vec<u8>]) -> Vec<Outcome> {
    let [module, component] = Abi::BOTH.map(|abi| Census::new(abi, of).serve(requests));
    for ((request, module), component) in requests.iter().zip(&module).zip(&component) {
        let line = String::from_utf8_lossy(request);
        let line = line.lines().next().expect("a line");
        let (traces, others) = (comparable(&module.trace), comparable(&component.trace));
        for (span, other) in module.trace.spans().iter().zip(component.trace.spans()) {
            // First what is easier to read than the whole.
            let attributes = span["Attributes"].as_object().expect("an object");
            for (name, value) in attributes
                .iter()
                .filter(|(name, _)| name.contains("census."))
            {
                assert_eq!(other["Attributes"][name], *value, "{line}: {name}");
            }
        }
        assert_eq!(traces, others, "{line}");
        assert_eq!(told(&module.response), told(&component.response), "{line}");
        assert_eq!(sent(&module.seen), sent(&component.seen), "{line}");
    }
    module
}

fn told(response: &Response) -> (u16, Vec<(String, String)>, &[u8], bool) {
    let fields = response.headers.iter();
    let fields = fields.filter(|(name, _)| name != "date").cloned();
    (
        response.status,
        fields.collect(),
        &response.body,
        response.complete,
    )
}

fn sent(seen: &[Seen]) -> Vec<String> {
    let sent = seen.iter().map(|seen| {
        let fields = seen.headers.iter();
        let fields: Vec<_> = fields.filter(|(name, _)| name != "traceparent").collect();
        format!("{} {} {fields:?}", seen.method, seen.target)
    });
    sent.collect()
}

#[test]
fn the_census_calls_every_function_of_the_contract() {
    let (resolve, world) = world();
    let mut contract = BTreeSet::new();
    for import in resolve.worlds[world].imports.values() {
        let wit_parser::WorldItem::Interface { id, .. } = import else {
            continue;
        };
        let module = resolve.id_of(*id).expect("a name");
        let interface = &resolve.interfaces[*id];
        contract.extend(
            interface
                .functions
                .keys()
                .map(|name| (module.clone(), name.clone())),
        );
        for (name, id) in &interface.types {
            if matches!(resolve.types[*id].kind, wit_parser::TypeDefKind::Resource) {
                contract.insert((module.clone(), format!("[resource-drop]{name}")));
            }
        }
    }
    assert!(contract.len() > 40, "{contract:#?}");

    let census = fs::read(guest("census")).expect("the guest");
    let imports = wasmparser::Parser::new(0)
        .parse_all(&census)
        .filter_map(|payload| match payload.expect("a module") {
            wasmparser::Payload::ImportSection(section) => Some(section),
            _ => None,
        })
        .flat_map(wasmparser::SectionLimited::into_imports)
        .map(|import| import.expect("an import"))
        .map(|import| (import.module.to_owned(), import.name.to_owned()));
    assert_eq!(imports.collect::<BTreeSet<_>>(), contract);
}

/// A guest has no more handles than the host lends it, and a reply for each call that it may make.
#[test]
fn replies_alone_are_handles_that_a_guest_is_given() {
    use wit_parser::{Handle, TypeDefKind};
    let (resolve, _) = world();
    let mut lent = 0;
    let mut given = BTreeSet::new();
    for (_, of) in &resolve.types {
        match of.kind {
            TypeDefKind::Handle(Handle::Borrow(_)) => lent += 1,
            TypeDefKind::Handle(Handle::Own(id)) => {
                given.insert(resolve.types[id].name.clone().expect("a name"));
            }
            _ => {}
        }
    }
    assert!(lent > 0);
    assert_eq!(given, BTreeSet::from(["reply".to_owned()]));
}

#[test]
fn both_abis_carry_a_refusal_of_the_configuration() {
    let long = "x".repeat(100 << 10);
    for abi in Abi::BOTH {
        let cut = "x".repeat(1024);
        for (refuse, said) in [("a text – ü", "a text – ü"), ("", ""), (&long, &cut)] {
            let said_of = |of: Value| {
                let mut all = config(&Upstream::hello());
                all["plugins"]["bad"] = json!({ "module": abi.guest("census"), "config": of });
                Weir::refusal(&all.to_string())
            };
            let refusal = said_of(json!({ "refuse": refuse }));
            let expected = format!("plugin `bad`: refused its configuration: {said}\n");
            assert!(refusal.contains(&expected), "{abi:?}: {refusal}");
            let unknown = said_of(json!({ "unknown": 1 }));
            assert!(unknown.contains("unknown field `unknown`"), "{unknown}");
        }
    }
}

#[test]
fn both_abis_carry_the_schema_of_the_configuration() {
    let engine = Engine::new().expect("an engine");
    let limits = Limits {
        memory: Some(16 << 20),
        cpu_time: std::time::Duration::from_secs(1),
        wall_time: std::time::Duration::from_secs(5),
        body: 1 << 20,
        answer: 1 << 20,
        answer_time: std::time::Duration::from_secs(5),
        kv: 1 << 20,
        calls: 8,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    for abi in Abi::BOTH {
        let schema = |name: &str| {
            let bytes = fs::read(abi.guest(name)).expect("the guest");
            let code = Code::compile(&engine, &bytes).expect("code");
            let seed = Seed {
                engine: engine.clone(),
                id: 1,
                name: name.into(),
                config: "{}".to_owned(),
                kv: Store::Memory(Arc::new(Kv::new(1 << 20))),
                families: Arc::default(),
                upstreams: Arc::from([]),
            };
            let guest = Guest::new(seed, &code).expect("a guest");
            runtime.block_on(async {
                let mut made = guest.instantiate(limits).await.expect("it starts");
                assert!(made.interests.hooks.contains(&true));
                made.instance
                    .config_schema(&limits)
                    .await
                    .expect("a schema")
            })
        };
        let census = r#"{ "type": "object", "title": "Zensus – 人口調査" }"#;
        assert_eq!(schema("census"), census, "{abi:?}");
        assert!(schema("bench-header").contains("\"$schema\""), "{abi:?}");
    }
}
