//! The pages where something fails, in Chromium: Weir itself, an endpoint, the disk below the store; and an exporter
//! for which there is no form.

use serde_json::json;
use weir_tests::browser::drive;
use weir_tests::service::nobody;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, binary};

use crate::browser::{config, key};

#[test]
fn pages_say_that_weir_is_gone_and_go_on_when_it_is_back() {
    let mut config = config();
    // Those that the next one has as well.
    config["listeners"][0]["address"] = json!(nobody());
    config["admin"]["address"] = json!(nobody());
    let weir = Weir::start(&config.to_string());
    let mut given = key();
    given["pid"] = json!(weir.id());
    given["weir"] = json!(binary());
    given["file"] = json!(weir.folder().join("weir.yaml"));
    drive("gone", &weir, &given);
}

#[test]
fn an_endpoint_that_kept_failing_is_shown_as_left_out() {
    let mut config = config();
    let well = config["upstreams"]["up"]["endpoints"][0].clone();
    config["upstreams"]["up"] = json!({
        "endpoints": [well, "http://127.0.0.1:1"],
        "ejection": { "failures": 1, "time": "1h", "max_time": "1h" },
    });
    drive("ejected", &Weir::start(&config.to_string()), &key());
}

#[test]
fn an_exporter_that_is_none_for_kafka_has_its_state_and_no_form() {
    let collector = Upstream::answering(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
    );
    let mut config = config();
    config["exporters"]["collector"]["otlp"] =
        json!({ "endpoint": collector.url(), "protocol": "http_protobuf" });
    drive("elsewhere", &Weir::start(&config.to_string()), &key());
}

#[test]
fn a_disk_that_refuses_the_store_is_told_of_until_it_does_not() {
    let data = tempfile::tempdir().expect("a folder");
    let mut config = config();
    config["data_dir"] = json!(data.path());
    // Past the limit that a process has for files it would get a signal, and not the error that a full disk gives.
    let deaf = r#"sh -c 'trap "" XFSZ; exec "$@"' sh"#;
    let weir = Weir::limited(&config.to_string(), deaf);
    let mut given = key();
    given["pid"] = json!(weir.id());
    drive("refusing", &weir, &given);
    weir.says("the store of recent traces takes none");
    weir.says("the store of recent traces takes traces again");
}

#[test]
fn a_store_whose_file_cannot_be_opened_is_in_memory_and_says_so() {
    let data = tempfile::tempdir().expect("a folder");
    // Whatever the user is that runs this: a folder is no file.
    std::fs::create_dir(data.path().join("store.db")).expect("a folder in its place");
    let mut config = config();
    config["data_dir"] = json!(data.path());
    drive("memory", &Weir::start(&config.to_string()), &key());
}
