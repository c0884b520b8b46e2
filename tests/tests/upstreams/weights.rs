//! Weights of endpoints.

use serde_json::{Value, json};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::{errors, send};

/// An upstream with these endpoints and weights.
fn config(all: [(&Upstream, u32); 3], keys: Value) -> String {
    let entries = all.map(|(one, weight)| json!({ "address": one.url(), "weight": weight }));
    let mut config = crate::config(&[], keys);
    config["upstreams"]["up"]["endpoints"] = json!(entries);
    config.to_string()
}

#[test]
fn requests_are_shared_by_weight_and_a_reload_changes_it_on_the_same_connections() {
    let (heavy, light, none) = (Upstream::hello(), Upstream::hello(), Upstream::hello());
    let all = [&heavy, &light, &none];
    let weir = Weir::start(&config([(&heavy, 3), (&light, 1), (&none, 0)], json!({})));
    assert_eq!(errors(&send(&weir, "POST", 40)), 0);
    assert_eq!(all.map(|one| one.seen().len()), [30, 10, 0]);
    let even = config([(&heavy, 1), (&light, 1), (&none, 1)], json!({}));
    assert_eq!(weir.reload(&even).status, 200);
    assert_eq!(errors(&send(&weir, "POST", 60)), 0);
    let before = [30, 10, 0];
    for (one, before) in all.iter().zip(before) {
        let more = one.seen().len() - before;
        assert!(more.abs_diff(20) <= 2, "{more}");
        assert_eq!(one.connections(), 1);
    }
}

#[test]
fn what_a_heavy_endpoint_fails_is_tried_elsewhere_and_its_share_goes_to_the_others() {
    let bad = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let (bad, heavy, light) = (
        Upstream::answering(bad),
        Upstream::hello(),
        Upstream::hello(),
    );
    let keys = json!({ "ejection": { "time": "5m", "failures": 3 } });
    let weir = Weir::start(&config([(&bad, 100), (&heavy, 2), (&light, 1)], keys));
    assert_eq!(errors(&send(&weir, "GET", 303)), 0);
    // After three failures it has none, for all that it weighs.
    assert_eq!(bad.seen().len(), 3);
    let (heavy, light) = (heavy.seen().len(), light.seen().len());
    assert_eq!(heavy + light, 303);
    assert!(light.abs_diff(101) <= 5, "{heavy} {light}");
}
