use serde_json::{Value as Json, json};

use super::form::Origin;
use super::*;

fn set(path: &str, value: Json) -> Edit {
    Edit {
        path: path.split('.').map(str::to_owned).collect(),
        value: Some(value),
    }
}

fn unset(path: &str) -> Edit {
    Edit {
        path: path.split('.').map(str::to_owned).collect(),
        value: None,
    }
}

fn edited(text: &str, edits: &[Edit]) -> String {
    edit::apply(text, edits).expect("an edit that is understood")
}

const FILE: &str = "\
# The edge.
listeners:
  - address: 127.0.0.1:8080   # public

exporters:
  # Where traces go.
  traces:
    kafka:
      brokers: [\"a:9092\", \"b:9092\"]  # two of them
      topic: weir-traces # agreed with data
      request_headers:
        - x-one
        # and the other
        - x-two
      sasl: { mechanism: PLAIN, username: \"u,}\" }
      compression: lz4

routes: # all
  - upstream: api
";

#[test]
fn a_scalar_changes_in_its_place_and_its_comment_stays() {
    let text = edited(FILE, &[set("exporters.traces.kafka.topic", json!("other"))]);
    let expected = FILE.replace("topic: weir-traces # agreed", "topic: other # agreed");
    assert_eq!(text, expected);
}

#[test]
fn a_list_keeps_its_form() {
    let text = edited(
        FILE,
        &[
            set("exporters.traces.kafka.brokers", json!(["c:9092"])),
            set("exporters.traces.kafka.request_headers", json!(["x-*"])),
        ],
    );
    assert!(
        text.contains("      brokers: [\"c:9092\"]  # two of them\n"),
        "{text}"
    );
    assert!(
        text.contains("      request_headers:\n        - \"x-*\"\n      sasl:"),
        "{text}"
    );
}

#[test]
fn a_new_key_goes_to_the_end_of_its_section() {
    let text = edited(FILE, &[set("exporters.traces.kafka.enabled", json!(false))]);
    let expected = FILE.replace(
        "compression: lz4\n",
        "compression: lz4\n      enabled: false\n",
    );
    assert_eq!(text, expected);
}

#[test]
fn a_new_section_is_made_as_deep_as_it_must_be() {
    let edits = [
        set("exporters.other.kafka.topic", json!("t")),
        set("exporters.other.kafka.producer.acks", json!("all")),
    ];
    let text = edited(FILE, &edits);
    let section = "      compression: lz4\n  other:\n    kafka:\n      topic: t\n      producer:\n        acks: all\n\nroutes:";
    assert!(text.contains(section), "{text}");
}

#[test]
fn braces_are_edited_within() {
    let at = "exporters.traces.kafka.sasl";
    let text = edited(
        FILE,
        &[
            set(&format!("{at}.password"), json!("env.PASSWORD")),
            set(&format!("{at}.mechanism"), json!("SCRAM-SHA-512")),
        ],
    );
    let line = "sasl: { mechanism: SCRAM-SHA-512, username: \"u,}\", password: env.PASSWORD }\n";
    assert!(text.contains(line), "{text}");
    let text = edited(&text, &[unset(&format!("{at}.username"))]);
    assert!(
        text.contains("sasl: { mechanism: SCRAM-SHA-512, password: env.PASSWORD }\n"),
        "{text}"
    );
    let text = edited(&text, &[unset(&format!("{at}.password"))]);
    assert!(
        text.contains("sasl: { mechanism: SCRAM-SHA-512 }\n"),
        "{text}"
    );
}

#[test]
fn a_key_is_taken_away_with_its_lines() {
    let text = edited(
        FILE,
        &[
            unset("exporters.traces.kafka.request_headers"),
            unset("exporters.traces.kafka.topic"),
        ],
    );
    assert!(
        !text.contains("x-one") && !text.contains("and the other"),
        "{text}"
    );
    assert!(!text.contains("topic"), "{text}");
    assert!(text.contains("# two of them\n      sasl"), "{text}");
}

#[test]
fn an_empty_file_and_empty_sections_are_filled() {
    let edits = [set("exporters.a.kafka.brokers", json!(["x:1"]))];
    let expected = "exporters:\n  a:\n    kafka:\n      brokers: [\"x:1\"]\n";
    assert_eq!(edited("", &edits), expected);
    assert_eq!(edited("exporters: {}\n", &edits), expected);
    assert_eq!(edited("exporters:\n", &edits), expected);
    assert_eq!(
        edited("exporters: {} # none yet\nroutes: []\n", &edits),
        "exporters: # none yet\n  a:\n    kafka:\n      brokers: [\"x:1\"]\nroutes: []\n"
    );
    assert_eq!(
        edited(
            "a: 1\n\nb: 2 # two",
            &[set("store.max_bytes", json!("1MiB"))]
        ),
        "a: 1\n\nb: 2 # two\n\nstore:\n  max_bytes: 1MiB\n"
    );
}

#[test]
fn a_block_becomes_a_line_and_a_line_a_block() {
    let text = "a: # first\n  b: 1\n  c: 2\nd: 4\n";
    assert_eq!(
        edited(text, &[set("a", json!({}))]),
        "a: {} # first\nd: 4\n"
    );
    let pem = "-----BEGIN X-----\nabc\n-----END X-----\n";
    let text = edited("a:\n  ca: old # was\n  b: 1\n", &[set("a.ca", json!(pem))]);
    let block = "  ca: | # was\n    -----BEGIN X-----\n    abc\n    -----END X-----\n  b: 1\n";
    assert!(text.contains(block), "{text}");
    let text = edited(&text, &[set("a.ca", json!("env.CA"))]);
    assert!(text.contains("  ca: env.CA\n  b: 1\n"), "{text}");
}

#[test]
fn values_that_yaml_would_take_for_something_else_are_quoted() {
    for value in [
        "true", "1e5", "0x1f", "12", "a: b", "# no", "", "~", "- x", "*", "1.5", "null",
    ] {
        let text = edited("a: b\n", &[set("k", json!(value))]);
        let tree = crate::config::tree::Node::parse(&text);
        let json = tree
            .map(|tree| tree.to_json())
            .map_err(|error| error.message);
        assert_eq!(json, Ok(json!({ "a": "b", "k": value })), "{text}");
    }
}

#[test]
fn windows_line_breaks_stay() {
    let text = edited("a:\r\n  b: 1\r\nc: 2\r\n", &[set("a.d", json!(3))]);
    assert_eq!(text, "a:\r\n  b: 1\r\n  d: 3\r\nc: 2\r\n");
}

#[test]
fn what_is_not_understood_is_refused_and_not_spoilt() {
    let text = "base: &base\n  b: 1\na: *base\n";
    let refused = edit::apply(text, &[set("a.b", json!(2))]);
    assert!(matches!(refused, Err(EditError::Form(_))), "{refused:?}");
    let refused = edit::apply("a: [", &[set("a", json!(2))]);
    assert!(matches!(refused, Err(EditError::Syntax(_))), "{refused:?}");
}

#[test]
fn an_edit_that_changes_nothing_changes_no_byte() {
    let edits = [
        set("exporters.traces.kafka.topic", json!("weir-traces")),
        unset("exporters.traces.kafka.nothing"),
    ];
    assert_eq!(edited(FILE, &edits), FILE);
}

#[test]
fn a_difference_shows_lines_around_and_no_secret() {
    let old = "admin: { token: hunter2 }\nexporters:\n  a:\n    kafka:\n      topic: t\n      sasl:\n        password: \"swordfish\"\nplugins:\n  p:\n    config:\n      keys: [opensesame]\nroutes:\n  - plugins:\n      - p: { keys: [hunter2] }\n      - q:\n          deep:\n            - swordfish\n  - plugins: [p, { q: { key: opensesame } }]\n";
    let new = edited(
        old,
        &[set("exporters.a.kafka.sasl.password", json!("fishsword"))],
    );
    let new = edited(&new, &[set("exporters.a.kafka.topic", json!("u"))]);
    let lines = difference(&mask::mask(old), &mask::mask(&new));
    let text: String = lines
        .iter()
        .map(|line| format!("{}{}\n", line.sign, line.text))
        .collect();
    for secret in ["hunter2", "swordfish", "fishsword", "opensesame"] {
        assert!(!text.contains(secret), "{text}");
        assert!(!mask::mask(&new).contains(secret), "{}", mask::mask(&new));
    }
    assert!(
        text.contains("-      topic: t\n+      topic: u\n"),
        "{text}"
    );
}

#[test]
fn a_form_shows_values_with_their_sources_and_no_secret() {
    let document = Document {
        file: "weir.yaml".into(),
        set: vec!["exporters.traces.kafka.compression=zstd".to_owned()],
        environment: [("WEIR__EXPORTERS__TRACES__KAFKA__BATCH_SIZE", "7")]
            .into_iter()
            .collect(),
    };
    let text = Text::of(
        "exporters:\n  traces:\n    kafka:\n      topic: t\n      sasl: { username: env.USER, password: hunter2 }\n",
    );
    let fields = document
        .form(&text, &["exporters", "traces", "kafka"], None)
        .unwrap();
    let field = |key: &str| {
        let found = fields.iter().find(|field| field.key == key);
        found.unwrap_or_else(|| panic!("no {key}"))
    };
    assert_eq!(field("topic").value, json!("t"));
    assert_eq!(field("topic").origin, Origin::File { line: 4 });
    assert!(field("brokers").required);
    assert_eq!(field("brokers").origin, Origin::Default);
    assert_eq!(field("sasl.username").value, json!("env.USER"));
    assert!(field("sasl.password").hidden);
    assert_eq!(field("sasl.password").value, Json::Null);
    assert!(matches!(
        field("compression").origin,
        Origin::Override { .. }
    ));
    assert_eq!(field("compression").options.len(), 5);
    assert!(matches!(
        field("batch_size").origin,
        Origin::Environment { .. }
    ));
    assert_eq!(field("producer.acks").default, json!("all"));
    assert!(field("producer.custom_config").secret);
    assert!(!serde_json::to_string(&fields).unwrap().contains("hunter2"));
}

fn plain() -> Document {
    Document {
        file: "weir.yaml".into(),
        set: Vec::new(),
        environment: std::iter::empty::<(&str, &str)>().collect(),
    }
}

const WITH_SECRETS: &str = "\
plugins:
  auth: { module: builtin:key-auth, config: { keys: [hunter2], header: hunter2, hide: true, by: all, deep: { list: [1] } } }
listeners: [{ address: a, plugins: [{ auth: { keys: [hunter2], deep: { key: hunter2 } } }] }]
routes:
  - upstream: api
    plugins: [auth, { auth: { keys: [hunter2] } }]
exporters:
  traces: { kafka: { brokers: [a], topic: t, sasl: { password: hunter2 } } }
";

#[test]
fn no_form_shows_a_secret_wherever_it_begins() {
    let text = Text::of(WITH_SECRETS);
    for at in [
        &[][..],
        &["plugins"],
        &["plugins", "auth"],
        &["listeners"],
        &["routes"],
        &["exporters"],
        &["exporters", "traces"],
    ] {
        let fields = plain().form(&text, at, None).unwrap();
        let shown = serde_json::to_string(&fields).unwrap();
        assert!(!shown.contains("hunter2"), "{at:?}: {shown}");
    }
}

#[test]
fn a_plugins_configuration_is_a_form_by_its_own_schema() {
    let schema = json!({
        "type": "object",
        "required": ["keys"],
        "properties": {
            "keys": { "type": "array", "items": { "type": "string" } },
            "header": { "type": "string", "default": "x-api-key" },
            "hide": { "type": "boolean", "description": "Takes it\naway." },
            "by": { "$ref": "#/$defs/By" },
            "deep": { "$ref": "#/$defs/Deep" },
            "rules": { "type": "array", "items": { "$ref": "#/$defs/Deep" } },
            "endless": { "$ref": "#/$defs/Endless" },
        },
        "$defs": {
            "By": { "oneOf": [{ "const": "client" }, { "const": "all" }] },
            "Deep": { "type": "object", "properties": { "limit": { "type": ["integer", "null"] } } },
            "Endless": { "$ref": "#/$defs/Endless" },
        },
    });
    let text = Text::of(WITH_SECRETS);
    let fields = plain()
        .form(&text, &["plugins", "auth"], Some(&schema))
        .unwrap();
    let field = |key: &str| {
        let found = fields.iter().find(|field| field.key == key);
        found.unwrap_or_else(|| panic!("no {key}"))
    };
    assert_eq!(
        field("config.keys").path,
        ["plugins", "auth", "config", "keys"]
    );
    assert!(field("config.keys").required && field("config.keys").hidden);
    assert!(field("config.header").hidden);
    assert_eq!(field("config.header").default, json!("x-api-key"));
    assert_eq!(field("config.hide").value, json!(true));
    assert_eq!(field("config.hide").description, "Takes it away.");
    assert_eq!(field("config.by").options, ["client", "all"]);
    assert_eq!(field("config.by").value, json!("all"));
    assert_eq!(field("config.deep.limit").kind, "integer");
    assert_eq!(field("config.rules").kind, "other");
    assert_eq!(field("on_error").kind, "choice");
    assert!(!serde_json::to_string(&fields).unwrap().contains("hunter2"));
}
