//! Modules whose breach of the canonical ABI shows before any request.

use serde_json::json;
use weir_tests::abi::Abi;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use super::{Harm, base};

/// Where `configure` ends.
const RETURNED: &str = "(i32.const 1024)) ;; returned";

/// Name, text of the module to replace, by what, and part of what is said at the start. Each of a
/// core module: of most nobody could make a component.
const NOT_LOADED: &[(&str, &str, &str, &str)] = &[
    (
        "memory-missing",
        "(memory (export \"memory\") 17)",
        "(memory 17)",
        "it exports no memory `memory`",
    ),
    (
        "memory-is-a-global",
        "(memory (export \"memory\") 17)",
        "(memory 17) (global (export \"memory\") i32 (i32.const 0))",
        "it exports no memory `memory`",
    ),
    (
        "memory-imported",
        "(memory (export \"memory\") 17)",
        "(import \"env\" \"memory\" (memory 17)) (export \"memory\" (memory 0))",
        "`env::memory`",
    ),
    (
        "memory-too-large",
        "(memory (export \"memory\") 17)",
        "(memory (export \"memory\") 257)",
        "asked for more than its 16777216 bytes of memory",
    ),
    (
        "realloc-missing",
        "(func (export \"cabi_realloc\")",
        "(func (export \"realloc\")",
        "it exports no function `cabi_realloc`",
    ),
    (
        "realloc-of-another-type",
        "(param $len i32) (result i32)\n    (local $at i32)",
        "(param $len i32) (param i64) (result i32)\n    (local $at i32)",
        "its function `cabi_realloc` has another type",
    ),
    (
        "schema-is-a-global",
        "(func (export \"config-schema\") (result i32) (i32.const 1024))",
        "(global (export \"config-schema\") i32 (i32.const 1024))",
        "it exports no function `config-schema`",
    ),
    (
        "hook-of-another-type",
        "(func (export \"on-response\") (param $handle i32) (result i32)",
        "(func (export \"on-response\") (param $handle i32) (result i64) (unreachable))\n  (func (param $handle i32) (result i32)",
        "its function `on-response` has another type",
    ),
    (
        "initialize-of-another-type",
        "(func (export \"config-schema\")",
        "(func (export \"_initialize\") (param i32))\n  (func (export \"config-schema\")",
        "its function `_initialize` has another type",
    ),
    (
        "post-of-another-type",
        "(func (export \"config-schema\")",
        "(func (export \"cabi_post_on-request\"))\n  (func (export \"config-schema\")",
        "its function `cabi_post_on-request` has another type",
    ),
    (
        "import-of-another-type",
        "(func $write (param i32 i32 i32))",
        "(func $write (param i32 i32 i32) (result i32))",
        "incompatible import type for `weir:plugin/log@0.1.0::write`",
    ),
    (
        "import-unknown",
        "\"write\" (func $write",
        "\"scribble\" (func $write",
        "`weir:plugin/log@0.1.0::scribble`",
    ),
    (
        "import-of-a-later-version",
        "\"weir:plugin/log@0.1.0\"",
        "\"weir:plugin/log@9.0.0\"",
        "`weir:plugin/log@9.0.0::write`",
    ),
    (
        "start-calls-the-host",
        "(func (export \"config-schema\")",
        "(func $start (call $write (i32.const 2) (i32.const 64) (i32.const 6))) (start $start)\n  (func (export \"config-schema\")",
        "a call before the instance was made",
    ),
    (
        "start-loops",
        "(func (export \"config-schema\")",
        "(func $start (loop $again (br $again))) (start $start)\n  (func (export \"config-schema\")",
        " than its 2s of ",
    ),
    (
        "start-traps",
        "(func (export \"config-schema\")",
        "(func $start unreachable) (start $start)\n  (func (export \"config-schema\")",
        "guest trapped: ",
    ),
    (
        "initialize-traps",
        "(func (export \"config-schema\")",
        "(func (export \"_initialize\") unreachable)\n  (func (export \"config-schema\")",
        "guest trapped: ",
    ),
    (
        "post-calls-the-host",
        "(func (export \"config-schema\")",
        "(func (export \"cabi_post_configure\") (param i32) (drop (call $now)))\n  (func (export \"config-schema\")",
        "an import was called within `cabi_realloc` or a post-return function",
    ),
    (
        "configure-realloc-beyond",
        "(if (global.get $harms) (then {REALLOC}))",
        "(return (i32.const -1))",
        "a place for a result out of the memory's bounds",
    ),
    (
        "configure-realloc-calls-the-host",
        "(if (global.get $harms) (then {REALLOC}))",
        "(drop (call $now))",
        "an import was called within `cabi_realloc` or a post-return function",
    ),
    (
        "configure-uses-a-head",
        RETURNED,
        "(call $path (i32.const 1) (i32.const 32)) (i32.const 1024))",
        "handle 1 stands for no Request that is lent",
    ),
    (
        "configure-beyond",
        RETURNED,
        "(return (i32.const -8)) (i32.const 1024))",
        "a value out of the memory's bounds",
    ),
    (
        "configure-at-the-end",
        RETURNED,
        "(return (i32.const 0x10ffd0)) (i32.const 1024))",
        "a value out of the memory's bounds",
    ),
    (
        "configure-unaligned",
        RETURNED,
        "(return (i32.const 1028)) (i32.const 1024))",
        "a pointer that is not aligned to 8",
    ),
    (
        "configure-result-two",
        RETURNED,
        "(i32.store8 (i32.const 1024) (i32.const 2)) (i32.const 1024))",
        "`2` is no result",
    ),
    (
        "configure-request-body-three",
        RETURNED,
        "(i32.store8 (i32.const 1040) (i32.const 3)) (i32.const 1024))",
        "`3` is no body mode",
    ),
    (
        "configure-response-body-three",
        RETURNED,
        "(i32.store8 (i32.const 1040) (i32.const 1)) (i32.store8 (i32.const 1056) (i32.const 3)) (i32.const 1024))",
        "`3` is no body mode",
    ),
    (
        "configure-refuses-endlessly",
        RETURNED,
        "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1036) (i32.const -1)) (i32.const 1024))",
        "a value out of the memory's bounds",
    ),
    (
        "configure-refuses-in-no-utf8",
        RETURNED,
        "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store (i32.const 64) (i32.const -1)) (i32.store (i32.const 1032) (i32.const 64)) (i32.store (i32.const 1036) (i32.const 4)) (i32.const 1024))",
        "a string that is not UTF-8",
    ),
];

#[test]
fn a_module_that_breaks_the_abi_is_not_loaded() {
    let base = base();
    let mut config = config(&Upstream::hello());
    for (name, old, new, _) in NOT_LOADED {
        assert!(base.contains(old), "{name}: {old}");
        let text = Harm::default().fill(&base.replacen(old, new, 1));
        config["plugins"][name] = json!({ "module": Abi::Module.written(&text) });
    }
    let said = Weir::refusal(&config.to_string());
    let missing: Vec<_> = NOT_LOADED
        .iter()
        .filter(|(name, _, _, reason)| {
            let plugin = format!("plugin `{name}`: ");
            !said
                .lines()
                .any(|line| line.contains(&plugin) && line.contains(reason))
        })
        .map(|(name, _, _, reason)| (name, reason))
        .collect();
    assert!(missing.is_empty(), "{missing:#?} in {said}");
}
