//! OpenTelemetry's collector behind Weir, by each protocol and compression.

use std::net::SocketAddr;

use serde_json::json;
use weir_tests::config::config;
use weir_tests::service::{self, free_port};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::ask;

#[test]
fn the_collector_takes_each_compression_by_each_protocol() {
    let [grpc, http] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let collector = json!({
        "receivers": { "otlp": { "protocols": {
            "grpc": { "endpoint": grpc }, "http": { "endpoint": http },
        }}},
        "exporters": { "debug": { "verbosity": "detailed" } },
        "service": {
            "telemetry": { "metrics": { "level": "none" } },
            "pipelines": { "traces": { "receivers": ["otlp"], "exporters": ["debug"] } },
        },
    });
    let collector = service::collector(&collector, &[grpc, http]);
    let mut config = config(&Upstream::hello());
    let mut names = Vec::new();
    for (protocol, address) in [("grpc", grpc), ("http_protobuf", http), ("http_json", http)] {
        for compression in ["none", "gzip", "zstd"] {
            let name = format!("{protocol}-{compression}");
            config["exporters"][&name]["otlp"] = json!({
                "endpoint": format!("http://{address}"),
                "protocol": protocol,
                "compression": compression,
                "flush_interval": "1ms",
            });
            names.push(name);
        }
    }
    let weir = Weir::start(&config.to_string());
    ask(&weir, "/", "compressed");
    for name in &names {
        let delivered = format!("weir_export_delivered_total{{exporter=\"{name}\"}}");
        eventually(&format!("{name} has delivered"), || {
            (weir.count(&delivered) == 1).then_some(())
        });
    }
    eventually("the collector has the trace of each", || {
        let log = collector.log();
        let traces = log.matches("weir.request.id: Str(compressed)").count();
        (traces == names.len()).then_some(())
    });
}
