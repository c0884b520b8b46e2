//! The types of the SDK for JavaScript, by the compiler that the console is checked with: a new project
//! type-checks by them, mistakes are told, and the SDK has what they say and nothing beside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;

use super::{JAVASCRIPT, blocks, done, run};

const TSC: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../proxy/console/node_modules/.bin/tsc"
);
const MEMBERS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/languages/types/members.mjs"
);

/// What tests import of Node, whose types are a package that authors add.
const NODE: &str = "declare module 'node:test';\ndeclare module 'node:assert/strict';\n";

/// A new project, in a folder that goes with the first.
fn project() -> (TempDir, PathBuf) {
    let (above, folder) = JAVASCRIPT.project();
    fs::write(folder.join("test/node.d.ts"), NODE).expect("written");
    (above, folder)
}

fn tsc(folder: &Path, arguments: &[&str]) -> Output {
    assert!(
        Path::new(TSC).exists(),
        "no {TSC}: `make console` installs it"
    );
    run(TSC, arguments, folder)
}

/// Checks a project as an editor does, and the types themselves.
fn check(folder: &Path) -> Output {
    tsc(folder, &["-p", "jsconfig.json", "--skipLibCheck", "false"])
}

/// What the compiler says of a project in which the SDK and its types differ.
fn difference(folder: &Path) -> String {
    let members = done(&run("node", &[MEMBERS], folder));
    fs::write(folder.join("src/members.ts"), members).expect("written");
    let output = check(folder);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

/// Changes a file of a project.
fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("the file");
    assert!(text.contains(from), "no {from} in {}", file.display());
    fs::write(file, text.replacen(from, to, 1)).expect("written");
}

#[test]
fn a_new_project_type_checks_and_mistakes_are_told() {
    let (_above, folder) = project();
    done(&check(&folder));
    // Marks that tell of no mistake are mistakes themselves.
    fs::write(folder.join("src/every.js"), include_str!("types/plugin.js")).expect("written");
    done(&check(&folder));
    edit(
        &folder.join("src/plugin.js"),
        "request.header(",
        "request.headr(",
    );
    let output = check(&folder);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("Property 'headr' does not exist on type 'Request'. Did you mean 'header'?"),
        "{said}"
    );
}

#[test]
fn the_sdk_and_its_types_have_the_same_members() {
    let (_above, folder) = project();
    assert_eq!(difference(&folder), "");
    for (file, from, to) in [
        // Without a type: an export, a method, a function of the host's, a word of the contract.
        (
            "weir.js",
            "export const DROP",
            "export const extra = 1;\nexport const DROP",
        ),
        (
            "weir.js",
            "  skipBody() {",
            "  untyped() {}\n  skipBody() {",
        ),
        ("weir.js", "  mayCall:", "  unknown: 1,\n  mayCall:"),
        (
            "wit/weir.wit",
            "    overload,",
            "    overload,\n    overdue,",
        ),
        // A type of what is not there.
        (
            "weir.d.ts",
            "  data(): Uint8Array;",
            "  data(): Uint8Array;\n  madeUp(): void;",
        ),
        (
            "testing.d.ts",
            "export function run(",
            "export function walk(): void;\nexport function run(",
        ),
    ] {
        edit(&folder.join("sdk").join(file), from, to);
    }
    let said = difference(&folder);
    for told in [
        "'\"extra\"' does not exist in type",
        "'\"untyped\"' does not exist in type 'Record<keyof Request",
        "'\"untyped\"' does not exist in type 'Record<keyof Response",
        "'\"unknown\"' does not exist in type",
        "'\"overdue\"' does not exist in type 'Record<Reason",
        "Property 'madeUp' is missing in type",
        "Property 'walk' is missing in type",
    ] {
        assert!(said.contains(told), "{told} is not in {said}");
    }
}

#[test]
fn a_plugin_in_typescript_is_compiled_to_one_in_javascript() {
    let (_above, folder) = project();
    let text = JAVASCRIPT.text();
    let [[config], [source]] = ["json", "ts"]
        .map(|marked| -> [String; 1] { blocks(&text, marked).try_into().expect("one block") });
    fs::write(folder.join("tsconfig.json"), config).expect("written");
    fs::create_dir(folder.join("ts")).expect("a folder");
    fs::write(folder.join("ts/plugin.ts"), source).expect("written");
    fs::remove_file(folder.join("src/plugin.js")).expect("removed");
    done(&tsc(&folder, &[]));

    let cases = r#"[{"config": {"key": "k"}}, {"config": {"key": "k"}, "request": {"headers": {"x-key": "k"}}}]"#;
    let seen = JAVASCRIPT.seen(&folder, cases);
    assert_eq!(seen[0]["response"]["status"], 401);
    assert_eq!(seen[1]["action"], "continue");
    // Nothing of the SDK again.
    let built = fs::read_dir(folder.join("src")).expect("the sources");
    assert_eq!(built.count(), 1);
}
