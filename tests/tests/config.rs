//! The configuration as an operator meets it: `weir check`, `weir schema`, overrides, and what a
//! start says.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, binary};

const GOOD: &str = "\
listeners: [{ address: \"127.0.0.1:0\" }]
admin: { address: \"127.0.0.1:0\" }
upstreams: { api: { endpoints: [\"http://127.0.0.1:9\"] } }
routes: [{ upstream: api }]
";

/// Faults of four kinds, on lines 1, 3, 4 and 5.
const BAD: &str = "\
listeners: [{ address: here }]
upstreams: { api: { endpoints: [\"http://127.0.0.1:9\"] } }
routes: [{ upstream: apii }]
admn: {}
admin: { tls: {} }
";

/// A configuration in a folder of its own.
struct File {
    folder: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("weir.yaml"), text).expect("write the configuration");
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("weir.yaml")
    }

    fn weir(&self, command: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        Command::new(binary())
            .args([command, "--config"])
            .arg(self.path())
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .expect("start weir")
    }

    fn check(&self, arguments: &[&str]) -> Output {
        self.weir("check", arguments, &[])
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Everything that a command wrote.
fn all(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[track_caller]
fn assert_says(output: &Output, expected: &str) {
    let all = all(output);
    assert!(all.contains(expected), "{expected}\n---\n{all}");
}

#[test]
fn check_exits_with_0_for_what_can_be_served() {
    let output = File::new(GOOD).check(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
    assert!(text(&output.stdout).ends_with("weir.yaml: valid\n"));
}

#[test]
fn check_shows_every_fault_at_once_with_place_and_key_path() {
    let output = File::new(BAD).check(&[]);
    assert_eq!(output.status.code(), Some(1));
    for fault in [
        "listeners[0].address: must be an IP address and a port\n",
        "weir.yaml:1:24\n",
        "routes[0].upstream: unknown upstream `apii`\n",
        "weir.yaml:3:22\n",
        "help: did you mean `api`?\n",
        "admn: unknown key\n",
        "weir.yaml:4:1\n",
        "help: did you mean `admin`?\n",
        "admin.tls.certificates: is missing\n",
        "weir.yaml:5:10\n",
        "weir.yaml: 4 errors\n",
    ] {
        assert_says(&output, fault);
    }
}

#[test]
fn check_writes_json_for_machines() {
    let output = File::new(BAD).check(&["--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["valid"], false);
    let faults = report["faults"].as_array().expect("faults");
    assert_eq!(faults.len(), 4);
    let fault = &faults[1];
    assert_eq!((&fault["line"], &fault["column"]), (&3.into(), &22.into()));
    assert_eq!(fault["path"], "routes[0].upstream");
    assert_eq!(fault["severity"], "error");
    assert_eq!(fault["code"], "WEIR-C008");
    assert_eq!(fault["hint"], "did you mean `api`?");
}

#[test]
fn check_writes_workflow_commands_for_github() {
    let output = File::new(BAD).check(&["--format", "github"]);
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output.stdout);
    assert_eq!(text.lines().count(), 4, "{text}");
    let line = text.lines().nth(1).expect("a second line");
    assert!(line.starts_with("::error file="), "{line}");
    assert!(
        line.contains(
            "weir.yaml,line=3,col=22,title=WEIR-C008::routes[0].upstream: unknown upstream"
        ),
        "{line}"
    );
}

#[test]
fn check_writes_sarif_for_scanners() {
    let output = File::new(BAD).check(&["--format", "sarif"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["version"], "2.1.0");
    let run = &report["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "weir");
    let results = run["results"].as_array().expect("results");
    assert_eq!(results.len(), 4);
    let region = &results[1]["locations"][0]["physicalLocation"]["region"];
    assert_eq!(
        *region,
        serde_json::json!({ "startLine": 3, "startColumn": 22 })
    );
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    for result in results {
        assert!(
            rules.iter().any(|rule| rule["id"] == result["ruleId"]),
            "{result}"
        );
    }
}

#[test]
fn check_names_a_file_that_cannot_be_read() {
    let file = File::new(GOOD);
    std::fs::remove_file(file.path()).expect("remove the file");
    let output = file.check(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert_says(&output, "cannot read the configuration");
    assert_says(&output, "weir.yaml");
}

#[test]
fn run_refuses_what_check_refuses_in_the_same_words() {
    let file = File::new(BAD);
    let (run, check) = (file.weir("run", &[], &[]), file.check(&[]));
    assert_eq!(run.status.code(), Some(1));
    let report = text(&check.stdout);
    let (report, _) = report.split_once("more about it: ").expect("a hint");
    assert_says(&run, report.trim_end());
}

#[test]
fn examples_to_start_from_can_be_served_as_they_are() {
    for more in [None, Some("--full")] {
        let printed = Command::new(binary())
            .args(["config", "example"])
            .args(more)
            .output()
            .expect("start weir");
        assert_eq!(printed.status.code(), Some(0));
        let file = File::new(&text(&printed.stdout));
        let checked = file.weir("check", &[], &[("API_KEY", "secret")]);
        assert_says(&checked, "weir.yaml: valid\n");
    }
}

#[test]
fn schema_prints_the_schema_that_the_repository_has() {
    let output = Command::new(binary())
        .arg("schema")
        .output()
        .expect("start weir");
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let kept = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/weir.schema.json"
    ));
    let kept: Value = serde_json::from_slice(&kept.expect("the schema")).expect("JSON");
    assert_eq!(
        schema, kept,
        "run `weir schema > examples/weir.schema.json`"
    );
}

#[test]
fn set_rules_over_the_environment_which_rules_over_the_file() {
    let upstream = Upstream::hello();
    let weir = Weir::start_with(
        &GOOD.replace("upstream: api", "match: { path: /never }, upstream: api"),
        &[
            ("WEIR__UPSTREAMS__API__ENDPOINTS__0", &upstream.url()),
            ("WEIR__ROUTES__0__MATCH__PATH", "/mine"),
        ],
    );
    assert_eq!(weir.get("/never", &[]).status, 404);
    assert_eq!(weir.get("/mine", &[]).text(), "hello");

    let file = File::new(GOOD);
    let environment = [("WEIR__ROUTES__0__UPSTREAM", "wrong")];
    assert_says(
        &file.weir("check", &[], &environment),
        "environment variable WEIR__ROUTES__0__UPSTREAM",
    );
    let output = file.weir("check", &["--set", "routes.0.upstream=api"], &environment);
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
}

#[test]
fn a_fault_of_an_override_names_the_override() {
    let output = File::new(GOOD).check(&["--set", "workers=none", "--set", "nowhere.at.all=1"]);
    assert_eq!(output.status.code(), Some(1));
    assert_says(&output, "workers: must be a whole number");
    assert_says(&output, "nowhere: unknown key\n  --> --set nowhere.at.all");
}

#[test]
fn a_variable_that_is_unset_or_empty_is_named() {
    let file = File::new(&format!(
        "{GOOD}plugins: {{ auth: {{ module: \"builtin:key-auth\", config: {{ keys: [env.WEIR_TEST_KEY] }} }} }}\n"
    ));
    let output = file.check(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert_says(
        &output,
        "plugins.auth.config.keys[0]: environment variable `WEIR_TEST_KEY` is not set",
    );
    assert_says(&output, "weir.yaml:5:65");
    let output = file.weir("check", &[], &[("WEIR_TEST_KEY", "")]);
    assert_says(&output, "environment variable `WEIR_TEST_KEY` is empty");
    assert_eq!(
        file.weir("check", &[], &[("WEIR_TEST_KEY", "k")])
            .status
            .code(),
        Some(0)
    );
}

#[test]
fn check_loads_plugins_and_judges_what_chains_give_them() {
    let file = File::new(
        "\
listeners: [{ address: \"127.0.0.1:0\", plugins: [{ auth: { keyz: [canary] } }] }]
upstreams: { api: { endpoints: [\"http://127.0.0.1:9\"] } }
routes: [{ upstream: api, plugins: [{ auth: { keys: [] } }, own] }]
plugins:
  auth: { module: \"builtin:key-auth\", config: { hide: 1 } }
  own: { module: weir.yaml }
",
    );
    let output = file.check(&[]);
    assert_eq!(output.status.code(), Some(1));
    for said in [
        "error[WEIR-C004]: listeners[0].plugins[0].auth.keyz: unknown key\n",
        "weir.yaml:1:59\n",
        "help: did you mean `keys`?\n",
        "error[WEIR-C005]: listeners[0].plugins[0].auth.keys: is missing\n",
        "error[WEIR-C006]: plugins.auth.config.hide: must be true or false, is a number\n",
        "weir.yaml:5:55\n",
        "error[WEIR-C015]: plugins.own.module: plugin `own`: module cannot be compiled: ",
        "weir.yaml:6:18\n",
        "error[WEIR-C007]: routes[0].plugins[0].auth.keys: must have at least one item\n",
        "weir.yaml: 5 errors\n",
    ] {
        assert_says(&output, said);
    }
    assert!(!all(&output).contains("canary"), "{}", all(&output));
    let explained = Command::new(binary())
        .args(["explain", "c15"])
        .output()
        .expect("start weir");
    assert_says(&explained, "WEIR-C015");
}

/// Everything secret is `canary`, in the file and in the environment.
const SECRETS: &str = "
listeners: [{ address: \"127.0.0.1:0\" }]
admin: { address: \"127.0.0.1:0\", token: canary-1 }
upstreams: { api: { endpoints: [\"http://127.0.0.1:9\"] } }
routes: [{ upstream: api, plugins: [{ auth: { keys: [env.SECRET, canary-2] } }] }]
plugins: { auth: { module: \"builtin:key-auth\", config: { keys: [canary-7] } } }
exporters:
  traces:
    kafka:
      brokers: [\"127.0.0.1:9\"]
      topic: weir-traces
      sasl_enabled: true
      sasl: { mechanism: PLAIN, username: canary-3, password: env.SECRET }
";

#[test]
fn secrets_are_in_no_report() {
    let faulty = format!("{SECRETS}admn: 1\n")
        .replace("mechanism: PLAIN", "mechanism: PLAYN")
        .replace("token: canary-1", "token: [canary-1]")
        .replace("http://127.0.0.1:9", "http://user:canary-4@here");
    for format in ["text", "json", "github", "sarif"] {
        let output =
            File::new(&faulty).weir("check", &["--format", format], &[("SECRET", "canary-5")]);
        assert_eq!(output.status.code(), Some(1));
        assert!(!all(&output).contains("canary"), "{}", all(&output));
    }
}

#[test]
fn secrets_are_in_no_log_and_in_no_answer_of_the_admin_address() {
    let weir = Weir::start_with(SECRETS, &[("SECRET", "canary-5"), ("RUST_LOG", "debug")]);
    assert_eq!(weir.get("/", &["x-api-key: canary-6"]).status, 401);
    assert_eq!(weir.get("/", &["x-api-key: canary-5"]).status, 502);
    assert!(!weir.ready().to_string().contains("canary"));
    let answer = weir_tests::client::send(
        weir.admin(),
        "POST /reload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer canary-1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
    assert!(!answer.text().contains("canary"));
    assert!(!weir.logged("canary"), "{:#?}", weir.log());
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for key in ["listeners.0.address", "admin.address"] {
        let output = File::new(GOOD).weir("run", &["--set", &format!("{key}={address}")], &[]);
        assert_eq!(output.status.code(), Some(1));
        assert_says(
            &output,
            &format!("cannot listen on {} {address}: ", key.replace(".0", "[0]")),
        );
        assert_says(&output, "in use");
        // Its cause is said once.
        assert_eq!(all(&output).matches("os error").count(), 1);
    }
}

#[test]
fn an_address_where_another_weir_listens_is_in_use() {
    const RECEIVER: &str = "\
admin: { address: \"127.0.0.1:0\" }
receivers: { otlp: { grpc: { enabled: false }, http: { address: \"127.0.0.1:0\" }, exporter: { kafka: { brokers: [\"127.0.0.1:9\"] } } } }
";
    let weir = Weir::start(GOOD);
    let key = format!("listeners.0.address={}", weir.proxy());
    let output = File::new(GOOD).weir("run", &["--set", &key], &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = |key: &str| {
        format!(
            "cannot listen on {key} {}: Address already in use",
            weir.proxy()
        )
    };
    assert_says(&output, &said("listeners[0].address"));
    // By their own sockets, two could share it.
    assert_eq!(weir.get("/", &[]).status, 502);

    let key = format!("receivers.otlp.http.address={}", weir.proxy());
    let output = File::new(RECEIVER).weir("run", &["--set", &key], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_says(&output, &said("receivers.otlp.http.address"));

    // A reload is refused in the words of a start, as long as the other one is there.
    let other = Weir::start(GOOD);
    let both = GOOD.replace(
        "address: \"127.0.0.1:0\" }]",
        &format!(
            "address: \"127.0.0.1:0\" }}, {{ address: \"{}\" }}]",
            weir.proxy()
        ),
    );
    let answer = other.reload(&both);
    assert_eq!(answer.status, 500);
    let text = answer.text();
    assert!(text.contains(&said("listeners[1].address")), "{text}");
    assert_eq!(other.get("/", &[]).status, 502);
    drop(weir);
    assert_eq!(other.reload(&both).status, 200);
}

#[test]
fn a_reload_may_go_to_what_overlaps_and_come_back_at_once() {
    let weir = Weir::start(GOOD);
    let port = weir.proxy().port();
    let at = |address: &str| {
        let address = format!("listeners: [{{ address: \"{address}:{port}\" }}]");
        GOOD.replace("listeners: [{ address: \"127.0.0.1:0\" }]", &address)
    };
    // What was there may not be closed yet when the next one is bound.
    for round in 0..5 {
        for address in ["0.0.0.0", "127.0.0.1"] {
            let answer = weir.reload(&at(address));
            assert_eq!(answer.status, 200, "{round}: {}", answer.text());
        }
    }
    assert_eq!(weir.get("/", &[]).status, 502);
}

#[test]
fn variables_of_the_log_that_mean_nothing_are_told_of() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let set = format!("admin.address={address}");
    let run = |log: &[(&str, &str)]| File::new(GOOD).weir("run", &["--set", &set], log);
    let told = run(&[("RUST_LOG", "info,a=b=c"), ("WEIR_LOG", "josn")]);
    assert_says(&told, "RUST_LOG cannot be read");
    assert_says(&told, "WEIR_LOG is neither `json` nor `text`");
    for format in ["", "json", "text"] {
        let silent = all(&run(&[("RUST_LOG", "info,a=debug"), ("WEIR_LOG", format)]));
        assert!(silent.contains("cannot listen on"), "{silent}");
        assert!(!silent.contains("_LOG"), "{silent}");
    }
}

#[test]
fn faults_of_a_start_are_lines_of_a_log_in_json() {
    let refused = File::new(BAD).weir("run", &[], &[("WEIR_LOG", "json")]);
    assert_eq!(refused.status.code(), Some(1));
    let log = text(&refused.stderr);
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    assert_eq!(lines.len(), 4, "{log}");
    let fault = &lines[1];
    assert_eq!(fault["level"], "ERROR");
    assert_eq!(fault["code"], "WEIR-C008");
    assert_eq!(fault["key"], "routes[0].upstream");
    assert_eq!(fault["message"], "unknown upstream `apii`");
    assert_eq!(fault["hint"], "did you mean `api`?");
    let place = fault["place"].as_str().expect("a place");
    assert!(place.ends_with("weir.yaml:3:22"), "{place}");

    let file = File::new(GOOD);
    std::fs::remove_file(file.path()).expect("remove the file");
    let refused = file.weir("run", &[], &[("WEIR_LOG", "json")]);
    let line: Value = serde_json::from_slice(&refused.stderr).expect("one line");
    assert_eq!(line["code"], "WEIR-C001");
}

#[test]
fn keys_whose_switch_is_off_are_warned_of_at_the_start_too() {
    let config = format!(
        "{GOOD}exporters: {{ traces: {{ kafka: {{ brokers: [\"127.0.0.1:9\"], topic: t, ca_cert: no.pem }} }} }}\n"
    );
    let warning = "has no effect: `tls_enabled` is false, and nothing is encrypted";
    let output = File::new(&config).check(&[]);
    assert_eq!(output.status.code(), Some(0));
    let key = "exporters.traces.kafka.ca_cert";
    assert_says(&output, &format!("warning[WEIR-C107]: {key}: {warning}"));
    let weir = Weir::start(&config);
    let warned = |line: &Value| line["key"] == key && line["message"] == warning;
    assert!(weir.log().iter().any(warned), "{:#?}", weir.log());
}

#[test]
fn a_plugin_that_does_not_load_ends_the_start_and_is_named() {
    let file = File::new(&format!(
        "{GOOD}plugins: {{ auth: {{ module: \"builtin:key-auth\", config: {{ keys: [] }} }} }}\n"
    ));
    let output = file.weir("run", &[], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_says(
        &output,
        "plugins.auth.config.keys: must have at least one item",
    );
}

#[test]
fn spool_settings_without_a_data_dir_are_warned_of() {
    let config = format!("{GOOD}spool: {{ fsync: always }}\n");
    let output = File::new(&config).check(&[]);
    assert_eq!(output.status.code(), Some(0));
    let warning = "without `data_dir` traces are kept in memory only";
    assert_says(&output, &format!("warning[WEIR-C101]: spool: {warning}"));
    let weir = Weir::start(&config);
    let warned = |line: &Value| line["level"] == "WARN" && line["message"] == warning;
    assert!(weir.log().iter().any(warned), "{:#?}", weir.log());
}

#[test]
fn a_data_dir_that_cannot_be_used_refuses_the_start() {
    let file = File::new(&format!("{GOOD}data_dir: ./weir.yaml\n"));
    let output = file.weir("run", &[], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_says(&output, "`data_dir`: cannot use ");
    assert_says(&output, "weir.yaml/spool");
}

#[test]
fn warnings_do_not_keep_a_configuration_from_being_served() {
    let config = GOOD.replace(
        "admin: { address: \"127.0.0.1:0\" }",
        "admin: { address: \"0.0.0.0:0\" }",
    );
    let output = File::new(&config).check(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert_says(&output, "warning[WEIR-C103]");
    assert_says(&output, "weir.yaml: valid, 1 warning\n");
}
