//! Certificates by ACME, of pebble: both challenges, what is on the disk, renewal, and directories
//! that are down, refuse, or forget.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::acme::Directory;
use weir_tests::tls::{Authority, Connection, Dial};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

/// Two listeners, the second with TLS; the first lets nobody in without a key.
fn config(upstream: &Upstream, data_dir: &Path, tls: &Value) -> Value {
    let mut config = weir_tests::config::config(upstream);
    config["data_dir"] = json!(data_dir);
    config["spool"] = json!({ "max_bytes": "64MiB", "segment_bytes": "4MiB" });
    config["plugins"] = json!({
        "auth": { "module": "builtin:key-auth", "config": { "keys": ["secret"] } },
    });
    config["listeners"] = json!([
        { "address": "127.0.0.1:0", "plugins": ["auth"] },
        { "address": "127.0.0.1:0", "tls": tls },
    ]);
    config
}

fn start(directory: &mut Directory, weir: &Weir, more: Value) {
    directory.start(weir.proxies()[0], weir.proxies()[1], more);
}

/// What `/readyz` says of a name.
fn ready(weir: &Weir, domain: &str) -> Value {
    let ready = weir.ready();
    assert_eq!(ready["status"], "ready");
    let all = ready["certificates"].as_array().expect("a list").clone();
    let found = all.into_iter().find(|one| one["name"] == domain);
    found.unwrap_or_else(|| panic!("{domain} is not in {ready}"))
}

fn wait_for(weir: &Weir, domain: &str, state: &str) -> Value {
    eventually(&format!("{domain} is {state}"), || {
        Some(ready(weir, domain)).filter(|one| one["state"] == state)
    })
}

#[track_caller]
fn dial(weir: &Weir, root: &Authority, domain: &str) -> Connection {
    let dialled = Dial::to(root, domain).connect(weir.proxies()[1]);
    dialled.unwrap_or_else(|error| panic!("{domain}: {error}"))
}

fn orders(weir: &Weir, domain: &str, result: &str) -> u64 {
    weir.count(&format!(
        "weir_acme_orders_total{{domain=\"{domain}\",result=\"{result}\"}}"
    ))
}

#[track_caller]
fn assert_issued_and_kept(challenge: &str) {
    let upstream = Upstream::hello();
    let folder = TempDir::new().expect("a folder");
    let mut directory = Directory::default();
    let domains = ["a.example", "b.example"];
    let tls = json!({ "acme": directory.acme(challenge, &domains) });
    let config = config(&upstream, folder.path(), &tls);
    let weir = Weir::start(&config.to_string());

    // The directory is not there yet: all else is served, and what is wrong is told.
    let degraded = wait_for(&weir, "a.example", "degraded");
    let message = degraded["message"].as_str().unwrap_or_default();
    assert!(message.contains("cannot be asked"), "{message}");
    assert_eq!(degraded["expires"], Value::Null);
    weir.says("no certificate by ACME");
    weir.says("retry_after_seconds");
    let none = Dial::to(&Authority::default(), "a.example").connect(weir.proxies()[1]);
    assert!(none.is_err());

    start(&mut directory, &weir, json!({}));
    // A reload tries again at once.
    weir.reload(&config.to_string());
    let root = directory.root();
    let mut shown = Vec::new();
    for domain in domains {
        let ready = wait_for(&weir, domain, "ok");
        assert!(ready["expires"].is_string(), "{ready}");
        let mut connection = dial(&weir, &root, domain);
        assert!(connection.get("/").expect("a response").ends_with("hello"));
        shown.push(connection.certificate());
        assert_eq!(orders(&weir, domain, "issued"), 1);
    }
    assert_ne!(shown[0], shown[1]);
    // What no directory asks for is a request as any other.
    let asked = weir.get("/.well-known/acme-challenge/token", &[]);
    assert_eq!(asked.status, 401);

    // The next run has them at once, and asks nobody.
    drop(weir);
    directory.stop();
    let weir = Weir::start(&config.to_string());
    for (domain, shown) in domains.iter().zip(&shown) {
        assert_eq!(ready(&weir, domain)["state"], "ok");
        assert_eq!(&dial(&weir, &root, domain).certificate(), shown);
        assert_eq!(orders(&weir, domain, "failed"), 0);
    }
    let key = std::fs::read_dir(folder.path().join("acme")).expect("a folder");
    assert_eq!(key.count(), 1);
}

#[test]
fn certificates_are_issued_by_http_and_survive_a_restart() {
    assert_issued_and_kept("http-01");
}

#[test]
fn certificates_are_issued_by_tls_and_survive_a_restart() {
    assert_issued_and_kept("tls-alpn-01");
}

#[test]
fn a_challenge_by_tls_passes_a_listener_that_demands_certificates() {
    let upstream = Upstream::hello();
    let folder = TempDir::new().expect("a folder");
    let mut directory = Directory::default();
    let clients = Authority::default();
    let own = clients.issue(&["own.example"]);
    let tls = json!({
        "certificates": [own.json()],
        "acme": directory.acme("tls-alpn-01", &["a.example"]),
        "client_auth": { "ca": clients.pem() },
        "min_version": "1.3",
    });
    let config = config(&upstream, folder.path(), &tls).to_string();
    let weir = Weir::start(&config);
    wait_for(&weir, "a.example", "degraded");
    start(&mut directory, &weir, json!({}));
    weir.reload(&config);
    wait_for(&weir, "a.example", "ok");
    let client = clients.issue_client("someone", "urn:someone");
    let root = directory.root();
    for (authority, name) in [(&root, "a.example"), (&clients, "own.example")] {
        let dial = Dial {
            identity: Some(&client),
            ..Dial::to(authority, name)
        };
        let mut connection = dial.connect(weir.proxies()[1]).expect("a session");
        assert!(connection.get("/").expect("a response").ends_with("hello"));
    }
    // Who comes by the challenge's protocol when none is under way is shown nothing.
    let dial = Dial {
        alpn: &["acme-tls/1"],
        ..Dial::to(&root, "a.example")
    };
    assert!(dial.connect(weir.proxies()[1]).is_err());
}

#[test]
fn a_certificate_is_renewed_in_time_and_connections_stay() {
    let upstream = Upstream::hello();
    let folder = TempDir::new().expect("a folder");
    let mut directory = Directory::default();
    let mut acme = directory.acme("tls-alpn-01", &["a.example"]);
    // More than it lives: half of its time is the most.
    acme["renew_before"] = json!("720h");
    let config = config(&upstream, folder.path(), &json!({ "acme": acme })).to_string();
    let weir = Weir::start(&config);
    wait_for(&weir, "a.example", "degraded");
    let short = json!({ "profiles": { "default": { "description": "", "validityPeriod": 20 } } });
    start(&mut directory, &weir, short);
    weir.reload(&config);
    wait_for(&weir, "a.example", "ok");
    let root = directory.root();
    let mut old = dial(&weir, &root, "a.example");
    let first = old.certificate();
    eventually("another certificate is shown", || {
        let mut connection = dial(&weir, &root, "a.example");
        assert!(connection.get("/").expect("a response").ends_with("hello"));
        (connection.certificate() != first).then_some(())
    });
    assert!(old.get("/").expect("a response").ends_with("hello"));
    assert!(orders(&weir, "a.example", "issued") >= 2);
}

#[test]
fn a_directory_that_refuses_holds_up_no_other_name_and_takes_nothing_away() {
    let upstream = Upstream::hello();
    let folder = TempDir::new().expect("a folder");
    let mut directory = Directory::default();
    let domains = ["a.example", "blocked.example"];
    let tls = json!({ "acme": directory.acme("http-01", &domains) });
    let mut config = config(&upstream, folder.path(), &tls);
    let weir = Weir::start(&config.to_string());
    wait_for(&weir, "a.example", "degraded");
    let blocked = json!({ "domainBlocklist": ["blocked.example"] });
    start(&mut directory, &weir, blocked);
    weir.reload(&config.to_string());
    wait_for(&weir, "a.example", "ok");
    eventually("it is refused", || {
        let message = ready(&weir, "blocked.example")["message"].clone();
        message
            .as_str()
            .is_some_and(|text| text.contains("rejectedIdentifier"))
            .then_some(())
    });
    let metric = "weir_acme_degraded{domain=\"blocked.example\"}";
    assert_eq!(weir.count(metric), 1);
    let root = directory.root();
    let first = dial(&weir, &root, "a.example").certificate();

    // Another directory that cannot prove the name: what was issued before is shown further.
    let mut other = Directory::default();
    let nobody = weir_tests::service::free_port();
    other.start(
        ([127, 0, 0, 1], nobody).into(),
        weir.proxies()[1],
        json!({}),
    );
    config["listeners"][1]["tls"]["acme"] = other.acme("http-01", &["a.example"]);
    weir.reload(&config.to_string());
    let degraded = wait_for(&weir, "a.example", "degraded");
    let message = degraded["message"].as_str().unwrap_or_default();
    assert!(message.contains("the challenge failed"), "{message}");
    assert_eq!(dial(&weir, &root, "a.example").certificate(), first);
    assert_eq!(
        weir.ready()["certificates"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn a_directory_that_does_not_answer_holds_up_no_other() {
    let upstream = Upstream::hello();
    let folder = TempDir::new().expect("a folder");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut directory = Directory::default();
    // More names than orders are under way at a time.
    let waiting: Vec<String> = (0..6).map(|number| format!("w{number}.example")).collect();
    let waiting: Vec<&str> = waiting.iter().map(String::as_str).collect();
    let mut hangs = directory.acme("http-01", &waiting);
    let address = silent.local_addr().expect("an address");
    hangs["directory"] = json!(format!("https://{address}/dir"));
    let other = directory.acme("http-01", &["a.example"]);
    let mut config = config(&upstream, folder.path(), &json!({ "acme": hangs }));
    let weir = Weir::start(&config.to_string());
    start(&mut directory, &weir, json!({}));
    let _asked = silent.accept().expect("weir connects");

    // On a listener of its own, behind the one that waits.
    let listener = json!({ "address": "127.0.0.1:0", "tls": { "acme": other } });
    let listeners = config["listeners"].as_array_mut().expect("listeners");
    listeners.push(listener);
    assert_eq!(weir.reload(&config.to_string()).status, 200);
    wait_for(&weir, "a.example", "ok");
    for domain in waiting {
        assert_ne!(ready(&weir, domain)["state"], "ok", "{domain}");
    }
}

#[test]
fn a_directory_that_has_forgotten_the_account_is_given_another() {
    let upstream = Upstream::hello();
    let folder = TempDir::new().expect("a folder");
    let mut directory = Directory::default();
    let tls = json!({ "acme": directory.acme("http-01", &["a.example"]) });
    let mut config = config(&upstream, folder.path(), &tls);
    let weir = Weir::start(&config.to_string());
    wait_for(&weir, "a.example", "degraded");
    start(&mut directory, &weir, json!({}));
    weir.reload(&config.to_string());
    wait_for(&weir, "a.example", "ok");
    start(&mut directory, &weir, json!({}));
    config["listeners"][1]["tls"]["acme"]["domains"] = json!(["a.example", "b.example"]);
    weir.reload(&config.to_string());
    wait_for(&weir, "b.example", "ok");
    assert_eq!(orders(&weir, "b.example", "failed"), 1);
    dial(&weir, &directory.root(), "b.example");
}

#[test]
fn an_account_is_bound_to_one_elsewhere_where_the_directory_asks_for_it() {
    let upstream = Upstream::hello();
    let folder = TempDir::new().expect("a folder");
    let mut directory = Directory::default();
    let tls = json!({ "acme": directory.acme("http-01", &["a.example"]) });
    let mut config = config(&upstream, folder.path(), &tls);
    let weir = Weir::start(&config.to_string());
    wait_for(&weir, "a.example", "degraded");
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let bound = json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": { "kid-1": key },
    });
    start(&mut directory, &weir, bound);
    weir.reload(&config.to_string());
    eventually("the directory asks for it", || {
        let message = ready(&weir, "a.example")["message"].clone();
        message
            .as_str()
            .is_some_and(|text| text.contains("externalAccountRequired"))
            .then_some(())
    });
    config["listeners"][1]["tls"]["acme"]["external_account"] =
        json!({ "key_id": "kid-1", "hmac_key": key });
    weir.reload(&config.to_string());
    wait_for(&weir, "a.example", "ok");
    let log = weir.log();
    assert!(!log.iter().any(|line| line.to_string().contains(key)));
}
