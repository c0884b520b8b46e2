//! What `weir config print --sources` says of the properties that keys set in librdkafka.

use std::process::Command;

use tempfile::TempDir;
use weir_tests::weir::binary;

const CONFIG: &str = r#"
listeners: [{ address: "127.0.0.1:0" }]
admin: { address: "127.0.0.1:0" }
upstreams: { api: { endpoints: ["http://127.0.0.1:9"] } }
routes: [{ upstream: api }]
exporters: { traces: { kafka: { brokers: ["127.0.0.1:9092"], topic: t, buffer_bytes: 32MiB } } }
receivers: { otlp: { exporter: { kafka: { brokers: ["127.0.0.1:9092"] } } } }
"#;

#[test]
fn the_bounds_of_the_clients_queue_are_shown_at_the_key_that_they_follow_from() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, CONFIG).expect("write");
    let mut command = Command::new(binary());
    command.args(["config", "print", "--sources", "--config"]);
    let output = command.arg(&file).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let found = text.lines().map(str::trim);
    let found: Vec<&str> = found
        .filter(|line| line.starts_with("buffer_bytes: "))
        .collect();
    let [exporter, receiver] = found[..] else {
        panic!("{text}");
    };
    assert!(
        exporter.starts_with("buffer_bytes: \"32MiB\"  # "),
        "{exporter}"
    );
    assert!(
        receiver.starts_with("buffer_bytes: \"64MiB\"  # default"),
        "{receiver}"
    );
    for line in found {
        assert!(
            line.ends_with(
                "; librdkafka: queue.buffering.max.kbytes, queue.buffering.max.messages"
            ),
            "{line}"
        );
    }
}
