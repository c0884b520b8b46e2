//! Brokers that cannot be used, and the words that say why.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use weir::config::{Sasl, Secret, Tls};
use weir_tests::kafka::{Kafka, PASSWORD, shared};
use weir_tests::service::nobody;

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
        for (listener, tls) in [("SASL_PLAINTEXT", None), ("SASL_SSL", tls(shared()))] {
            let cause = refusal(listener, tls, sasl(mechanism, "wrong"));
            assert_eq!(
                cause, "wrong username or password",
                "{listener} {mechanism}"
            );
        }
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

/// An authority that the broker does not know, with a certificate and its key.
fn strangers() -> (String, String, String) {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&key).expect("a certificate").pem();
    let issuer = Issuer::new(authority, key);
    let client = CertificateParams::new(vec!["stranger".to_owned()]).expect("parameters");
    let key = KeyPair::generate().expect("a key");
    let certificate = client.signed_by(&key, &issuer).expect("a certificate");
    (ca, certificate.pem(), key.serialize_pem())
}

#[test]
fn a_certificate_of_another_authority_than_the_private_one_is_said() {
    for (listener, sasl) in [("SSL", None), ("SASL_SSL", sasl("SCRAM-SHA-512", PASSWORD))] {
        let tls = Tls {
            ca_cert: Some(Secret::new(strangers().0)),
            client: None,
        };
        assert_eq!(
            refusal(listener, Some(tls), sasl),
            "TLS: the broker's certificate is not signed by a known authority (see `ca_cert`)"
        );
    }
}

#[test]
fn a_client_certificate_of_an_authority_that_the_broker_does_not_know_is_said() {
    let (_, certificate, key) = strangers();
    let tls = Tls {
        ca_cert: Some(Secret::new(shared().ca())),
        client: Some((certificate, Secret::new(key))),
    };
    assert_eq!(
        refusal("MTLS", Some(tls), None),
        "TLS: the broker does not accept the client certificate (see `client_cert`)"
    );
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_said() {
    let (ca, certificate, key) = strangers();
    let (_, other, _) = strangers();
    let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned();
    for (ca, certificate, key, said) in [
        (
            &broken,
            &certificate,
            &key,
            "`ca_cert` has a certificate that cannot be read",
        ),
        (
            &ca,
            &broken,
            &key,
            "`client_cert` has a certificate that cannot be read",
        ),
        (
            &ca,
            &certificate,
            &broken,
            "`client_key` is a key that cannot be read",
        ),
        (
            &ca,
            &other,
            &key,
            "`client_key` is not the key of `client_cert`",
        ),
    ] {
        let mut config = config(shared().listener("MTLS"), &topic());
        config.tls = Some(Tls {
            ca_cert: Some(Secret::new(ca.clone())),
            client: Some((certificate.clone(), Secret::new(key.clone()))),
        });
        assert_eq!(complaint(&start(config)), format!("{HEAD}{said}"));
    }
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
    let address = nobody();
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
fn what_is_no_broker_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            }
            open.push(stream);
        }
    });
    assert_eq!(
        complaint(&start(config(&address, "traces"))),
        format!(
            "{HEAD}{address}: what answers there does not speak Kafka's protocol, or expects TLS \
             (`tls_enabled`)"
        )
    );
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
