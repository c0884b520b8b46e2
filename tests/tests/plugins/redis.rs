//! Values of plugins in Redis: the contract's operations, of either ABI, as in memory; what processes
//! share; and reloads. What becomes of it when Redis does not do its part is in `outages`.

mod outages;

use std::fs;
use std::thread;

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client::Connection;
use weir_tests::config::config;
use weir_tests::redis::Redis;
use weir_tests::service::free_port;
use weir_tests::tls::Authority;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, binary, guest};

/// The fixture `keeper` on all requests, with its values at `kv`.
fn keeping(upstream: &Upstream, abi: Abi, kv: &Value) -> Value {
    let mut config = config(upstream);
    config["plugins"]["keeper"] = json!({ "module": abi.guest("keeper") });
    config["routes"][0]["plugins"] = json!(["keeper"]);
    if !kv.is_null() {
        config["kv"] = kv.clone();
    }
    config
}

fn keeper(abi: Abi, kv: &Value) -> Weir {
    Weir::start(&keeping(&Upstream::hello(), abi, kv).to_string())
}

/// What came of operations, a line for each.
fn ask(weir: &Weir, operations: &str) -> String {
    let response = weir.get("/", &[&format!("x-kv: {operations}")]);
    let text = response.text();
    assert_eq!(response.status, 200, "{operations}: {text}");
    text.trim_end().replace('\n', " ")
}

/// A number that Redis gives, such as a time to live in milliseconds.
fn number(redis: &Redis, command: &[&str]) -> i64 {
    redis.ask(command).parse().expect("a number")
}

#[test]
fn values_in_redis_are_used_as_those_in_memory() {
    let all: String = (0..=255).map(|byte| format!("{byte:02x}")).collect();
    let sets = format!("set a {all} 60000; get a; swap a - 00 9000; swap a {all} ff 9000; get a");
    let expected = format!("set {all} false true ff");
    let cases = [
        ("get none; delete none", "- false"),
        (
            "set a empty 0; get a; swap a empty 01 0; get a",
            "set empty true 01",
        ),
        (
            "swap b empty 01 9000; swap b - 01 9000; get b",
            "false true 01",
        ),
        (
            "swap b 02 03 9000; delete b; delete b; get b",
            "false true false -",
        ),
        ("add n 40 9000; add n -50 9000; get n", "40 -10 2d3130"),
        (
            "set t 6f6e65 9000; add t 1 9000; get t",
            "set NotANumber 6f6e65",
        ),
        (
            "add m 9223372036854775807 9000; add m 1 9000; add m -1 9000",
            "9223372036854775807 NotANumber 9223372036854775806",
        ),
        (
            "add l -9223372036854775808 9000; add l -1 9000",
            "-9223372036854775808 NotANumber",
        ),
        ("set *10 *65526 9000; set *10 *65527 9000", "set TooLarge"),
        (
            "swap c - *65536 9000; add *65536 1 9000; get c",
            "TooLarge TooLarge -",
        ),
        (
            "get *70000; delete *70000; swap a *70000 01 9000",
            "- false false",
        ),
        ("set ü:% 01 9000; get ü:%; get ü", "set 01 -"),
    ];
    let redis = Redis::start();
    for abi in Abi::BOTH {
        for kv in [json!(null), redis.kv()] {
            redis.ask(&["FLUSHALL"]);
            let weir = keeper(abi, &kv);
            assert_eq!(ask(&weir, &sets), expected, "{abi:?}");
            for (operations, expected) in &cases {
                assert_eq!(ask(&weir, operations), *expected, "{abi:?}: {operations}");
            }
            assert_eq!(weir.get("/", &[]).text(), "hello");
        }
        assert_eq!(redis.ask(&["GET", "weir:keeper:n"]), "-10");
    }
}

#[test]
fn values_live_in_redis_for_their_time() {
    let redis = Redis::start();
    for abi in Abi::BOTH {
        let weir = keeper(abi, &redis.kv());
        ask(
            &weir,
            "set a 01 60000; add n 1 60000; swap s - 01 60000; set d 01 0; set e 01 30",
        );
        let left = |key: &str| number(&redis, &["PTTL", key]);
        for key in ["weir:keeper:a", "weir:keeper:n", "weir:keeper:s"] {
            assert!((1..=60_000).contains(&left(key)), "{key}: {}", left(key));
        }
        assert!((86_000_000..=86_400_000).contains(&left("weir:keeper:d")));
        // Of a sum, the time stays; a value that is swapped has a new one.
        ask(
            &weir,
            "add n 1 600000; swap s 01 02 600000; set a 01 9999999999",
        );
        assert!(left("weir:keeper:n") <= 60_000);
        assert!(left("weir:keeper:s") > 60_000);
        assert!((86_000_000..=86_400_000).contains(&left("weir:keeper:a")));
        eventually("the value has expired", || {
            (ask(&weir, "get e") == "-").then_some(())
        });
        redis.ask(&["FLUSHALL"]);
    }
}

#[test]
fn no_plugin_reaches_the_values_of_another() {
    let redis = Redis::start();
    let upstream = Upstream::hello();
    let mut config = keeping(&upstream, Abi::Module, &redis.kv());
    let mut routes = Vec::new();
    for (name, path) in [
        ("A b", "/one"),
        ("x", "/two"),
        ("x:y", "/three"),
        ("x%3Ay", "/four"),
    ] {
        config["plugins"][name] = json!({ "module": guest("keeper") });
        routes.push(json!({ "match": { "path": path }, "upstream": "up", "plugins": [name] }));
    }
    config["routes"] = routes.into();
    config["kv"]["redis"]["prefix"] = json!("edge");
    let weir = Weir::start(&config.to_string());
    let ask = |path: &str, asked: &str| weir.get(path, &[&format!("x-kv: {asked}")]).text();
    assert_eq!(ask("/one", "set k 01 9000"), "set\n");
    assert_eq!(ask("/two", "get k; set y:k 02 9000"), "-\nset\n");
    assert_eq!(ask("/three", "get k; set k 03 9000"), "-\nset\n");
    assert_eq!(ask("/four", "get k; set k 04 9000"), "-\nset\n");
    let keys = redis.ask(&["KEYS", "*"]);
    let mut keys: Vec<_> = keys.lines().collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["edge:a-b:k", "edge:x%253ay:k", "edge:x%3Ay:k", "edge:x:y:k"]
    );
}

#[test]
fn processes_share_the_budget_of_a_rate_limit() {
    let redis = Redis::start();
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"]["limit"] = json!({
        "module": "builtin:rate-limit", "config": { "requests": 10, "seconds": 86400, "by": "all" },
    });
    config["routes"][0]["plugins"] = json!(["limit"]);
    config["kv"] = redis.kv();
    let [one, other] = [(); 2].map(|()| Weir::start(&config.to_string()));
    let allowed = (0..20).filter(|n| {
        let weir = if n % 3 == 0 { &one } else { &other };
        let status = weir.get("/", &[]).status;
        assert!([200, 429].contains(&status), "{status}");
        status == 200
    });
    assert_eq!(allowed.count(), 10);
    // A third that comes later finds it spent.
    let third = Weir::start(&config.to_string());
    assert_eq!(third.get("/", &[]).status, 429);
}

/// Each client reads a number, and swaps it for the next where it is still the same, so many times.
#[test]
fn clients_that_swap_a_value_at_once_lose_nothing() {
    const CLIENTS: u8 = 8;
    const EACH: u8 = 15;
    let redis = Redis::start();
    for abi in Abi::BOTH {
        for kv in [json!(null), redis.kv()] {
            redis.ask(&["FLUSHALL"]);
            let mut config = keeping(&Upstream::hello(), abi, &kv);
            config["workers"] = json!(4);
            config["plugins"]["keeper"]["limits"] = json!({ "wall_time": "2m" });
            let weir = Weir::start(&config.to_string());
            let swapped = |connection: &mut Connection| {
                let mut ask = |asked: &str| {
                    let request = format!("GET / HTTP/1.1\r\nhost: t\r\nx-kv: {asked}\r\n\r\n");
                    let response = connection.send(request).receive();
                    response.expect("a response").text().trim_end().to_owned()
                };
                let present = ask("get n");
                let next = match present.as_str() {
                    "-" => 1,
                    present => u8::from_str_radix(present, 16).expect("a number") + 1,
                };
                ask(&format!("swap n {present} {next:02x} 60000")) == "true"
            };
            thread::scope(|scope| {
                for _ in 0..CLIENTS {
                    scope.spawn(|| {
                        let mut connection = Connection::open(weir.proxy());
                        for _ in 0..EACH {
                            eventually("nobody was faster", || {
                                (0..50).any(|_| swapped(&mut connection)).then_some(())
                            });
                        }
                    });
                }
            });
            assert_eq!(ask(&weir, "get n"), format!("{:02x}", CLIENTS * EACH));
        }
    }
}

#[test]
fn a_thousand_hooks_at_once_share_a_connection_for_each_worker() {
    let redis = Redis::start();
    for abi in Abi::BOTH {
        redis.ask(&["FLUSHALL"]);
        let mut config = keeping(&Upstream::hello(), abi, &redis.kv());
        config["workers"] = json!(2);
        config["kv"]["redis"]["timeout"] = json!("1m");
        config["plugins"]["keeper"]["limits"] = json!({ "wall_time": "2m" });
        let weir = Weir::start(&config.to_string());
        let request = "GET / HTTP/1.1\r\nhost: t\r\nx-kv: add n 1 60000; get n\r\n\r\n";
        let mut connections: Vec<_> = (0..1000).map(|_| Connection::open(weir.proxy())).collect();
        for connection in &mut connections {
            connection.send(request);
        }
        let mut sums: Vec<u64> = connections
            .iter_mut()
            .map(|connection| {
                let text = connection.receive().expect("a response").text();
                let sum = text.lines().next().and_then(|line| line.parse().ok());
                sum.unwrap_or_else(|| panic!("{text}"))
            })
            .collect();
        sums.sort_unstable();
        assert!(sums.into_iter().eq(1..=1000), "each sum once");
        assert_eq!(weir.count("weir_kv_duration_seconds_count{}"), 2000);
        // One more finds out whether Redis can be reached.
        assert_eq!(weir.count("weir_kv_connects_total"), 3);
        assert_eq!(redis.connections(), 3);
        assert_eq!(
            weir.ready()["kv"],
            json!({ "state": "ok", "message": null })
        );
    }
}

#[test]
fn a_reload_changes_where_values_are() {
    let redis = Redis::start();
    let other = Redis::start();
    let upstream = Upstream::hello();
    let with = |kv: Value| keeping(&upstream, Abi::Module, &kv).to_string();
    let weir = Weir::start(&with(json!(null)));
    assert_eq!(ask(&weir, "set a 01 60000; get a"), "set 01");
    assert_eq!(weir.ready()["kv"], json!(null));

    assert_eq!(weir.reload(&with(redis.kv())).status, 200);
    assert_eq!(ask(&weir, "get a; set a 02 60000; get a"), "- set 02");
    let mut second = redis.kv();
    second["redis"]["url"] = json!(format!("redis://{}/1", redis.address()));
    assert_eq!(weir.reload(&with(second)).status, 200);
    assert_eq!(ask(&weir, "get a; set a 03 60000"), "- set");
    assert_eq!(redis.ask(&["-n", "1", "STRLEN", "weir:keeper:a"]), "1");

    // Whoever asks meanwhile is answered, by the one or the other.
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for _ in 0..300 {
                let said = ask(&weir, "add n 1 60000");
                assert!(said.parse::<u64>().is_ok(), "{said}");
            }
        });
        for kv in [redis.kv(), other.kv(), redis.kv(), other.kv()] {
            assert_eq!(weir.reload(&with(kv)).status, 200);
        }
        asking.join().expect("all were answered");
    });
    let sum = |redis: &Redis, database| {
        let sum = redis.ask(&["-n", database, "GET", "weir:keeper:n"]);
        sum.parse().unwrap_or(0)
    };
    assert_eq!(sum(&redis, "0") + sum(&redis, "1") + sum(&other, "0"), 300);

    assert_eq!(weir.reload(&with(json!(null))).status, 200);
    assert_eq!(ask(&weir, "get a"), "-", "nothing is carried over");
    for redis in [&redis, &other] {
        eventually("nothing of Weir's is connected", || {
            (redis.connections() == 0).then_some(())
        });
    }
}

#[test]
fn a_reload_that_changes_nothing_keeps_the_connections() {
    let redis = Redis::start();
    let config = keeping(&Upstream::hello(), Abi::Module, &redis.kv());
    let weir = Weir::start(&config.to_string());
    assert_eq!(ask(&weir, "add n 1 60000"), "1");
    let mut other = config.clone();
    other["plugins"]["keeper"]["config"] = json!({ "counts": true });
    assert_eq!(weir.reload(&other.to_string()).status, 200);
    assert_eq!(ask(&weir, "add n 1 60000"), "2");
    // Of the trial of the plugin that was loaded anew, which is over.
    eventually("two are connected", || {
        (redis.connections() == 2).then_some(())
    });
    assert_eq!(weir.count("weir_kv_connects_total"), 3);
    let configured = number(&redis, &["GET", "weir:keeper:configured"]);
    assert!(configured >= 2, "{configured}");
}

#[test]
fn redis_is_entered_over_tls_as_a_user_who_may_little() {
    let authority = Authority::default();
    let identity = authority.issue(&["127.0.0.1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("write");
        path.display().to_string()
    };
    let port = free_port().to_string();
    let redis = Redis::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &file("cert", &identity.cert),
        "--tls-key-file",
        &file("key", &identity.key),
        "--tls-ca-cert-file",
        &file("ca", authority.pem()),
        "--tls-auth-clients",
        "no",
    ]);
    // As docs/running-plugins.md has it.
    let allowed = "on >right ~weir:* +ping +select +get +set +del +eval +exists +incrby";
    let user: Vec<&str> = ["ACL", "SETUSER", "weir"]
        .into_iter()
        .chain(allowed.split(' '))
        .collect();
    assert_eq!(redis.ask(&user), "OK");
    let kv = json!({ "redis": {
        "url": format!("rediss://127.0.0.1:{port}/2"),
        "username": "weir", "password": "env.REDIS_PASSWORD", "tls": { "ca": authority.pem() },
    }});
    let config = keeping(&Upstream::hello(), Abi::Module, &kv);
    let weir = Weir::start_with(&config.to_string(), &[("REDIS_PASSWORD", "right")]);
    let all = "set a 01 9000; get a; add n 1 9000; add n 1 9000; swap a 01 02 9000; delete a";
    assert_eq!(ask(&weir, all), "set 01 1 2 true true");
    assert_eq!(redis.ask(&["-n", "2", "GET", "weir:keeper:n"]), "2");

    let mut unknown = config.clone();
    unknown["kv"]["redis"]["tls"] = json!({ "ca": Authority::default().pem() });
    let weir = Weir::start_with(&unknown.to_string(), &[("REDIS_PASSWORD", "right")]);
    assert_eq!(ask(&weir, "get a"), "Unavailable");
    let message = weir.ready()["kv"]["message"].to_string();
    assert!(
        message.contains("TLS: invalid peer certificate"),
        "{message}"
    );
}

#[test]
fn a_check_tries_redis() {
    let mut redis = Redis::start_with(&["--requirepass", "right"]);
    let upstream = Upstream::hello();
    let check = |kv: &Value| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("weir.yaml");
        fs::write(&file, keeping(&upstream, Abi::Module, kv).to_string()).expect("write");
        let mut command = std::process::Command::new(binary());
        command.args(["check", "--connect", "--config"]).arg(&file);
        let output = command.output().expect("start weir");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let mut kv = redis.kv();
    kv["redis"]["password"] = json!("right");
    let (is_good, said) = check(&kv);
    assert!(is_good, "{said}");
    kv["redis"]["password"] = json!("hunter2");
    let (is_good, said) = check(&kv);
    let place = format!(
        "error[WEIR-C014]: kv.redis.url: {}: AUTH was refused: WRONGPASS\n",
        redis.address()
    );
    assert!(
        !is_good && said.contains(&place) && !said.contains("hunter2"),
        "{said}"
    );
    redis.stop();
    let (is_good, said) = check(&kv);
    assert!(
        !is_good && said.contains("kv.redis.url: 127.0.0.1:") && said.contains("refused"),
        "{said}"
    );
}
