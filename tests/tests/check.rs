//! `weir check --connect` against a real broker and real sockets: what does not answer is told with
//! its key, its line and the words of the log.

use std::net::TcpListener;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use weir_tests::http2;
use weir_tests::kafka::{shared, unique};
use weir_tests::tls::{Authority, Identity};
use weir_tests::upstream::Upstream;
use weir_tests::weir::binary;

/// The exit code and the report.
fn check(upstream: &str, brokers: &str, topic: &str) -> (Option<i32>, String) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("weir.yaml");
    let config = format!(
        r#"listeners: [{{ address: "127.0.0.1:0" }}]
data_dir: {}
upstreams:
  api:
    endpoints:
      - "{upstream}"
routes: [{{ upstream: api }}]
exporters:
  traces:
    kafka:
      {{ brokers: ["{brokers}"], topic: {topic} }}
"#,
        folder.path().join("data").display()
    );
    std::fs::write(&file, config).expect("a file");
    let mut command = Command::new(binary());
    command.args(["check", "--connect", "--config"]).arg(&file);
    let output = command.output().expect("weir runs");
    assert!(!folder.path().join("data").exists(), "nothing is written");
    let report = String::from_utf8_lossy(&output.stdout);
    let folder = format!("{}/", folder.path().display());
    (output.status.code(), report.replace(&folder, ""))
}

/// An address where nobody listens.
fn deserted() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn all_that_answers_is_valid() {
    let upstream = Upstream::hello();
    let (code, report) = check(&upstream.url(), shared().address(), &shared().topic());
    assert_eq!((code, report.as_str()), (Some(0), "weir.yaml: valid\n"));
}

#[test]
fn a_missing_topic_and_an_endpoint_that_refuses_are_told_at_once() {
    let deserted = deserted();
    let (code, report) = check(&format!("http://{deserted}"), shared().address(), "nowhere");
    assert_eq!(code, Some(1));
    let expected = format!(
        "\
error[WEIR-C014]: upstreams.api.endpoints[0]: {deserted}: Connection refused (os error 111)
  --> weir.yaml:6:9
error[WEIR-C014]: exporters.traces.kafka: kafka plugin: topic \"nowhere\" does not exist
  --> weir.yaml:10:5
more about it: weir explain WEIR-C014
weir.yaml: 2 errors
"
    );
    assert_eq!(report, expected);
}

#[test]
fn a_broker_that_refuses_is_told() {
    let upstream = Upstream::hello();
    let deserted = deserted();
    let (code, report) = check(&upstream.url(), &deserted, "any");
    assert_eq!(code, Some(1));
    let words = format!(
        "kafka plugin: failed to connect/authenticate with broker: {deserted}: connection refused"
    );
    assert!(report.contains(&words), "{report}");
}

#[test]
fn sasl_that_a_broker_does_not_ask_for_is_said_with_the_way_out() {
    let upstream = Upstream::hello();
    let sasl = "sasl_enabled: true, sasl: { mechanism: SCRAM-SHA-256, username: u, password: p }";
    let topic = format!("{}, {sasl}", shared().topic());
    let (code, report) = check(&upstream.url(), shared().address(), &topic);
    assert_eq!(code, Some(1));
    let words = "the broker asks for no SASL: set `sasl_enabled: false`\n";
    assert!(report.contains(words), "{report}");
}

#[test]
fn a_topic_that_is_to_be_created_is_not_created_by_a_check() {
    let upstream = Upstream::hello();
    let topic = unique("to-be-created");
    let created = format!("{topic}, auto_create_topic: true");
    let (code, report) = check(&upstream.url(), shared().address(), &created);
    assert_eq!((code, report.as_str()), (Some(0), "weir.yaml: valid\n"));
    // Without the key it is still not there.
    let (code, report) = check(&upstream.url(), shared().address(), &topic);
    assert_eq!(code, Some(1));
    let words = format!("kafka plugin: topic \"{topic}\" does not exist");
    assert!(report.contains(&words), "{report}");
}

#[test]
fn an_endpoint_without_tls_or_with_a_certificate_of_strangers_is_told() {
    let authority = Authority::default();
    let server = authority.issue(&["127.0.0.1"]).server(&["h2"], None);
    let encrypted = http2::Upstream::new(Some(server), |_| panic!("nothing is asked"));
    let encrypted = format!("https://{}", encrypted.address());
    let plain = http2::Upstream::hello();
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("weir.yaml");
    let config = json!({
        "listeners": [{ "address": "127.0.0.1:0" }],
        "upstreams": {
            "known": { "endpoints": [encrypted], "tls": { "ca": authority.pem() } },
            "plain": { "endpoints": [format!("https://{}", plain.address())] },
            "strange": { "endpoints": [encrypted] },
        },
        "routes": [{ "upstream": "known" }],
    });
    std::fs::write(&file, config.to_string()).expect("a file");
    let mut command = Command::new(binary());
    command.args(["check", "--connect", "--config"]).arg(&file);
    let output = command.output().expect("weir runs");
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8_lossy(&output.stdout);
    for name in ["plain", "strange"] {
        let said = format!("error[WEIR-C014]: upstreams.{name}.endpoints[0]: 127.0.0.1:");
        assert!(report.contains(&said), "{report}");
    }
    assert_eq!(report.matches(": no TLS with the upstream: ").count(), 2);
    let no_tls = "no TLS with the upstream: what answers there does not speak TLS";
    assert!(report.contains(no_tls), "{report}");
    assert!(report.ends_with("weir.yaml: 2 errors\n"), "{report}");
}

#[test]
fn a_certificate_of_its_own_is_taken_unless_it_is_marked_as_an_authoritys() {
    let report = |is_ca| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        params.is_ca = is_ca;
        let key = KeyPair::generate().expect("a key");
        let identity = Identity {
            cert: params.self_signed(&key).expect("a certificate").pem(),
            key: key.serialize_pem(),
        };
        let server = identity.server(&["h2"], None);
        let upstream = http2::Upstream::new(Some(server), |_| panic!("nothing is asked"));
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("weir.yaml");
        let config = json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "upstreams": { "own": {
                "endpoints": [format!("https://{}", upstream.address())],
                "tls": { "ca": identity.cert },
            } },
            "routes": [{ "upstream": "own" }],
        });
        std::fs::write(&file, config.to_string()).expect("a file");
        let mut command = Command::new(binary());
        command.args(["check", "--connect", "--config"]).arg(&file);
        let output = command.output().expect("weir runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let refused = report(IsCa::Ca(BasicConstraints::Unconstrained));
    assert!(
        refused.contains("marked as an authority's, which no server may show")
            && refused.contains("`-addext basicConstraints=critical,CA:FALSE`"),
        "{refused}"
    );
    let taken = report(IsCa::ExplicitNoCa);
    assert!(taken.ends_with("weir.yaml: valid\n"), "{taken}");
}

#[test]
fn where_the_receiver_delivers_is_tried_for_each_signal() {
    const KEY: &str = "error[WEIR-C014]: receivers.otlp.exporter.kafka: kafka plugin: ";
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("weir.yaml");
    let check = |kafka: &str| {
        let config = format!("receivers: {{ otlp: {{ exporter: {{ kafka: {{ {kafka} }} }} }} }}\n");
        std::fs::write(&file, config).expect("a file");
        let mut command = Command::new(binary());
        command.args(["check", "--connect", "--config"]).arg(&file);
        let output = command.output().expect("weir runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let report = check(&format!(
        "brokers: [\"{}\"], traces_topic: {}, metrics_topic: no-metrics, logs_topic: no-logs",
        shared().address(),
        shared().topic()
    ));
    for topic in ["no-metrics", "no-logs"] {
        let said = format!("{KEY}topic \"{topic}\" does not exist\n");
        assert!(report.contains(&said), "{report}");
    }
    assert!(report.ends_with(": 2 errors\n"), "{report}");
    // A broker is told once.
    let report = check(&format!("brokers: [\"{}\"]", deserted()));
    assert_eq!(report.matches(KEY).count(), 1, "{report}");
    assert!(report.ends_with(": 1 error\n"), "{report}");
}
