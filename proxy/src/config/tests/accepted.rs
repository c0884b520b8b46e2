//! Right configurations, and what they become.

use super::*;

mod exporters;
mod sources;

fn accepted(yaml: &str) -> Config {
    accepted_with(yaml, &[], &[])
}

fn accepted_with(yaml: &str, set: &[&str], env: &[(&str, &str)]) -> Config {
    let loaded = load_text(yaml, set, env);
    loaded.unwrap_or_else(|faults| panic!("{faults}")).config
}

fn kafka(more: &str) -> String {
    minimal("exporters:\n  traces:\n    kafka:\n      brokers: ['a:1']\n      topic: t\n") + more
}

fn statuses(codes: &[u16]) -> Vec<http::StatusCode> {
    codes
        .iter()
        .map(|code| http::StatusCode::from_u16(*code).unwrap())
        .collect()
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let config = accepted(&kafka("plugins: { id: { module: 'builtin:request-id' } }"));
    let seconds = Duration::from_secs;
    assert_eq!(
        config,
        Config {
            listeners: vec![Listener {
                address: "127.0.0.1:0".parse().unwrap(),
                plugins: vec![],
                tls: None,
                http2: Http2 {
                    enabled: true,
                    max_streams: 100,
                },
                timeouts: ListenerTimeouts {
                    handshake: seconds(10),
                    head: seconds(30),
                    body: seconds(30),
                    send: seconds(30),
                },
                max_head_bytes: 64 * 1024,
                max_body_bytes: None,
                min_body_rate: 240,
                underscores: Underscores::Drop,
                max_connections: None,
                balance: ListenerBalance::Kernel,
                max_requests_per_connection: None,
                proxy_protocol: false,
            }],
            admin: Admin {
                address: "127.0.0.1:9901".parse().unwrap(),
                token: None,
                hosts: vec![],
                tls: None,
            },
            store: None,
            pushes: IndexMap::new(),
            data_dir: None,
            cache_dir: None,
            spool: Spool {
                max_bytes: 16 << 30,
                segment_bytes: 32 << 20,
                fsync: Fsync::Interval(Duration::from_millis(200)),
            },
            otlp: None,
            files: vec![],
            workers: std::thread::available_parallelism().unwrap(),
            shutdown_grace: seconds(30),
            overload: Some(Duration::from_millis(50)),
            dns: Dns::default(),
            upstreams: IndexMap::from([(
                "api".to_owned(),
                Upstream {
                    endpoints: vec![Entry {
                        endpoint: Endpoint::new("127.0.0.1", 9000),
                        weight: 1,
                        srv: false,
                    }],
                    timeouts: UpstreamTimeouts {
                        connect: seconds(5),
                        response: seconds(60),
                        body: seconds(60),
                        idle: seconds(60),
                        tunnel: seconds(600),
                    },
                    upgrades: vec!["websocket".to_owned()],
                    max_requests: None,
                    limits: UpstreamLimits {
                        connections: None,
                        pending: 1000,
                    },
                    balance: Balance::RoundRobin,
                    health: None,
                    ejection: Ejection {
                        enabled: true,
                        failures: 5,
                        statuses: statuses(&[500, 502, 503, 504]),
                        time: seconds(10),
                        max_time: seconds(300),
                        max_percent: 50,
                    },
                    slow_start: None,
                    retries: Retries {
                        attempts: 1,
                        budget_percent: 20,
                        statuses: statuses(&[502, 503, 504]),
                    },
                    resolve_interval: seconds(30),
                },
            )]),
            plugins: IndexMap::from([(
                "id".to_owned(),
                Plugin {
                    module: Module::Builtin("request-id".to_owned()),
                    sha256: None,
                    config: serde_json::json!({}),
                    upstreams: vec![],
                    on_error: OnError::Reject,
                    on_large_body: OnLargeBody::Reject,
                    limits: Limits {
                        memory: None,
                        cpu_time: Duration::from_millis(50),
                        wall_time: seconds(5),
                        body: 4 << 20,
                        answer: 1 << 30,
                        answer_time: seconds(3600),
                        kv: 8 << 20,
                        calls: 8,
                    },
                    isolation: Isolation::Shared,
                    breaker: Breaker {
                        failures: 50,
                        pause: seconds(5),
                    },
                    recycle: Recycle {
                        hooks: 100_000,
                        age: seconds(3600),
                    },
                },
            )]),
            kv: None,
            routes: vec![Route {
                name: "/*".to_owned(),
                matches: RouteMatch {
                    host: None,
                    path: "/*".to_owned(),
                    methods: vec![],
                    headers: vec![],
                    query: vec![],
                },
                action: Action::Upstream(vec![Share {
                    upstream: "api".to_owned(),
                    weight: 1,
                }]),
                rewrite: Rewrite::default(),
                timeouts: RouteTimeouts::default(),
                max_body_bytes: None,
                min_body_rate: None,
                mirror: None,
                plugins: vec![],
            }],
            clients: Clients::default(),
            access_log: None,
            b3: None,
            exporters: IndexMap::from([(
                "traces".to_owned(),
                Exporter::Kafka(Box::new(Kafka {
                    enabled: true,
                    brokers: vec!["a:1".to_owned()],
                    topic: "t".to_owned(),
                    format: super::super::Format::Json,
                    tls: None,
                    sasl: None,
                    compression: Compression::None,
                    batch_size: 100,
                    flush_interval: seconds(1),
                    auto_create_topic: false,
                    producer: Producer::default(),
                    dead_letter: None,
                    buffer_bytes: 64 << 20,
                    filters: Filters {
                        plugin_span_filter: None,
                        request_headers: vec![],
                        redact_headers: true,
                        disable_content_logging: false,
                        excluded_attributes: vec![],
                        sampling: Sampling {
                            ratio: 1.0,
                            keep_errors: true,
                            keep_slower_than: None,
                        },
                    },
                })),
            )]),
        }
    );
}

#[test]
fn json_is_read_as_the_yaml_it_is() {
    let json = r#"{"listeners": [{"address": "127.0.0.1:0"}], "routes": [{"upstream": "api"}],
        "upstreams": {"api": {"endpoints": ["http://127.0.0.1:9000"]}}}"#;
    assert_eq!(accepted(json), accepted(&minimal("")));
}

#[test]
fn aliases_and_merge_keys_are_resolved() {
    let config = accepted(&minimal(
        "plugins:\n  one: &one { module: 'builtin:request-id', on_error: continue }\n  \
         two: { <<: *one, on_error: reject }\n",
    ));
    assert_eq!(config.plugins["one"].on_error, OnError::Continue);
    assert_eq!(config.plugins["two"].on_error, OnError::Reject);
    assert_eq!(config.plugins["two"].module, config.plugins["one"].module);
}

#[test]
fn a_chains_keys_take_the_place_of_a_plugins_own() {
    let yaml = format!(
        "{LISTENERS}\n{UPSTREAMS}\nplugins:\n  a: {{ module: 'builtin:request-id', config: {{ one: 1, two: \
         {{ x: 1, y: 2 }} }} }}\n  b: {{ module: 'builtin:request-id', config: [1] }}\nroutes:\n  - \
         upstream: api\n    plugins:\n      - a: {{ two: {{ z: env.Z }}, three: null }}\n      - b: {{ one: 1 }}\n"
    );
    let config = accepted_with(&yaml, &[], &[("Z", "secret")]);
    let there = &config.routes[0].plugins;
    let configured = |index: usize, plugin: &str| {
        config.plugins[plugin]
            .configured(&there[index])
            .into_owned()
    };
    assert_eq!(
        configured(0, "a"),
        serde_json::json!({ "one": 1, "two": { "z": "secret" }, "three": null })
    );
    assert_eq!(configured(1, "b"), serde_json::json!({ "one": 1 }));
    let items: Vec<String> = config.plugin_uses().map(|(at, _)| at.to_string()).collect();
    assert_eq!(items, ["routes[0].plugins[0]", "routes[0].plugins[1]"]);
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn paths_are_meant_from_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.yaml");
    let module = folder.path().join("own.wasm");
    fs::write(&module, "").unwrap();
    let more = "data_dir: data\nplugins: { own: { module: ./own.wasm } }";
    fs::write(&file, minimal(more)).unwrap();
    let config = load(&file, &[], &Environment::default()).unwrap().config;
    assert_eq!(config.data_dir, Some(folder.path().join("data")));
    let Module::File(path) = &config.plugins["own"].module else {
        panic!("not a file");
    };
    assert_eq!(path.canonicalize().unwrap(), module.canonicalize().unwrap());
}

#[test]
fn an_endpoint_has_a_host_a_port_and_a_weight() {
    let config = accepted(&format!(
        "{LISTENERS}\n{ROUTES}\nupstreams: {{ api: {{ endpoints: \
         ['http://Api.Example', {{ address: 'http://[::1]:81/', weight: 3 }}, \
         {{ address: 'http://a:1' }}] }} }}"
    ));
    let endpoints = config.upstreams["api"].endpoints.iter();
    let endpoints: Vec<_> = endpoints
        .map(|entry| {
            (
                entry.endpoint.host.as_str(),
                entry.endpoint.port,
                entry.weight,
            )
        })
        .collect();
    assert_eq!(
        endpoints,
        [("api.example", 80, 1), ("::1", 81, 3), ("a", 1, 1)]
    );
}

#[test]
fn the_records_of_a_name_may_say_the_endpoints() {
    let config = accepted(&format!(
        "{LISTENERS}\n{ROUTES}\ndns: {{ servers: [127.0.0.1, '127.0.0.1:5353', '::1', '[::1]:5353'] }}\n\
         upstreams: {{ api: {{ endpoints: [{{ srv: 'http://_Api._tcp.example' }}] }} }}"
    ));
    let [entry] = config.upstreams["api"].endpoints.as_slice() else {
        panic!("not one");
    };
    assert!(entry.srv);
    assert_eq!(entry.endpoint, Endpoint::new("_api._tcp.example", 0));
    let servers = config.dns.servers.iter().map(ToString::to_string);
    let expected = ["127.0.0.1:53", "127.0.0.1:5353", "[::1]:53", "[::1]:5353"];
    assert_eq!(servers.collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_left_out_of_a_receiver_has_the_documented_default() {
    let config = accepted(&minimal(
        "receivers: { otlp: { exporter: { kafka: { brokers: ['localhost:9092'] } } } }",
    ));
    let otlp = config.otlp.unwrap();
    let (grpc, http) = (otlp.grpc.unwrap(), otlp.http.unwrap());
    assert_eq!(grpc.address.to_string(), "0.0.0.0:4317");
    assert_eq!(http.address.to_string(), "0.0.0.0:4318");
    assert_eq!(grpc.max_body_bytes, 4 << 20);
    assert_eq!(http.max_body_bytes, 20 << 20);
    assert_eq!(otlp.queue_size, Some(10_000));
    assert_eq!(otlp.queue_bytes, 256 << 20);
    assert_eq!(otlp.format, crate::config::otlp::Format::Json);
    for (destination, topic) in [
        (otlp.traces, "otlp-traces"),
        (otlp.metrics, "otlp-metrics"),
        (otlp.logs, "otlp-logs"),
    ] {
        assert_eq!(destination.kafka.topic, topic);
        assert_eq!(destination.kafka.batch_size, 10_000);
        assert_eq!(destination.kafka.flush_interval, Duration::from_millis(5));
        assert!(!destination.keyed);
    }
}

#[test]
fn a_receiver_with_a_spool_may_wait_long_for_a_batch() {
    let config = accepted(&minimal(
        "data_dir: data\nreceivers: { otlp: { exporter: { kafka: { brokers: ['localhost:9092'], \
         flush_interval_ms: 60000 } } } }",
    ));
    let otlp = config.otlp.unwrap();
    assert_eq!(otlp.traces.kafka.flush_interval, Duration::from_mins(1));
}

#[test]
fn redis_is_reached_by_a_url_with_a_port_and_a_database_or_without() {
    let redis = |redis: &str| {
        let config = accepted(&minimal(&format!("kv: {{ redis: {redis} }}")));
        config.kv.unwrap()
    };
    let plain = redis("{ url: 'redis://Localhost' }");
    assert_eq!(plain.endpoint.authority(), "localhost:6379");
    assert_eq!((plain.database, plain.prefix.as_str()), (0, "weir"));
    assert_eq!(plain.timeout, Duration::from_secs(1));
    assert_eq!((plain.username, plain.password), (None, None));
    let full =
        redis("{ url: 'redis://[::1]:6380/3', username: edge, password: secret, prefix: edge }");
    assert_eq!(full.endpoint.authority(), "[::1]:6380");
    assert_eq!((full.database, full.prefix.as_str()), (3, "edge"));
    assert_eq!(full.username.as_deref(), Some("edge"));
    assert_eq!(full.password, Some(Secret::new("secret".to_owned())));
}
