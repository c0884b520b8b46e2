//! Plugins that try to harm their host. Each is stopped, its hook's span, the metric and the log
//! say why, and no other request notices: while they do harm, others are served on the same worker.

/// Tests of both ABIs: functions that take one.
macro_rules! both {
    ($($name:ident)*) => {$(
        mod $name {
            use weir_tests::abi::Abi;

            #[test]
            fn module() {
                super::$name(Abi::Module);
            }

            #[test]
            fn component() {
                super::$name(Abi::Component);
            }
        }
    )*};
}

mod abi;
mod bombs;
mod loading;
mod others;
mod refused;
mod stopped;

use std::path::Path;

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client::Response;
use weir_tests::config::{config, exporter};
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use others::{Others, unless_others};

/// Only requests with this header are harmed.
const HARM: &str = "x-harm: yes";

/// Requests that are answered while the hook has two seconds of the worker's CPU time, which others get a turn of
/// about each millisecond: more than would be before, between and behind.
const TURNS: usize = 20;

/// A Weir with one hostile plugin twice: on `/strict`, and on `/lenient` with `on_error: continue`.
/// No plugin is on any other path. `/beside` leads to an upstream of its own.
struct Stand {
    weir: Weir,
    upstream: Upstream,
    topic: String,
    hook: &'static str,
}

impl Stand {
    fn new(abi: Abi, mode: &str) -> Self {
        Self::at(abi, mode, "on-request")
    }

    fn at(abi: Abi, mode: &str, hook: &'static str) -> Self {
        Self::with(abi, mode, hook, &json!({}))
    }

    /// With some keys of the plugin's own.
    fn with(abi: Abi, mode: &str, hook: &'static str, keys: &Value) -> Self {
        let guest = abi.guest("hostile");
        // Response hooks look for the header in the response.
        let upstream =
            Upstream::answering("HTTP/1.1 200 OK\r\nx-harm: yes\r\ncontent-length: 5\r\n\r\nhello");
        let mut config = config(&upstream);
        for (name, on_error) in [("strict", "reject"), ("lenient", "continue")] {
            let mut plugin = plugin(&guest, mode, hook, on_error);
            for (key, value) in keys.as_object().into_iter().flatten() {
                plugin[key] = value.clone();
            }
            config["plugins"][name] = plugin;
        }
        config["routes"] = json!([
            { "name": "strict", "match": { "path": "/strict" }, "upstream": "up", "plugins": ["strict"] },
            { "name": "lenient", "match": { "path": "/lenient" }, "upstream": "up", "plugins": ["lenient"] },
            { "name": "other", "upstream": "up" },
        ]);
        let hook = if hook == "on-response" {
            "posthook"
        } else {
            "prehook"
        };
        Self::around(config, upstream, hook)
    }

    fn around(mut config: Value, upstream: Upstream, hook: &'static str) -> Self {
        config["upstreams"]["beside"] = json!({ "endpoints": [Upstream::hello().url()] });
        let beside =
            json!({ "name": "beside", "match": { "path": "/beside" }, "upstream": "beside" });
        let routes = config["routes"].as_array_mut().expect("routes");
        routes.insert(0, beside);
        let topic = shared().topic();
        config["exporters"]["traces"] = unless_others(exporter(shared(), &topic));
        Self {
            weir: Weir::start(&config.to_string()),
            upstream,
            topic,
            hook,
        }
    }

    /// Others begin to ask.
    fn others(&self) -> Others {
        Others::asking(self.weir.proxy(), "/beside")
    }

    fn harm(&self, path: &str) -> Response {
        self.weir.get(path, &[HARM])
    }

    fn span_of(&self, plugin: &str) -> String {
        format!("plugin.{plugin}.{}", self.hook)
    }

    /// The hook fails with this reason and message, and that is all that happens.
    fn assert_fails(&self, reason: &str, message: &str) {
        let others = self.others();
        let before = others.answered();
        let rejected = self.harm("/strict");
        assert_eq!(rejected.status, 500, "{}", rejected.text());
        assert_eq!(
            rejected.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(
            rejected.json()["detail"],
            "the request could not be processed"
        );
        let passed = self.harm("/lenient");
        assert_eq!((passed.status, passed.text().as_str()), (200, "hello"));
        let meanwhile = others.answered() - before;
        assert!(reason != "cpu_time" || meanwhile > TURNS, "{meanwhile}");

        let traces = shared().traces(&self.topic, 2);
        for (trace, plugin) in traces.iter().zip(["strict", "lenient"]) {
            self.assert_failed(trace, plugin, reason, message);
        }
        assert_eq!(traces[0].root()["Status"], "error");
        assert_eq!(traces[1].root()["Status"], "unset");
        // The instance that failed is gone: the next request meets a fresh one.
        if self.hook == "prehook" {
            assert_eq!(self.weir.get("/strict", &[]).text(), "hello");
            let next = shared().traces(&self.topic, 3).remove(2);
            let made = next.attribute(&self.span_of("strict"), "weir.hook.made_ns");
            assert!(made.is_u64(), "{reason}: {made}");
        }
        assert_eq!(self.weir.get("/", &[]).text(), "hello");
        others.assert_unharmed();
    }

    fn assert_failed(&self, trace: &Trace, plugin: &str, reason: &str, message: &str) {
        let span = self.span_of(plugin);
        let said = trace.span(&span)["StatusMsg"].as_str().expect("a text");
        assert_eq!(trace.span(&span)["Status"], "error", "{said}");
        assert!(said.contains(message), "{said}");
        assert_eq!(trace.attribute(&span, "error.type"), reason, "{said}");
        assert_eq!(trace.attribute(&span, "weir.hook.decision"), "error");

        let labels = format!(
            "plugin=\"{plugin}\",hook=\"{}\",reason=\"{reason}\"",
            self.hook
        );
        let metric = format!("weir_hook_failures_total{{{labels}}}");
        assert!(self.weir.metric(&metric) > 0.0, "{}", self.weir.metrics());
        eventually("the failure is logged", || {
            let log = self.weir.log();
            let mut lines = log.iter().filter(|line| line["message"] == "plugin failed");
            lines
                .any(|line| {
                    line["plugin"] == plugin && line["reason"] == reason && line["error"] == said
                })
                .then_some(())
        });
    }

    /// The host refuses what the hook tries, tells it so, counts it so often, and the request goes on.
    fn assert_refused(&self, counted: &[(&str, u64)]) -> Trace {
        self.assert_refused_with("hello", counted)
    }

    /// The same where the request is answered with this.
    fn assert_refused_with(&self, text: &str, counted: &[(&str, u64)]) -> Trace {
        let others = self.others();
        let response = self.harm("/strict");
        assert_eq!((response.status, response.text().as_str()), (200, text));
        assert_eq!(response.header("set-cookie"), None);
        others.assert_unharmed();
        let expected: Vec<_> = counted
            .iter()
            .map(|(what, count)| ((*what).to_owned(), *count))
            .collect();
        assert_eq!(self.counted(), expected);
        let trace = shared().traces(&self.topic, 1).remove(0);
        assert_eq!(
            trace.span(&self.span_of("strict"))["Status"],
            "ok",
            "{:#}",
            trace.0
        );
        trace
    }

    /// What the metric counts of what the plugin was refused.
    fn counted(&self) -> Vec<(String, u64)> {
        let metrics = self.weir.metrics();
        let lines = metrics.lines().filter_map(|line| {
            let name = "weir_plugin_refusals_total{plugin=\"strict\",what=\"";
            let (what, count) = line.strip_prefix(name)?.split_once("\"} ")?;
            Some((what.to_owned(), count.parse().expect("a number")))
        });
        lines.collect()
    }

    /// What the host said to the tries of a hook, by try.
    fn refusals(&self, trace: &Trace) -> Vec<(String, String)> {
        let span = trace.span(&self.span_of("strict"));
        let attributes = span["Attributes"].as_object().expect("an object");
        let tries = attributes.iter().filter_map(|(key, said)| {
            Some((
                key.strip_prefix("hostile.")?.to_owned(),
                said.as_str()?.to_owned(),
            ))
        });
        tries.collect()
    }
}

fn plugin(guest: &Path, mode: &str, hook: &str, on_error: &str) -> Value {
    json!({
        "module": guest,
        "config": { "mode": mode, "in": hook, "header": "x-harm" },
        "on_error": on_error,
        // Enough for what is not endless, however busy the machine is.
        "limits": { "cpu_time": "1s", "wall_time": "1m" },
    })
}
