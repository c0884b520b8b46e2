//! TLS at the receiver's ports, and what a reload changes.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::json;
use tempfile::TempDir;
use weir_tests::tls::{Authority, Dial, Identity, is};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::sdks::grpcurl;
use crate::{EXAMPLE, Otlp, shared};

/// What clients have in files.
struct Files {
    folder: TempDir,
    authority: PathBuf,
}

impl Files {
    fn of(authority: &Authority) -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, authority.pem()).expect("written");
        Self {
            folder,
            authority: path,
        }
    }

    /// `(certificate, key)` of an identity, in files.
    fn identity(&self, identity: &Identity) -> [String; 2] {
        let (cert, key) = identity.write(self.folder.path(), "client");
        [cert, key].map(|path| path.display().to_string())
    }

    /// Posts the example; prints the body, and what `more` asks for.
    fn curl(&self, weir: &Weir, more: &[&str]) -> Output {
        Command::new("curl")
            .args(["-sS", "-f", "--cacert"])
            .arg(&self.authority)
            .args(["-H", "Content-Type: application/json", "-d", EXAMPLE])
            .args(more)
            .arg(format!(
                "https://localhost:{}/v1/traces",
                weir.otlp("http").port()
            ))
            .output()
            .expect("curl runs")
    }
}

#[test]
fn clients_with_a_certificate_come_in_by_both_protocols() {
    let authority = Authority::default();
    let files = Files::of(&authority);
    let tls = json!({
        "certificates": [authority.issue(&["localhost"]).json()],
        "client_auth": { "ca": authority.pem() },
    });
    let mut otlp = Otlp::new("otlp_json");
    otlp.otlp()["grpc"]["tls"] = tls.clone();
    otlp.otlp()["http"]["tls"] = tls;
    let weir = otlp.start();
    assert!(!files.curl(&weir, &[]).status.success());
    let failures = r#"weir_otlp_handshake_failures_total{reason="no_client_certificate"}"#;
    eventually("the failure is counted", || {
        (weir.count(failures) > 0).then_some(())
    });

    let client = authority.issue_client("app", "spiffe://example/app");
    let [cert, key] = files.identity(&client);
    let shown = ["--cert", &cert, "--key", &key, "-w", "%{http_version}"];
    for (version, printed) in [("--http2", "{}2"), ("--http1.1", "{}1.1")] {
        let output = files.curl(&weir, &[&shown[..], &[version]].concat());
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            printed,
            "{output:?}"
        );
    }
    let authority = files.authority.display().to_string();
    let address = format!("localhost:{}", weir.otlp("grpc").port());
    let flags = ["-cacert", &authority, "-cert", &cert, "-key", &key];
    let output = grpcurl(files.folder.path(), &flags, &address);
    assert!(output.status.success(), "{output:?}");
    let output = grpcurl(files.folder.path(), &flags[..2], &address);
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(otlp.traces(3).len(), 3);
}

#[test]
fn a_reload_changes_all_but_the_places() {
    let authority = Authority::default();
    let files = Files::of(&authority);
    let [first, second] = [(); 2].map(|()| authority.issue(&["localhost"]));
    let mut otlp = Otlp::new("otlp_json");
    otlp.otlp()["token"] = json!("one");
    otlp.otlp()["http"]["tls"] = json!({ "certificates": [first.json()] });
    let weir = otlp.start();
    let address = weir.otlp("http");
    let shows = |identity: &Identity| {
        let session = Dial::to(&authority, "localhost").connect(address);
        is(&session.expect("a handshake").certificate(), identity)
    };
    let sends = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        files.curl(&weir, &["-H", &header]).status.success()
    };
    assert!(shows(&first));
    assert!(sends("one") && !sends("two"));
    assert_eq!(
        otlp.traces(1)[0].header("content-type"),
        Some("application/json")
    );

    let topic = shared().topic();
    otlp.otlp()["token"] = json!("two");
    otlp.otlp()["http"]["tls"] = json!({ "certificates": [second.json()] });
    otlp.otlp()["http"]["address"] = json!("127.0.0.1:1");
    otlp.kafka()["format"] = json!("otlp_protobuf");
    otlp.kafka()["traces_topic"] = json!(topic);
    let reloaded = weir.reload(&otlp.config.to_string());
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    eventually("it says what it does not take over", || {
        weir.logged("under `receivers` takes effect at the next start")
            .then_some(())
    });
    assert!(shows(&second));
    assert!(sends("two") && !sends("one"));
    let message = shared().read(&topic, 1).remove(0);
    assert_eq!(
        message.header("content-type"),
        Some("application/x-protobuf")
    );
}

#[test]
fn a_receiver_needs_no_proxy_beside_it() {
    let mut otlp = Otlp::new("otlp_json");
    let config = otlp.config.as_object_mut().expect("a mapping");
    for key in ["listeners", "upstreams", "plugins", "routes"] {
        config.remove(key);
    }
    let weir = otlp.start();
    let response = crate::post(
        weir.otlp("http"),
        "/v1/traces",
        crate::JSON,
        &[],
        EXAMPLE.as_bytes(),
    );
    assert_eq!(response.status, 200);
    assert_eq!(weir.ready()["status"], "ready");
    assert_eq!(otlp.traces(1).len(), 1);
}
