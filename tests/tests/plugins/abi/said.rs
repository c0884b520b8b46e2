//! What the census says, literally: else both ABIs could be wrong alike.

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::trace::Trace;

use super::{Census, HOOKS, Outcome, requests};
use crate::values;

#[test]
fn the_census_gets_what_the_contract_says() {
    for abi in Abi::BOTH {
        let outcomes = Census::new(abi, &json!({})).serve(&requests());
        assert_first(&outcomes[0]);
        assert_others(&outcomes);
    }
}

/// Attributes `census.*` of a hook's span.
fn assert_said(trace: &Trace, hook: &str, said: &[(&str, &str)]) {
    for (name, value) in said {
        let name = format!("census.{name}");
        assert_eq!(trace.attribute(hook, &name), *value, "{hook}: {name}");
    }
}

fn assert_first(outcome: &Outcome) {
    let trace = &outcome.trace;
    assert_eq!(trace.0["RequestID"], "census-2");
    assert_said(
        trace,
        HOOKS[0],
        &[
            ("config", r#"Some("{}")"#),
            ("request-id", r#""given""#),
            ("request-id \"\"", r#""given""#),
            ("request-id \"a\\nb\"", r#""given""#),
            ("request-id \"census–1\"", r#""census–1""#),
            ("request-id.long", "200"),
            ("get", "None"),
            ("get.key", r#"Some("two")"#),
            ("get.empty", r#"Some("")"#),
            ("get.absent", "None"),
            ("get.long", "Some(true)"),
            ("monotonic", "true"),
            ("now", "true"),
            ("random", "true"),
            ("random 0", "(0, true)"),
            ("random 1", "(1, true)"),
            ("random 32", "(32, true)"),
            ("random 4096", "(4096, true)"),
            ("kv.get", "Ok(None)"),
            ("kv.delete.none", "Ok(false)"),
            ("kv.set", "Ok(())"),
            ("kv.get.set", "Ok(Some([255, 0, 118, 97, 108, 117, 101]))"),
            ("kv.set.empty", "Ok(())"),
            ("kv.get.empty", "Ok(Some([]))"),
            ("kv.set.long", r#"Err("too-large")"#),
            ("kv.add", "Ok(40)"),
            ("kv.add.again", "Ok(-10)"),
            ("kv.add.bytes", r#"Err("not-a-number")"#),
            ("kv.add.over", r#"Err("not-a-number")"#),
            ("kv.cas", "Ok(false)"),
            ("kv.cas.set", "Ok(true)"),
            ("kv.cas.none", "Ok(true)"),
            ("kv.cas.long", r#"Err("too-large")"#),
            ("kv.delete", "Ok(true)"),
            ("method", r#""GET""#),
            ("scheme", r#""http""#),
            ("authority", r#""census.test:8080""#),
            ("path", r#""/a/b%20c""#),
            ("query", r#"Some("x=1&y")"#),
            ("client-address", r#""127.0.0.1""#),
            ("client-certificate", "None"),
            ("header \"x-multi\"", r#"Some("one")"#),
            ("values \"x-multi\"", r#"["one", "two", "three"]"#),
            ("header \"X-EMPTY\"", r#"Some("")"#),
            ("values \"X-EMPTY\"", r#"[""]"#),
            ("header \"x-latin\"", r#"Some("café")"#),
            ("values \"x-latin\"", r#"["caf\\xe9"]"#),
            ("header \"x-utf\"", r#"Some("ü")"#),
            ("values \"x-utf\"", r#"["\\xc3\\xbc"]"#),
            ("header \"x-absent\"", "None"),
            ("values \"x-absent\"", "[]"),
            ("header \"\"", "None"),
            ("header.long", "Some(20480)"),
            ("header.endless", "None"),
            (
                "reroute 1",
                r#"Err(RerouteError::Invalid("authority \"a b\""))"#,
            ),
            (
                "reroute 4",
                r#"Err(RerouteError::Invalid("path \"no-slash\""))"#,
            ),
            ("reroute 7", "Ok(())"),
            ("reroute 8", "Ok(())"),
            ("authority.now", r#""census.test:81""#),
            ("path.now", r#""/rerouted""#),
            ("query.now", r#"Some("n=1")"#),
            ("host.now", r#"Some("census.test:81")"#),
            ("respond.600", "Err(RespondError::InvalidStatus)"),
            (
                "respond.invalid-name",
                "Err(RespondError::Header(HeaderError::InvalidName))",
            ),
            (
                "respond.forbidden",
                "Err(RespondError::Header(HeaderError::Forbidden))",
            ),
            (
                "respond.too-many-fields",
                "Err(RespondError::Header(HeaderError::TooLarge))",
            ),
            ("respond.too-large", "Err(RespondError::TooLarge)"),
            ("forgotten", "Ok(())"),
            ("immutable", "Err(HeaderError::Immutable)"),
        ],
    );
    let fields = trace.attribute(HOOKS[0], "census.fields.text");
    let fields = fields.as_str().expect("a text");
    assert!(fields.contains("x-many-79: 79\n"), "{fields}");
    assert!(fields.contains("x-latin: caf\\xe9\n"), "{fields}");
    assert!(fields.contains("x-empty: \n"), "{fields}");
    let count = fields.lines().count().to_string();
    assert_eq!(*trace.attribute(HOOKS[0], "census.fields"), count);
    assert_eq!(trace.attribute(HOOKS[0], "weir.hook.decision"), "reroute");

    assert_said(
        trace,
        HOOKS[1],
        &[
            ("request-id.later", r#""census-2""#),
            ("get.key", r#"Some("two")"#),
            ("path", r#""/rerouted""#),
            ("reroute.late", "Err(RerouteError::TooLate)"),
        ],
    );
    for hook in &HOOKS[1..] {
        assert_said(
            trace,
            hook,
            &[
                ("set", "Ok(())"),
                ("invalid-name", "Err(HeaderError::InvalidName)"),
                ("invalid-name.empty", "Err(HeaderError::InvalidName)"),
                ("invalid-value", "Err(HeaderError::InvalidValue)"),
                ("forbidden", "Err(HeaderError::Forbidden)"),
                ("forbidden.remove", "Err(HeaderError::Forbidden)"),
                ("too-large", "Err(HeaderError::TooLarge)"),
                ("more", "Ok(())"),
                ("more.values", "120"),
                ("changed", r#"[["two"], ["only"], [""], ["one", ""], []]"#),
            ],
        );
        assert_kinds(&trace.span(hook)["Attributes"]);
    }
    assert_kinds(&trace.span("GET")["Attributes"]);
    for span in [trace.span(HOOKS[1]), trace.span("GET")] {
        assert_events(&span["Events"]);
    }
    assert_said(
        trace,
        HOOKS[2],
        &[
            ("may-call", "[true, false, false]"),
            (
                "replies",
                "[Ok((200, [104, 101, 108, 108, 111])), Ok((200, [104, 101, 108, 108, 111]))]",
            ),
            (
                "refused",
                r#"[Err("not-allowed"), Err("invalid"), Err("invalid"), Err("invalid"), Err("invalid"), Err("invalid"), Err("invalid")]"#,
            ),
            (
                "metrics",
                r#"[Err("invalid-name"), Err("conflict"), Err("invalid-name"), Err("invalid-name"), Err("too-many")]"#,
            ),
            ("verified", "[true, false, false, false, false, false]"),
            ("equal", "[true, false, false]"),
            ("status", "200"),
            ("request-method", r#""GET""#),
            ("request-path", r#""/rerouted""#),
            ("request-header", r#"Some("only")"#),
            ("request-header.latin", r#"Some("café")"#),
            ("request-header.empty", r#"Some("")"#),
            ("request-header.absent", "None"),
            ("values \"x-multi\"", r#"["one", "two"]"#),
            ("values \"x-latin\"", r#"["caf\\xe9"]"#),
            ("header.long", "Some(20480)"),
            ("status 199", "Err(RespondError::InvalidStatus)"),
            ("status 65535", "Err(RespondError::InvalidStatus)"),
            ("status 299", "Ok(())"),
            ("status.now", "299"),
            (
                "respond.invalid-value",
                "Err(RespondError::Header(HeaderError::InvalidValue))",
            ),
            (
                "respond.field-too-large",
                "Err(RespondError::Header(HeaderError::TooLarge))",
            ),
        ],
    );

    let lines = trace.0["PluginLogs"].as_array().expect("lines");
    let lines: Vec<_> = lines
        .iter()
        .map(|line| (&line["level"], &line["message"]))
        .collect();
    let expected = [
        ("trace", "trace"),
        ("debug", "debug"),
        ("info", "info"),
        ("warn", "warn"),
        ("error", "error"),
        ("info", ""),
        ("info", "Zensus – 人口調査\n\0"),
    ];
    let expected = expected.map(|(level, message)| (json!(level), json!(message)));
    let expected: Vec<_> = expected
        .iter()
        .map(|(level, message)| (level, message))
        .collect();
    assert_eq!(lines, expected);

    let seen = &outcome.seen[0];
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("GET", "/rerouted?n=1")
    );
    assert_eq!(seen.header("x-set"), Some("two"));
    assert_eq!(seen.header("x-set-utf"), Some("Zensus – 人口調査"));
    assert_eq!(seen.header("x-gone"), None);
    assert_eq!(seen.header("x-late"), None);
    let response = &outcome.response;
    assert_eq!(
        (response.status, response.text().as_str()),
        (299, "<hello>")
    );
    assert_eq!(response.header("x-set"), Some("two"));
    assert_eq!(response.header("x-gone"), None);
}

fn assert_kinds(attributes: &Value) {
    let kinds = json!({
        "text": "Zensus – 人口調査\n\0", "text.empty": "", "true": true, "false": false,
        "least": i64::MIN, "most": i64::MAX, "minus": -1, "half": -0.5,
        "infinite": "Infinity", "nan": "NaN", "texts": ["Zensus", "", "人口調査"], "texts.none": [],
    });
    for (name, value) in kinds.as_object().expect("an object") {
        assert_eq!(attributes[&format!("kind.{name}")], *value, "{name}");
    }
    assert!(attributes.get("kind.text.long").is_none());
    assert!(attributes.get("kind.texts.long").is_none());
}

fn assert_events(events: &Value) {
    let events = events.as_array().expect("events");
    let names: Vec<_> = events.iter().map(|event| &event["Name"]).collect();
    assert_eq!(names, ["event.empty", "event.kinds", "event.many"]);
    let kinds = json!({
        "text": "text", "": "", "true": true, "false": false, "least": i64::MIN, "most": i64::MAX,
        "half": -0.5, "texts": ["one", "two"],
    });
    assert_eq!(events[1]["Attributes"], kinds);
}

fn assert_bodies(body: &Outcome, chunked: &Outcome) {
    let request = format!("(300, {:?})", "b".repeat(32));
    for (hook, held) in [(HOOKS[1], request.as_str()), (HOOKS[2], r#"(5, "hello")"#)] {
        assert_said(
            &body.trace,
            hook,
            &[
                ("body", held),
                ("body.none", "Ok(())"),
                ("body.now", "Ok([])"),
                ("body.too-large", r#"Err("too-large")"#),
                ("body.set", "Ok(())"),
            ],
        );
        assert_eq!(body.trace.attribute(hook, "weir.hook.body"), "replaced");
    }
    assert_eq!(body.trace.attribute(HOOKS[0], "weir.hook.body"), "held");
    assert_said(&body.trace, HOOKS[1], &[("body.length", r#"Some("300")"#)]);
    let wrapped = format!("<{}>", "b".repeat(300));
    assert_eq!(body.seen[0].body, wrapped.as_bytes());
    assert_eq!(body.seen[0].header("content-length"), Some("302"));
    assert_eq!(body.response.text(), "<hello>");
    let held = r#"(3, "\\x00\\xff\\r")"#;
    assert_said(&chunked.trace, HOOKS[1], &[("body", held)]);
    assert_eq!(chunked.seen[0].body, b"<\0\xff\r>");
}

fn assert_others(outcomes: &[Outcome]) {
    let [
        _,
        error,
        empty,
        pre_request,
        request,
        response,
        trap,
        few,
        body,
        chunked,
        large,
        call,
    ] = outcomes
    else {
        panic!("{} outcomes", outcomes.len());
    };
    assert_said(
        &error.trace,
        HOOKS[0],
        &[("method", r#""REPORT""#), ("query", "None")],
    );
    let span = error.trace.span(HOOKS[1]);
    assert_eq!(span["Status"], "error");
    assert_eq!(
        span["Attributes"]["error.message"],
        "the census was asked for an error"
    );
    assert_eq!(error.response.status, 299);
    assert_said(
        &empty.trace,
        HOOKS[0],
        &[("method", r#""HEAD""#), ("query", r#"Some("")"#)],
    );
    assert_said(&few.trace, HOOKS[0], &[("values \"x-multi\"", "[]")]);
    assert_bodies(body, chunked);
    let span = call.trace.span("count 人口");
    assert_eq!(span["Kind"], "llm.call");
    assert_eq!(span["Status"], "error");
    assert_eq!(span["StatusMsg"], "a census is no call");
    // A 413, whose status its response hook changes.
    assert_eq!(large.response.status, 299);
    assert!(large.seen.is_empty());

    assert_said(
        &pre_request.trace,
        HOOKS[2],
        &[
            ("more", "Err(HeaderError::TooLarge)"),
            ("fields.now", "256"),
        ],
    );
    // Whose response hooks run on the answer, change the status and some fields.
    for (outcome, hook, status) in [
        (pre_request, HOOKS[0], 299),
        (request, HOOKS[1], 299),
        (response, HOOKS[2], 418),
    ] {
        assert_said(
            &outcome.trace,
            hook,
            &[
                ("answer", "Ok(())"),
                ("answer.again", "Ok(())"),
                ("immutable", "Err(HeaderError::Immutable)"),
                ("immutable.body", r#"Err("immutable")"#),
            ],
        );
        assert_eq!(outcome.trace.attribute(hook, "short_circuit"), true);
        assert_eq!(outcome.response.status, status, "{hook}");
        let mut body: Vec<u8> = (0..=u8::MAX).cycle().take(100 << 10).collect();
        if hook != HOOKS[2] {
            body = [b"<", &body[..], b">"].concat();
        }
        assert!(outcome.response.body == body, "{hook}");
        let many = values(&outcome.response.headers, "x-many").len();
        assert_eq!(many, 200, "{hook}");
        assert_eq!(outcome.response.header("x-first"), None, "{hook}");
        assert_eq!(outcome.response.header("x-empty"), Some(""), "{hook}");
        let calls = usize::from(hook == HOOKS[2]);
        assert_eq!(outcome.seen.len(), calls, "{hook}");
    }

    let span = trap.trace.span(HOOKS[2]);
    assert_eq!(span["Attributes"]["error.type"], "trap", "{span:#}");
    assert_eq!(trap.response.status, 500);
}
