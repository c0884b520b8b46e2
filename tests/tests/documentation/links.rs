//! Links between pages lead somewhere: to a file that is there, and to a heading that it has.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::{anchor, files, read, root};

/// The page without what is shown of other texts.
fn prose(page: &str) -> String {
    let mut is_shown = false;
    let lines = page.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_shown ^= is_fence;
        !is_shown && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The anchors of a page's headings; one that comes again is numbered.
fn anchors(page: &str) -> HashSet<String> {
    let mut times: HashMap<String, usize> = HashMap::new();
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let anchor = anchor(line.trim_start_matches('#'));
            let before = times.entry(anchor.clone()).or_insert(0);
            *before += 1;
            match *before {
                1 => anchor,
                times => format!("{anchor}-{}", times - 1),
            }
        })
        .collect()
}

/// What a page's links point to.
fn targets(page: &str) -> Vec<String> {
    let prose = prose(page);
    let behind = prose.split("](").skip(1);
    let targets = behind.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets
        .filter(|target| !target.contains("://") && !target.contains(' '))
        .collect()
}

fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut pages = files(&root.join("docs"), "md");
    pages.extend(files(&root.join("examples"), "md"));
    pages.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
    pages.push(root.join("CHANGELOG.md"));
    pages.push(root.join("benches/race/README.md"));
    pages
}

#[test]
fn what_pages_run_by_its_path_may_be_run() {
    let mut count = 0;
    for page in pages() {
        let text = read(&page);
        let commands = text.lines().filter_map(|line| line.strip_prefix("    "));
        for command in commands.filter(|command| command.starts_with("examples/")) {
            let script = command.split(' ').next().expect("a word");
            let file = std::fs::metadata(root().join(script)).expect(script);
            let mode = file.permissions().mode();
            assert!(mode & 0o111 != 0, "{script} is not executable");
            count += 1;
        }
    }
    assert!(count >= 2, "{count} commands");
}

#[test]
fn each_link_between_pages_leads_somewhere() {
    let mut count = 0;
    for page in pages() {
        let text = read(&page);
        for target in targets(&text) {
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let other = if path.is_empty() {
                page.clone()
            } else {
                page.parent().expect("a folder").join(path)
            };
            let what = format!("{}: ({target})", page.display());
            assert!(other.exists(), "{what}: no such file");
            if !heading.is_empty() {
                let anchors = anchors(&read(&other));
                assert!(anchors.contains(heading), "{what}: no such heading");
            }
            count += 1;
        }
    }
    assert!(count > 150, "{count} links");
}

#[test]
fn each_page_is_reached_from_the_readme() {
    let root = root();
    let mut reached = HashSet::new();
    let mut next = vec![root.join("README.md")];
    while let Some(page) = next.pop() {
        if !reached.insert(page.clone()) || page.extension() != Some("md".as_ref()) {
            continue;
        }
        for target in targets(&read(&page)) {
            let path = target.split('#').next().unwrap_or_default();
            let folder = page.parent().unwrap_or(Path::new(""));
            if let Ok(path) = folder.join(path).canonicalize() {
                next.push(path);
            }
        }
    }
    for page in files(&root.join("docs"), "md") {
        assert!(reached.contains(&page), "no way to {}", page.display());
    }
}
