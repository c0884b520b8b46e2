//! Modules that would keep the compiler, or fill the memory, before they do anything. Each is refused by
//! name, and what is served goes on.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use weir_tests::abi::{Abi, store};
use weir_tests::config::config;
use weir_tests::kafka::shared;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::abi::{Harm, base};
use crate::others::Others;

/// A plugin with more in its module.
fn with(more: &str) -> PathBuf {
    let place = "(func (export \"config-schema\")";
    let text = Harm::default().fill(&base().replacen(place, &format!("{more}\n  {place}"), 1));
    Abi::Module.written(&text)
}

fn times(count: usize, text: &str) -> String {
    text.repeat(count)
}

/// Name, module and part of what is said of it; in a folder, where a module is too large to be kept.
fn bombs(folder: &Path) -> Vec<(&'static str, PathBuf, &'static str)> {
    vec![
        ("module-huge", huge(folder), "has more than 134217728 bytes"),
        (
            "function-huge",
            with(&format!(
                "(func (result i32) i32.const 0 {})",
                times(400_000, "i32.const 1 i32.add ")
            )),
            "has a function of 1200004 bytes, and may have 1048576 in one",
        ),
        (
            "functions-many",
            with(&times(100_001, "(func)")),
            "has more than 100000 functions",
        ),
        (
            "loops-nested",
            with(&format!(
                "(func {}{})",
                times(20_000, "loop "),
                times(20_000, "end ")
            )),
            "has more than 100 loops in each other",
        ),
        (
            "locals-many",
            with(&times(
                101,
                &format!("(func (local{}))", times(40_000, " i32")),
            )),
            "has more than 4000000 locals",
        ),
        (
            "locals-times-blocks",
            with(&format!(
                "(func (local{}) {})",
                times(5_000, " i32"),
                times(100_000, "block end ")
            )),
            "blocks, and may have 67108864 pairs of them in one",
        ),
        (
            "values-times-blocks",
            with(&format!(
                "(func {})",
                times(100_000, "block (result i32) i32.const 0 end drop ")
            )),
            "blocks, and may have 67108864 pairs of them in one",
        ),
        (
            "locals-huge",
            with(&format!("(func (local{}))", times(50_001, " i64"))),
            "too many locals",
        ),
        (
            "globals-many",
            with(&times(100_001, "(global i64 (i64.const 0))")),
            "has more than 100000 globals",
        ),
        (
            "instance-huge",
            with(&times(90_000, "(global i64 (i64.const 0))")),
            "instance allocation for this module requires",
        ),
        (
            "table-huge",
            with("(table 20001 funcref)"),
            "exceeds the limit of 20000",
        ),
        (
            "tables-many",
            with("(table 1 funcref) (table 1 funcref)"),
            "exceeds the per-instance limit of 1",
        ),
        (
            "memories-many",
            with("(memory 1)"),
            "exceeds the per-instance limit of 1",
        ),
        ("memory-64", with("(memory i64 1)"), "memory64"),
        ("memory-shared", with("(memory 1 1 shared)"), "threads"),
        ("exceptions", with("(tag)"), "exceptions"),
        ("garbage", with("(type (struct))"), "gc"),
        ("nesting", nested(2_000), ""),
    ]
}

/// What uses in code, beside what declares it in [`bombs`], what the engine does not have: name, text and
/// part of what is said of it.
const NOT_TAKEN: &[(&str, &str, &str)] = &[
    (
        "atomics",
        "(func (drop (i32.atomic.load (i32.const 0))))",
        "threads support is not enabled",
    ),
    (
        "throws",
        "(tag $thrown) (func (throw $thrown))",
        "exceptions proposal not enabled",
    ),
    (
        "catches",
        "(func (block $caught (result exnref) (try_table (catch_all_ref $caught)) unreachable) drop)",
        "without the exception handling feature",
    ),
    (
        "allocates",
        "(func (drop (ref.i31 (i32.const 1))))",
        "gc support is not enabled",
    ),
    (
        "function-references",
        "(type $f (func)) (func (param (ref null $f)) (call_ref $f (local.get 0)))",
        "function references required",
    ),
    (
        "table-64",
        "(table i64 1 funcref)",
        "memory64 must be enabled for 64-bit tables",
    ),
    (
        "continuations",
        "(type $f (func)) (type (cont $f))",
        "stack switching is disabled",
    ),
];

/// The same of components.
const COMPONENTS_NOT_TAKEN: &[(&str, &str, &str)] = &[
    (
        "async-function",
        "(component
          (core module $module
            (func (export \"run\") (result i32) (i32.const 0))
            (func (export \"again\") (param i32 i32 i32) (result i32) (i32.const 0)))
          (core instance $instance (instantiate $module))
          (func (export \"run\") async
            (canon lift (core func $instance \"run\") async (callback (func $instance \"again\")))))",
        "require the component model async feature",
    ),
    (
        "async-builtin",
        "(component (core func (canon task.cancel)))",
        "requires the component model async feature",
    ),
    (
        "future",
        "(component (type (future u32)))",
        "requires the component model async feature",
    ),
    (
        "error-context",
        "(component (type error-context))",
        "requires the component model error-context feature",
    ),
];

/// Components in each other.
fn nested(depth: usize) -> PathBuf {
    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
    let mut component = HEADER.to_vec();
    for _ in 0..depth {
        let mut outer = HEADER.to_vec();
        outer.push(4);
        outer.extend(leb128(component.len()));
        outer.extend(component);
        component = outer;
    }
    store(&component)
}

/// A module of one custom section, most of which is a hole in its file: with what is before it, it has more
/// than 128 MiB.
fn huge(folder: &Path) -> PathBuf {
    const SECTION: usize = 128 << 20;
    let mut module = b"\0asm\x01\0\0\0\0".to_vec();
    module.extend(leb128(SECTION));
    let path = folder.join("huge.wasm");
    let mut file = File::create(&path).expect("a file");
    file.write_all(&module).expect("its beginning");
    let len = module.len() + SECTION;
    file.set_len(len as u64).expect("a file with a hole");
    path
}

/// A number as WebAssembly has it.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(u8::try_from((number & 127) | 128).expect("seven bits and one"));
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("seven bits"));
    bytes
}

#[test]
fn what_would_keep_the_compiler_is_refused_by_name_while_others_are_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = assert_refused_by_name(&bombs(folder.path()));
    // The largest alone takes longer to be read than these take.
    assert!(served > 10, "{served}");
}

#[test]
fn what_needs_more_of_webassembly_than_there_is_is_refused_by_name() {
    let modules = NOT_TAKEN
        .iter()
        .map(|&(name, more, reason)| (name, with(more), reason));
    let components = COMPONENTS_NOT_TAKEN
        .iter()
        .map(|&(name, text, reason)| (name, Abi::Module.written(text), reason));
    let all: Vec<_> = modules.chain(components).collect();
    assert_refused_by_name(&all);
}

/// A reload with all of them names each, and changes nothing; how many other requests were answered
/// meanwhile, none of which it has harmed.
fn assert_refused_by_name(bombs: &[(&str, PathBuf, &str)]) -> usize {
    let upstream = Upstream::hello();
    let good = config(&upstream);
    let weir = Weir::start(&good.to_string());
    let before = weir.resident_bytes();
    let mut bad = good.clone();
    for (name, module, _) in bombs {
        bad["plugins"][name] = json!({ "module": module });
    }
    let others = Others::asking(weir.proxy(), "/");
    let answered = others.answered();
    let refused = weir.reload(&bad.to_string());
    let meanwhile = others.answered() - answered;
    others.assert_unharmed();
    assert_eq!(refused.status, 422, "{}", refused.text());
    let said = refused.json()["detail"]
        .as_str()
        .expect("a text")
        .to_owned();
    let missing: Vec<_> = bombs
        .iter()
        .filter(|(name, _, reason)| {
            let plugin = format!("plugin `{name}`: module ");
            let told = |line: &str| line.contains(&plugin) && line.contains(reason);
            !said.lines().any(told)
        })
        .map(|(name, _, reason)| (name, reason))
        .collect();
    assert!(missing.is_empty(), "{missing:#?} in {said}");
    let grown = weir.resident_bytes().saturating_sub(before);
    assert!(grown < 256 << 20, "{grown}");
    assert_eq!(weir.ready()["generation"], 1);
    assert_eq!(weir.get("/", &[]).text(), "hello");
    meanwhile
}

/// What is near the bounds is compiled within what a reload may take, and runs.
#[test]
fn code_within_the_bounds_is_compiled_and_runs() {
    let deep = format!(
        "(func {}{})",
        times(20_000, "block "),
        times(20_000, "end ")
    );
    let large = format!(
        "(func (result i32) i32.const 0 {})",
        times(100_000, "i32.const 1 i32.add ")
    );
    for more in [deep, large] {
        let upstream = Upstream::hello();
        let mut config = config(&upstream);
        config["plugins"]["near"] = json!({ "module": with(&more) });
        config["routes"][0]["plugins"] = json!(["near"]);
        let weir = Weir::start(&config.to_string());
        assert_eq!(weir.get("/", &[]).text(), "hello");
    }
}

/// A table grows to its bound, and what asks on is stopped.
#[test]
fn tables_are_bounded_and_a_storm_of_their_growth_is_stopped() {
    let text = |hook: &'static str| {
        let harm = Harm {
            hook,
            ..Harm::default()
        };
        let place = "(func (export \"config-schema\")";
        let table = format!("(table $grown 1 funcref)\n  {place}");
        harm.fill(&base().replacen(place, &table, 1))
    };
    let bounded = "
        (loop $again
          (br_if $again
            (i32.ne (table.grow $grown (ref.null func) (i32.const 999)) (i32.const -1))))
        (if (i32.gt_u (table.size $grown) (i32.const 20000)) (then (unreachable)))
        (if (i32.lt_u (table.size $grown) (i32.const 19000)) (then (unreachable)))";
    let storm = "
        (loop $again
          (drop (table.grow $grown (ref.null func) (i32.const -1)))
          (br $again))";
    for abi in Abi::BOTH {
        let upstream = Upstream::hello();
        let mut config = config(&upstream);
        for (name, hook) in [("bounded", bounded), ("storm", storm)] {
            config["plugins"][name] = json!({
                "module": abi.written(&text(hook)),
                "limits": { "cpu_time": "1s", "wall_time": "1m" },
            });
        }
        config["routes"] = json!([
            { "match": { "path": "/bounded" }, "upstream": "up", "plugins": ["bounded"] },
            { "match": { "path": "/storm" }, "upstream": "up", "plugins": ["storm"] },
        ]);
        let topic = shared().topic();
        config["exporters"]["traces"] = weir_tests::config::exporter(shared(), &topic);
        let weir = Weir::start(&config.to_string());
        assert_eq!(weir.get("/bounded", &[crate::HARM]).text(), "hello");
        assert_eq!(weir.get("/storm", &[crate::HARM]).status, 500);
        assert_eq!(weir.get("/storm", &[]).text(), "hello");
        let trace = shared().traces(&topic, 2).remove(1);
        let reason = trace.attribute("plugin.storm.prehook", "error.type");
        assert_eq!(reason, "cpu_time");
    }
}
