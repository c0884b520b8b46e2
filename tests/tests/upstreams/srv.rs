//! Endpoints by SRV records.

use std::process::Command;

use serde_json::{Value, json};
use weir_tests::dns::{DEAD, NAME, Place};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, binary};

use crate::{Mortal, errors, send};

/// An upstream of whatever the records say, which are asked for often.
fn start(dns: Place, keys: Value) -> Weir {
    let mut config = crate::config(&[], keys);
    config["dns"] = json!({ "servers": [dns.address()] });
    let up = &mut config["upstreams"]["up"];
    up["endpoints"] = json!([{ "srv": format!("http://{NAME}") }]);
    up["resolve_interval"] = json!("100ms");
    Weir::start(&config.to_string())
}

fn port(upstream: &Upstream) -> u16 {
    upstream.address().port()
}

/// Names of the endpoints, as `/readyz` has them.
fn endpoints(weir: &Weir) -> Vec<String> {
    let ready = weir.ready();
    let endpoints = ready["upstreams"][0]["endpoints"].as_array().cloned();
    let mut names: Vec<String> = endpoints
        .unwrap_or_default()
        .iter()
        .filter_map(|one| one["endpoint"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[test]
fn hosts_ports_and_weights_are_those_of_the_records() {
    let (heavy, light, later) = (Upstream::hello(), Upstream::hello(), Upstream::hello());
    let dns = Place::free();
    let _server = dns.serve(&[
        ("a", port(&heavy), 1, 30),
        ("b", port(&light), 1, 10),
        ("c", port(&later), 2, 50),
    ]);
    let weir = start(dns, json!({}));
    let mut expected = [("a", &heavy), ("b", &light), ("c", &later)]
        .map(|(host, upstream)| format!("{host}.weir.test:{}", port(upstream)));
    expected.sort();
    assert_eq!(endpoints(&weir), expected);
    assert_eq!(errors(&send(&weir, "POST", 40)), 0);
    let served = [&heavy, &light, &later].map(|one| one.seen().len());
    assert_eq!(served, [30, 10, 0]);
}

#[test]
fn weights_of_nothing_are_even() {
    let all = [Upstream::hello(), Upstream::hello()];
    let dns = Place::free();
    let _server = dns.serve(&[("a", port(&all[0]), 0, 0), ("b", port(&all[1]), 0, 0)]);
    let weir = start(dns, json!({}));
    assert_eq!(errors(&send(&weir, "POST", 40)), 0);
    assert!(all.iter().all(|one| one.seen().len() == 20));
}

#[test]
fn records_are_asked_for_again_and_the_last_good_ones_are_kept() {
    let (before, after) = (Upstream::hello(), Upstream::hello());
    let dns = Place::free();
    let server = dns.serve(&[("a", port(&before), 0, 1)]);
    let weir = start(dns, json!({}));
    assert_eq!(errors(&send(&weir, "POST", 10)), 0);
    drop(server);
    weir.says("endpoint does not resolve");
    assert_eq!(errors(&send(&weir, "POST", 10)), 0);
    // A server that knows no such name has nothing better either.
    let other = dns.serve(&[]);
    assert_eq!(errors(&send(&weir, "POST", 10)), 0);
    assert_eq!(before.seen().len(), 30);
    drop(other);
    let _server = dns.serve(&[("b", port(&after), 0, 1)]);
    let expected = [format!("b.weir.test:{}", port(&after))];
    eventually("the new records are used", || {
        (endpoints(&weir) == expected).then_some(())
    });
    assert_eq!(errors(&send(&weir, "POST", 10)), 0);
    assert_eq!(after.seen().len(), 10);
    assert_eq!(before.seen().len(), 30);
}

#[test]
fn a_weight_that_changes_drops_no_connection() {
    let all = [Upstream::hello(), Upstream::hello()];
    let dns = Place::free();
    let records = |one, other| [("a", port(&all[0]), 0, one), ("b", port(&all[1]), 0, other)];
    let server = dns.serve(&records(1, 1));
    let weir = start(dns, json!({}));
    assert_eq!(errors(&send(&weir, "POST", 10)), 0);
    drop(server);
    let _server = dns.serve(&records(1, 9));
    eventually("the new weights are used", || {
        let before = all[1].seen().len();
        assert_eq!(errors(&send(&weir, "POST", 10)), 0);
        (all[1].seen().len() - before == 9).then_some(())
    });
    assert!(all.iter().all(|one| one.connections() == 1));
}

#[test]
fn a_priority_is_used_only_while_none_before_it_is_well() {
    let (mut first, second) = (Mortal::start(), Upstream::hello());
    let dns = Place::free();
    let _server = dns.serve(&[
        ("a", first.address.port(), 1, 1),
        ("b", port(&second), 2, 1),
    ]);
    let weir = start(
        dns,
        json!({ "health": { "interval": "20ms", "healthy": 1, "unhealthy": 1 } }),
    );
    assert_eq!(errors(&send(&weir, "GET", 20)), 0);
    assert_eq!((first.served(), second.seen().len()), (20, 0));
    first.kill();
    // At first a further try helps, then checks have found it.
    assert_eq!(errors(&send(&weir, "GET", 3)), 0);
    eventually("it is left out", || {
        (weir.ready()["upstreams"][0]["state"] == "degraded").then_some(())
    });
    assert_eq!(errors(&send(&weir, "POST", 20)), 0);
    assert_eq!((first.served(), second.seen().len()), (20, 23));
    first.revive();
    eventually("it is well again", || {
        (weir.ready()["upstreams"][0]["state"] == "ok").then_some(())
    });
    assert_eq!(errors(&send(&weir, "POST", 20)), 0);
    assert_eq!((first.served(), second.seen().len()), (40, 23));
}

#[test]
fn a_name_without_records_is_waited_for_by_nobody_and_used_once_it_has_some() {
    let upstream = Upstream::hello();
    let dns = Place::free();
    let server = dns.serve(&[]);
    let weir = start(dns, json!({}));
    assert_eq!(send(&weir, "GET", 3), [502; 3]);
    weir.says("endpoint does not resolve");
    drop(server);
    let _server = dns.serve(&[("a", port(&upstream), 0, 0)]);
    eventually("it is used", || {
        (send(&weir, "GET", 1) == [200]).then_some(())
    });
}

#[test]
fn a_host_whose_address_does_not_come_holds_up_no_other() {
    let upstream = Upstream::hello();
    let dns = Place::free();
    let dead: Vec<_> = (0..5).map(|one| format!("h{one}.{DEAD}")).collect();
    let mut records: Vec<_> = dead.iter().map(|host| (host.as_str(), 1, 0, 9)).collect();
    records.push(("a", port(&upstream), 1, 1));
    let _server = dns.serve(&records);
    let weir = start(dns, json!({}));
    eventually("it is used", || {
        (send(&weir, "GET", 1) == [200]).then_some(())
    });
    assert_eq!(errors(&send(&weir, "POST", 10)), 0);
    let expected = [format!("a.weir.test:{}", port(&upstream))];
    assert_eq!(endpoints(&weir), expected);
}

#[test]
fn check_connect_tries_what_the_records_lead_to() {
    let upstream = Upstream::hello();
    let dns = Place::free();
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("weir.yaml");
    let mut config = crate::config(&[], json!({}));
    config["dns"] = json!({ "servers": [dns.address()] });
    config["upstreams"]["up"]["endpoints"] = json!([{ "srv": format!("http://{NAME}") }]);
    std::fs::write(&file, config.to_string()).expect("a file");
    let check = || {
        let mut command = Command::new(binary());
        command.args(["check", "--connect", "--config"]).arg(&file);
        let output = command.output().expect("weir runs");
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), report)
    };
    let server = dns.serve(&[("a", port(&upstream), 0, 0)]);
    let (code, report) = check();
    assert_eq!(code, Some(0), "{report}");
    drop(server);
    let dead = crate::dead();
    let dead: u16 = dead.rsplit(':').next().expect("a port").parse().unwrap();
    let server = dns.serve(&[("a", port(&upstream), 0, 0), ("b", dead, 0, 0)]);
    let (code, report) = check();
    assert_eq!(code, Some(1), "{report}");
    let told = format!("upstreams.up.endpoints[0]: b.weir.test:{dead}: ");
    assert!(report.contains(&told), "{report}");
    drop(server);
    let _server = dns.serve(&[]);
    let (code, report) = check();
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains(&format!("{NAME}: ")), "{report}");
}
