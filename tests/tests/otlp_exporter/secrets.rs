//! A token that is wrong loses nothing, and no token is ever shown.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use weir_tests::client;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, binary};

use crate::{TAKEN, answer, ask, count, counted, exporting, json_to, requests, state};

const TOKEN: &str = "canary-token-1f2e3d";

#[test]
fn a_token_that_is_refused_holds_traces_back_and_is_never_shown() {
    let lets_in = Arc::new(AtomicBool::new(false));
    let door = Arc::clone(&lets_in);
    // Empty requests too: it refuses whoever asks, and repeats what it was told.
    let collector = Upstream::new(move |seen, stream| {
        let said = format!(
            "no such token: {}",
            seen.header("authorization").unwrap_or("none")
        );
        let bytes = if door.load(Ordering::SeqCst) {
            TAKEN.to_owned()
        } else {
            answer("401 Unauthorized", "content-type: text/plain\r\n", &said)
        };
        let _ = std::io::Write::write_all(stream, bytes.as_bytes());
    });
    let mut otlp = json_to(&collector);
    otlp["headers"] = json!({ "authorization": "env.TOKEN", "x-written": TOKEN });
    let config = exporting(otlp);
    let bearer = format!("Bearer {TOKEN}");
    let weir = Weir::start_with(&config.to_string(), &[("TOKEN", &bearer)]);
    let message = state(&weir, "degraded");
    assert!(
        message.contains("HTTP 401 Unauthorized: no such token: REDACTED"),
        "{message}"
    );
    for number in 0..20 {
        ask(&weir, "/", &format!("held-{number}"));
    }
    assert!(requests(&collector).is_empty());
    lets_in.store(true, Ordering::SeqCst);
    eventually("all are delivered", || {
        (count(&weir, "delivered") == 20).then_some(())
    });
    assert_eq!(counted(&weir, "dropped", "refused"), 0);
    let seen = collector.seen();
    let told =
        |request: &weir_tests::upstream::Seen| request.header("authorization") == Some(&bearer);
    assert!(seen.iter().all(told));

    // Refused in the middle: what was sent then is lost, by OTLP's rules; what comes later waits.
    lets_in.store(false, Ordering::SeqCst);
    ask(&weir, "/", "lost");
    eventually("it is counted", || {
        (counted(&weir, "dropped", "refused") == 1).then_some(())
    });
    for number in 0..20 {
        ask(&weir, "/", &format!("late-{number}"));
    }
    lets_in.store(true, Ordering::SeqCst);
    eventually("all are delivered", || {
        (count(&weir, "delivered") == 40).then_some(())
    });
    assert_eq!(counted(&weir, "dropped", "refused"), 1);

    assert!(!weir.logged(TOKEN));
    let admin = |path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let response = client::send(weir.admin(), request);
        assert_eq!(response.status, 200, "{path}");
        response.text()
    };
    for path in [
        "/readyz",
        "/metrics",
        "/api/overview",
        "/api/exporters",
        "/api/configuration",
    ] {
        assert!(!admin(path).contains(TOKEN), "{path}");
    }
    assert!(admin("/api/overview").contains("\"otlp\""));
    let printed = Command::new(binary())
        .args(["config", "print", "--sources", "--config"])
        .arg(weir.folder().join("weir.yaml"))
        .env("TOKEN", &bearer)
        .output()
        .expect("weir runs");
    let printed = String::from_utf8_lossy(&printed.stdout);
    assert!(printed.contains("batch_spans: 8192"), "{printed}");
    assert!(
        printed.contains("authorization: \"env.TOKEN\""),
        "{printed}"
    );
    assert!(printed.contains("x-written: REDACTED"), "{printed}");
    assert!(!printed.contains(TOKEN));
}
