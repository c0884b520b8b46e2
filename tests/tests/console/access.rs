//! Who may use the API and the pages: by which name, from which site, with which token.

use serde_json::json;
use weir_tests::client;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::api::{LOCAL, get, send, with_store};

#[test]
fn names_that_were_made_to_point_here_read_nothing() {
    let weir = Weir::start(&with_store().to_string());
    for path in ["/api/overview", "/api/traces", "/traces", "/assets/x.js"] {
        let answer = send(&weir, "GET", path, &["host: evil.test"], "");
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text().contains("admin.hosts"), "{}", answer.text());
    }
    let page = send(
        &weir,
        "GET",
        "/",
        &["host: evil.test", "origin: http://evil.test"],
        "",
    );
    assert_eq!(page.status, 403);
    assert_eq!(get(&weir, "/api/overview").status, 200);
    let mut config = with_store();
    config["admin"]["hosts"] = json!(["Console.Internal"]);
    assert_eq!(weir.reload(&config.to_string()).status, 200);
    let named = send(
        &weir,
        "GET",
        "/api/overview",
        &["host: console.internal:9901"],
        "",
    );
    assert_eq!(named.status, 200);
}

#[test]
fn other_sites_write_nothing() {
    let weir = Weir::start(&with_store().to_string());
    let json = "content-type: application/json";
    for stranger in [
        "origin: http://evil.test",
        "sec-fetch-site: cross-site",
        "sec-fetch-site: same-site",
    ] {
        for path in [
            "/api/configuration/save",
            "/reload",
            "/api/exporters/test",
            "/api/requests",
        ] {
            let answer = send(&weir, "POST", path, &[LOCAL, json, stranger], "{}");
            assert_eq!(answer.status, 403, "{path} {stranger}");
        }
    }
    let own = ["host: localhost:1", "origin: http://localhost:1", json];
    let answer = send(
        &weir,
        "POST",
        "/api/exporters/test",
        &own,
        "{\"exporter\":\"x\"}",
    );
    assert_eq!(answer.status, 404, "{}", answer.text());
    // A form of another site needs no leave to send this.
    let form = "content-type: text/plain";
    let answer = send(&weir, "POST", "/api/exporters/test", &[LOCAL, form], "{}");
    assert_eq!(answer.status, 415);
}

#[test]
fn other_sites_start_no_reads() {
    let weir = Weir::start(&with_store().to_string());
    let strangers = [
        "origin: http://evil.test",
        "origin: null",
        "sec-fetch-site: cross-site",
        "sec-fetch-site: same-site",
    ];
    for stranger in strangers {
        for path in [
            "/api/traces/tail",
            "/api/traces?attribute=a",
            "/api/configuration/form?at=plugins&at=x",
            "/api/overview",
        ] {
            let local = format!("host: {}", weir.admin());
            let answer = send(&weir, "GET", path, &[&local, stranger], "");
            assert_eq!(answer.status, 403, "{path} {stranger}");
        }
        // Links from elsewhere lead to pages.
        let page = [LOCAL, "accept: text/html", stranger];
        assert_eq!(send(&weir, "GET", "/traces/abc", &page, "").status, 200);
    }
    for own in ["sec-fetch-site: same-origin", "sec-fetch-site: none"] {
        let answer = send(&weir, "GET", "/api/overview", &[LOCAL, own], "");
        assert_eq!(answer.status, 200, "{own}");
    }
}

#[test]
fn pages_load_nothing_from_elsewhere_and_are_no_ones_frame() {
    let weir = Weir::start(&with_store().to_string());
    let page = send(
        &weir,
        "GET",
        "/traces/abc",
        &[LOCAL, "accept: text/html"],
        "",
    );
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains("<base href=\"./../\">"),
        "{}",
        page.text()
    );
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    assert!(
        policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    let index = get(&weir, "/");
    assert!(
        index.text().starts_with("weir admin"),
        "for a terminal it is text"
    );
}

#[test]
fn the_token_opens_the_api_and_a_session_the_pages() {
    let mut config = with_store();
    config["admin"]["token"] = json!("env.TOKEN");
    let weir = Weir::start_with(&config.to_string(), &[("TOKEN", "s3cret-token")]);
    let html = "accept: text/html";
    assert_eq!(get(&weir, "/api/overview").status, 401);
    let form = send(&weir, "GET", "/traces/abc", &[LOCAL, html], "");
    assert_eq!(form.status, 401);
    assert!(form.text().contains("Admin token"), "{}", form.text());
    let wrong = send(&weir, "POST", "/traces/abc", &[LOCAL], "token=wrong");
    assert_eq!(wrong.status, 401);
    assert!(wrong.header("set-cookie").is_none());
    let cross = send(
        &weir,
        "POST",
        "/",
        &[LOCAL, "origin: http://evil.test"],
        "token=s3cret-token",
    );
    assert_eq!(cross.status, 403);
    let right = send(&weir, "POST", "/traces/abc", &[LOCAL], "token=s3cret-token");
    assert_eq!((right.status, right.header("location")), (303, Some("abc")));
    let cookie = right.header("set-cookie").expect("a session");
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("s3cret"), "{cookie}");
    let session = format!(
        "cookie: other=1; {}",
        cookie.split(';').next().expect("a value")
    );
    assert_eq!(
        send(&weir, "GET", "/api/overview", &[LOCAL, &session], "").status,
        200
    );
    assert_eq!(
        send(&weir, "GET", "/traces", &[LOCAL, html, &session], "").status,
        200
    );
    let bearer = "authorization: Bearer s3cret-token";
    // With a token, no name could have read anything without it.
    assert_eq!(
        send(
            &weir,
            "GET",
            "/api/overview",
            &["host: any.name", bearer],
            ""
        )
        .status,
        200
    );
    let forged = "cookie: weir_session=AAAA";
    assert_eq!(
        send(&weir, "GET", "/api/overview", &[LOCAL, forged], "").status,
        401
    );
    assert!(!weir.logged("s3cret-token"));
}

#[test]
fn an_address_that_others_reach_is_read_only_without_a_token() {
    let mut config = with_store();
    config["admin"]["address"] = json!("0.0.0.0:0");
    let weir = Weir::start(&config.to_string());
    let json = "content-type: application/json";
    let port = weir.admin().port();
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let post = |path: &str| {
        client::send(
            admin,
            format!(
                "POST {path} HTTP/1.1\r\nconnection: close\r\n{LOCAL}\r\n{json}\r\ncontent-length: 2\r\n\r\n{{}}"
            ),
        )
    };
    for path in [
        "/api/configuration/save",
        "/api/exporters/test",
        "/api/requests",
        "/reload",
    ] {
        let answer = post(path);
        assert_eq!(answer.status, 403, "{path}");
        assert!(
            answer.text().contains("set `admin.token`"),
            "{}",
            answer.text()
        );
    }
    let ask = |path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{LOCAL}\r\n\r\n");
        client::send(admin, head).json()
    };
    let overview = ask("/api/overview");
    assert!(overview["read_only"].is_string());
    assert_eq!(overview["no_send"], overview["read_only"]);
    let configuration = ask("/api/configuration");
    assert_eq!(configuration["no_reload"], overview["read_only"]);
    // Nothing was loaded, not even the same again. A signal asks for it from within the machine.
    let loads = configuration["loads"].as_array().map(Vec::len);
    assert_eq!((&configuration["generation"], loads), (&json!(1), Some(1)));
    weir.signal("HUP");
    eventually("the reload is made", || {
        (ask("/api/configuration")["generation"] == 2).then_some(())
    });
}

#[test]
fn who_shows_the_token_reloads_at_an_address_that_others_reach() {
    let mut config = with_store();
    config["admin"] = json!({ "address": "0.0.0.0:0", "token": "s3cret-token" });
    let weir = Weir::start(&config.to_string());
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], weir.admin().port()));
    let reload = |token: &str| {
        client::send(
            admin,
            format!(
                "POST /reload HTTP/1.1\r\nconnection: close\r\n{LOCAL}\r\n\
                 authorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
            ),
        )
    };
    assert_eq!(reload("another").status, 401);
    assert_eq!(reload("s3cret-token").status, 200);
}
