//! The system's authorities, which others change while Weir runs.

use serde_json::json;
use weir_tests::http2::{Reply, Upstream};
use weir_tests::tls::Authority;
use weir_tests::weir::Weir;

#[test]
fn a_reload_goes_by_the_systems_authorities_as_they_are_then() {
    let (one, other) = (Authority::new("One"), Authority::new("Other"));
    let server = other.issue(&["127.0.0.1"]).server(&["h2"], None);
    let upstream = Upstream::new(Some(server), |_| Reply {
        body: b"hello",
        ..Reply::default()
    });
    let nobody = weir_tests::upstream::Upstream::hello();
    let mut config = weir_tests::config::config(&nobody);
    let url = format!("https://{}", upstream.address());
    config["upstreams"]["up"] = json!({ "endpoints": [url] });
    let config = config.to_string();

    let folder = tempfile::tempdir().expect("a folder");
    let bundle = folder.path().join("bundle.pem");
    let trust = |authority: &Authority| {
        std::fs::write(&bundle, authority.pem()).expect("write the bundle");
    };
    trust(&one);
    let path = bundle.to_str().expect("UTF-8");
    let none = folder.path().join("none");
    std::fs::create_dir(&none).expect("a folder");
    let none = none.to_str().expect("UTF-8");
    let weir = Weir::start_with(&config, &[("SSL_CERT_FILE", path), ("SSL_CERT_DIR", none)]);
    assert_eq!(weir.get("/", &[]).status, 502);

    trust(&other);
    assert_eq!(weir.reload(&config).status, 200);
    assert_eq!(weir.get("/", &[]).text(), "hello");

    // Connections that there are go with those who were believed.
    trust(&one);
    assert_eq!(weir.reload(&config).status, 200);
    assert_eq!(weir.get("/", &[]).status, 502);

    // Without any, the configuration is refused and the one before goes on.
    std::fs::write(&bundle, "").expect("write the bundle");
    let refused = weir.reload(&config);
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("the system has no authorities"));
}
