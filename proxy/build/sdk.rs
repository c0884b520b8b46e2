//! Makes a list of the SDK's files, as they go into the projects that `weir plugin new` makes: its
//! sources and the WIT as they are, and a manifest that needs no workspace around it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Writes `sdk.rs`: a slice of (path, text).
pub(crate) fn embed(root: &Path) {
    let sdk = root.join("sdk");
    let workspace = root.join("Cargo.toml");
    let mut files = vec![("Cargo.toml".to_owned(), manifest(&sdk, &workspace))];
    for folder in ["src", "wit"] {
        println!("cargo::rerun-if-changed={}", sdk.join(folder).display());
        collect(&sdk, &sdk.join(folder), &mut files);
    }
    println!("cargo::rerun-if-changed={}", workspace.display());
    println!(
        "cargo::rerun-if-changed={}",
        sdk.join("Cargo.toml").display()
    );
    files.sort();
    let mut code = "&[\n".to_owned();
    for (path, text) in files {
        let _ = writeln!(code, "({path:?}, {text:?}),");
    }
    code.push(']');
    let out = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("sdk.rs"), code).expect("the build's folder can be written");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn collect(sdk: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(sdk, &path, files);
        } else {
            let name = path.strip_prefix(sdk).expect("it is in there");
            files.push((name.display().to_string(), read(&path)));
        }
    }
}

/// The SDK's manifest, with what it takes from the workspace's written out.
fn manifest(sdk: &Path, workspace: &Path) -> String {
    let (own, workspace) = (read(&sdk.join("Cargo.toml")), read(workspace));
    let inherited = |section: &str, key: &str| {
        let (_, rest) = workspace.split_once(&format!("[{section}]\n"))?;
        let lines = rest.lines().take_while(|line| !line.starts_with('['));
        let mut values = lines.filter_map(|line| line.split_once(" = "));
        values
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    };
    let mut out = String::new();
    let mut section = "";
    for line in own.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        }
        // Lints and tests are the workspace's affair.
        if section == "lints" || section == "dev-dependencies" {
            continue;
        }
        let key = line.split(['.', ' ']).next().unwrap_or_default();
        let line = if !line.contains("workspace = true") {
            line.to_owned()
        } else if section == "package" {
            let value = inherited("workspace.package", key);
            format!("{key} = {}", value.unwrap_or_else(|| panic!("no {key}")))
        } else {
            let value = inherited("workspace.dependencies", key);
            let value = value.unwrap_or_else(|| panic!("no {key}"));
            format!("{key} = {}", dependency(value, line))
        };
        let _ = writeln!(out, "{line}");
    }
    format!("{}\n", out.trim_end())
}

/// A dependency of the workspace's, with the features that the line adds.
fn dependency(inherited: &str, line: &str) -> String {
    let Some(table) = inherited.strip_prefix('{') else {
        return match features(line) {
            "" => inherited.to_owned(),
            more => format!("{{ version = {inherited}, features = [{more}] }}"),
        };
    };
    let both: Vec<&str> = [features(table), features(line)]
        .into_iter()
        .filter(|features| !features.is_empty())
        .collect();
    let rest = table.trim_end_matches('}').split("features = [").next();
    let rest = rest.unwrap_or_default().trim().trim_end_matches(',');
    let optional = if line.contains("optional = true") {
        ", optional = true"
    } else {
        ""
    };
    // `default-features = ` has the same end, and stands before.
    if both.is_empty() {
        format!("{{ {rest}{optional} }}")
    } else {
        format!("{{ {rest}{optional}, features = [{}] }}", both.join(", "))
    }
}

/// What stands between the brackets of `features = [...]`.
fn features(text: &str) -> &str {
    let after = text.rsplit_once("features = [").map(|(_, after)| after);
    after
        .and_then(|after| after.split(']').next())
        .unwrap_or("")
}
