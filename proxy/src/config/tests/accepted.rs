//! Right configurations, and what they become.

use super::*;

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

fn kafka_of(config: &Config) -> &Kafka {
    let Exporter::Kafka(kafka) = &config.exporters["traces"] else {
        panic!("a Kafka exporter");
    };
    kafka
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
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let env = [("WEIR__SHUTDOWN_GRACE", "2s"), ("WEIR__WORKERS", "2")];
    let config = accepted_with(&minimal("shutdown_grace: 1s"), &["workers=3"], &env);
    assert_eq!(config.shutdown_grace, Duration::from_secs(2));
    assert_eq!(config.workers.get(), 3);
}

#[test]
fn variables_find_keys_in_any_case_and_with_hyphens() {
    let yaml = minimal("plugins: { My-Id: { module: 'builtin:request-id' } }");
    let env = [("WEIR__PLUGINS__MY_ID__LIMITS__WALL_TIME", "1s")];
    let config = accepted_with(&yaml, &[], &env);
    assert_eq!(
        config.plugins["My-Id"].limits.wall_time,
        Duration::from_secs(1)
    );
}

#[test]
fn overrides_can_add_items_lists_and_mappings() {
    let set = [
        "listeners.1.address=127.0.0.1:1",
        "plugins={ id: { module: 'builtin:request-id' } }",
        "routes[0].plugins=[id]",
    ];
    let config = accepted_with(&minimal(""), &set, &[]);
    assert_eq!(config.listeners[1].address.port(), 1);
    let [there] = &config.routes[0].plugins[..] else {
        panic!("one plugin: {:?}", config.routes[0].plugins)
    };
    assert_eq!((there.plugin.as_str(), &there.config), ("id", &None));
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
fn variables_of_others_are_left_alone() {
    accepted_with(&minimal(""), &[], &[("WEIR_HOME", "x"), ("PATH", "y")]);
}

#[test]
fn secrets_and_plugin_strings_come_from_the_environment() {
    let yaml = minimal(
        "admin: { token: env.TOKEN }\nplugins:\n  auth:\n    module: builtin:key-auth\n    \
         config: { keys: [env.KEY, literal], header: env.key here }\n",
    );
    let config = accepted_with(&yaml, &[], &[("TOKEN", "t0k"), ("KEY", "k3y")]);
    assert_eq!(config.admin.token, Some(Secret::new("t0k".to_owned())));
    assert_eq!(
        config.plugins["auth"].config,
        serde_json::json!({"keys": ["k3y", "literal"], "header": "env.key here"})
    );
}

#[test]
fn a_checked_configuration_prints_no_secret() {
    let yaml = kafka(
        "      sasl_enabled: true\n      sasl: { mechanism: PLAIN, username: hunter2, password: \
         hunter2 }\nadmin: { token: hunter2 }\nplugins:\n  auth: { module: 'builtin:key-auth', \
         config: { keys: [hunter2] } }\n",
    );
    let loaded = load_text(&yaml, &[], &[]).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn mutual_tls_takes_pem_from_text_files_and_variables() {
    const PEM: &str = "-----BEGIN CERTIFICATE-----";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), PEM).unwrap();
    let file = folder.path().join("weir.yaml");
    let yaml = kafka(&format!(
        "      tls_enabled: true\n      ca_cert: ca.pem\n      client_cert: {PEM:?}\n      \
         client_key: env.KEY\n"
    ));
    fs::write(&file, yaml).unwrap();
    let config = load(&file, &[], &[("KEY", PEM)].into_iter().collect());
    let config = config.unwrap().config;
    let pem = Secret::new(PEM.to_owned());
    let tls = kafka_of(&config).tls.as_ref().unwrap();
    assert_eq!(tls.ca_cert, Some(pem.clone()));
    assert_eq!(tls.client, Some((PEM.to_owned(), pem)));
}

#[test]
fn what_is_switched_off_asks_for_no_secret() {
    let config = accepted(&kafka(
        "      ca_cert: missing.pem\n      sasl_enabled: false\n      sasl: { password: env.UNSET }\n",
    ));
    assert_eq!(kafka_of(&config).tls, None);
    assert_eq!(kafka_of(&config).sasl, None);
}

#[test]
fn names_in_filters_are_as_the_filters_compare_them() {
    let config = accepted(&kafka(
        "      request_headers: [X-Custom-*]\n      \
         plugin_span_filter: { mode: include, plugins: [My Id] }\n\
         plugins: { my id: { module: 'builtin:request-id' } }\n",
    ));
    let filters = &kafka_of(&config).filters;
    assert_eq!(filters.request_headers, ["x-custom-*"]);
    let filter = filters.plugin_span_filter.as_ref().unwrap();
    assert!(filter.include);
    assert_eq!(filter.plugins, ["my-id"]);
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
fn every_key_of_the_producer_is_read() {
    let config = accepted_with(
        &kafka(
            "      flush_interval_ms: 7
      producer:
        acks: one
        client_id: edge-1
        max_message_bytes: 2000000
        linger_ms: 5
        retries: 3
        retry_backoff_ms: 20
        retry_backoff_max_ms: 30
        message_timeout_ms: 0
        request_timeout_ms: 40
        batch_size: 50
        partitioner: fnv1a-random
        security_protocol: PLAINTEXT
        custom_config: { queue.buffering.max.kbytes: 2048, socket.nagle.disable: true, debug: env.DEBUG }",
        ),
        &[],
        &[("DEBUG", "broker")],
    );
    let kafka = kafka_of(&config);
    assert_eq!(kafka.flush_interval, Duration::from_millis(5));
    let custom = [
        ("queue.buffering.max.kbytes", "2048"),
        ("socket.nagle.disable", "true"),
        ("debug", "broker"),
    ];
    let custom = custom.map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned())));
    assert_eq!(
        kafka.producer,
        Producer {
            acks: Acks::One,
            client_id: "edge-1".to_owned(),
            max_message_bytes: 2_000_000,
            retries: 3,
            retry_backoff: Duration::from_millis(20),
            retry_backoff_max: Duration::from_millis(30),
            message_timeout: Duration::ZERO,
            request_timeout: Duration::from_millis(40),
            batch_bytes: 50,
            partitioner: Partitioner::Fnv1aRandom,
            custom_config: IndexMap::from(custom),
        }
    );
}

#[test]
fn sizes_of_librdkafkas_own_are_what_weir_goes_by() {
    let config = accepted(&kafka(
        "      producer: { custom_config: { message.max.bytes: 5000, batch.size: 7000 } }",
    ));
    let producer = &kafka_of(&config).producer;
    assert_eq!(
        (producer.max_message_bytes, producer.batch_bytes),
        (5000, 7000)
    );
}

#[test]
fn a_message_lives_longer_than_its_batch_waits() {
    let config = accepted(&kafka("      flush_interval_ms: 900000"));
    let producer = &kafka_of(&config).producer;
    assert_eq!(producer.message_timeout, Duration::from_mins(20));
}

#[test]
fn what_is_left_out_of_a_receiver_has_the_documented_default() {
    let config = accepted(&minimal(
        "receivers: { otlp: { exporter: { kafka: { brokers: ['localhost:9092'] } } } }",
    ));
    let otlp = config.otlp.unwrap();
    let addresses = otlp.addresses().map(|address| address.to_string());
    assert_eq!(
        addresses.collect::<Vec<_>>(),
        ["0.0.0.0:4317", "0.0.0.0:4318"]
    );
    assert_eq!(otlp.grpc.unwrap().max_body_bytes, 4 << 20);
    assert_eq!(otlp.http.unwrap().max_body_bytes, 20 << 20);
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
fn what_is_in_force_is_printed_with_its_sources_and_without_secrets() {
    let yaml = "\
listeners: [{ address: \"127.0.0.1:0\" }]
upstreams: { api: { endpoints: [\"http://127.0.0.1:9000\"] } }
routes: [{ upstream: api, plugins: [{ auth: { keys: [hunter2], deep: { key: hunter2 } } }] }]
admin: { token: hunter2 }
plugins: { auth: { module: \"builtin:key-auth\", config: { keys: [hunter2, env.KEY] } } }
exporters:
  traces:
    kafka:
      brokers: [\"a:1\"]
      topic: t
      sasl_enabled: true
      sasl: { mechanism: SCRAM-SHA-512, username: env.KEY, password: hunter2 }
      producer: { custom_config: { ssl.key.password: hunter2 } }
";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("case.yaml");
    fs::write(&file, yaml).unwrap();
    let environment: Environment = [("KEY", "hunter2"), ("WEIR__WORKERS", "3")]
        .into_iter()
        .collect();
    let set = ["exporters.traces.kafka.producer.acks=one".to_owned()];
    let print = |sources| effective(&file, &set, &environment, sources).unwrap();
    let plain = print(false);
    assert!(
        !plain.contains("hunter2") && !plain.contains('#'),
        "{plain}"
    );
    let text = print(true).replace(&file.display().to_string(), "case.yaml");
    assert!(!text.contains("hunter2"), "{text}");
    for line in [
        "workers: 3  # environment variable WEIR__WORKERS",
        "shutdown_grace: \"30s\"  # default",
        "  token: REDACTED  # case.yaml:4",
        "        - REDACTED  # case.yaml:5",
        "        - \"env.KEY\"  # case.yaml:5",
        "      topic: \"t\"  # case.yaml:10",
        "        acks: \"one\"  # --set exporters.traces.kafka.producer.acks; librdkafka: acks, enable.idempotence",
        "        batch_size: 1000000  # default; librdkafka: batch.size",
        "        username: \"env.KEY\"  # case.yaml:12; librdkafka: sasl.username",
        "          ssl.key.password: REDACTED  # case.yaml:13",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line:?} in:\n{text}"
        );
    }
    // What is printed is a configuration itself, and says the same.
    let secrets_back = plain.replace("REDACTED", "hunter2");
    let again = accepted_with(&secrets_back, &[], &[("KEY", "hunter2")]);
    let first = load(&file, &set, &environment).unwrap().config;
    assert_eq!(again, first);
}

#[test]
fn what_is_printed_of_defaults_alone_is_a_configuration_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("case.yaml");
    fs::write(&file, kafka("")).unwrap();
    let printed = effective(&file, &[], &Environment::default(), false).unwrap();
    assert_eq!(accepted(&printed), accepted(&kafka("")));
}

#[test]
fn an_otlp_exporter_needs_only_its_endpoint() {
    let config = accepted(&minimal(
        "exporters: { out: { otlp: { endpoint: 'http://Collector:4317' } } }",
    ));
    let seconds = Duration::from_secs;
    let expected = OtlpExporter {
        enabled: true,
        to: Destination {
            endpoint: Endpoint {
                protocol: Protocol::Http2,
                ..Endpoint::new("collector", 4317)
            },
            path: "/opentelemetry.proto.collector.trace.v1.TraceService/Export".to_owned(),
            protocol: OtlpProtocol::Grpc,
            headers: vec![],
            compression: OtlpCompression::Gzip,
            timeout: seconds(10),
        },
        batch_spans: 8192,
        batch_bytes: 2 << 20,
        flush_interval: seconds(1),
        retry_backoff: Duration::from_millis(500),
        retry_backoff_max: seconds(30),
        dead_letter: None,
        buffer_bytes: 64 << 20,
        filters: Filters::default(),
    };
    assert_eq!(expected.to.url(), "http://collector:4317");
    assert_eq!(config.exporters["out"], Exporter::Otlp(Box::new(expected)));
}

#[test]
fn an_otlp_endpoint_has_the_path_of_traces_behind_its_own() {
    for (endpoint, url) in [
        ("http://a:4318", "http://a:4318/v1/traces"),
        ("http://a:4318/", "http://a:4318/v1/traces"),
        ("http://a/v1/traces", "http://a:80/v1/traces"),
        ("http://a:1/api/otel/", "http://a:1/api/otel/v1/traces"),
        (
            "http://[::1]:4318/x/v1/traces/",
            "http://[::1]:4318/x/v1/traces",
        ),
    ] {
        let config = accepted(&minimal(&format!(
            "exporters: {{ out: {{ otlp: {{ endpoint: '{endpoint}', protocol: http_json }} }} }}"
        )));
        let Exporter::Otlp(otlp) = &config.exporters["out"] else {
            panic!("an OTLP exporter");
        };
        assert_eq!(otlp.to.url(), url);
    }
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
