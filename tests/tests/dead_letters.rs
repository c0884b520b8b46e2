//! What a real broker takes only in smaller messages, or never.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir::demo::consumer::{Consumer, Message};
use weir_tests::client::Connection;
use weir_tests::config::{config, exporter};
use weir_tests::kafka::{shared, unique};
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

const DROPPED: [&str; 3] = ["too_large", "refused", "shutdown"];

fn dropped(weir: &Weir, reason: &str) -> u64 {
    weir.count(&format!(
        r#"weir_export_dropped_total{{exporter="traces",reason="{reason}"}}"#
    ))
}

fn dead_letters(weir: &Weir, reason: &str) -> u64 {
    weir.count(&format!(
        r#"weir_export_dead_letters_total{{exporter="traces",reason="{reason}"}}"#
    ))
}

fn delivered(weir: &Weir) -> u64 {
    weir.count(r#"weir_export_delivered_total{exporter="traces"}"#)
}

fn assert_nothing_dropped(weir: &Weir) {
    for reason in DROPPED {
        assert_eq!(dropped(weir, reason), 0, "{reason}");
    }
}

/// With a spool, and plugins whose spans make a trace of some 10 KB.
fn spooled(folder: &TempDir, topic: &str) -> Value {
    let mut config = config(&Upstream::hello());
    config["data_dir"] = json!(folder.path());
    config["spool"] = json!({ "segment_bytes": "2MiB" });
    let chain: Vec<String> = (0..12).map(|index| format!("plugin-{index}")).collect();
    for name in &chain {
        config["plugins"][name] = json!({ "module": "builtin:request-id" });
    }
    config["routes"][0]["plugins"] = json!(chain);
    config["exporters"]["traces"] = exporter(shared(), topic);
    config
}

fn ask(connection: &mut Connection, id: &str) {
    connection.send(format!(
        "GET / HTTP/1.1\r\nhost: test\r\nx-request-id: {id}\r\n\r\n"
    ));
    let response = connection.receive().expect("a response");
    assert_eq!(response.status, 200);
}

/// Reads until every trace has come, whole or in all of its parts; gives the messages.
fn read_all(topic: &str, ids: &[String]) -> Vec<Message> {
    let consumer = Consumer::new(shared().address(), topic).expect("the topic is there");
    let mut messages = Vec::new();
    let mut found: HashMap<String, BTreeSet<String>> = HashMap::new();
    eventually("every trace arrives", || {
        while let Ok(Some(message)) = consumer.recv(Duration::from_millis(100)) {
            let trace = Trace::new(&message.payload);
            let id = trace.0["RequestID"].as_str().expect("an id").to_owned();
            let spans = trace.spans().iter();
            let spans = spans.filter_map(|span| span["SpanID"].as_str().map(str::to_owned));
            found.entry(id).or_default().extend(spans);
            messages.push(message);
        }
        // The root, the upstream's call, and 12 plugins with two hooks each.
        ids.iter()
            .all(|id| found.get(id).is_some_and(|spans| spans.len() == 26))
            .then_some(())
    });
    messages
}

#[test]
fn a_topic_that_takes_less_than_is_configured_gets_traces_in_parts() {
    let topic = unique("small");
    shared().create_topic(&topic, &[("max.message.bytes", "5000")]);
    let folder = TempDir::new().expect("a folder");
    let weir = Weir::start(&spooled(&folder, &topic).to_string());
    let mut connection = Connection::open(weir.proxy());
    let ids: Vec<String> = (0..20).map(|index| format!("small-{index}")).collect();
    for id in &ids {
        ask(&mut connection, id);
    }
    let messages = read_all(&topic, &ids);
    assert!(messages.iter().all(|message| message.payload.len() < 5000));
    assert!(
        messages
            .iter()
            .any(|message| message.header("weir-part").is_some())
    );
    eventually("each trace is counted once", || {
        (delivered(&weir) == 20).then_some(())
    });
    assert_nothing_dropped(&weir);
}

#[test]
fn a_limit_that_shrinks_while_traces_flow_costs_none() {
    let topic = shared().topic();
    let folder = TempDir::new().expect("a folder");
    let weir = Weir::start(&spooled(&folder, &topic).to_string());
    let mut connection = Connection::open(weir.proxy());
    let mut ids = Vec::new();
    let mut more = |count: usize, connection: &mut Connection| {
        for _ in 0..count {
            let id = format!("shrunk-{}", ids.len());
            ask(connection, &id);
            ids.push(id);
        }
        ids.clone()
    };
    let first = more(30, &mut connection);
    read_all(&topic, &first);
    shared().configure_topic(&topic, &[("max.message.bytes", "6000")]);
    more(30, &mut connection);
    shared().configure_topic(&topic, &[("max.message.bytes", "3000")]);
    let all = more(30, &mut connection);
    read_all(&topic, &all);
    eventually("it is well", || {
        (weir.ready()["exporters"][0]["state"] == "ok").then_some(())
    });
    assert_nothing_dropped(&weir);
}

#[test]
fn what_a_broker_refuses_for_good_goes_to_the_topic_of_dead_letters_with_its_reason() {
    let (topic, letters) = (shared().refusing_topic(), unique("letters"));
    let folder = TempDir::new().expect("a folder");
    let mut config = spooled(&folder, &topic);
    config["exporters"]["traces"]["kafka"]["dead_letter"] = json!({ "topic": letters });
    let mut weir = Weir::start(&config.to_string());
    let mut connection = Connection::open(weir.proxy());
    ask(&mut connection, "refused-1");

    // The topic of dead letters is not there: nothing is given up meanwhile, over a kill neither.
    let message = eventually("it says what is wrong", || {
        let exporter = weir.ready()["exporters"][0].clone();
        let message = exporter["message"].as_str()?.to_owned();
        message.contains("dead letters").then_some(message)
    });
    assert_eq!(
        message,
        format!(
            "kafka plugin: failed to write dead letters to topic \"{letters}\": it does not exist"
        )
    );
    let last_error = weir.ready()["exporters"][0]["last_error"].clone();
    assert_eq!(last_error["message"], message);
    assert!(last_error["at"].is_string(), "{last_error}");
    weir.signal("KILL");
    weir.wait();
    let weir = Weir::start(&config.to_string());
    shared().create_topic(&letters, &[]);
    let letter = shared().read(&letters, 1).remove(0);
    let trace = Trace::new(&letter.payload);
    assert_eq!(trace.0["RequestID"], "refused-1");
    assert_eq!(
        Some(&*letter.key),
        trace.0["TraceID"].as_str().map(str::as_bytes)
    );
    for (header, value) in [
        ("content-type", "application/json"),
        ("weir-dead-letter-reason", "refused"),
        ("weir-dead-letter-exporter", "traces"),
        ("weir-dead-letter-topic", topic.as_str()),
        (
            "weir-dead-letter-key",
            trace.0["TraceID"].as_str().expect("an id"),
        ),
    ] {
        assert_eq!(letter.header(header), Some(value), "{header}");
    }
    let cause = letter.header("weir-dead-letter-cause").expect("a cause");
    assert_eq!(cause, "Invalid topic");
    eventually("it is counted", || {
        (dead_letters(&weir, "refused") == 1).then_some(())
    });
    assert_nothing_dropped(&weir);
    let status = eventually("it is well", || {
        let status = weir.ready()["exporters"][0].clone();
        (status["state"] == "ok").then_some(status)
    });
    assert_eq!(status["dead_letters"], json!({ "refused": 1 }), "{status}");
    assert_eq!(status["dropped"], json!({}), "{status}");
}

#[test]
fn letters_that_each_fit_into_a_small_topic_are_all_taken() {
    let (topic, letters) = (shared().refusing_topic(), unique("small-letters"));
    // One of some 10 KB is taken, all together are not.
    shared().create_topic(&letters, &[("max.message.bytes", "20000")]);
    let folder = TempDir::new().expect("a folder");
    let mut config = spooled(&folder, &topic);
    let kafka = &mut config["exporters"]["traces"]["kafka"];
    kafka["dead_letter"] = json!({ "topic": letters });
    // All are refused together, and so on their way together.
    kafka["producer"] = json!({ "linger_ms": 1000 });
    let weir = Weir::start(&config.to_string());
    let mut connection = Connection::open(weir.proxy());
    let ids: Vec<String> = (0..20).map(|index| format!("letter-{index}")).collect();
    for id in &ids {
        ask(&mut connection, id);
    }
    read_all(&letters, &ids);
    eventually("all are counted", || {
        (dead_letters(&weir, "refused") == 20).then_some(())
    });
    assert_nothing_dropped(&weir);
}

#[test]
fn dead_letters_in_a_file_are_on_the_disk_before_the_spool_lets_go() {
    let topic = shared().refusing_topic();
    let folder = TempDir::new().expect("a folder");
    let mut config = spooled(&folder, &topic);
    let path = folder.path().join("letters.jsonl");
    config["exporters"]["traces"]["kafka"]["dead_letter"] = json!({ "file": path });
    let weir = Weir::start(&config.to_string());
    let mut connection = Connection::open(weir.proxy());
    let ids: Vec<String> = (0..25).map(|index| format!("dead-{index}")).collect();
    for id in &ids {
        ask(&mut connection, id);
    }
    eventually("all are kept", || {
        (dead_letters(&weir, "refused") == 25).then_some(())
    });
    let text = std::fs::read_to_string(&path).expect("a file");
    let kept: Vec<String> = text
        .lines()
        .map(|line| {
            let letter: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(letter["topic"], topic);
            let trace = Trace::new(letter["payload"].as_str().expect("text").as_bytes());
            trace.0["RequestID"].as_str().expect("an id").to_owned()
        })
        .collect();
    assert_eq!(kept, ids);
    assert_nothing_dropped(&weir);
}

#[test]
fn a_file_of_dead_letters_is_filled_to_its_bound() {
    const MOST: u64 = 4 << 20;
    let topic = shared().refusing_topic();
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("letters.jsonl");
    // What is kept already leaves room for some of what comes together.
    let before = std::fs::File::create(folder.path().join("letters.jsonl.1")).expect("a file");
    before.set_len(MOST - 60_000).expect("a long file");
    let mut config = spooled(&folder, &topic);
    let kafka = &mut config["exporters"]["traces"]["kafka"];
    kafka["dead_letter"] = json!({ "file": path, "max_bytes": "4MiB" });
    kafka["producer"] = json!({ "linger_ms": 1000 });
    let weir = Weir::start(&config.to_string());
    let mut connection = Connection::open(weir.proxy());
    for index in 0..20 {
        ask(&mut connection, &format!("letter-{index}"));
    }
    eventually("all are counted", || {
        (dead_letters(&weir, "refused") + dropped(&weir, "refused") == 20).then_some(())
    });
    let text = std::fs::read_to_string(&path).expect("a file");
    assert!(text.len() <= 60_000);
    let longest = text.lines().map(str::len).max().expect("a letter");
    assert!(text.len() + 2 * longest > 60_000, "{longest}");
    assert_eq!(text.lines().count() as u64, dead_letters(&weir, "refused"));
    weir.says("dead letters are lost");
}

#[test]
fn parts_that_are_refused_are_one_lost_trace() {
    let topic = shared().refusing_topic();
    let folder = TempDir::new().expect("a folder");
    let mut config = spooled(&folder, &topic);
    config["exporters"]["traces"]["kafka"]["producer"] = json!({ "max_message_bytes": 5000 });
    let weir = Weir::start(&config.to_string());
    let mut connection = Connection::open(weir.proxy());
    ask(&mut connection, "lost-1");
    ask(&mut connection, "lost-2");
    eventually("both are counted", || {
        (dropped(&weir, "refused") >= 2).then_some(())
    });
    // The cursor has passed both: there is nothing left of them to be counted.
    eventually("the spool lets go", || {
        let cursor = folder.path().join("spool/cursors/traces.cursor");
        let cursor = std::fs::read_to_string(cursor).ok()?;
        cursor.contains("\n1 0 2\n").then_some(())
    });
    assert_eq!(dropped(&weir, "refused"), 2);
    assert_eq!(delivered(&weir), 0);
}

#[test]
fn without_dead_letters_what_is_refused_is_dropped_and_counted() {
    let topic = shared().refusing_topic();
    let folder = TempDir::new().expect("a folder");
    let weir = Weir::start(&spooled(&folder, &topic).to_string());
    let mut connection = Connection::open(weir.proxy());
    for index in 0..50 {
        ask(&mut connection, &format!("lost-{index}"));
    }
    eventually("all are counted", || {
        (dropped(&weir, "refused") == 50).then_some(())
    });
    // One cause has a line a second at most, which says of how many.
    let lines = eventually("the log tells of all", || {
        let is_told = |line: &Value| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("kafka plugin: failed to write trace ")
        };
        let lines: Vec<Value> = weir.log().into_iter().filter(is_told).collect();
        let told: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
        (told == 50).then_some(lines.len())
    });
    assert!(lines < 25, "{lines} lines of 50 traces");
}

/// The two bounds of a message: what is configured, and what the topic takes. Gives a topic, and keys for
/// an exporter of its own, for each.
fn bounds() -> [(String, Value); 2] {
    let (wide, small) = (shared().topic(), unique("small"));
    shared().create_topic(&small, &[("max.message.bytes", "5000")]);
    [
        (wide, json!({ "max_message_bytes": 5000 })),
        (small, json!({})),
    ]
}

/// With a spool, and traces of one span each, which has what requests say in fields `x-…`.
fn single_spans(folder: &TempDir, topic: &str, producer: &Value) -> Value {
    let mut config = config(&Upstream::hello());
    config["data_dir"] = json!(folder.path());
    config["routes"] = json!([{ "name": "all", "respond": { "body": "hello" } }]);
    config["exporters"]["traces"] = exporter(shared(), topic);
    let kafka = &mut config["exporters"]["traces"]["kafka"];
    kafka["request_headers"] = json!(["x-*"]);
    kafka["producer"] = producer.clone();
    config
}

/// Fields with names that are too long together for a message of 5000 bytes: no name is cut.
fn many_fields() -> Vec<String> {
    let name = "n".repeat(150);
    (0..60)
        .map(|index| format!("x-{index}-{name}: v"))
        .collect()
}

/// Asks with many fields, and then with few.
fn ask_for_much_and_little(weir: &Weir) {
    let mut fields = many_fields();
    fields.push("x-request-id: much".to_owned());
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    assert_eq!(weir.get("/", &fields).text(), "hello");
    assert_eq!(weir.get("/", &["x-request-id: little"]).text(), "hello");
}

#[test]
fn a_single_span_that_is_too_large_arrives_cut_and_says_so() {
    for (topic, producer) in bounds() {
        let folder = TempDir::new().expect("a folder");
        let weir = Weir::start(&single_spans(&folder, &topic, &producer).to_string());
        let large = format!("x-large: {}", "L".repeat(30_000));
        let fields = ["x-request-id: large-1", &large];
        assert_eq!(weir.get("/", &fields).text(), "hello");

        let message = shared().read(&topic, 1).remove(0);
        assert!(message.payload.len() < 5000, "{}", message.payload.len());
        assert_eq!(message.header("weir-part"), None);
        let trace = Trace::new(&message.payload);
        assert_eq!(trace.spans().len(), 1);
        assert_eq!(trace.0["Attributes"]["weir.truncated"], 1);
        let fields = &trace.0["RequestHeaders"];
        assert_eq!(fields["x-request-id"], "large-1");
        let left = fields["x-large"].as_str().expect("a text");
        assert!(left.len() > 1000 && left.chars().all(|each| each == 'L'));
        eventually("it is counted", || (delivered(&weir) == 1).then_some(()));
        assert_nothing_dropped(&weir);
        assert_eq!(weir.ready()["exporters"][0]["dead_letters"], json!({}));
        assert!(!weir.logged("failed to write trace"));
    }
}

#[test]
fn a_single_span_that_no_message_can_hold_is_a_dead_letter_counted_and_logged() {
    for (topic, producer) in bounds() {
        let letters = shared().topic();
        let folder = TempDir::new().expect("a folder");
        let mut config = single_spans(&folder, &topic, &producer);
        config["exporters"]["traces"]["kafka"]["dead_letter"] = json!({ "topic": letters });
        let weir = Weir::start(&config.to_string());
        ask_for_much_and_little(&weir);

        let letter = shared().read(&letters, 1).remove(0);
        let cause = "larger than the topic or producer.max_message_bytes allows";
        for (header, value) in [
            ("weir-dead-letter-reason", "too_large"),
            ("weir-dead-letter-cause", cause),
            ("weir-dead-letter-topic", topic.as_str()),
        ] {
            assert_eq!(letter.header(header), Some(value), "{header}");
        }
        // It is the trace as it was, and not what was cut in vain.
        let trace = Trace::new(&letter.payload);
        assert_eq!(trace.0["RequestID"], "much");
        assert_eq!(trace.0["Attributes"].get("weir.truncated"), None);
        let fields = trace.0["RequestHeaders"].as_object().expect("fields");
        assert_eq!(fields.len(), many_fields().len() + 1);
        let id = trace.0["TraceID"].as_str().expect("an id");
        weir.says(&format!(
            "kafka plugin: failed to write trace {id}: {cause}"
        ));
        // What comes behind it is not held up.
        assert_eq!(shared().traces(&topic, 1)[0].0["RequestID"], "little");
        eventually("both are counted", || {
            let counted = (delivered(&weir), dead_letters(&weir, "too_large"));
            (counted == (1, 1)).then_some(())
        });
        let status = weir.ready()["exporters"][0].clone();
        assert_eq!(
            status["dead_letters"],
            json!({ "too_large": 1 }),
            "{status}"
        );
        assert_nothing_dropped(&weir);
    }
}

#[test]
fn without_dead_letters_a_single_span_that_no_message_can_hold_is_dropped_counted_and_logged() {
    for (topic, producer) in bounds() {
        let folder = TempDir::new().expect("a folder");
        let weir = Weir::start(&single_spans(&folder, &topic, &producer).to_string());
        ask_for_much_and_little(&weir);
        assert_eq!(shared().traces(&topic, 1)[0].0["RequestID"], "little");
        eventually("both are counted", || {
            let counted = (delivered(&weir), dropped(&weir, "too_large"));
            (counted == (1, 1)).then_some(())
        });
        weir.says(": larger than the topic or producer.max_message_bytes allows");
        let status = weir.ready()["exporters"][0].clone();
        assert_eq!(status["dropped"], json!({ "too_large": 1 }), "{status}");
        assert_eq!(status["dead_letters"], json!({}), "{status}");
    }
}
