//! The bundled plugins, the chain they run in, and what is loaded as one, of either ABI.

mod abi;
mod answers;
mod bodies;
mod bundled;
mod callouts;
mod chain;
mod encodings;
mod genai;
mod isolation;
mod jwt;
mod life;
mod loading;
mod patience;
mod redis;
mod streams;
mod variants;

use serde_json::{Value, json};
use weir_tests::client::Response;
use weir_tests::config::{config, exporter};
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;
use weir_tests::upstream::{Seen, Upstream};
use weir_tests::weir::{Weir, guest};

/// A Weir whose one route has these plugins, in order, with its upstream and topic.
struct Stand {
    weir: Weir,
    upstream: Upstream,
    topic: String,
}

impl Stand {
    fn new(plugins: &[(&str, Value)]) -> Self {
        Self::before(Upstream::hello(), plugins)
    }

    fn before(upstream: Upstream, plugins: &[(&str, Value)]) -> Self {
        let mut config = config(&upstream);
        for (name, plugin) in plugins {
            config["plugins"][name] = plugin.clone();
        }
        config["routes"][0]["plugins"] = plugins.iter().map(|(name, _)| *name).collect();
        Self::with(upstream, config)
    }

    fn with(upstream: Upstream, mut config: Value) -> Self {
        let topic = shared().topic();
        config["exporters"]["traces"] = exporter(shared(), &topic);
        Self {
            weir: Weir::start(&config.to_string()),
            upstream,
            topic,
        }
    }

    fn get(&self, headers: &[&str]) -> Response {
        self.weir.get("/", headers)
    }

    /// What the upstream saw last.
    fn seen(&self) -> Seen {
        self.upstream.seen().pop().expect("the upstream was called")
    }

    fn trace(&self) -> Trace {
        shared().traces(&self.topic, 1).remove(0)
    }
}

fn key_auth(config: Value) -> [(&'static str, Value); 1] {
    [(
        "auth",
        json!({ "module": "builtin:key-auth", "config": config }),
    )]
}

fn request_id(config: Value) -> [(&'static str, Value); 1] {
    [(
        "id",
        json!({ "module": "builtin:request-id", "config": config }),
    )]
}

/// A plugin that adds its name to `x-order`, on request and response.
fn marker(name: &str) -> Value {
    let add = json!({ "add": { "x-order": name } });
    json!({ "module": "builtin:header-rewrite", "config": { "request": add, "response": add } })
}

fn values<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let headers = headers.iter().filter(|(other, _)| other == name);
    headers.map(|(_, value)| value.as_str()).collect()
}

fn trap(hook: &str) -> Value {
    json!({ "module": guest("trap"), "config": { "in": hook } })
}
