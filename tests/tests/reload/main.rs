//! Reload under traffic: what changes takes effect, what does not is kept, and no request fails.

mod certificates;
mod compiling;
mod everything;
mod listeners;
mod memory;
mod streams;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use weir::demo::broker::Broker;
use weir::demo::consumer::Consumer;
use weir_tests::client::{self, Connection};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, guest};

const GENERATION: &str = "weir_config_generation";

/// Clients that send one request after the other.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

/// Has one request answered, and panics where it is not in full.
type Ask = Box<dyn FnMut()>;

impl Load {
    /// Over connections that are kept, and one over a new one each time.
    fn on(address: SocketAddr) -> Self {
        Self::by((0..8).map(|number| {
            move || -> Ask {
                let mut kept = (number > 0).then(|| Connection::open(address));
                Box::new(move || {
                    let response = if let Some(kept) = &mut kept {
                        kept.send("GET /steady HTTP/1.1\r\nhost: test\r\n\r\n");
                        let response = kept.receive().expect("an answer on a kept connection");
                        assert_eq!(response.header("connection"), None);
                        response
                    } else {
                        client::get(address, "/steady", &[])
                    };
                    assert_eq!(
                        (response.status, response.text()),
                        (200, "hello".to_owned())
                    );
                })
            }
        }))
    }

    /// Clients of any kind, each made in its own thread.
    fn by<C: FnOnce() -> Ask + Send + 'static>(clients: impl IntoIterator<Item = C>) -> Self {
        let (stop, answered): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let start = |client: C| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                let mut ask = client();
                while !stop.load(Ordering::Relaxed) {
                    ask();
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        Self {
            clients: clients.into_iter().map(start).collect(),
            stop,
            answered,
        }
    }

    /// Waits until every client has surely been answered again.
    fn goes_on(&self) {
        self.goes_on_for(100);
    }

    /// Waits for more than so many answers.
    fn goes_on_for(&self, answers: usize) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually("the load goes on", || {
            let broken = self.clients.iter().any(JoinHandle::is_finished);
            let answered = self.answered.load(Ordering::Relaxed) - before;
            (broken || answered > answers).then_some(())
        });
    }

    fn assert_unharmed(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("no request failed");
        }
    }
}

struct Setup {
    upstream: Upstream,
}

impl Setup {
    fn new() -> Self {
        Self {
            upstream: Upstream::hello(),
        }
    }

    /// A configuration whose routes all lead to the one upstream.
    fn config(&self, listeners: &[&str], routes: &str, rest: &str) -> String {
        let listeners: Vec<String> = listeners
            .iter()
            .map(|at| format!("{{ address: \"{at}\" }}"))
            .collect();
        format!(
            "
workers: 2
listeners: [{}]
admin: {{ address: \"127.0.0.1:0\" }}
upstreams: {{ api: {{ endpoints: [\"{}\"] }} }}
routes:
  - {{ match: {{ path: /steady }}, upstream: api }}
{routes}
{rest}
overload: {{ enabled: false }}
",
            listeners.join(", "),
            self.upstream.url()
        )
    }

    fn routes(&self, routes: &str) -> String {
        self.config(&["127.0.0.1:0"], routes, "")
    }

    /// With a plugin that sets a header of each response to `value`.
    fn marked(&self, value: &str) -> String {
        let plugins = format!(
            "plugins: {{ mark: {{ module: builtin:header-rewrite, config: {{ response: {{ set: {{ x-mark: {value} }} }} }} }} }}"
        );
        let route = "  - { match: { path: /marked }, upstream: api, plugins: [mark] }";
        self.config(&["127.0.0.1:0"], route, &plugins)
    }
}

fn until_generation(weir: &Weir, number: u64) {
    eventually("the new generation is in place", || {
        (weir.count(GENERATION) == number).then_some(())
    });
}

#[test]
fn sighup_puts_new_routes_in_place_and_fails_no_request() {
    let setup = Setup::new();
    let weir = Weir::start(&setup.routes(""));
    assert_eq!(weir.get("/new", &[]).status, 404);
    let load = Load::on(weir.proxy());
    for number in 2..=21 {
        load.goes_on();
        let route = "  - { match: { path: /new }, upstream: api }";
        weir.write(&setup.routes(if number % 2 == 0 { route } else { "" }));
        weir.signal("HUP");
        until_generation(&weir, number);
        let expected = if number % 2 == 0 { 200 } else { 404 };
        assert_eq!(weir.get("/new", &[]).status, expected);
    }
    load.assert_unharmed();
}

#[test]
fn a_hundred_reloads_in_a_row_fail_no_request() {
    let setup = Setup::new();
    let weir = Weir::start(&setup.routes(""));
    let load = Load::on(weir.proxy());
    for round in 0..100 {
        let route = format!("  - {{ match: {{ path: /round/{round} }}, upstream: api }}");
        assert_eq!(weir.reload(&setup.routes(&route)).status, 200);
    }
    load.goes_on();
    load.assert_unharmed();
    assert_eq!(weir.get("/round/99", &[]).status, 200);
    assert_eq!(weir.get("/round/98", &[]).status, 404);
    assert_eq!(weir.count(GENERATION), 101);
}

#[test]
fn a_change_of_the_file_is_put_in_place_however_it_is_made() {
    let setup = Setup::new();
    let weir = Weir::watching(&setup.routes(""));
    let load = Load::on(weir.proxy());
    let route = |path: &str| {
        setup.routes(&format!(
            "  - {{ match: {{ path: {path} }}, upstream: api }}"
        ))
    };
    let status = |path: &str| weir.get(path, &[]).status;

    weir.write(&route("/written"));
    until_generation(&weir, 2);
    assert_eq!(status("/written"), 200);

    weir.write("listeners: [");
    eventually("the fault is logged", || {
        weir.logged("weir.yaml:1:").then_some(())
    });
    assert_eq!(weir.count(GENERATION), 2);
    assert_eq!(status("/written"), 200);

    // As editors do.
    let file = weir.folder().join("weir.yaml");
    let new = weir.folder().join("weir.yaml~");
    fs::write(&new, route("/renamed")).expect("a file");
    fs::rename(&new, &file).expect("a file in place of the other");
    until_generation(&weir, 3);
    assert_eq!(status("/renamed"), 200);

    // As Kubernetes does: the file is a link through `..data`, which is swapped.
    for (number, path) in [(4, "/linked"), (5, "/swapped")] {
        let version = format!("version-{number}");
        let folder = weir.folder().join(&version);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("weir.yaml"), route(path)).expect("a file");
        symlink(&version, weir.folder().join("..new")).expect("a link");
        fs::rename(weir.folder().join("..new"), weir.folder().join("..data")).expect("a swap");
        if number == 4 {
            symlink("..data/weir.yaml", &new).expect("a link");
            fs::rename(&new, &file).expect("a link in place of the file");
        }
        until_generation(&weir, number);
        assert_eq!(status(path), 200);
    }
    load.assert_unharmed();
}

#[test]
fn post_reload_puts_a_plugins_new_configuration_in_place_and_fails_no_request() {
    let setup = Setup::new();
    let weir = Weir::start(&setup.marked("v1"));
    assert_eq!(weir.get("/marked", &[]).header("x-mark"), Some("v1"));
    let load = Load::on(weir.proxy());
    for number in 2..=11 {
        load.goes_on();
        let value = format!("v{number}");
        let answer = weir.reload(&setup.marked(&value));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["generation"], number);
        assert_eq!(
            weir.get("/marked", &[]).header("x-mark"),
            Some(value.as_str())
        );
    }
    load.assert_unharmed();
}

#[test]
fn a_faulty_file_changes_nothing_and_each_fault_is_told_with_its_line() {
    let setup = Setup::new();
    let weir = Weir::start(&setup.routes(""));
    let load = Load::on(weir.proxy());
    let faulty = "  - { match: { path: /new }, upstream: apii }\n  - { upstrem: api }";
    let answer = weir.reload(&setup.routes(faulty));
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let detail = answer.json()["detail"]
        .as_str()
        .expect("a detail")
        .to_owned();
    for fault in [
        "routes[1].upstream: unknown upstream `apii`",
        "weir.yaml:8:40\n",
        "routes[2].upstrem: unknown key",
        "weir.yaml:9:7\n",
    ] {
        assert!(detail.contains(fault), "{fault}\n{detail}");
    }

    weir.write("listeners: [");
    weir.signal("HUP");
    eventually("it is logged", || weir.logged("weir.yaml:1:").then_some(()));
    weir.says("reload changed nothing");
    assert_eq!(weir.count(GENERATION), 1);
    assert_eq!(weir.get("/new", &[]).status, 404);
    load.goes_on();
    load.assert_unharmed();
}

#[test]
fn reloads_are_counted_by_what_became_of_them() {
    let setup = Setup::new();
    let weir = Weir::start(&setup.routes(""));
    let counted = || {
        ["ok", "failed"].map(|one| weir.count(&format!("weir_reloads_total{{result=\"{one}\"}}")))
    };
    assert_eq!(counted(), [0, 0]);
    for (config, expected) in [
        (setup.routes(""), [1, 0]),
        ("listeners: [".to_owned(), [1, 1]),
        (setup.marked("\"not\\na value\""), [1, 2]),
        (setup.marked("v1"), [2, 2]),
    ] {
        weir.reload(&config);
        assert_eq!(counted(), expected);
    }
    weir.write("listeners: [");
    weir.signal("HUP");
    eventually("that of the signal counts", || {
        (counted() == [2, 3]).then_some(())
    });
}

#[test]
fn a_plugin_that_does_not_load_changes_nothing_and_is_named() {
    let setup = Setup::new();
    let weir = Weir::start(&setup.marked("v1"));
    let answer = weir.reload(&setup.marked("\"not\\na value\""));
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("plugin `mark`"), "{}", answer.text());
    assert_eq!(weir.get("/marked", &[]).header("x-mark"), Some("v1"));
    assert_eq!(weir.count(GENERATION), 1);
}

#[test]
fn a_listener_that_cannot_be_opened_changes_nothing_and_is_named() {
    let setup = Setup::new();
    let weir = Weir::start(&setup.routes(""));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let route = "  - { match: { path: /new }, upstream: api }";
    let answer = weir.reload(&setup.config(&["127.0.0.1:0", &address], route, ""));
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains(&address), "{}", answer.text());
    assert_eq!(weir.get("/new", &[]).status, 404);
    assert_eq!(weir.count(GENERATION), 1);
}

#[test]
fn a_plugin_that_did_not_change_is_kept() {
    let setup = Setup::new();
    let broker = Broker::start(&["weir-traces"]).expect("a broker");
    let config = |value: &str| {
        let plugins = format!(
            "
plugins:
  same: {{ module: builtin:request-id }}
  mark: {{ module: builtin:header-rewrite, config: {{ response: {{ set: {{ x-mark: {value} }} }} }} }}
exporters:
  traces: {{ kafka: {{ brokers: [\"{}\"], topic: weir-traces, flush_interval_ms: 10 }} }}",
            broker.bootstrap_servers()
        );
        let route = "  - { match: { path: /both }, upstream: api, plugins: [same, mark] }";
        setup.config(&["127.0.0.1:0"], route, &plugins)
    };
    let weir = Weir::start(&config("v1"));
    assert_eq!(weir.reload(&config("v2")).status, 200);
    assert_eq!(weir.get("/both", &[]).header("x-mark"), Some("v2"));

    let consumer = Consumer::new(broker.bootstrap_servers(), "weir-traces").expect("a consumer");
    let message = eventually("the trace arrives", || {
        consumer
            .recv(std::time::Duration::from_millis(100))
            .expect("the topic can be read")
    });
    let trace: Value = serde_json::from_slice(&message.payload).expect("JSON");
    let generation = |plugin: &str| {
        let prefix = format!("plugin.{plugin}.");
        let spans = trace["Spans"].as_array().expect("spans");
        let span = spans.iter().find(|span| {
            span["Name"]
                .as_str()
                .is_some_and(|name| name.starts_with(&prefix))
        });
        span.expect("a hook's span")["Attributes"]["weir.hook.generation"].clone()
    };
    assert_eq!(generation("same"), 1);
    assert_eq!(generation("mark"), 2);
}

#[test]
fn upstream_connections_outlive_a_reload() {
    let setup = Setup::new();
    let weir = Weir::start(&setup.routes(""));
    let mut connection = Connection::open(weir.proxy());
    let request = "GET /steady HTTP/1.1\r\nhost: test\r\n\r\n";
    for _ in 0..5 {
        assert_eq!(
            connection
                .send(request)
                .receive()
                .expect("a response")
                .status,
            200
        );
        assert_eq!(weir.reload(&setup.routes("")).status, 200);
    }
    assert_eq!(setup.upstream.connections(), 1);
}

#[test]
fn a_process_that_is_to_end_does_not_wait_for_a_reload() {
    let setup = Setup::new();
    let good = setup.routes("");
    // Each is stopped after 2 s of its own.
    let plugin =
        json!({ "module": guest("hostile"), "config": { "mode": "loop", "in": "configure" } });
    let plugins: serde_json::Map<_, _> = (0..200)
        .map(|number| (format!("slow{number}"), plugin.clone()))
        .collect();
    let slow = format!("{good}\nplugins: {}\n", Value::Object(plugins));
    for by_signal in [true, false] {
        let mut weir = Weir::start(&good);
        weir.write(&slow);
        let mut admin = Connection::open(weir.admin());
        if by_signal {
            weir.signal("HUP");
        } else {
            admin.send("POST /reload HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
        }
        eventually("the reload is under way", || {
            let overview = weir.api("/api/overview").json();
            let listeners = overview["listeners"].as_array().expect("listeners");
            listeners.is_empty().then_some(())
        });
        weir.signal("TERM");
        assert_eq!(weir.wait().code(), Some(0));
    }
}

#[test]
fn what_needs_a_restart_is_told() {
    let setup = Setup::new();
    let weir = Weir::start(&setup.routes(""));
    let config = setup.routes("").replace("workers: 2", "workers: 3");
    assert_eq!(weir.reload(&config).status, 200);
    eventually("it is logged", || {
        weir.logged("a change of `workers`").then_some(())
    });
    assert_eq!(client::get(weir.proxy(), "/steady", &[]).status, 200);
}
