//! Wrong configurations and their exact reports (one file of cases for each area, in `tests/`),
//! right ones and what they become, and that no text at all can make the loader panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::fault::{Code, Severity};
use super::report::Format;
use super::*;

mod accepted;
mod acme;
mod metrics;

const LISTENERS: &str = "listeners: [{ address: \"127.0.0.1:0\" }]";
const UPSTREAMS: &str = "upstreams: { api: { endpoints: [\"http://127.0.0.1:9000\"] } }";
const ROUTES: &str = "routes: [{ upstream: api }]";

/// What `load` finds in `yaml`, which is put into a folder of its own as `case.yaml`.
fn load_text(yaml: &str, set: &[&str], env: &[(&str, &str)]) -> Result<Loaded, Faults> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("case.yaml");
    fs::write(&file, yaml).unwrap();
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    load(&file, &set, &env.iter().copied().collect())
}

fn faults_of(yaml: &str, set: &[&str], env: &[(&str, &str)]) -> Faults {
    let mut faults = match load_text(yaml, set, env) {
        Ok(loaded) => loaded.warnings,
        Err(faults) => faults,
    };
    let folder = faults.file.parent().unwrap().display().to_string() + "/";
    for fault in &mut faults.list {
        fault.message = fault.message.replace(&folder, "");
    }
    faults.file = PathBuf::from("case.yaml");
    faults
}

/// A minimal configuration and what is added to it.
fn minimal(more: &str) -> String {
    format!("{LISTENERS}\n{UPSTREAMS}\n{ROUTES}\n{more}")
}

/// Each case is `=== name`, lines `set: …` and `env: …`, the configuration, `---`, the report and
/// `===`. With `BLESS=1` the reports are written anew, to be read in the difference.
fn check_cases(area: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/config/tests")
        .join(format!("{area}.txt"));
    let cases = fs::read_to_string(&file).unwrap();
    let mut actual = String::new();
    for case in cases.split_inclusive("\n===\n") {
        let (input, _) = case.rsplit_once("\n---\n").expect("a report");
        let (mut set, mut env, mut yaml) = (Vec::new(), Vec::new(), String::new());
        for line in input.lines().skip(1) {
            match line.split_once(": ") {
                Some(("set", value)) => set.push(value),
                Some(("env", value)) => env.push(value.split_once('=').unwrap()),
                _ => yaml = yaml + line + "\n",
            }
        }
        let yaml = yaml
            .replace("$listeners", LISTENERS)
            .replace("$upstreams", UPSTREAMS)
            .replace("$routes", ROUTES);
        let report = faults_of(&yaml, &set, &env).to_string();
        actual += &format!("{input}\n---\n{report}===\n");
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &actual).unwrap();
    }
    assert_eq!(actual, cases);
}

#[test]
fn what_is_wrong_with_the_yaml_is_told() {
    check_cases("yaml");
}

#[test]
fn unknown_missing_and_unsupported_keys_are_told() {
    check_cases("keys");
}

#[test]
fn wrong_values_are_told() {
    check_cases("values");
}

#[test]
fn what_is_wrong_with_routes_is_told() {
    check_cases("routes");
}

#[test]
fn what_is_wrong_with_upstreams_is_told() {
    check_cases("upstreams");
}

#[test]
fn what_is_wrong_about_clients_is_told() {
    check_cases("clients");
}

#[test]
fn what_is_wrong_with_plugins_is_told() {
    check_cases("plugins");
}

#[test]
fn what_is_wrong_with_key_value_stores_is_told() {
    check_cases("kv");
}

#[test]
fn what_is_wrong_with_kafka_exporters_is_told() {
    check_cases("kafka");
}

#[test]
fn what_is_wrong_with_the_otlp_receiver_is_told() {
    check_cases("otlp");
}

#[test]
fn what_is_wrong_with_otlp_exporters_is_told() {
    check_cases("otlp_exporter");
}

#[test]
fn what_is_wrong_with_overrides_is_told() {
    check_cases("overrides");
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let faults = load(
        Path::new("/nowhere/weir.yaml"),
        &[],
        &Environment::default(),
    );
    assert_eq!(
        faults.unwrap_err().to_string(),
        "error[WEIR-C001]: cannot read the configuration: No such file or directory (os error 2)\n  \
         --> /nowhere/weir.yaml:1:1\n"
    );
}

#[test]
fn aliases_that_would_fill_memory_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let below = format!("*a{}", level - 1);
        let items = vec![below; 9].join(", ");
        bomb += &format!("a{level}: &a{level} [{items}]\n");
    }
    let faults = faults_of(&bomb, &[], &[]);
    assert_eq!(faults.list.len(), 1);
    assert_eq!(faults.list[0].code, Code::Syntax);
    let many = "- a\n".repeat(200_000);
    for text in [bomb, many] {
        let faults = faults_of(&text, &[], &[]);
        let message = &faults.list[0].message;
        assert!(message.contains("YAML: too large: "), "{message}");
    }
}

/// One error in the file with a hint, one in an override, and one warning.
fn three_faults() -> Faults {
    let yaml = format!("{LISTENERS}\n{UPSTREAMS}\nspool: {{}}\nroutes:\n  - upstream: apii\n");
    faults_of(&yaml, &["workers=0"], &[])
}

#[test]
fn the_json_report_has_each_fault_with_its_place() {
    let report = three_faults().report(Format::Json);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        report,
        serde_json::json!({
            "file": "case.yaml",
            "valid": false,
            "faults": [
                {
                    "severity": "warning", "code": "WEIR-C101", "path": "spool",
                    "message": "without `data_dir` traces are kept in memory only",
                    "hint": null, "source": "file", "line": 3, "column": 1,
                },
                {
                    "severity": "error", "code": "WEIR-C008", "path": "routes[0].upstream",
                    "message": "unknown upstream `apii`",
                    "hint": "did you mean `api`?", "source": "file", "line": 5, "column": 15,
                },
                {
                    "severity": "error", "code": "WEIR-C007", "path": "workers",
                    "message": "must be at least 1",
                    "hint": null, "source": "--set workers", "line": null, "column": null,
                },
            ],
        })
    );
}

#[test]
fn the_github_report_annotates_lines() {
    assert_eq!(
        three_faults().report(Format::Github),
        "::warning file=case.yaml,line=3,col=1,title=WEIR-C101::spool: without `data_dir` \
         traces are kept in memory only\n\
         ::error file=case.yaml,line=5,col=15,title=WEIR-C008::routes[0].upstream: unknown \
         upstream `apii` (did you mean `api`?)\n\
         ::error file=case.yaml,title=WEIR-C007::--set workers: workers: must be at least 1\n"
    );
}

#[test]
fn the_sarif_report_names_rule_level_and_region() {
    let report = three_faults().report(Format::Sarif);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let run = &report["runs"][0];
    assert_eq!(report["version"], "2.1.0");
    assert_eq!(
        run["tool"]["driver"]["rules"].as_array().unwrap().len(),
        Code::ALL.len()
    );
    assert_eq!(
        run["results"][1],
        serde_json::json!({
            "ruleId": "WEIR-C008",
            "level": "error",
            "message": {"text": "routes[0].upstream: unknown upstream `apii` (did you mean `api`?)"},
            "locations": [{"physicalLocation": {
                "artifactLocation": {"uri": "case.yaml"},
                "region": {"startLine": 5, "startColumn": 15},
            }}],
        })
    );
}

#[test]
fn no_report_quotes_a_secret() {
    let yaml = minimal(
        "admin: { token: [hunter2] }\nplugins: { a: { module: 'builtin:key-auth', config: \
         { keys: [hunter2, env.UNSET] }, pasword: hunter2 } }\nexporters: { t: { kafka: { brokers: \
         ['hunter2@a'], topic: t, tls_enabled: true, ca_cert: hunter2, client_key: hunter2, \
         sasl_enabled: true, sasl: { mechanism: hunter, username: {hunter2: 1}, password: 2 } } } }",
    );
    let faults = faults_of(&yaml, &["admin.token.x=hunter2", "workers=[hunter2"], &[]);
    assert!(faults.count(Severity::Error) > 8);
    for format in [Format::Text, Format::Json, Format::Github, Format::Sarif] {
        assert!(!faults.report(format).contains("hunter2"));
    }
}

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

#[test]
fn every_example_is_right_and_names_its_schema() {
    let environment: Environment = [("API_KEY", "secret")].into_iter().collect();
    let mut count = 0;
    for entry in fs::read_dir(examples()).unwrap() {
        let file = entry.unwrap().path();
        if file
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let loaded = load(&file, &[], &environment);
            let warnings = loaded.unwrap_or_else(|faults| panic!("{faults}")).warnings;
            assert_eq!(warnings.to_string(), "");
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("# yaml-language-server: $schema=weir.schema.json\n"));
            count += 1;
        }
    }
    assert!(count >= 2);
}

#[test]
fn the_schema_beside_the_examples_is_the_one_of_this_version() {
    let file = examples().join("weir.schema.json");
    let schema = format!("{:#}\n", schema());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &schema).unwrap();
    }
    assert_eq!(
        schema,
        fs::read_to_string(file).unwrap(),
        "run with BLESS=1"
    );
}

#[test]
fn every_key_of_the_schema_is_described_and_every_integer_bounded() {
    fn check(name: &str, schema: &serde_json::Value) {
        let properties = schema.get("properties").and_then(|p| p.as_object());
        for (key, property) in properties.into_iter().flatten() {
            assert!(property.get("description").is_some(), "{name}.{key}");
            // Past 2^53 the schema's integers are not those of serde.
            let integer = property.get("type").is_some_and(|one| one == "integer");
            assert_eq!(
                integer,
                property
                    .get("maximum")
                    .is_some_and(serde_json::Value::is_u64)
            );
        }
    }
    check("", schema());
    for (name, definition) in schema()["$defs"].as_object().unwrap() {
        check(name, definition);
    }
}

/// The fuller example with some of its bytes replaced.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let text = fs::read(examples().join("weir.yaml")).unwrap();
    let edits = proptest::collection::vec((0..text.len(), "[ -~\n\t]{0,4}", 0..8usize), 1..6);
    edits.prop_map(move |edits| {
        let mut text = text.clone();
        for (at, new, cut) in edits {
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, new.into_bytes());
        }
        text
    })
}

/// Loads it from a file; a panic fails the test, and so does a fault that blames Weir itself.
fn survives(bytes: &[u8], set: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("case.yaml");
    fs::write(&file, bytes).unwrap();
    if let Err(faults) = load(&file, set, &Environment::default()) {
        assert!(faults.count(Severity::Error) > 0);
        assert!(!faults.to_string().contains("a bug in Weir"), "{faults}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        survives(&bytes, &[]);
    }

    #[test]
    fn mutated_yaml_never_panics(bytes in mutated()) {
        fuzz::configuration(&bytes);
    }

    #[test]
    fn arbitrary_overrides_never_panic(set in proptest::collection::vec(
        "(listeners|routes|plugins|exporters|admin|[a-z0-9]{0,3})([.\\[][a-z0-9]{0,3}\\]?){0,3}=[ -~]{0,8}",
        0..4,
    )) {
        survives(minimal("").as_bytes(), &set);
    }
}
