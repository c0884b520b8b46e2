//! What hooks in JavaScript and Python cost: `weir plugin bench` in an author's folder.

use serde_json::Value;

use super::{Followed, IN_JAVASCRIPT, IN_PYTHON, done, plugin};

/// A case that goes on, of which both hooks are called.
const CASE: &str = "a known tenant goes on, and is named in the trace";

fn is_measured(followed: &Followed) {
    let (_above, folder) = followed.copy();
    let bench = |more: &[&str]| {
        let arguments = [&["bench", "--iterations", "3"], more].concat();
        done(&plugin(&folder, &arguments))
    };
    // For people, a row each.
    let said = bench(&[]);
    assert!(said.contains("a fresh instance takes "), "{said}");
    let mut rows = said.lines().filter(|line| line.ends_with(CASE));
    for hook in ["request", "response"] {
        let row = rows.next().unwrap_or_else(|| panic!("no {hook}: {said}"));
        let words: Vec<_> = row.split_whitespace().collect();
        // The hook, and three figures with their units: median, p99 and memory.
        assert_eq!(words[0], hook, "{row}");
        for pair in words[1..7].chunks(2) {
            assert!(pair[0].parse::<f64>().is_ok(), "{row}");
        }
        assert_eq!(words[6], "MiB", "{row}");
    }
    assert_eq!(rows.next(), None, "{said}");

    let said = bench(&["--json"]);
    let json = said.lines().last().expect("a line");
    let figures: Value = serde_json::from_str(json).expect("JSON");
    assert!(figures["fresh_instance_ns"].is_u64(), "{figures}");
    let hooks = figures["hooks"].as_array().expect("hooks").iter();
    let measured: Vec<_> = hooks.filter(|row| row["case"] == CASE).collect();
    let names: Vec<_> = measured.iter().map(|row| &row["hook"]).collect();
    assert_eq!(names, ["request", "response"]);
    for row in measured {
        for figure in ["median_ns", "p99_ns", "memory_bytes"] {
            assert!(row[figure].as_u64().is_some_and(|it| it > 0), "{row}");
        }
    }
}

#[test]
fn hooks_in_javascript_are_measured() {
    is_measured(&IN_JAVASCRIPT);
}

#[test]
fn hooks_in_python_are_measured() {
    is_measured(&IN_PYTHON);
}
