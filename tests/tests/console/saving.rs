//! Saves and reloads that take long: whoever leaves or writes meanwhile, file and generation agree.

use std::fs::{File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use weir_tests::client::{self, Connection};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, guest};

use crate::api::{get, send};
use crate::browser::written;

/// A plugin that loops where a request asks for it.
fn config() -> Value {
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["plugins"]["slow"] = json!({
        "module": guest("hostile"),
        "config": { "mode": "loop", "in": "on-request", "header": "x-harm" },
    });
    config["routes"][0]["plugins"] = json!(["slow"]);
    config
}

/// The same, but it loops while it is loaded, until it is stopped.
fn slow() -> Value {
    let mut config = config();
    config["plugins"]["slow"]["config"]["in"] = json!("configure");
    config
}

/// Begins to save what cannot be loaded, and waits until it is in the file. Gives the file's text.
fn begin_save(weir: &Weir) -> (Connection, String) {
    let before = written(weir);
    let form = get(weir, "/api/configuration/form").json();
    let path = ["plugins", "slow", "config", "in"];
    let edits = json!([{ "path": path, "value": "configure" }]);
    let body = json!({ "digest": form["digest"], "edits": edits }).to_string();
    let mut client = Connection::open(weir.admin());
    client.send(format!(
        "POST /api/configuration/save HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let edited = eventually("it is in the file", || {
        let now = written(weir);
        (now != before).then_some(now)
    });
    assert!(edited.contains("configure"), "{edited}");
    (client, edited)
}

/// Waits until a reload was refused; gives what is served.
fn refused(weir: &Weir) -> Value {
    eventually("the reload is refused", || {
        let answer = get(weir, "/api/configuration").json();
        answer["loads"][0]["refused"].as_str()?;
        Some(answer)
    })
}

#[test]
fn a_save_goes_to_its_end_when_its_client_leaves() {
    let weir = Weir::start(&config().to_string());
    let before = written(&weir);
    let (client, _) = begin_save(&weir);
    drop(client);
    assert_eq!(refused(&weir)["generation"], 1);
    eventually("the file is as before", || {
        (written(&weir) == before).then_some(())
    });
    assert_eq!(get(&weir, "/api/configuration").json()["pending"], false);
    // Nor does it hinder the next.
    let (mut client, _) = begin_save(&weir);
    let answer = client.receive().expect("an answer");
    assert_eq!(answer.status, 422);
    assert!(
        answer.text().contains("nothing was saved"),
        "{}",
        answer.text()
    );
    assert_eq!(written(&weir), before);
}

#[test]
fn what_others_write_during_a_save_stays() {
    let weir = Weir::start(&config().to_string());
    let (mut client, edited) = begin_save(&weir);
    // It cannot be loaded either, should the reload read this already.
    let others = format!("{edited}\n# of somebody else\n");
    weir.write(&others);
    let answer = client.receive().expect("an answer");
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(
        answer.text().contains("by somebody else"),
        "{}",
        answer.text()
    );
    assert_eq!(written(&weir), others);
    assert_eq!(refused(&weir)["generation"], 1);
}

#[test]
fn a_reload_goes_to_its_end_when_its_client_leaves() {
    let weir = Weir::start(&config().to_string());
    weir.write(&slow().to_string());
    let mut client = Connection::open(weir.admin());
    client.send("POST /reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    // The one thread that answers has begun with what came before.
    assert_eq!(client::get(weir.admin(), "/healthz", &[]).status, 200);
    drop(client);
    assert_eq!(refused(&weir)["generation"], 1);
    // The next one has its turn.
    weir.write(&config().to_string());
    let next = send(&weir, "POST", "/reload", &["host: localhost"], "");
    assert_eq!(next.json()["generation"], 2, "{}", next.text());
}

/// A save of what can be loaded.
fn save(weir: &Weir) -> client::Response {
    let form = get(weir, "/api/configuration/form").json();
    let path = ["plugins", "slow", "config", "header"];
    let edits = json!([{ "path": path, "value": "x-other" }]);
    let body = json!({ "digest": form["digest"], "edits": edits }).to_string();
    let headers = ["host: localhost", "content-type: application/json"];
    send(weir, "POST", "/api/configuration/save", &headers, &body)
}

/// Whoever reads the file during a save has the text from before, or the new one, but no part of either.
#[test]
fn a_save_puts_another_file_in_the_place_of_the_first() {
    let weir = Weir::start(&config().to_string());
    let before = written(&weir);
    let path = weir.folder().join("weir.yaml");
    let private = Permissions::from_mode(0o640);
    std::fs::set_permissions(&path, private.clone()).expect("its owner may");
    let mut reader = File::open(&path).expect("the file");
    let answer = save(&weir);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_ne!(written(&weir), before);
    let mut read = String::new();
    reader.read_to_string(&mut read).expect("the first file");
    assert_eq!(read, before);
    let now = path.metadata().expect("the file").permissions();
    assert_eq!(now.mode() & 0o777, private.mode());
    let names = std::fs::read_dir(weir.folder()).expect("its folder");
    let left = |name: &str| name.starts_with(".weir.yaml");
    let mut names = names.map(|entry| entry.expect("an entry").file_name());
    assert!(!names.any(|name| left(&name.to_string_lossy())));
}

#[test]
fn a_file_that_is_marked_as_read_only_is_not_saved_to() {
    let weir = Weir::start(&config().to_string());
    let before = written(&weir);
    let path = weir.folder().join("weir.yaml");
    std::fs::set_permissions(&path, Permissions::from_mode(0o444)).expect("its owner may");
    let answer = save(&weir);
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(
        answer.text().contains("marked as read-only"),
        "{}",
        answer.text()
    );
    assert_eq!(written(&weir), before);
}
