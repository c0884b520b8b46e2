//! Active checks, and names.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use socket2::{Domain, Socket, Type};
use weir_tests::client;
use weir_tests::http2;
use weir_tests::tls::Authority;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{Mortal, config, dead, errors, send, start, urls};

/// Answers `/health` as it is told, and anything else with 200.
struct Patient {
    upstream: Upstream,
    well: Arc<AtomicBool>,
}

impl Patient {
    fn new(well: bool) -> Self {
        let well = Arc::new(AtomicBool::new(well));
        let told = Arc::clone(&well);
        let upstream = Upstream::new(move |seen, stream| {
            let status = if seen.target == "/health" && !told.load(Ordering::SeqCst) {
                "503 Service Unavailable"
            } else {
                "200 OK"
            };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        });
        Self { upstream, well }
    }

    fn requests(&self) -> usize {
        let seen = self.upstream.seen();
        seen.iter().filter(|seen| seen.target == "/").count()
    }
}

fn state_of(weir: &Weir, address: String) -> String {
    let ready = weir.ready();
    let endpoints = ready["upstreams"][0]["endpoints"].as_array().cloned();
    let mut endpoints = endpoints.unwrap_or_default().into_iter();
    let endpoint = endpoints.find(|one| one["endpoint"] == address);
    endpoint.map_or_else(String::new, |one| {
        one["state"].as_str().unwrap_or_default().to_owned()
    })
}

#[test]
fn what_checks_find_unwell_gets_no_request_until_it_is_well() {
    let (good, ill) = (Patient::new(true), Patient::new(false));
    let weir = start(
        &urls(&[&good.upstream, &ill.upstream]),
        json!({ "health": { "path": "/health", "interval": "20ms", "unhealthy": 2 } }),
    );
    let address = ill.upstream.address().to_string();
    eventually("the first check counts", || {
        (state_of(&weir, address.clone()) == "unhealthy").then_some(())
    });
    let before = ill.requests();
    assert_eq!(errors(&send(&weir, "GET", 50)), 0);
    assert_eq!(ill.requests(), before);
    ill.well.store(true, Ordering::SeqCst);
    eventually("it is well", || {
        (state_of(&weir, address.clone()) == "ok").then_some(())
    });
    send(&weir, "GET", 50);
    assert_eq!(ill.requests(), before + 25);
    let check = ill
        .upstream
        .seen()
        .into_iter()
        .find(|seen| seen.target == "/health");
    let check = check.expect("a check");
    assert_eq!(check.header("host"), Some(address.as_str()));
    assert_eq!(check.header("user-agent"), Some("weir-health"));
}

#[test]
fn one_that_is_well_again_begins_with_a_tenth_of_its_weight() {
    let (good, ill) = (Patient::new(true), Patient::new(false));
    let weir = start(
        &urls(&[&good.upstream, &ill.upstream]),
        json!({
            "health": { "path": "/health", "interval": "20ms" },
            // It does not come far with this here.
            "slow_start": "1h",
        }),
    );
    let address = ill.upstream.address().to_string();
    for state in ["unhealthy", "ok"] {
        ill.well.store(state == "ok", Ordering::SeqCst);
        eventually(state, || {
            (state_of(&weir, address.clone()) == state).then_some(())
        });
    }
    assert_eq!(errors(&send(&weir, "GET", 110)), 0);
    let served = ill.requests();
    assert!(served.abs_diff(10) <= 2, "{served}");
}

#[test]
fn a_reload_between_two_checks_begins_no_row_anew() {
    let (good, ill) = (Patient::new(true), Patient::new(true));
    let keys = json!({ "health": { "path": "/health", "interval": "1s", "unhealthy": 3 } });
    let config = config(&urls(&[&good.upstream, &ill.upstream]), keys).to_string();
    let weir = Weir::start(&config);
    let address = ill.upstream.address().to_string();
    let checks = || ill.upstream.seen().len();
    let until_more_than = |before: usize| {
        eventually("it is checked again", || (checks() > before).then_some(()));
    };
    // The first is over then: it would count alone.
    until_more_than(1);
    ill.well.store(false, Ordering::SeqCst);
    let found = (0..30).any(|_| {
        assert_eq!(weir.reload(&config).status, 200);
        until_more_than(checks());
        state_of(&weir, address.clone()) == "unhealthy"
    });
    assert!(found, "it is still used");
}

#[test]
fn where_all_are_unwell_all_are_asked() {
    let all = [Patient::new(false), Patient::new(false)];
    let weir = start(
        &urls(&[&all[0].upstream, &all[1].upstream]),
        json!({ "health": { "path": "/health", "interval": "20ms" } }),
    );
    for one in &all {
        let address = one.upstream.address().to_string();
        eventually("it is found unwell", || {
            (state_of(&weir, address.clone()) == "unhealthy").then_some(())
        });
    }
    assert_eq!(errors(&send(&weir, "GET", 20)), 0);
    assert!(all.iter().all(|one| one.requests() == 10));
    assert_none_is_well(&weir);
}

/// Whether `/readyz` says so, and stays 200: others may be served.
#[track_caller]
fn assert_none_is_well(weir: &Weir) {
    let answer = client::get(weir.admin(), "/readyz", &[]);
    assert_eq!(answer.status, 200);
    let ready = answer.json();
    assert_eq!(ready["status"], "ready");
    let upstream = &ready["upstreams"][0];
    assert_eq!(upstream["state"], "degraded");
    let said = "no endpoint is well: all are used as if they were";
    assert_eq!(upstream["message"], said);
}

#[test]
fn one_alone_that_is_dead_is_told_of_and_asked() {
    let weir = start(&[dead()], json!({ "health": { "interval": "20ms" } }));
    eventually("it is found unwell", || {
        let ready = weir.ready();
        (ready["upstreams"][0]["endpoints"][0]["state"] == "unhealthy").then_some(())
    });
    assert_none_is_well(&weir);
    assert_eq!(send(&weir, "GET", 3), [502; 3]);
}

#[test]
fn where_one_is_well_the_others_are_said_to_be_left_out() {
    let good = Patient::new(true);
    let weir = start(
        &[good.upstream.url(), dead()],
        json!({ "health": { "path": "/health", "interval": "20ms" } }),
    );
    let message = eventually("one is found unwell", || {
        let ready = weir.ready();
        let message = ready["upstreams"][0]["message"].as_str();
        message.map(str::to_owned)
    });
    assert_eq!(message, "1 of 2 endpoints are left out");
}

/// An upstream of HTTP/2 that is well while it is told to be, by status and by gRPC.
fn of_http2(well: &Arc<AtomicBool>) -> http2::Upstream {
    let well = Arc::clone(well);
    http2::Upstream::new(None, move |seen| {
        let well = well.load(Ordering::SeqCst);
        if !seen.uri.ends_with("/grpc.health.v1.Health/Check") {
            let status = if well { 200 } else { 500 };
            let head = http::Response::builder().status(status).body(());
            return http2::Reply {
                head: head.expect("a head"),
                ..http2::Reply::default()
            };
        }
        assert_eq!(seen.body, b"\0\0\0\0\x06\x0a\x04shop");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        http2::Reply {
            body: if well {
                b"\0\0\0\0\x02\x08\x01"
            } else {
                b"\0\0\0\0\x02\x08\x02"
            },
            trailers: Some(trailers),
            ..http2::Reply::default()
        }
    })
}

#[test]
fn endpoints_of_http2_are_asked_by_path_or_by_grpc() {
    for ask in [json!({ "path": "/health" }), json!({ "grpc": "shop" })] {
        let well = Arc::new(AtomicBool::new(true));
        let (upstream, other) = (of_http2(&well), of_http2(&Arc::new(AtomicBool::new(true))));
        let mut health = json!({ "interval": "20ms", "unhealthy": 1, "healthy": 1 });
        let keys = health.as_object_mut().expect("keys");
        keys.extend(ask.as_object().expect("keys").clone());
        let weir = start(
            &[upstream.url(), other.url()],
            json!({ "health": health, "protocol": "h2" }),
        );
        let address = upstream.address().to_string();
        for state in ["ok", "unhealthy", "ok"] {
            well.store(state == "ok", Ordering::SeqCst);
            eventually(state, || {
                (state_of(&weir, address.clone()) == state).then_some(())
            });
        }
    }
}

#[test]
fn a_check_that_hangs_has_failed_at_its_deadline() {
    // The kernel takes connections, and nobody says a word on them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    for (scheme, protocol, ask) in [
        ("http", "h1", json!({ "path": "/health" })),
        ("http", "h2", json!({ "path": "/health" })),
        ("http", "h2", json!({ "grpc": "shop" })),
        ("https", "auto", json!({ "path": "/health" })),
    ] {
        let mut health = json!({ "interval": "20ms", "timeout": "300ms", "unhealthy": 2 });
        let keys = health.as_object_mut().expect("keys");
        keys.extend(ask.as_object().expect("keys").clone());
        let mut keys = json!({ "health": health, "protocol": protocol });
        if scheme == "https" {
            keys["tls"] = json!({ "ca": Authority::default().pem() });
        }
        let weir = start(&[format!("{scheme}://{address}"), dead()], keys);
        eventually(&format!("it is unwell: {scheme} {protocol} {ask}"), || {
            (state_of(&weir, address.to_string()) == "unhealthy").then_some(())
        });
        weir.says("no answer within 300ms");
    }
}

#[test]
fn without_a_path_a_connection_is_enough() {
    let (mut one, two) = (Mortal::start(), Mortal::start());
    let weir = start(
        &[one.url(), two.url()],
        json!({ "health": { "interval": "20ms", "unhealthy": 1, "healthy": 1 } }),
    );
    let address = one.address.to_string();
    eventually("it is well", || {
        (state_of(&weir, address.clone()) == "ok").then_some(())
    });
    one.kill();
    eventually("it is unwell", || {
        (state_of(&weir, address.clone()) == "unhealthy").then_some(())
    });
    assert_eq!(errors(&send(&weir, "POST", 20)), 0);
    one.revive();
    eventually("it is well again", || {
        (state_of(&weir, address.clone()) == "ok").then_some(())
    });
}

#[test]
fn only_the_expected_statuses_are_well() {
    let (one, two) = (Patient::new(true), Patient::new(false));
    let weir = start(
        &urls(&[&one.upstream, &two.upstream]),
        json!({ "health": { "path": "/health", "interval": "20ms", "expected": [503] } }),
    );
    let address = one.upstream.address().to_string();
    eventually("200 is not expected", || {
        (state_of(&weir, address.clone()) == "unhealthy").then_some(())
    });
    assert_eq!(state_of(&weir, two.upstream.address().to_string()), "ok");
}

#[test]
fn without_checks_any_more_nothing_stays_unwell() {
    let (good, ill) = (Patient::new(true), Patient::new(false));
    let keys = json!({ "health": { "path": "/health", "interval": "20ms" } });
    let endpoints = urls(&[&good.upstream, &ill.upstream]);
    let weir = start(&endpoints, keys);
    let address = ill.upstream.address().to_string();
    eventually("it is unwell", || {
        (state_of(&weir, address.clone()) == "unhealthy").then_some(())
    });
    assert_eq!(
        weir.reload(&crate::config(&endpoints, json!({})).to_string())
            .status,
        200
    );
    send(&weir, "GET", 20);
    assert_eq!(ill.requests(), 10);
}

#[test]
fn names_are_resolved_and_addresses_of_both_families_are_one_endpoint() {
    let upstream = Upstream::hello();
    let url = format!("http://localhost:{}", upstream.address().port());
    let weir = start(&[url], json!({ "resolve_interval": "1s" }));
    assert_eq!(errors(&send(&weir, "GET", 10)), 0);
    let ready = weir.ready();
    let endpoints = ready["upstreams"][0]["endpoints"]
        .as_array()
        .expect("endpoints");
    assert_eq!(endpoints.len(), 1);
    weir.says("endpoint resolved");
    // A name that nobody has keeps nothing from starting.
    let nowhere = start(&["http://nowhere.invalid:1".to_owned()], json!({}));
    assert_eq!(errors(&send(&nowhere, "GET", 1)), 1);
}

#[test]
fn a_name_that_gets_another_address_leads_there_whatever_its_family() {
    // A port of which nobody listens at 127.0.0.1, which `::1` stands for too where IPv4 is asked for.
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    held.bind(&any.into()).expect("a port");
    let port = held.local_addr().expect("an address").as_socket();
    let port = port.expect("an IP address").port();
    let all = ["127.0.0.2", "127.0.0.3", "::1"].map(|ip| (ip, Mortal::at(ip, port)));
    let hosts = |ip: &str| format!("{ip} api.test\n");

    let url = format!("http://api.test:{port}");
    let config = config(&[url], json!({ "resolve_interval": "1s" })).to_string();
    let Some(weir) = Weir::with_hosts(&config, &hosts("127.0.0.2")) else {
        // Past what keeps the output of tests that pass.
        let why = "not tested: another address of a name, for nobody may mount here";
        let _ = writeln!(std::io::stderr(), "{why}");
        return;
    };
    for (ip, upstream) in &all {
        std::fs::write(weir.folder().join("hosts"), hosts(ip)).expect("written");
        eventually("requests go to the new address", || {
            let before = upstream.served();
            assert_eq!(errors(&send(&weir, "GET", 10)), 0);
            (upstream.served() == before + 10).then_some(())
        });
    }
}
