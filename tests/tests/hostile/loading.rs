//! Modules that do not become plugins.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, guest};

/// A module file made of a fixture in WebAssembly's text format.
fn module(folder: &Path, name: &str) -> PathBuf {
    let text = format!(
        "{}/../wasm-plugins/hostile/abi/{name}.wat",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = wat::parse_file(text).expect("the fixture is well-formed");
    let file = folder.join(name).with_extension("wasm");
    fs::write(&file, bytes).expect("write the module");
    file
}

/// A plugin that cannot be loaded is named when Weir starts; a reload changes nothing.
fn assert_not_loaded(plugin: Value, reason: &str) {
    let upstream = Upstream::hello();
    let good = config(&upstream);
    let mut bad = good.clone();
    bad["plugins"]["bad"] = plugin;
    bad["routes"][0]["plugins"] = json!(["bad"]);
    let said = Weir::refusal(&bad.to_string());
    assert!(
        said.contains("plugin `bad`: ") && said.contains(reason),
        "{said}"
    );
    assert!(said.len() < 8 << 10, "{} bytes", said.len());

    let weir = Weir::start(&good.to_string());
    let reload = weir.reload(&bad.to_string());
    assert_eq!(reload.status, 422, "{}", reload.text());
    let detail = reload.json()["detail"].to_string();
    assert!(detail.contains("plugin `bad`: "), "{detail}");
    assert_eq!(weir.ready()["generation"], 1);
    assert_eq!(weir.get("/", &[]).text(), "hello");
}

/// Modules that are no plugins: test, fixture, part of what is said.
macro_rules! is_not_loaded {
    ($($name:ident: $fixture:literal, $reason:literal;)*) => {$(
        #[test]
        fn $name() {
            let folder = tempfile::tempdir().expect("a folder");
            let module = module(folder.path(), $fixture);
            assert_not_loaded(json!({ "module": module }), $reason);
        }
    )*};
}

is_not_loaded! {
    a_module_that_imports_what_there_is_not_is_not_loaded:
        "foreign-import", "module is no plugin of world weir:plugin: ";
    a_module_of_a_later_contract_is_not_loaded:
        "later-version", "module is no plugin of world weir:plugin: ";
    a_core_module_without_a_components_type_is_not_loaded:
        "no-component-type", "module is no plugin of world weir:plugin: ";
    a_proxy_wasm_filter_is_told_as_what_it_is:
        "proxy-wasm", "it is a proxy-wasm filter, which is to be written anew (docs/writing-a-plugin.md)";
    a_component_of_another_world_is_not_loaded:
        "other-world", "module is no plugin of world weir:plugin: ";
    a_component_with_other_signatures_is_not_loaded:
        "wrong-signature", "module is no plugin of world weir:plugin: ";
}

#[test]
fn a_file_that_is_no_wasm_is_not_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plugin.wasm");
    fs::write(&file, "no module").expect("write the file");
    assert_not_loaded(
        json!({ "module": file }),
        "module cannot be compiled: it is no WebAssembly",
    );
}

#[test]
fn a_module_that_is_cut_off_is_not_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plugin.wasm");
    let module = fs::read(guest("hostile")).expect("the guest");
    fs::write(&file, &module[..module.len() / 2]).expect("write the file");
    assert_not_loaded(json!({ "module": file }), "module ");
}

/// Modes in which `configure` itself does harm: test, mode, part of what is said.
macro_rules! does_not_start {
    ($($name:ident: $mode:literal, $reason:literal;)*) => {$(
        #[test]
        fn $name() {
            let config = json!({ "mode": $mode, "in": "configure" });
            for abi in Abi::BOTH {
                assert_not_loaded(json!({ "module": abi.guest("hostile"), "config": config }), $reason);
            }
        }
    )*};
}

does_not_start! {
    a_loop_while_configured_is_stopped: "loop", " than its 2s of ";
    a_trap_while_configured_is_told: "unreachable", "guest trapped: ";
    memory_while_configured_is_bounded: "memory", "asked for more than its 16777216 bytes of memory";
    a_refusal_at_length_is_cut: "refuse", "refused its configuration: hostile hostile";
}
