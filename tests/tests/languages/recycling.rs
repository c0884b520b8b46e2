//! How long instances in JavaScript and Python live. Such a plugin takes long to build and to compile: that is
//! done once in each language, and all is asked of it one after the other.

use std::collections::HashSet;
use std::io::Write as _;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::client::Connection;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use super::{JAVASCRIPT, PYTHON, Tutorial, done, plugin};

/// Tells the upstream how many requests the instance has seen, and keeps so many bytes of each.
const KEEPER_IN_JAVASCRIPT: &str = "\
export default class Keeper {
  constructor({ keeps }) {
    this.keeps = keeps;
    this.kept = [];
    this.seen = 0;
  }

  onRequest(request) {
    this.seen += 1;
    if (this.keeps > 0) this.kept.push(new Uint8Array(this.keeps));
    request.setHeader('x-seen', String(this.seen));
    request.setHeader('x-chance', String(Math.random()));
  }
}
";

const KEEPER_IN_PYTHON: &str = r#"
import random

from weir import plugin

@plugin
class Keeper:
    def __init__(self, config):
        self.keeps = config["keeps"]
        self.kept = []
        self.seen = 0

    def on_request(self, request):
        self.seen += 1
        if self.keeps > 0:
            self.kept.append(bytearray(self.keeps))
        request.set_header("x-seen", str(self.seen))
        request.set_header("x-chance", str(random.random()))
"#;

/// A folder with the plugin, where what was compiled of it stays, and an upstream that answers with what
/// the plugin says.
struct Keeper {
    above: TempDir,
    upstream: Upstream,
}

/// A Weir with the plugin, and its one client.
struct Served {
    _weir: Weir,
    client: Connection,
}

impl Keeper {
    fn new(tutorial: &Tutorial, text: &str) -> Self {
        let (above, folder) = tutorial.project_of(text);
        done(&plugin(&folder, &["build"]));
        let upstream = Upstream::new(|seen, stream| {
            let said = seen.header("x-seen").unwrap_or_default();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", said.len());
            // At once: TCP keeps a second small piece back until the first is acknowledged.
            let _ = stream.write_all((head + said).as_bytes());
        });
        Self { above, upstream }
    }

    /// With these keys of the plugin.
    fn serves(&self, keeps: usize, keys: &Value) -> Served {
        let mut config = config(&self.upstream);
        config["data_dir"] = json!(self.above.path().join("data"));
        config["plugins"]["keeper"] = json!({
            "module": self.above.path().join("other/dist/other.wasm"),
            "config": { "keeps": keeps },
            // A busy machine is no reason to fail.
            "limits": { "cpu_time": "5s", "wall_time": "1m" },
        });
        let known = config["plugins"]["keeper"].as_object_mut();
        let keys = keys.as_object().expect("a mapping").clone();
        known.expect("a mapping").extend(keys);
        config["routes"][0]["plugins"] = json!(["keeper"]);
        let weir = Weir::start(&config.to_string());
        let client = Connection::open(weir.proxy());
        Served {
            _weir: weir,
            client,
        }
    }

    /// How many requests the instance of each of so many had seen.
    fn seen(&self, keeps: usize, keys: &Value, requests: usize) -> Vec<usize> {
        let mut served = self.serves(keeps, keys);
        (0..requests).map(|_| served.seen()).collect()
    }

    /// By count, by age, and by memory in the last quarter of its language's `limit`.
    fn instances_are_replaced(&self, keeps: usize, limit: usize) {
        let seen = self.seen(0, &json!({ "recycle": { "hooks": 3 } }), 7);
        assert_eq!(seen, [1, 2, 3, 1, 2, 3, 1]);
        let asked = self.upstream.seen();
        let chances = asked.iter().map(|seen| seen.header("x-chance"));
        assert_eq!(chances.collect::<HashSet<_>>().len(), 7, "they begin alike");

        let seen = self.seen(0, &json!({ "recycle": { "age": "1ms" } }), 50);
        let fresh = seen.iter().filter(|seen| **seen == 1).count();
        assert!(fresh > 1, "{seen:?}");

        let seen = self.seen(keeps, &json!({}), 120);
        let replaced = seen.windows(2).filter(|pair| pair[1] == 1);
        let kept: Vec<_> = replaced.map(|pair| pair[0] * keeps).collect();
        assert!(kept.len() >= 2, "{seen:?}");
        // What the interpreter has for itself, too.
        let last = limit / 4 * 3 - (16 << 20)..limit;
        assert!(kept.iter().all(|kept| last.contains(kept)), "{kept:?}");
    }
}

impl Served {
    /// A request that must not fail: how many its instance has seen with it.
    fn seen(&mut self) -> usize {
        self.client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        let response = self.client.receive().expect("a response");
        assert_eq!(response.status, 200, "{}", response.text());
        response.text().parse().expect("a number")
    }
}

#[test]
fn instances_in_javascript_are_replaced_by_count_age_and_memory() {
    let keeper = Keeper::new(&JAVASCRIPT, KEEPER_IN_JAVASCRIPT);
    keeper.instances_are_replaced(4 << 20, 128 << 20);

    // One that keeps nothing grows all the same, as its engine lets garbage lie; and one that cannot grow any
    // more traps.
    let limits = json!({ "memory": "32MiB", "cpu_time": "5s", "wall_time": "1m" });
    let mut served = keeper.serves(0, &json!({ "limits": limits }));
    assert_eq!(served.seen(), 1);
    let replaced = (0..50_000).any(|_| served.seen() == 1);
    assert!(replaced, "no instance was replaced");
    for _ in 0..1_000 {
        served.seen();
    }
}

#[test]
fn instances_in_python_are_replaced_by_count_age_and_memory() {
    let keeper = Keeper::new(&PYTHON, KEEPER_IN_PYTHON);
    keeper.instances_are_replaced(2 << 20, 64 << 20);
}
