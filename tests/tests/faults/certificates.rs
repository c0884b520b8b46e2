//! A broker whose certificate has a fault.

use std::fs;
use std::ops::Range;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::json;
use tempfile::TempDir;
use weir_tests::kafka::Kafka;

use crate::Faulty;

/// Certificates where `kafka.py` looks for its own, all valid in certain years: of a server of this
/// name, and of a client. Gives the authority's.
fn write(folder: &Path, (name, years): (&str, Range<i32>), client_years: Range<i32>) -> String {
    fs::create_dir_all(folder).expect("a folder");
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Else what it signs would have its name, and be taken for its own signer.
    let subject = &mut authority.distinguished_name;
    subject.push(DnType::CommonName, "Test Authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = authority.self_signed(&key).expect("a certificate");
    let ca = certificate.pem();
    let issuer = Issuer::new(authority, key);
    let issue = |name: &str, years: Range<i32>| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    };
    let (server, server_key) = issue(name, years);
    let (client, client_key) = issue("client", client_years);
    // That of the client says that all is there.
    for (file, text) in [
        ("ca.pem", &ca),
        ("server.pem", &(server_key + &server)),
        ("client.key", &client_key),
        ("client.pem", &client),
    ] {
        fs::write(folder.join(file), text).expect("write");
    }
    ca
}

const HEAD: &str = "kafka plugin: failed to connect/authenticate with broker: ";

/// What is said of a broker at `localhost` with such a certificate. Answers go on, and the broker
/// gets nothing.
fn fault(name: &str, years: Range<i32>) -> String {
    let folder = TempDir::new().expect("a folder");
    let tls = folder.path().join("tls");
    let ca = write(&tls, (name, years), 2020..2100);
    let kafka = Kafka::start(&folder, &["--listener=SSL".to_owned()]);
    let topic = kafka.topic();
    let address = kafka.listener("SSL");
    let mut faulty = Faulty::start(address, &topic, |kafka| {
        kafka["tls_enabled"] = json!(true);
        kafka["ca_cert"] = json!(ca);
    });
    faulty.ask(20);
    let said = faulty.complaint("certificate");
    assert_eq!(faulty.delivered(), 0);
    let head = format!("{HEAD}{address}: TLS: ");
    said.strip_prefix(&head).expect(&said).to_owned()
}

#[test]
fn a_certificate_that_has_expired_is_said_and_answers_go_on() {
    let said = fault("localhost", 2020..2021);
    assert_eq!(said, "the broker's certificate has expired");
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_said_and_answers_go_on() {
    let said = fault("localhost", 2098..2099);
    assert_eq!(said, "the broker's certificate is not valid yet");
}

#[test]
fn a_certificate_for_another_host_name_is_said_and_answers_go_on() {
    let said = fault("kafka.elsewhere.example", 2020..2100);
    assert_eq!(said, "the broker's certificate is for another host name");
}

#[test]
fn a_client_certificate_that_has_expired_is_said_and_answers_go_on() {
    let folder = TempDir::new().expect("a folder");
    let tls = folder.path().join("tls");
    let ca = write(&tls, ("localhost", 2020..2100), 2020..2021);
    let kafka = Kafka::start(&folder, &["--listener=MTLS".to_owned()]);
    let topic = kafka.topic();
    let address = kafka.listener("MTLS");
    let (certificate, key) = kafka.client();
    let mut faulty = Faulty::start(address, &topic, |kafka| {
        kafka["tls_enabled"] = json!(true);
        kafka["ca_cert"] = json!(ca);
        kafka["client_cert"] = json!(certificate);
        kafka["client_key"] = json!(key);
    });
    faulty.ask(20);
    assert_eq!(
        faulty.complaint("certificate"),
        format!(
            "{HEAD}{address}: TLS: the broker does not accept the client certificate (see \
             `client_cert`)"
        )
    );
    assert_eq!(faulty.delivered(), 0);
}
