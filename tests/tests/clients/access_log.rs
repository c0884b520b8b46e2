//! The access log.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use weir_tests::client::{self, Connection};
use weir_tests::service::Running;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, binary};

use crate::config;

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn each_response_is_a_line_and_holds_no_query() {
    let upstream = Upstream::hello();
    let weir = Weir::start(
        &config(&upstream, json!({ "access_log": { "path": "access.log" } })).to_string(),
    );
    let file = weir.folder().join("access.log");
    let answer = weir.get(
        "/a/b?api_key=hunter2",
        &["user-agent: test/1", "x-request-id: r-1"],
    );
    assert_eq!(answer.status, 200);
    weir.get("/%00", &[]);
    let lines = eventually("both are written", || {
        let lines = lines(&file);
        (lines.len() == 2).then_some(lines)
    });
    let line = &lines[0];
    for (key, expected) in [
        ("client", json!("127.0.0.1")),
        ("method", json!("GET")),
        ("host", json!("test")),
        ("path", json!("/a/b")),
        ("protocol", json!("1.1")),
        ("status", json!(200)),
        ("bytes", json!(5)),
        ("route", json!("all")),
        ("upstream", json!("up")),
        ("endpoint", json!(upstream.address().to_string())),
        ("tries", json!(1)),
        ("end", json!("complete")),
        ("request_id", json!("r-1")),
        ("user_agent", json!("test/1")),
    ] {
        assert_eq!(line[key], expected, "{key}");
    }
    let seen = upstream.seen().remove(0);
    let parent = seen.header("traceparent").expect("a traceparent");
    assert!(parent.contains(line["trace_id"].as_str().expect("an id")));
    assert_eq!(
        (&lines[1]["status"], &lines[1]["upstream"]),
        (&json!(400), &json!(""))
    );
    assert!(
        !std::fs::read_to_string(&file)
            .expect("the log")
            .contains("hunter2")
    );
}

#[test]
fn a_client_that_leaves_and_a_body_that_breaks_have_lines_too() {
    let silent = Upstream::new(|_, _| {});
    let keys = json!({ "access_log": { "path": "access.log" } });
    let weir = Weir::start(&config(&silent, keys.clone()).to_string());
    let mut connection = Connection::open(weir.proxy());
    connection.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the upstream has it", || {
        (silent.seen().len() == 1).then_some(())
    });
    drop(connection);
    let file = weir.folder().join("access.log");
    let line = eventually("it is written", || lines(&file).pop());
    assert_eq!(
        (&line["status"], &line["end"]),
        (&Value::Null, &json!("client_disconnected"))
    );

    let breaking = Upstream::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        let _ = stream.shutdown(Shutdown::Both);
    });
    let weir = Weir::start(&config(&breaking, keys).to_string());
    weir.get("/", &[]);
    let file = weir.folder().join("access.log");
    let line = eventually("it is written", || lines(&file).pop());
    assert_eq!(
        (&line["status"], &line["end"]),
        (&json!(200), &json!("upstream_body"))
    );
    assert_eq!(line["bytes"], 4);
}

#[test]
fn what_a_shutdown_cuts_and_an_upload_that_is_given_up_have_lines_too() {
    let silent = Upstream::new(|_, _| {});
    let keys = json!({ "access_log": { "path": "access.log" } });
    let mut weir = Weir::start(&config(&silent, keys).to_string());
    let file = weir.folder().join("access.log");
    let mut leaving = Connection::open(weir.proxy());
    leaving.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf");
    drop(leaving);
    let line = eventually("it is written", || lines(&file).pop());
    assert_eq!(line["method"], "POST");
    assert_eq!(
        (&line["status"], &line["end"]),
        (&Value::Null, &json!("client_disconnected"))
    );

    let mut waiting = Connection::open(weir.proxy());
    waiting.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the upstream has it", || {
        let seen = silent.seen();
        seen.iter().any(|seen| seen.method == "GET").then_some(())
    });
    weir.signal("TERM");
    weir.says("draining");
    weir.signal("TERM");
    assert_eq!(weir.wait().code(), Some(0));
    let line = lines(&file).pop().expect("a line");
    assert_eq!(
        (&line["status"], &line["end"]),
        (&Value::Null, &json!("shutdown"))
    );
}

#[test]
fn sigusr1_opens_the_file_anew_and_no_line_is_lost() {
    let upstream = Upstream::hello();
    let weir = Weir::start(
        &config(&upstream, json!({ "access_log": { "path": "access.log" } })).to_string(),
    );
    let file = weir.folder().join("access.log");
    let old = weir.folder().join("access.log.1");
    for _ in 0..20 {
        weir.get("/", &[]);
    }
    std::fs::rename(&file, &old).expect("rotate");
    weir.signal("USR1");
    let mut sent = 20;
    eventually("the new file has a line", || {
        weir.get("/", &[]);
        sent += 1;
        (!lines(&file).is_empty()).then_some(())
    });
    eventually("all are there", || {
        (lines(&old).len() + lines(&file).len() == sent).then_some(())
    });
}

#[test]
fn what_waits_is_written_before_the_end() {
    let upstream = Upstream::hello();
    let keys = json!({ "access_log": { "path": "access.log", "format": "text" } });
    let mut weir = Weir::start(&config(&upstream, keys).to_string());
    let mut connection = Connection::open(weir.proxy());
    for _ in 0..500 {
        connection.send("GET /x HTTP/1.1\r\nhost: test\r\nuser-agent: a\"b\r\n\r\n");
        assert_eq!(connection.receive().expect("a response").status, 200);
    }
    drop(connection);
    weir.signal("TERM");
    assert!(weir.wait().success());
    let text = std::fs::read_to_string(weir.folder().join("access.log")).expect("the log");
    assert_eq!(text.lines().count(), 500);
    let line = text.lines().next().expect("a line");
    assert!(
        line.contains(" 127.0.0.1 \"GET /x HTTP/1.1\" 200 5 "),
        "{line}"
    );
    assert!(line.contains(" \"test\" \"a\\x22b\" all up "), "{line}");
}

#[test]
fn a_file_that_cannot_be_opened_keeps_weir_from_starting_and_a_reload_from_changing_anything() {
    let upstream = Upstream::hello();
    let bad = config(
        &upstream,
        json!({ "access_log": { "path": "/nowhere/access.log" } }),
    );
    let refusal = Weir::refusal(&bad.to_string());
    let said = "[WEIR-C011]: access_log.path: `/nowhere/access.log` cannot be opened: No such file";
    assert!(refusal.contains(said), "{refusal}");
    let weir = Weir::start(&config(&upstream, json!({})).to_string());
    assert_eq!(weir.reload(&bad.to_string()).status, 422);
    assert_eq!(weir.get("/", &[]).status, 200);

    // What only opening finds out.
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("access.log");
    std::os::unix::fs::symlink(&file, &file).expect("a link to itself");
    let bad = config(&upstream, json!({ "access_log": { "path": file } })).to_string();
    let said = format!(
        "cannot open the access log, access_log.path {}: Too many levels",
        file.display()
    );
    let refusal = Weir::refusal(&bad);
    assert!(refusal.contains(&said), "{refusal}");
    let answer = weir.reload(&bad);
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains(&said), "{}", answer.text());
}

#[test]
fn a_file_that_cannot_be_opened_anew_is_named() {
    let upstream = Upstream::hello();
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("access.log");
    let keys = json!({ "access_log": { "path": file } });
    let weir = Weir::start(&config(&upstream, keys).to_string());
    drop(folder);
    weir.signal("USR1");
    eventually("it is told", || {
        let mut log = weir.log().into_iter();
        let line = log.find(|line| line["message"] == "access log cannot be opened anew")?;
        assert_eq!(line["path"].as_str(), file.to_str());
        Some(())
    });
}

/// Where a Weir with this log listens.
fn listening(log: &str) -> Option<SocketAddr> {
    let lines = log.lines();
    let mut lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["message"] == "listening")?;
    line["address"].as_str()?.parse().ok()
}

#[test]
fn without_a_path_lines_go_to_standard_output_in_either_format() {
    let upstream = Upstream::hello();
    let expected = |line: &str, format: &str| match format {
        "json" => serde_json::from_str::<Value>(line).is_ok_and(|line| line["path"] == "/x"),
        _ => line.contains(" 127.0.0.1 \"GET /x HTTP/1.1\" 200 5 "),
    };
    for format in ["json", "text"] {
        let config = config(&upstream, json!({ "access_log": { "format": format } }));
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = folder.path().join("weir.yaml");
        std::fs::write(&file, config.to_string()).expect("written");
        let mut command = Command::new(binary());
        command
            .args(["run", "--no-watch", "--config"])
            .arg(&file)
            .env("WEIR_LOG", "json");
        let (weir, mut lines) = Running::speaking(&mut command, folder);
        let address = eventually("it listens", || listening(&weir.log()));
        assert_eq!(client::get(address, "/x?secret", &[]).status, 200);
        let line = lines.next().expect("a line").expect("text");
        assert!(expected(&line, format), "{line}");
        // Nothing else goes there, neither the log nor a line of a connection that asks for nothing.
        drop(TcpStream::connect(address).expect("connect"));
        let id = weir.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status();
        assert!(told.expect("kill runs").success());
        assert!(lines.next().is_none());
    }
}
