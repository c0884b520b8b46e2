//! `weir demo`: the first thing that anyone sees of Weir.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use weir_tests::client;
use weir_tests::service::Running;
use weir_tests::wait::eventually;
use weir_tests::weir::binary;

#[test]
fn the_demo_shows_each_of_its_traces_readable_and_as_json() {
    let output = Command::new(binary())
        .args([
            "demo",
            "--once",
            "--address",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ])
        .output()
        .expect("start weir");
    let (text, complaints) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{text}{complaints}");

    let readable: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("trace ")?.split_whitespace().next())
        .collect();
    let json: Vec<Value> = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a message is JSON"))
        .collect();
    let ids: Vec<&str> = json
        .iter()
        .filter_map(|trace| trace["TraceID"].as_str())
        .collect();
    assert_eq!(ids.len(), 3, "{text}");
    assert_eq!(readable, ids);

    let names = |trace: &Value| -> Vec<String> {
        let spans = trace["Spans"].as_array().expect("spans");
        spans
            .iter()
            .map(|span| span["Name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let of = |status: u64| {
        let status = Value::from(status);
        let found = json
            .iter()
            .find(|trace| trace["RootSpan"]["Attributes"]["http.response.status_code"] == status);
        names(found.unwrap_or_else(|| panic!("no trace with {status}: {text}")))
    };
    assert_eq!(
        of(200),
        [
            "GET hello",
            "plugin.request-id.prehook",
            "plugin.auth.prehook",
            "plugin.headers.prehook",
            "GET",
            "plugin.headers.posthook",
            "plugin.auth.posthook",
            "plugin.request-id.posthook",
        ]
    );
    assert!(of(401).contains(&"plugin.auth.prehook".to_owned()));
    assert!(!of(401).contains(&"plugin.headers.prehook".to_owned()));
    assert_eq!(of(404)[0], "GET");
    for span in of(200) {
        assert!(
            text.lines()
                .any(|line| line.contains(&span) && !line.starts_with('{')),
            "{span}"
        );
    }
}

#[test]
fn the_demo_takes_another_port_where_its_own_is_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = Command::new(binary())
        .args([
            "demo",
            "--once",
            "--address",
            &address,
            "--admin",
            "127.0.0.1:0",
        ])
        .output()
        .expect("start weir");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_demo_names_its_console_which_has_the_traces() {
    let addresses = ["--address", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let folder = tempfile::tempdir().expect("a folder");
    let (_demo, mut lines) =
        Running::speaking(Command::new(binary()).arg("demo").args(addresses), folder);
    let console: SocketAddr = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| {
            let rest = line.trim_start().strip_prefix("console")?;
            let address = rest.trim_start().strip_prefix("http://")?;
            address.split('/').next()?.parse().ok()
        })
        .expect("it names its console");
    let get = |target: &str, accept: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\naccept: {accept}");
        client::send(console, format!("{head}\r\nconnection: close\r\n\r\n"))
    };
    let page = get("/", "text/html");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<base href"), "{}", page.text());
    eventually("its three traces are there", || {
        let answer = get("/api/traces", "application/json").json();
        (answer["traces"].as_array()?.len() == 3).then_some(())
    });
}
