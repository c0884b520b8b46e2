//! What reloads leave behind: nothing.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, guest};

use crate::compiling::marked;
use crate::{GENERATION, Load};

const RELOADS: usize = 1_000;

/// What the allocator may keep of a reload, in bytes: far less than the code of a plugin is.
const MOST: u64 = 16 << 10;

/// How many have modules that no other has: each is compiled.
const COMPILED: usize = 300;

/// Resident bytes at reloads that are as far from each other.
#[derive(Default)]
struct Memory(Vec<u64>);

impl Memory {
    /// From one look to the next.
    const STEP: usize = 10;

    fn look(&mut self, weir: &Weir, reload: usize) {
        if reload.is_multiple_of(Self::STEP) {
            self.0.push(weir.resident_bytes());
        }
    }

    /// By how much the median of the last third is above that of the third before it, for each reload
    /// between: the first third warms pools, caches and the allocator's own.
    fn assert_flat(&self) {
        let third = self.0.len() / 3;
        let median = |from: usize| {
            let mut part = self.0[from..from + third].to_vec();
            part.sort_unstable();
            part[third / 2]
        };
        let grown = median(2 * third).saturating_sub(median(third));
        let each = grown / (third * Self::STEP) as u64;
        assert!(each < MOST, "{each} bytes a reload: {:?}", self.0);
    }
}

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
    let mut memory = Memory::default();
    for number in 1..=RELOADS {
        let answer = weir.reload(&round(&upstream, number).to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        if number.is_multiple_of(100) {
            load.goes_on();
            let marked = weir.get("/mark", &[]);
            let expected = format!("route {number}");
            assert_eq!(marked.header("x-mark"), Some(expected.as_str()));
        }
        memory.look(&weir, number);
    }
    load.goes_on();
    load.assert_unharmed();
    assert_eq!(weir.count(GENERATION), RELOADS as u64 + 1);
    memory.assert_flat();
    assert_few_instances(&weir);
}

fn assert_few_instances(weir: &Weir) {
    let answer = weir.api("/api/plugins").json();
    let plugins = answer["plugins"].as_array().expect("plugins").iter();
    let instances: Vec<u64> = plugins
        .map(|plugin| plugin["instances"].as_u64().expect("a number"))
        .collect();
    assert!(instances.iter().sum::<u64>() < 100, "{instances:?}");
}

/// Puts a module into the place of another.
fn replace(file: &Path, module: &[u8]) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, module).expect("written");
    std::fs::rename(&beside, file).expect("put in its place");
}

#[test]
fn modules_that_change_come_and_go_leave_memory_flat() {
    let base = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../wasm-plugins/hostile/abi/base.wat"
    );
    let base = std::fs::read_to_string(base).expect("the fixture");
    let base = base.replace("{HARM}", "").replace("{REALLOC}", "");
    let bytes = std::fs::read(Abi::Module.written(&base)).expect("a module");
    let folder = tempfile::tempdir().expect("a folder");
    let [changes, comes] = ["changes.wasm", "comes.wasm"].map(|name| folder.path().join(name));
    let upstream = Upstream::hello();
    let round = |number: usize| {
        replace(&changes, &marked(bytes.clone(), number));
        let mut config = config(&upstream);
        config["workers"] = json!(2);
        config["plugins"]["changes"] = json!({ "module": changes });
        let mut names = vec!["changes"];
        if number.is_multiple_of(2) {
            replace(&comes, &marked(bytes.clone(), COMPILED + number));
            config["plugins"]["comes"] = json!({ "module": comes });
            names.push("comes");
        }
        config["routes"] = json!([
            { "match": { "path": "/steady" }, "upstream": "up", "plugins": names },
        ]);
        config.to_string()
    };
    let weir = Weir::start(&round(0));
    let load = Load::on(weir.proxy());
    let mut memory = Memory::default();
    let mut digests = HashSet::new();
    for number in 1..=COMPILED {
        let answer = weir.reload(&round(number));
        assert_eq!(answer.status, 200, "{}", answer.text());
        memory.look(&weir, number);
        let plugins = weir.api("/api/plugins").json();
        let plugins = plugins["plugins"].as_array().expect("plugins");
        assert_eq!(plugins.len(), if number.is_multiple_of(2) { 2 } else { 1 });
        digests.extend(plugins.iter().map(|plugin| plugin["digest"].to_string()));
    }
    assert_eq!(digests.len(), COMPILED + COMPILED / 2, "each was compiled");
    load.goes_on();
    load.assert_unharmed();
    memory.assert_flat();
    assert_few_instances(&weir);
}
