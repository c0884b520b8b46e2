//! The page that people search names a test for each situation.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Names of all tests below a folder.
fn tests(folder: &Path, names: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            tests(&path, names);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            let after = text.split("#[test]").skip(1);
            let functions = after.filter_map(|text| text.trim_start().strip_prefix("fn "));
            names.extend(functions.filter_map(|text| Some(text.split_once('(')?.0.to_owned())));
        }
    }
}

#[test]
fn each_situation_in_the_page_on_trouble_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/troubleshooting.md")).expect("the page");
    // What people search for.
    for heading in [
        "Topic does not exist",
        "Failed to connect/authenticate with broker",
        "Failed to write trace",
        "Messages are not appearing in the topic",
    ] {
        let section = page.split_once(&format!("\n## {heading}\n"));
        let (_, section) = section.expect(heading);
        let section = section.split("\n## ").next().unwrap_or_default();
        assert!(section.contains(" | test |\n"), "{heading}");
    }
    let mut known = HashSet::new();
    tests(&root.join("tests/tests"), &mut known);
    tests(&root.join("proxy/src"), &mut known);
    let mut has_tests = false;
    let mut rows = Vec::new();
    for line in page.lines() {
        if line.ends_with(" | test |") {
            has_tests = true;
        } else if !line.starts_with('|') {
            has_tests = false;
        } else if has_tests && !line.starts_with("|---") {
            rows.push(line);
        }
    }
    assert!(rows.len() > 40, "{} rows", rows.len());
    for row in rows {
        let cells = row.trim_end_matches(" |").rsplit_once(" | ");
        let (_, named) = cells.expect("a row has cells");
        for name in named.split(", ") {
            let name = name.trim_matches('`');
            assert!(known.contains(name), "no test {name}: {row}");
        }
    }
}
