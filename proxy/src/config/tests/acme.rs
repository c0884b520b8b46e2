//! `tls.acme`: what becomes of it, and what is refused.

use super::*;
use crate::tls::acme::Challenge;

fn with(acme: &str, more: &str) -> String {
    let tls = format!("tls: {{ acme: {acme} }}");
    format!("listeners: [{{ address: '127.0.0.1:0', {tls} }}]\n{UPSTREAMS}\n{ROUTES}\n{more}")
}

/// PEM of an authority, as YAML has it in a string.
fn authority() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    format!("{:?}", params.self_signed(&key).unwrap().pem())
}

#[test]
fn what_is_written_is_what_is_asked_of_the_directory() {
    let acme = format!(
        "{{ domains: [A.example, b.example], terms_of_service_agreed: true, contact: [ops@a.example], \
         challenge: http-01, renew_before: 24h, directory: 'https://ca.internal/dir', ca: {}, \
         external_account: {{ key_id: one, hmac_key: env.KEY }} }}",
        authority()
    );
    let loaded = load_text(&with(&acme, "data_dir: data"), &[], &[("KEY", "c2VjcmV0")]);
    let config = loaded.unwrap_or_else(|faults| panic!("{faults}")).config;
    let (_, server) = config.tls().next().unwrap();
    let (spec, _) = server.acme().unwrap();
    assert_eq!(spec.domains, ["a.example", "b.example"]);
    assert_eq!(spec.challenge, Challenge::Http01);
    assert_eq!(spec.renew_before, Some(Duration::from_hours(24)));
    assert_eq!(spec.issuer.directory, "https://ca.internal/dir");
    assert_eq!(spec.issuer.contact, ["mailto:ops@a.example"]);
    let external = spec.issuer.external_account.as_ref().unwrap();
    assert_eq!(external.hmac_key.expose(), "c2VjcmV0");
}

#[track_caller]
fn assert_refused(yaml: &str, wanted: &[&str]) {
    let report = faults_of(yaml, &[], &[("KEY", "no key")]).to_string();
    for text in wanted {
        assert!(report.contains(text), "{text} is not in\n{report}");
    }
    assert!(!report.contains("no key"), "{report}");
}

#[test]
fn without_a_folder_or_the_terms_nothing_is_ordered() {
    assert_refused(
        &with("{ domains: [a.example] }", ""),
        &["listeners[0].tls.acme.terms_of_service_agreed: is missing"],
    );
    let acme = format!(
        "{{ domains: [a.example], terms_of_service_agreed: false, ca: {} }}",
        authority()
    );
    assert_refused(
        &with(&acme, ""),
        &[
            "data_dir: is missing, and `listeners[0].tls.acme` needs it",
            "listeners[0].tls.acme.terms_of_service_agreed: must be true",
        ],
    );
}

#[test]
fn values_that_cannot_be_meant_are_each_told() {
    let acme = "{ domains: ['*.a.example', 'a b', '-a.example', 10.0.0.1, '../../etc/passwd', ok.example], \
        terms_of_service_agreed: true, directory: 'http://ca.internal/', contact: [ops, 'a@b@c.example,d'], \
        ca: nowhere.pem, renew_before: 0s, external_account: { key_id: one, hmac_key: env.KEY } }";
    let at = |rest: &str| format!("listeners[0].tls.acme.{rest}");
    let wanted = [
        at("domains[0]: no challenge"),
        at("domains[1]: must be a DNS name"),
        at("domains[2]: must be a DNS name"),
        at("domains[3]: must be a DNS name"),
        at("domains[4]: must be a DNS name"),
        at("directory: must be a URL"),
        at("contact[0]: must be a mail address"),
        at("contact[1]: must be a mail address"),
        at("ca: is neither PEM text nor a file"),
        at("renew_before: must be longer than nothing"),
        at("external_account.hmac_key: must be a key in base64url"),
    ];
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    assert_refused(&with(acme, "data_dir: data"), &wanted);
}
