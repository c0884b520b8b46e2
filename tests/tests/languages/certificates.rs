//! A client's certificate in an author's cases, in each language.

use std::fs;

use weir_tests::weir::guest;

use super::{JAVASCRIPT, PYTHON, Tutorial, done, plugin};

/// Says who shows a certificate, by what all of it says.
const CLIENT_IN_JAVASCRIPT: &str = "\
export default class Client {
  onRequest(request) {
    const shown = request.clientCertificate;
    if (shown === undefined) return request.setHeader('x-client', 'nobody');
    const { dns, uri, email, ip } = shown.alternativeNames;
    const all = [shown.subject, shown.issuer, shown.sha256, ...dns, ...uri, ...email, ...ip];
    request.setHeader('x-client', all.join(' '));
  }
}
";

const CLIENT_IN_PYTHON: &str = r#"
from weir import plugin

@plugin
class Client:
    def __init__(self, config):
        pass

    def on_request(self, request):
        shown = request.client_certificate
        if shown is None:
            return request.set_header("x-client", "nobody")
        names = shown.alternative_names
        names = [*names.dns, *names.uri, *names.email, *names.ip]
        request.set_header("x-client", " ".join([shown.subject, shown.issuer, shown.sha256, *names]))
"#;

const CLIENT_CASES: &str = "
cases:
  - name: who shows a certificate is named
    request:
      url: https://a.example/
      client_certificate:
        subject: CN=alice
        issuer: CN=Clients
        sha256: AB
        alternative_names: {dns: [b.example], uri: ['spiffe://x/a'], email: [a@b.example], ip: [192.0.2.7]}
    expect:
      request: {headers: {x-client: CN=alice CN=Clients AB b.example spiffe://x/a a@b.example 192.0.2.7}}
  - name: who shows none is nobody
    request: {url: 'https://a.example/'}
    expect: {request: {headers: {x-client: nobody}}}
";

/// Natively, and in Weir.
fn a_certificate_reaches(tutorial: &Tutorial, source: &str) {
    let (_above, folder) = tutorial.project_of(source);
    fs::write(folder.join("cases.yaml"), CLIENT_CASES).expect("written");
    let tested = plugin(&folder, &["test"]);
    let said = String::from_utf8_lossy(&tested.stdout);
    for case in [
        "who shows a certificate is named",
        "who shows none is nobody",
    ] {
        let ok = said.matches(&format!("  ok      {case}")).count();
        assert_eq!(ok, 2, "{said}\n{}", String::from_utf8_lossy(&tested.stderr));
    }
}

#[test]
fn a_client_certificate_reaches_a_plugin_in_javascript() {
    a_certificate_reaches(&JAVASCRIPT, CLIENT_IN_JAVASCRIPT);
}

#[test]
fn a_client_certificate_reaches_a_plugin_in_python() {
    a_certificate_reaches(&PYTHON, CLIENT_IN_PYTHON);
}

#[test]
fn a_client_certificate_reaches_a_plugin_in_rust() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = folder.path().join("cases.yaml");
    let text = "config: {client: true}
cases:
  - name: who shows one is told
    request:
      url: https://a.example/
      client_certificate:
        subject: CN=alice
        issuer: CN=Clients
        sha256: AB
        alternative_names: {dns: [b.example], uri: ['spiffe://x/a'], email: [a@b.example], ip: [192.0.2.7]}
    expect:
      spans:
        request:
          client: 'Some(Certificate { subject: \"CN=alice\", issuer: \"CN=Clients\", sha256: \"AB\",
            alternative_names: AlternativeNames { dns: [\"b.example\"], uri: [\"spiffe://x/a\"],
            email: [\"a@b.example\"], ip: [\"192.0.2.7\"] } })'
  - name: who shows none is not
    request: {url: 'https://a.example/'}
    expect: {spans: {request: {client: None}}}";
    fs::write(&cases, text).expect("written");
    let (module, file) = (guest("annotate"), cases.display().to_string());
    let module = module.to_str().expect("a path");
    let said = done(&plugin(folder.path(), &["test", module, "--cases", &file]));
    assert!(said.contains("2 cases: 2 ok, 0 failed"), "{said}");

    // What would never be shown is a fault of the file.
    fs::write(&cases, text.replace("https://a", "http://a")).expect("written");
    let refused = plugin(folder.path(), &["test", module, "--cases", &file]);
    assert_eq!(refused.status.code(), Some(1));
    let fault = "case `who shows one is told`: request.client_certificate: is shown by https alone";
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains(fault), "{said}");
}
