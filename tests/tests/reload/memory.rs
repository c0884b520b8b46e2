//! What reloads leave behind: nothing.

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, guest};

use crate::{GENERATION, Load};

/// Until what grows once has grown: pools, caches, the allocator's own.
const WARM: usize = 300;

const RELOADS: usize = 1_000;

/// What the allocator may keep of it all.
const SLACK: u64 = 12 << 20;

/// A configuration that no other round has: each plugin is configured anew, but for one.
fn round(upstream: &Upstream, round: usize) -> Value {
    let mark = |value: String| json!({ "response": { "set": { "x-mark": value } } });
    let mut config = config(upstream);
    config["workers"] = json!(2);
    config["plugins"] = json!({
        "same": { "module": "builtin:request-id" },
        "mark": { "module": "builtin:header-rewrite", "config": mark(format!("own {round}")) },
        "pieces": {
            "module": Abi::Component.guest("pieces"),
            "config": { "response": if round.is_multiple_of(2) { "pass" } else { "skip" } },
        },
        "counted": { "module": guest("annotate") },
    });
    config["listeners"][0]["plugins"] = json!(["same"]);
    config["routes"] = json!([
        {
            "match": { "path": "/steady" }, "upstream": "up",
            "plugins": ["mark", "pieces", "counted"],
        },
        {
            "match": { "path": "/mark" }, "upstream": "up",
            "plugins": [{ "mark": mark(format!("route {round}")) }],
        },
    ]);
    config
}

#[test]
fn a_thousand_reloads_under_traffic_leave_memory_flat() {
    let upstream = Upstream::hello();
    let weir = Weir::start(&round(&upstream, 0).to_string());
    let load = Load::on(weir.proxy());
    let mut warm = 0;
    for number in 1..=RELOADS {
        let answer = weir.reload(&round(&upstream, number).to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        if number.is_multiple_of(100) {
            load.goes_on();
            let marked = weir.get("/mark", &[]);
            let expected = format!("route {number}");
            assert_eq!(marked.header("x-mark"), Some(expected.as_str()));
        }
        if number == WARM {
            warm = weir.resident_bytes();
        }
    }
    load.goes_on();
    let end = weir.resident_bytes();
    load.assert_unharmed();
    assert_eq!(weir.count(GENERATION), RELOADS as u64 + 1);
    assert!(
        end <= warm + SLACK,
        "{warm} bytes after {WARM} reloads, {end} after {RELOADS}"
    );
    let answer = weir.api("/api/plugins").json();
    let plugins = answer["plugins"].as_array().expect("plugins").iter();
    let instances: Vec<u64> = plugins
        .map(|plugin| plugin["instances"].as_u64().expect("a number"))
        .collect();
    assert!(instances.iter().sum::<u64>() < 100, "{instances:?}");
}
