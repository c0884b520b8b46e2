//! A certificate of a broker that has expired.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::json;
use tempfile::TempDir;
use weir_tests::kafka::Kafka;

use crate::Faulty;

/// Certificates where `kafka.py` looks for its own; gives the authority's.
fn write_expired(folder: &Path) -> String {
    fs::create_dir_all(folder).expect("a folder");
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = authority.self_signed(&key).expect("a certificate");
    let ca = certificate.pem();
    let issuer = Issuer::new(authority, key);
    let mut server = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    server.not_before = date_time_ymd(2020, 1, 1);
    server.not_after = date_time_ymd(2021, 1, 1);
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

#[test]
fn a_certificate_that_has_expired_is_said_and_answers_go_on() {
    let folder = TempDir::new().expect("a folder");
    let ca = write_expired(&folder.path().join("tls"));
    let kafka = Kafka::start(&folder, &["--listener=SSL".to_owned()]);
    let topic = kafka.topic();
    let address = kafka.listener("SSL");
    let mut faulty = Faulty::start(address, &topic, |kafka| {
        kafka["tls_enabled"] = json!(true);
        kafka["ca_cert"] = json!(ca);
    });
    faulty.ask(20);
    assert_eq!(
        faulty.complaint("certificate"),
        format!(
            "kafka plugin: failed to connect/authenticate with broker: {address}: TLS: the \
             broker's certificate is not trusted: it is not signed by a known authority (see \
             `ca_cert`), or has expired"
        )
    );
    assert_eq!(faulty.delivered(), 0);
}
