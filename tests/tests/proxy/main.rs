//! The proxy as clients and upstreams see it, byte by byte: the real binary over real sockets.

mod actions;
mod bodies;
mod connections;
mod doubtful;
mod drips;
mod failures;
mod heads;
mod lies;
mod limits;
mod mirror;
mod peers;
mod routes;
mod slow;

use std::fmt::Write as _;

use weir_tests::client::Response;
use weir_tests::weir::Weir;

/// A configuration with one listener and one route to one endpoint. Keys of the listener, of the
/// upstream and of the whole may be added, each as `key: value` in YAML's flow style.
struct Setup {
    endpoint: String,
    listener: &'static str,
    upstream: &'static str,
    rest: &'static str,
}

impl Setup {
    fn to(endpoint: String) -> Self {
        Self {
            endpoint,
            listener: "",
            upstream: "",
            rest: "",
        }
    }

    fn listener(mut self, keys: &'static str) -> Self {
        self.listener = keys;
        self
    }

    fn upstream(mut self, keys: &'static str) -> Self {
        self.upstream = keys;
        self
    }

    fn rest(mut self, keys: &'static str) -> Self {
        self.rest = keys;
        self
    }

    /// Starts it with one worker, so that connections and limits can be counted.
    fn start(&self) -> Weir {
        let Self {
            endpoint,
            listener,
            upstream,
            rest,
        } = self;
        let mut config = "workers: 1\nadmin: { address: \"127.0.0.1:0\" }\n".to_owned();
        let lines = [
            format!("listeners: [{{ address: \"127.0.0.1:0\", {listener} }}]"),
            format!("upstreams: {{ api: {{ endpoints: [\"{endpoint}\"], {upstream} }} }}"),
            "routes: [{ name: all, upstream: api }]".to_owned(),
            (*rest).to_owned(),
        ];
        for line in lines {
            writeln!(config, "{line}").expect("a string takes it");
        }
        Weir::start(&config)
    }
}

/// Asserts that Weir itself answered with this status, as RFC 9457 has it.
#[track_caller]
fn assert_problem(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{}", response.text());
    let kind = response.header("content-type");
    assert_eq!(kind, Some("application/problem+json"));
    assert_eq!(response.json()["status"], status);
}
