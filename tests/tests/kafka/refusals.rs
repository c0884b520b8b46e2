//! Brokers that cannot be used, and the words that say why.

use std::net::TcpListener;

use tempfile::TempDir;
use weir::config::{Sasl, Tls};
use weir_tests::kafka::{Kafka, PASSWORD, shared};

use crate::{complaint, config, sasl, start, tls, topic};

const HEAD: &str = "kafka plugin: failed to connect/authenticate with broker: ";

/// The complaint of an exporter to `listener` with `tls` and `sasl`.
fn refusal(listener: &str, tls: Option<Tls>, sasl: Option<Sasl>) -> String {
    let address = shared().listener(listener);
    let mut config = config(address, &topic());
    config.tls = tls;
    config.sasl = sasl;
    let complaint = complaint(&start(config));
    let head = format!("{HEAD}{address}: ");
    match complaint.strip_prefix(&head) {
        Some(cause) => cause.to_owned(),
        None => panic!("{complaint}"),
    }
}

#[test]
fn a_wrong_password_is_said() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let cause = refusal("SASL_PLAINTEXT", None, sasl(mechanism, "wrong"));
        assert_eq!(cause, "wrong username or password", "{mechanism}");
    }
}

#[test]
fn an_untrusted_certificate_is_said() {
    let cause = refusal("SSL", Some(Tls::default()), None);
    assert_eq!(
        cause,
        "TLS: the broker's certificate is not signed by a known authority (see `ca_cert`)"
    );
}

#[test]
fn a_client_certificate_that_is_missing_is_said() {
    let cause = refusal("MTLS", tls(shared()), None);
    assert_eq!(
        cause,
        "TLS: the broker demands a client certificate (see `client_cert`)"
    );
}

#[test]
fn tls_where_the_broker_has_none_is_said() {
    let cause = refusal("PLAINTEXT", tls(shared()), None);
    assert_eq!(
        cause,
        "TLS: the broker closed the connection: does it speak TLS on this port?"
    );
}

#[test]
fn tls_that_the_broker_demands_is_said() {
    let cause = refusal("SSL", None, None);
    assert!(cause.contains("or expect TLS (`tls_enabled`)"), "{cause}");
}

#[test]
fn a_host_that_does_not_resolve_is_said() {
    let exporters = start(config("kafka.invalid:9092", "traces"));
    assert_eq!(
        complaint(&exporters),
        format!("{HEAD}kafka.invalid:9092: the host name does not resolve")
    );
}

#[test]
fn a_broker_that_is_not_there_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let exporters = start(config(&address.to_string(), "traces"));
    let said = format!("{HEAD}{address}: connection refused");
    assert_eq!(complaint(&exporters), said);
}

#[test]
fn a_broker_that_says_nothing_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let exporters = start(config(&address.to_string(), "traces"));
    let said = complaint(&exporters);
    assert!(said.starts_with(HEAD), "{said}");
    assert!(said.contains("no answer"), "{said}");
}

#[test]
fn sasl_that_the_broker_demands_is_said() {
    let exporters = start(config(shared().listener("SASL_PLAINTEXT"), &topic()));
    let said = complaint(&exporters);
    assert!(said.starts_with(HEAD), "{said}");
    // What librdkafka makes of it depends on how fast the broker closes the connection.
    let guesses = [
        "does it expect SASL",
        "it may have been stopped",
        "the connection was closed before the broker answered",
    ];
    let guessed = guesses.iter().any(|guess| said.contains(guess));
    assert!(guessed, "{said}");
}

#[test]
fn a_mechanism_that_the_broker_does_not_offer_is_said() {
    let folder = TempDir::new().expect("a folder");
    let only = "--set=listener.name.sasl_plaintext.sasl.enabled.mechanisms=SCRAM-SHA-512";
    let listener = "--listener=SASL_PLAINTEXT".to_owned();
    let kafka = Kafka::start(&folder, &[listener, only.to_owned()]);
    let address = kafka.listener("SASL_PLAINTEXT");
    let mut config = config(address, &kafka.topic());
    config.sasl = sasl("SCRAM-SHA-256", PASSWORD);
    assert_eq!(
        complaint(&start(config)),
        format!("{HEAD}{address}: SASL mechanism not accepted; the broker offers SCRAM-SHA-512")
    );
}
