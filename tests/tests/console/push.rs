//! Metrics that are pushed, to Debian's Prometheus: by remote write, and by OTLP through OpenTelemetry's
//! collector, for this Prometheus takes no OTLP itself.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::client;
use weir_tests::service::{self, Running, free_port};
use weir_tests::upstream::{Seen, Upstream};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

pub(crate) struct Prometheus {
    running: Running,
    address: SocketAddr,
}

impl Prometheus {
    /// One that scrapes nothing, and takes what is written to it.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_with(folder, "scrape_configs: []\n")
    }

    /// One with this configuration, whose files are in `folder`.
    pub(crate) fn start_with(folder: TempDir, config: &str) -> Self {
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("a file");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-remote-write-receiver")
            .arg("--enable-feature=exemplar-storage");
        let running = Running::start(&mut command, folder);
        let prometheus = Self { running, address };
        eventually("Prometheus is ready", || {
            let ready = TcpStream::connect(address).is_ok()
                && client::get(address, "/-/ready", &[]).status == 200;
            ready.then_some(())
        });
        prometheus
    }

    pub(crate) fn write(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// The data of what it answers at a path.
    pub(crate) fn ask(&self, path: &str) -> Value {
        client::get(self.address, path, &[]).json()["data"].clone()
    }

    /// Names of all metrics of an instance.
    fn names(&self, instance: &str) -> BTreeSet<String> {
        let selector = format!("%7Binstance%3D%22{instance}%22%7D");
        let found = self.ask(&format!(
            "/api/v1/label/__name__/values?match%5B%5D={selector}"
        ));
        let names = found.as_array().into_iter().flatten();
        names
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect()
    }

    /// What it answers to an expression, with `status`.
    pub(crate) fn query(&self, expression: &str) -> Value {
        let bytes = expression.bytes();
        let query: String = bytes.map(|byte| format!("%{byte:02X}")).collect();
        client::get(self.address, &format!("/api/v1/query?query={query}"), &[]).json()
    }

    /// The latest value, of the only series that fits.
    pub(crate) fn value(&self, name: &str, labels: &str) -> Option<f64> {
        let found = self.query(&format!("{name}{{{labels}}}"));
        let series = found["data"]["result"].as_array()?;
        assert!(series.len() < 2, "{found}");
        series.first()?["value"][1].as_str()?.parse().ok()
    }
}

/// OpenTelemetry's collector, which takes metrics and writes them to Prometheus.
fn collector(prometheus: &Prometheus) -> (Running, SocketAddr, SocketAddr) {
    let [grpc, http] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let config = json!({
        "receivers": { "otlp": { "protocols": {
            "grpc": { "endpoint": grpc }, "http": { "endpoint": http },
        }}},
        "exporters": { "prometheusremotewrite": {
            "endpoint": prometheus.write(),
            "target_info": { "enabled": false },
        }},
        "service": {
            "telemetry": { "metrics": { "level": "none" } },
            "pipelines": { "metrics": {
                "receivers": ["otlp"], "exporters": ["prometheusremotewrite"],
            }},
        },
    });
    (service::collector(&config, &[grpc, http]), grpc, http)
}

fn pushing(push: Value) -> Value {
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["plugins"] = json!({ "request-id": { "module": "builtin:request-id" } });
    config["listeners"][0]["plugins"] = json!(["request-id"]);
    config["store"] = json!({});
    config["metrics"] = json!({ "push": push });
    config
}

#[test]
fn prometheus_has_the_same_metrics_whichever_way_they_come() {
    let prometheus = Prometheus::start();
    let (collector, grpc, http) = collector(&prometheus);
    let config = pushing(json!({
        "prometheus": { "endpoint": prometheus.write(), "instance": "written", "interval": "1s",
            "labels": { "region": "north" } },
        "collector": { "endpoint": format!("http://{grpc}"), "protocol": "otlp_grpc",
            "instance": "grpc", "interval": "1s" },
        "gateway": { "endpoint": format!("http://{http}"), "protocol": "otlp_http",
            "instance": "http", "interval": "1s" },
    }));
    let weir = Weir::start(&config.to_string());
    for n in 0..3 {
        weir.get(&format!("/{n}"), &[]);
    }
    let instances = ["written", "grpc", "http"];
    let ok =
        |instance| format!("job=\"weir\",instance=\"{instance}\",route=\"all\",status=\"2xx\"");
    for instance in instances {
        eventually(&format!("three requests are counted by {instance}"), || {
            let count = prometheus.value("weir_requests_total", &ok(instance));
            assert!(
                !weir.logged("metrics cannot be pushed"),
                "{:#?}",
                weir.log()
            );
            (count == Some(3.0)).then_some(())
        });
        let bucket = format!("instance=\"{instance}\",route=\"all\",le=\"+Inf\"");
        let count = prometheus.value("weir_request_duration_seconds_bucket", &bucket);
        assert_eq!(count, Some(3.0), "{instance} {}", collector.log());
    }
    let north = "region=\"north\",route=\"all\",status=\"2xx\"";
    assert_eq!(prometheus.value("weir_requests_total", north), Some(3.0));

    // A dashboard made for one serves the others.
    let scraped = client::get(weir.admin(), "/metrics", &["accept: text/plain"]).text();
    let samples = scraped.lines().filter(|line| !line.starts_with('#'));
    let scraped: BTreeSet<String> = samples
        .filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned()))
        .collect();
    for instance in instances {
        eventually(
            &format!("{instance} has every metric that is scraped"),
            || {
                let pushed = prometheus.names(instance);
                (pushed == scraped).then_some(()).or_else(|| {
                    let more: Vec<_> = pushed.difference(&scraped).collect();
                    assert!(more.is_empty(), "{instance} has names of its own: {more:?}");
                    None
                })
            },
        );
    }

    let id = get_trace(&weir);
    eventually("Prometheus has a trace beside a bucket", || {
        let query = "/api/v1/query_exemplars?query=weir_request_duration_seconds_bucket&start=0&end=9999999999";
        let found = prometheus.ask(query).to_string();
        found.contains(&id).then_some(())
    });
    drop(prometheus.running);
}

/// The id of the latest trace.
fn get_trace(weir: &Weir) -> String {
    eventually("the trace is there", || {
        let traces = crate::api::get(weir, "/api/traces").json();
        traces["traces"][0]["trace_id"].as_str().map(str::to_owned)
    })
}

#[test]
fn the_last_numbers_of_a_process_are_pushed_at_its_end() {
    let prometheus = Prometheus::start();
    let config = pushing(json!({
        "prometheus": { "endpoint": prometheus.write(), "instance": "ends", "interval": "1h" },
    }));
    let mut weir = Weir::start(&config.to_string());
    eventually("the first push is there", || {
        prometheus.value("weir_config_generation", "instance=\"ends\"")
    });
    weir.get("/", &[]);
    weir.signal("TERM");
    weir.wait();
    let labels = "instance=\"ends\",route=\"all\",status=\"2xx\"";
    assert_eq!(prometheus.value("weir_requests_total", labels), Some(1.0));
}

#[test]
fn a_push_that_is_refused_is_said_once_and_counted_and_shows_no_token() {
    let away = Upstream::new(|_: &Seen, stream: &mut TcpStream| {
        let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-type: text/plain\r\ncontent-length: 20\r\n\r\nno such token: hush5";
        let _ = stream.write_all(answer.as_bytes());
    });
    let config = pushing(json!({
        "there": { "endpoint": format!("{}/write", away.url()), "interval": "1s",
            "headers": { "authorization": "env.TOKEN" } },
    }));
    let weir = Weir::start_with(&config.to_string(), &[("TOKEN", "Bearer hush5")]);
    weir.says("metrics cannot be pushed");
    eventually("failures are counted", || {
        let text = client::get(weir.admin(), "/metrics", &[]).text();
        let count = text.lines().find_map(|line| {
            line.strip_prefix("weir_metrics_push_failures_total{push=\"there\"} ")
        });
        (count?.parse::<u64>().ok()? > 1).then_some(())
    });
    let said = format!("{:#?}", weir.log());
    assert_eq!(
        said.matches("metrics cannot be pushed").count(),
        1,
        "{said}"
    );
    assert!(
        said.contains("HTTP 401") && !said.contains("hush5"),
        "{said}"
    );
    let seen = away.seen();
    let seen = seen.first().expect("a request");
    assert_eq!((&*seen.method, &*seen.target), ("POST", "/write"));
    for (name, value) in [
        ("content-encoding", "snappy"),
        ("content-type", "application/x-protobuf"),
        ("x-prometheus-remote-write-version", "0.1.0"),
        ("authorization", "Bearer hush5"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }

    // A reload takes it away.
    let mut without = config.clone();
    without["metrics"]["push"]["there"]["enabled"] = json!(false);
    assert_eq!(weir.reload(&without.to_string()).status, 200);
    assert_eq!(weir.get("/", &[]).status, 200);
}
