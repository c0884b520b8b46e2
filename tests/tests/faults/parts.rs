//! Traces of one key that a topic takes in parts only.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::json;
use weir::demo::consumer::Consumer;
use weir::demo::consumer::Message;
use weir_tests::trace::Trace;
use weir_tests::wait::eventually;

use crate::{Faulty, linked};

const PLUGINS: usize = 12;

/// The root, the upstream's call, and two hooks of each plugin.
const SPANS: usize = 2 + 2 * PLUGINS;

/// One message of a trace.
struct Part {
    number: usize,
    of: usize,
    spans: Vec<String>,
}

impl Part {
    /// With the request's id.
    fn read(message: &Message) -> (String, Self) {
        let trace = Trace::new(&message.payload);
        let id = trace.0["RequestID"].as_str().expect("an id").to_owned();
        let ids = trace.spans().iter().map(|span| span["SpanID"].as_str());
        let (number, of) = match message.header("weir-part") {
            None => (1, 1),
            Some(part) => {
                let (number, of) = part.split_once('/').expect("N/M");
                (number.parse().expect("N"), of.parse().expect("M"))
            }
        };
        let part = Self {
            number,
            of,
            spans: ids.map(|id| id.expect("an id").to_owned()).collect(),
        };
        (id, part)
    }
}

/// Whether the last time that a trace began, all of it came, one part behind the other.
fn is_whole(parts: &[Part]) -> bool {
    let Some(begin) = parts.iter().rposition(|part| part.number == 1) else {
        return false;
    };
    let series = &parts[begin..];
    let mut next = 1;
    for part in series {
        // What came already may come again.
        if part.number > next || part.of != series[0].of {
            return false;
        }
        next = next.max(part.number + 1);
    }
    let spans = series.iter().flat_map(|part| &part.spans);
    next == series[0].of + 1 && spans.collect::<BTreeSet<_>>().len() == SPANS
}

#[test]
fn parts_of_one_key_come_whole_and_in_order_while_the_limit_shrinks() {
    let (link, _folder, kafka, topic) = linked();
    let mut faulty = Faulty::start_with(&link.address().to_string(), &topic, |config| {
        let chain: Vec<String> = (0..PLUGINS).map(|number| format!("id-{number}")).collect();
        for name in &chain {
            config["plugins"][name] = json!({ "module": "builtin:request-id" });
        }
        config["routes"][0]["plugins"] = json!(chain);
    });
    faulty.ask(60);
    faulty.wait_until_delivered();
    // So that several batches are under way when one of them is refused.
    link.delay_answers(Duration::from_millis(20));
    for limit in ["6000", "3000"] {
        kafka.configure_topic(&topic, &[("max.message.bytes", limit)]);
        let before = faulty.delivered();
        faulty.ask(60);
        eventually("some are delivered, and not all", || {
            (faulty.delivered() > before).then_some(())
        });
    }
    faulty.ask(30);
    link.delay_answers(Duration::ZERO);
    faulty.recover(kafka.address(), &topic);
    faulty.wait_until_delivered();

    let consumer = Consumer::new(kafka.address(), &topic).expect("the topic can be read");
    let mut arrived: HashMap<String, Vec<Part>> = HashMap::new();
    let mut all_whole = || {
        while let Ok(Some(message)) = consumer.recv(Duration::from_millis(100)) {
            let (id, part) = Part::read(&message);
            arrived.entry(id).or_default().push(part);
        }
        let mut traces = faulty.asked.iter().map(|id| arrived.get(id));
        traces.all(|parts| parts.is_some_and(|parts| is_whole(parts)))
    };
    eventually("all are whole", || all_whole().then_some(()));
    // Nothing comes behind them that would begin one again.
    assert!(all_whole());
    let in_parts = arrived.values();
    let in_parts = in_parts.filter(|parts| parts.iter().any(|part| part.of > 1));
    assert!(in_parts.count() >= 100);
}
