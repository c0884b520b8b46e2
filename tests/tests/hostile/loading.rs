//! Modules that do not become plugins.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, guest};

use crate::abi::{Harm, base};

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

/// Of WASI, functions that would lead out of the sandbox, as components import them.
const INTERFACES: &[(&str, &str)] = &[
    ("wasi:cli/environment@0.2.0", "get-environment"),
    ("wasi:cli/stdout@0.2.0", "get-stdout"),
    ("wasi:filesystem/preopens@0.2.0", "get-directories"),
    ("wasi:filesystem/types@0.2.0", "filesystem-error-code"),
    ("wasi:sockets/instance-network@0.2.0", "instance-network"),
    ("wasi:sockets/tcp-create-socket@0.2.0", "create-tcp-socket"),
    ("wasi:sockets/udp-create-socket@0.2.0", "create-udp-socket"),
    ("wasi:sockets/ip-name-lookup@0.2.0", "resolve-addresses"),
    ("wasi:http/outgoing-handler@0.2.0", "handle"),
];

/// The same as core modules do.
const FUNCTIONS: &[(&str, &str)] = &[
    ("wasi_snapshot_preview1", "environ_get"),
    ("wasi_snapshot_preview1", "fd_prestat_get"),
    ("wasi_snapshot_preview1", "fd_read"),
    ("wasi_snapshot_preview1", "fd_write"),
    ("wasi_snapshot_preview1", "path_open"),
    ("wasi_snapshot_preview1", "sock_accept"),
    ("wasi_snapshot_preview1", "sock_send"),
    ("wasi_unstable", "environ_get"),
    ("wasi_unstable", "path_open"),
    ("env", "open"),
];

#[test]
fn a_module_that_imports_files_sockets_or_the_environment_is_refused_by_name() {
    let components = INTERFACES.iter().map(|(interface, function)| {
        let text = format!(
            "(component (import \"{interface}\" (instance (export \"{function}\" (func)))))"
        );
        (text, format!("component imports instance `{interface}`, "))
    });
    let plugin = Harm::default().fill(&base());
    let modules = FUNCTIONS.iter().map(|(module, function)| {
        let import = format!("(module (import \"{module}\" \"{function}\" (func))");
        let text = plugin.replacen("(module", &import, 1);
        (text, format!("unknown import: `{module}::{function}` "))
    });
    let refused: Vec<_> = components.chain(modules).collect();
    let mut config = config(&Upstream::hello());
    for (number, (text, _)) in refused.iter().enumerate() {
        let module = Abi::Module.written(text);
        config["plugins"][format!("out-{number}")] = json!({ "module": module });
    }
    let said = Weir::refusal(&config.to_string());
    for (number, (_, reason)) in refused.iter().enumerate() {
        let plugin = format!("plugin `out-{number}`: module is no plugin of world weir:plugin: ");
        let told = |line: &str| line.contains(&plugin) && line.contains(reason);
        assert!(said.lines().any(told), "{reason} in {said}");
    }
}

/// What modules say of the language they were made of, and the memory that an instance may then have.
const LANGUAGES: &[(&str, &str, usize)] = &[
    ("unknown", "", 16 << 20),
    ("rust", "(@producers (language \"Rust\" \"\"))", 16 << 20),
    (
        "javascript",
        "(@producers (language \"JavaScript\" \"\"))",
        128 << 20,
    ),
    (
        "componentize-js",
        "(@producers (processed-by \"ComponentizeJS\" \"\"))",
        128 << 20,
    ),
    (
        "python",
        "(@producers (language \"Python\" \"\"))",
        64 << 20,
    ),
    (
        "componentize-py",
        "(@producers (processed-by \"componentize-py\" \"\"))",
        64 << 20,
    ),
];

#[test]
fn an_instance_has_the_memory_of_its_language_and_not_a_page_more() {
    const MEMORY: &str = "(memory (export \"memory\") 17)";
    let base = Harm::default().fill(&base());
    assert!(base.contains(MEMORY));
    let upstream = Upstream::hello();
    for abi in Abi::BOTH {
        let with = |more: usize| {
            let mut config = config(&upstream);
            for (name, producers, bytes) in LANGUAGES {
                let pages = bytes / (64 << 10) + more;
                let memory = format!("(memory (export \"memory\") {pages}) {producers}");
                let module = abi.written(&base.replacen(MEMORY, &memory, 1));
                config["plugins"][name] = json!({ "module": module });
            }
            config["routes"][0]["plugins"] = LANGUAGES.iter().map(|(name, ..)| *name).collect();
            config.to_string()
        };
        let weir = Weir::start(&with(0));
        assert_eq!(weir.get("/", &[]).text(), "hello");
        let said = Weir::refusal(&with(1));
        for (name, _, bytes) in LANGUAGES {
            let told = format!("plugin `{name}`: asked for more than its {bytes} bytes of memory");
            assert!(said.contains(&told), "{told} in {said}");
        }
    }
}

#[test]
fn a_file_that_is_no_wasm_is_not_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plugin.wasm");
    for text in ["no module", ""] {
        fs::write(&file, text).expect("write the file");
        let said = "module cannot be compiled: it is no WebAssembly";
        assert_not_loaded(json!({ "module": file }), said);
    }
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
