//! Where metrics are pushed to: right configurations, and the reports of wrong ones.

use super::*;

#[test]
fn metrics_are_pushed_by_remote_write_where_nothing_else_is_said() {
    let config = load_text(
        &minimal(
            "metrics:\n  push:\n    a: { endpoint: 'http://p:9090/api/v1/write', instance: edge-1 }\n    \
         b: { endpoint: 'https://c/otel', protocol: otlp_http, labels: { region: north } }\n    \
         c: { endpoint: 'http://c:4317', protocol: otlp_grpc }\n    \
         d: { endpoint: 'http://p:1/x', enabled: false }\n",
        ),
        &[],
        &[],
    );
    let config = config.unwrap_or_else(|faults| panic!("{faults}")).config;
    let urls: Vec<_> = config
        .pushes
        .iter()
        .map(|(name, push)| (&**name, push.to.url()))
        .collect();
    let expected = [
        ("a", "http://p:9090/api/v1/write"),
        ("b", "https://c:443/otel/v1/metrics"),
        ("c", "http://c:4317"),
    ];
    assert_eq!(urls, expected.map(|(name, url)| (name, url.to_owned())));
    let first = &config.pushes["a"];
    assert_eq!(first.format, PushFormat::RemoteWrite);
    assert_eq!(first.instance, "edge-1");
    assert_eq!(first.interval, Duration::from_secs(15));
    assert!(!config.pushes["b"].instance.is_empty());
}

#[test]
fn what_is_wrong_with_pushed_metrics_is_told() {
    check_cases("metrics");
}
