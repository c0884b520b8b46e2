//! Reloads that compile: the workers serve on meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_tests::abi::{Abi, store};
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::{GENERATION, Load};

const RELOADS: usize = 10;

/// A module that is another in each round, and does the same: by a custom section at its end.
pub(crate) fn marked(mut module: Vec<u8>, round: usize) -> Vec<u8> {
    let section = format!("\u{5}round{round}");
    module.extend([0, u8::try_from(section.len()).expect("it is short")]);
    module.extend(section.as_bytes());
    module
}

fn changed(module: &Path, round: usize) -> PathBuf {
    store(&marked(fs::read(module).expect("the guest"), round))
}

/// All requests go through modules that no other round has, one of each ABI.
fn round(upstream: &Upstream, data: &Path, round: usize) -> Value {
    let mut config = config(upstream);
    config["workers"] = json!(2);
    config["data_dir"] = json!(data);
    config["plugins"] = json!({
        "module": { "module": changed(&Abi::Module.guest("annotate"), round) },
        "component": {
            "module": changed(&Abi::Component.guest("pieces"), round),
            "config": { "response": "pass" },
        },
    });
    config["routes"][0]["plugins"] = json!(["module", "component"]);
    config
}

/// A worker that compiles panics, in the builds that tests run.
#[test]
fn modules_are_compiled_once_each_and_on_no_worker() {
    let upstream = Upstream::hello();
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let weir = Weir::start(&round(&upstream, &data, 0).to_string());
    let load = Load::on(weir.proxy());
    for number in 1..=RELOADS {
        let answer = weir.reload(&round(&upstream, &data, number).to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        load.goes_on();
    }
    load.assert_unharmed();
    assert_eq!(weir.count(GENERATION), RELOADS as u64 + 1);
    let kept = fs::read_dir(data.join("compiled")).expect("the folder");
    assert_eq!(kept.count(), 2 * (RELOADS + 1));
    assert!(!weir.logged("panicked"), "{:#?}", weir.log());
}
