//! A broker whose certificate has a fault.

use std::fs;
use std::ops::Range;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::json;
use tempfile::TempDir;
use weir_tests::kafka::Kafka;

use crate::Faulty;

/// Certificates where `kafka.py` looks for its own, of a server of this name, valid in these
/// years; gives the authority's.
fn write(folder: &Path, name: &str, years: Range<i32>) -> String {
    fs::create_dir_all(folder).expect("a folder");
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = authority.self_signed(&key).expect("a certificate");
    let ca = certificate.pem();
    let issuer = Issuer::new(authority, key);
    let mut server = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    server.not_before = date_time_ymd(years.start, 1, 1);
    server.not_after = date_time_ymd(years.end, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = server.signed_by(&key, &issuer).expect("a certificate");
    let pem = key.serialize_pem() + &certificate.pem();
    fs::write(folder.join("server.pem"), pem).expect("write");
    // These say that all is there.
    for file in ["ca.pem", "client.pem", "client.key"] {
        fs::write(folder.join(file), &ca).expect("write");
    }
    ca
}

/// What is said of a broker at `localhost` with such a certificate. Answers go on, and the broker
/// gets nothing.
fn fault(name: &str, years: Range<i32>) -> String {
    let folder = TempDir::new().expect("a folder");
    let ca = write(&folder.path().join("tls"), name, years);
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
    let head =
        format!("kafka plugin: failed to connect/authenticate with broker: {address}: TLS: ");
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
