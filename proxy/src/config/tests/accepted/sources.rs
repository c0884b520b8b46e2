//! Where values come from, which wins, and what is printed of it all.

use super::*;

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
