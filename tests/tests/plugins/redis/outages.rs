//! When Redis is gone, silent, another, or says no: plugins are told so at once, and all works again
//! when it does.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::redis::Redis;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use super::{ask, keeper, keeping};
use crate::Stand;

/// A server that is no Redis: does something with each connection. Its thread ends with the process.
struct Fake {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Fake {
    fn new(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, serve) = (Arc::clone(&connections), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// Answers each piece that comes with the next of these, and then says nothing more.
    fn answering(answers: &'static [&'static [u8]]) -> Self {
        Self::new(move |mut stream| {
            let mut piece = [0; 4096];
            for answer in answers {
                if !stream.read(&mut piece).is_ok_and(|len| len > 0) {
                    return;
                }
                let _ = stream.write_all(answer);
            }
            while stream.read(&mut piece).is_ok_and(|len| len > 0) {}
        })
    }

    fn kv(&self, timeout: &str) -> Value {
        json!({ "redis": { "url": format!("redis://{}", self.address), "timeout": timeout } })
    }
}

fn state(weir: &Weir) -> Value {
    weir.ready()["kv"]["state"].clone()
}

fn times_logged(weir: &Weir, message: &str) -> usize {
    let log = weir.log();
    log.iter().filter(|line| line["message"] == message).count()
}

const GONE: &str = "plugins' values in redis are not available";
const BACK: &str = "plugins' values in redis are available again";

#[test]
fn redis_goes_and_comes_back() {
    for abi in Abi::BOTH {
        let mut redis = Redis::start();
        let upstream = Upstream::hello();
        let mut config = keeping(&upstream, abi, &redis.kv());
        // Fails where it finds no store; one of them is passed over then.
        let strict = json!({ "module": abi.guest("keeper"), "config": { "strict": true } });
        config["plugins"]["strict"] = strict.clone();
        config["plugins"]["lax"] = strict;
        config["plugins"]["lax"]["on_error"] = json!("continue");
        config["routes"] = json!([
            { "match": { "path": "/strict" }, "upstream": "up", "plugins": ["strict"] },
            { "match": { "path": "/lax" }, "upstream": "up", "plugins": ["lax"] },
            { "upstream": "up", "plugins": ["keeper"] },
        ]);
        let weir = Weir::start(&config.to_string());
        let add = ["x-kv: add n 1 60000"];
        for path in ["/", "/strict", "/lax"] {
            assert_eq!(weir.get(path, &add).text(), "1\n");
        }
        assert_eq!(state(&weir), "ok");

        redis.stop();
        eventually("plugins are told", || {
            (ask(&weir, "get n") == "Unavailable").then_some(())
        });
        for _ in 0..10 {
            assert_eq!(
                ask(&weir, "set a 01 1000; get a; delete a"),
                "Unavailable Unavailable Unavailable"
            );
            assert_eq!(
                ask(&weir, "add n 1 1000; swap a - 01 1000"),
                "Unavailable Unavailable"
            );
            let strict = weir.get("/strict", &add);
            assert_eq!(
                (strict.status, strict.header("content-type")),
                (500, Some("application/problem+json"))
            );
            assert_eq!(weir.get("/lax", &add).text(), "hello");
            assert_eq!(weir.get("/", &[]).text(), "hello");
        }
        eventually("it is degraded", || {
            (state(&weir) == "degraded").then_some(())
        });
        assert_eq!(weir.count("weir_kv_degraded"), 1);
        assert!(weir.count("weir_kv_failures_total{reason=\"down\"}") >= 60);
        weir.says(GONE);
        assert_eq!(times_logged(&weir, GONE), 1);

        redis.restart();
        eventually("it works again", || {
            (ask(&weir, "add n 1 60000") != "Unavailable").then_some(())
        });
        for path in ["/strict", "/lax"] {
            assert_eq!(weir.get(path, &add).text(), "1\n");
        }
        eventually("it is well", || (state(&weir) == "ok").then_some(()));
        assert_eq!(weir.count("weir_kv_degraded"), 0);
        weir.says(BACK);
        assert_eq!(
            (times_logged(&weir, GONE), times_logged(&weir, BACK)),
            (1, 1)
        );
    }
}

#[test]
fn weir_starts_without_redis_and_finds_it_later() {
    let mut redis = Redis::start();
    redis.stop();
    let weir = keeper(Abi::Module, &redis.kv());
    eventually("it is degraded", || {
        (state(&weir) == "degraded").then_some(())
    });
    assert_eq!(ask(&weir, "get n"), "Unavailable");
    redis.restart();
    eventually("it works", || (ask(&weir, "get n") == "-").then_some(()));
}

#[test]
fn a_server_that_never_answers_holds_nobody_up_twice() {
    for abi in Abi::BOTH {
        let silent = Fake::answering(&[]);
        let weir = keeper(abi, &silent.kv("100ms"));
        // The first waits for as long as it may, and then nobody does.
        for _ in 0..200 {
            assert_eq!(ask(&weir, "get n"), "Unavailable");
        }
        let message = weir.ready()["kv"]["message"].to_string();
        assert!(message.contains("no answer within 100ms"), "{message}");
        let connections = silent.connections.load(Ordering::Relaxed);
        assert!(
            connections < 50,
            "{connections} connections for 200 requests"
        );
    }
}

#[test]
fn one_that_falls_silent_in_the_midst_is_left() {
    for abi in Abi::BOTH {
        let silent = Fake::answering(&[b"+PONG\r\n", b"$1\r\nx\r\n"]);
        let weir = keeper(abi, &silent.kv("2s"));
        assert_eq!(
            ask(&weir, "get n; get n; get n"),
            "78 Unavailable Unavailable"
        );
        assert_eq!(weir.count("weir_kv_failures_total{reason=\"timeout\"}"), 1);
        assert_eq!(weir.count("weir_kv_failures_total{reason=\"down\"}"), 1);
        weir.says(GONE);
    }
}

#[test]
fn others_are_served_while_a_hook_waits_for_redis() {
    for abi in Abi::BOTH {
        let silent = Fake::answering(&[]);
        let weir = keeper(abi, &silent.kv("3s"));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| ask(&weir, "get n"));
            eventually("the hook has asked", || {
                (silent.connections.load(Ordering::Relaxed) >= 2).then_some(())
            });
            for _ in 0..10 {
                assert_eq!(weir.get("/", &[]).text(), "hello");
            }
            assert!(!waiting.is_finished(), "the worker is the only one");
            assert_eq!(waiting.join().expect("an answer"), "Unavailable");
        });
    }
}

#[test]
fn a_hook_that_is_stopped_while_it_waits_harms_no_other() {
    for abi in Abi::BOTH {
        let redis = Redis::start();
        let mut config = keeping(&Upstream::hello(), abi, &redis.kv());
        config["kv"]["redis"]["timeout"] = json!("20s");
        config["plugins"]["keeper"]["limits"] = json!({ "wall_time": "2s" });
        let weir = Weir::start(&config.to_string());
        assert_eq!(ask(&weir, "add n 1 60000"), "1");
        redis.ask(&["CLIENT", "PAUSE", "6000", "ALL"]);
        assert_eq!(weir.get("/", &["x-kv: get n"]).status, 500);
        // Its answer comes to nobody, and the next one to who asked.
        eventually("redis goes on", || {
            let response = weir.get("/", &["x-kv: add n 1 60000; get none"]);
            (response.status == 200).then(|| assert!(response.text().ends_with("\n-\n")))
        });
    }
}

#[test]
fn what_is_no_redis_is_not_believed() {
    const ANSWERS: [&[&[u8]]; 8] = [
        &[b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        &[b"\r\n"],
        &[b"*1\r\n$4\r\nPONG\r\n"],
        &[b"-ERR max number of clients reached\r\n"],
        &[b"+PONG\r\n$1\r\nx\r\n"],
        &[b"+PONG\r\n", b"$99999999\r\n"],
        &[b"+PONG\r\n", b"$-7\r\n"],
        &[b"+PONG\r\n", b":one\r\n"],
    ];
    for answers in ANSWERS {
        let fake = Fake::answering(answers);
        let weir = keeper(Abi::Module, &fake.kv("5s"));
        assert_eq!(ask(&weir, "get n"), "Unavailable", "{answers:?}");
        assert_eq!(weir.get("/", &[]).text(), "hello");
    }
    let more = Fake::answering(&[b"+PONG\r\n", b"$1\r\nx\r\n$1\r\ny\r\n"]);
    let weir = keeper(Abi::Module, &more.kv("5s"));
    assert_eq!(ask(&weir, "get n; get n"), "78 Unavailable");
    let closing = Fake::new(drop);
    let weir = keeper(Abi::Component, &closing.kv("5s"));
    assert_eq!(ask(&weir, "get n"), "Unavailable");
    eventually("it is degraded", || {
        (state(&weir) == "degraded").then_some(())
    });
}

#[test]
fn a_wrong_password_is_told_and_never_shown() {
    let redis = Redis::start_with(&["--requirepass", "right"]);
    let mut config = keeping(&Upstream::hello(), Abi::Module, &redis.kv());
    config["kv"]["redis"]["password"] = json!("env.REDIS_PASSWORD");
    let weir = Weir::start_with(&config.to_string(), &[("REDIS_PASSWORD", "hunter2")]);
    let fares = |weir: &Weir, said: &str| {
        assert_eq!(ask(weir, "get n"), "Unavailable");
        let message = weir.ready()["kv"]["message"].to_string();
        assert!(message.contains(said), "{message}");
        assert!(!message.contains("hunter2"));
        weir.says(GONE);
        assert!(!weir.logged("hunter2"));
    };
    fares(&weir, "AUTH was refused: WRONGPASS");

    config["kv"] = redis.kv();
    assert_eq!(weir.reload(&config.to_string()).status, 200);
    fares(&weir, "PING was refused: NOAUTH");
    config["kv"]["redis"]["password"] = json!("right");
    assert_eq!(weir.reload(&config.to_string()).status, 200);
    assert_eq!(ask(&weir, "add n 1 1000"), "1");

    // A server that does not know the command quotes it.
    let quoting =
        Fake::answering(&[b"-ERR unknown command 'AUTH', with args beginning with: 'hunter2'\r\n"]);
    config["kv"] = quoting.kv("5s");
    config["kv"]["redis"]["password"] = json!("hunter2");
    fares(&Weir::start(&config.to_string()), "AUTH was refused: ERR");
}

#[test]
fn what_redis_refuses_is_of_the_one_operation() {
    let redis = Redis::start();
    redis.ask(&["LPUSH", "weir:keeper:list", "x"]);
    let upstream = Upstream::hello();
    let config = keeping(&upstream, Abi::Module, &redis.kv());
    let stand = Stand::with(upstream, config);
    let weir = &stand.weir;
    let said = ask(
        weir,
        "get list; add list 1 1000; swap list 00 01 1000; set x 01 1000; get x",
    );
    assert_eq!(said, "Unavailable Unavailable Unavailable set 01");
    assert_eq!(weir.count("weir_kv_failures_total{reason=\"refused\"}"), 3);
    assert_eq!(state(weir), "ok");
    assert_eq!(redis.connections(), 2);
    weir.says("redis refused a plugin's operation");
    assert!(weir.logged("WRONGTYPE"));
    // The first of a hook is on its span.
    let trace = stand.trace();
    let events = trace.span("plugin.keeper.prehook")["Events"].clone();
    assert_eq!(events.as_array().map(Vec::len), Some(1), "{events}");
    assert_eq!(events[0]["Name"], "kv unavailable");
    assert_eq!(events[0]["Attributes"]["error.type"], "refused");
}

#[test]
fn a_rate_limit_without_its_store_fails_by_on_error() {
    let upstream = Upstream::hello();
    for (on_error, status) in [("reject", 500), ("continue", 200)] {
        let mut config = weir_tests::config::config(&upstream);
        config["plugins"]["limit"] = json!({
            "module": "builtin:rate-limit", "config": { "requests": 1 }, "on_error": on_error,
            "breaker": { "failures": 2, "pause": "1h" },
        });
        config["routes"][0]["plugins"] = json!(["limit"]);
        config["kv"] = Fake::new(drop).kv("1s");
        let weir = Weir::start(&config.to_string());
        for _ in 0..3 {
            assert_eq!(weir.get("/", &[]).status, status);
        }
        weir.says("a store that is not available");
        // Its hook on responses works, and does not keep its other one called.
        let open =
            "weir_hook_failures_total{plugin=\"limit\",hook=\"prehook\",reason=\"breaker_open\"}";
        assert_eq!(weir.count(open), 1);
    }
}
