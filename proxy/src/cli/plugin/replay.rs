//! `weir plugin replay`: a recorded exchange, once more through the plugins of a configuration.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use http::{HeaderMap, Request, Response};
use serde_json::Value;
use weir_sdk::testing::cases::{self, Case};

use super::calls::Canned;
use super::project::Project;
use super::trial::{self, Done, Trial, Way};
use super::{Error, print};
use crate::app::generation::{Action, Generation, Listener};
use crate::cli::ConfigArgs;
use crate::config::report::Format;
use crate::config::{Config, Faults};
use crate::demo::show;
use crate::exchange::state::{Answer, State};
use crate::filter::REDACTED;
use crate::plugin::chain::Chain;
use crate::router::{self, escapes};
use crate::server::respond::{self, Refusal};
use crate::upstream::resolve::Names;

/// Run a recorded exchange through the routes and plugins of a configuration, without a socket, and
/// show what each hook decided and changed. What is recorded is a trace as Weir sends it (`format:
/// json`), with the request's headers as far as an exporter captures them; or a file of cases, each
/// of which is replayed.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kcat -C -b localhost:9092 -t weir-traces -o -1 -e > trace.json
  weir plugin replay trace.json --config weir.yaml
  weir plugin replay cases.yaml --json | jq .Spans")]
pub struct ReplayArgs {
    /// A trace in JSON, or cases
    #[arg(value_name = "FILE")]
    pub recorded: PathBuf,
    /// Configuration file, in YAML
    #[arg(short, long, value_name = "FILE", default_value = "weir.yaml")]
    pub config: PathBuf,
    /// Set one value over the configuration; may be given several times
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// Print the new traces as JSON, one a line
    #[arg(long)]
    pub json: bool,
}

/// An exchange that was recorded.
struct Recorded {
    name: String,
    request: Request<Vec<u8>>,
    response: Response<Vec<u8>>,
    /// What of it is not as it was.
    notes: Vec<String>,
    /// What tells the replies to plugins' own calls; a trace does not.
    case: Option<Case>,
}

pub(super) fn run(args: &ReplayArgs) -> Result<ExitCode, Error> {
    let file = args.recorded.display();
    let text = std::fs::read_to_string(&args.recorded)
        .map_err(|error| Error::new(format!("cannot read {file}: {error}")))?;
    let exchanges = recorded(&text).map_err(|fault| Error::new(format!("{file}: {fault}")))?;
    let config = ConfigArgs {
        config: args.config.clone(),
        set: args.set.clone(),
    };
    let faulty = |faults: Faults| Error::new(faults.report(Format::Text).trim_end());
    let loaded = config.load().map_err(faulty)?;

    let trial = Trial::keeping(kept(args, &loaded.config).as_deref())?;
    let plugins = trial.load_all(&loaded.config).map_err(|errors| {
        let findings = errors.into_iter().map(Into::into).collect();
        faulty(config.document().locate(findings))
    })?;
    let generation = Generation::new(
        1,
        loaded.config,
        plugins,
        None,
        &Names::default(),
        None,
        trial.metrics(),
    );
    let listener = (generation.listeners.first())
        .ok_or_else(|| Error::new("the configuration has no listener"))?;
    let way = Served {
        generation: &generation,
        listener,
    };
    for exchange in exchanges {
        let calls = Canned::new(exchange.case.as_ref());
        let done = trial.run(&way, &exchange.request, &exchange.response, &calls);
        print(&if args.json {
            format!("{}\n", done.trace)
        } else {
            show_exchange(&exchange, &done)
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// Where compiled modules are kept: as a server does, or in the plugin's folder as its own tests do.
fn kept(args: &ReplayArgs, config: &Config) -> Option<PathBuf> {
    config.cache_dir.clone().or_else(|| {
        let above = args.config.parent();
        let folder = above.filter(|folder| !folder.as_os_str().is_empty());
        let project = Project::find(folder.unwrap_or(Path::new("."))).ok();
        project.map(|project| project.dist())
    })
}

/// By the router of a configuration, at its first listener.
struct Served<'g> {
    generation: &'g Generation,
    listener: &'g Listener,
}

impl Way for Served<'_> {
    fn before(&self) -> &Chain {
        &self.listener.chain
    }

    fn route(&self, state: &State) -> Result<(&Chain, &str, &str), Box<Answer>> {
        let request = &state.request;
        let routes = &self.generation.routes;
        let index = if let Some(name) = &state.upstream {
            let named = routes.iter().position(|route| route.leads_to(name));
            named.ok_or_else(|| Refusal::NoUpstream(name.clone()))
        } else {
            let head = router::Head {
                authority: &request.authority,
                path: request.uri.path(),
                query: request.uri.query(),
                method: &request.method,
                headers: &request.headers,
            };
            let found = self.generation.router.route(&head);
            found.map_err(Refusal::NoRoute)
        };
        let index = index.map_err(|refusal| Box::new(respond::refusal(&refusal)))?;
        let route = &routes[index];
        // Of several, the first: any of them may be drawn.
        let upstream = match &route.action {
            Action::Upstream(targets) => targets.first(),
            Action::Redirect(_) | Action::Respond(_) => None,
        };
        let upstream = upstream.map_or("", |target| target.upstream.name.as_str());
        Ok((&self.listener.chains[index], &route.pattern, upstream))
    }
}

/// What a file holds.
fn recorded(text: &str) -> Result<Vec<Recorded>, String> {
    if text.trim_start().starts_with('{') {
        let traces = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let traces: Result<Vec<_>, _> = traces.collect();
        let traces = traces.map_err(|error| error.to_string())?;
        // Cases may be JSON too.
        if traces.iter().all(|trace| trace.get("RootSpan").is_some()) {
            return traces.iter().map(of_trace).collect();
        }
    }
    let exchanges = cases::parse(text)?.into_iter().map(|case| {
        Ok(Recorded {
            request: case.request()?,
            response: case.response()?,
            notes: Vec::new(),
            name: case.name.clone(),
            case: Some(case),
        })
    });
    exchanges.collect()
}

/// The exchange that a trace tells of, as far as it does.
fn of_trace(trace: &Value) -> Result<Recorded, String> {
    let root = &trace["RootSpan"]["Attributes"];
    let text = |key: &str| root[key].as_str();
    let path = text("url.path").ok_or("the trace has no `url.path` on its root")?;
    // As plugins saw it.
    let path = escapes::normal(path).unwrap_or_else(|| path.to_owned());
    let scheme = text("url.scheme").unwrap_or("http");
    let host = text("server.address").unwrap_or("example.com");
    let original = text("http.request.method_original");
    let method = original.or_else(|| text("http.request.method"));
    let mut notes = Vec::new();
    let mut request = Request::builder()
        .method(method.unwrap_or("GET"))
        .uri(format!("{scheme}://{host}{path}"));
    match trace["RequestHeaders"].as_object() {
        Some(headers) => {
            for (name, value) in headers {
                let value = value.as_str().unwrap_or_default();
                if value == REDACTED {
                    notes.push(format!("the value of {name} was redacted"));
                }
                request = request.header(name, value);
            }
        }
        None => notes.push(
            "the trace has no request headers: an exporter's `request_headers` captures them"
                .to_owned(),
        ),
    }
    let spans = trace["Spans"].as_array().into_iter().flatten();
    let status = |span: &Value| span["Attributes"]["http.response.status_code"].as_u64();
    let mut calls =
        spans.filter(|span| matches!(span["Kind"].as_str(), Some("http.client" | "llm.call")));
    let status = calls
        .find_map(status)
        .and_then(|status| u16::try_from(status).ok());
    if status.is_none() {
        notes.push("no upstream had answered: a 200 stands in its place".to_owned());
    }
    let mut response = Response::new(Vec::new());
    if let Some(status) = status.and_then(|status| http::StatusCode::from_u16(status).ok()) {
        *response.status_mut() = status;
    }
    let name = format!("trace {}", trace["TraceID"].as_str().unwrap_or_default());
    let request = request
        .body(Vec::new())
        .map_err(|error| format!("{name}: {error}"))?;
    Ok(Recorded {
        name,
        request,
        response,
        notes,
        case: None,
    })
}

fn show_exchange(exchange: &Recorded, done: &Done) -> String {
    let mut out = format!("{}\n", exchange.name);
    for note in &exchange.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    out += &show::waterfall(&done.trace);
    for (plugin, hook, span) in trial::hooks(&done.trace) {
        let attributes = &span["Attributes"];
        let decision = attributes["weir.hook.decision"]
            .as_str()
            .unwrap_or_default();
        let _ = write!(out, "  {plugin} {hook}: {decision}");
        if let Some(names) = attributes["weir.hook.headers_changed"].as_array() {
            let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
            let _ = write!(out, ", changed {}", names.join(", "));
        }
        let message = span["StatusMsg"].as_str().unwrap_or_default();
        if decision == "error" {
            let _ = write!(out, ": {message}");
        }
        out.push('\n');
    }
    if let Some(upstream) = &done.upstream
        && done.trace["RootSpan"]["Attributes"]["http.route"].is_null()
    {
        let _ = writeln!(out, "  no route leads to the upstream `{upstream}`");
    }
    let (url, headers) = &done.request;
    let _ = writeln!(out, "  request   {} {url}", exchange.request.method());
    changes(exchange.request.headers(), headers, &mut out);
    let _ = writeln!(out, "  response  {}", done.response.status().as_u16());
    changes(
        exchange.response.headers(),
        done.response.headers(),
        &mut out,
    );
    out.push('\n');
    out
}

/// Lines for the headers that are not as before.
fn changes(before: &HeaderMap, after: &HeaderMap, out: &mut String) {
    let values = |headers: &HeaderMap, name: &http::HeaderName| {
        let values = headers.get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        values.join(", ")
    };
    let added = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(added) {
        let (old, new) = (values(before, name), values(after, name));
        let _ = match (before.contains_key(name), after.contains_key(name)) {
            (true, true) if old == new => Ok(()),
            (true, true) => writeln!(out, "    ~ {name}: {old} -> {new}"),
            (true, false) => writeln!(out, "    - {name}: {old}"),
            (false, _) => writeln!(out, "    + {name}: {new}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_gives_its_request_and_its_upstreams_status() {
        let trace = r#"{"TraceID": "ab", "RootSpan": {"Attributes": {"http.request.method": "POST",
            "url.scheme": "https", "url.path": "/%761", "server.address": "shop:81"}},
            "RequestHeaders": {"x-a": "1", "x-api-key": "REDACTED"},
            "Spans": [{"Kind": "http.request", "Attributes": {"http.response.status_code": 500}},
                      {"Kind": "http.client", "Attributes": {"http.response.status_code": 201}}]}"#;
        let exchanges = recorded(&format!("{trace}\n{trace}")).expect("two traces");
        assert_eq!(exchanges.len(), 2);
        let exchange = &exchanges[0];
        assert_eq!(exchange.request.method(), "POST");
        assert_eq!(exchange.request.uri(), "https://shop:81/v1");
        assert_eq!(exchange.request.headers()["x-a"], "1");
        assert_eq!(exchange.response.status(), 201);
        assert_eq!(exchange.notes, ["the value of x-api-key was redacted"]);
    }

    #[test]
    fn cases_are_exchanges_too() {
        let cases =
            r#"{"cases": [{"name": "x", "request": {"url": "/p"}, "response": {"status": 404}}]}"#;
        let exchanges = recorded(cases).expect("one case");
        assert_eq!(exchanges[0].request.uri().path(), "/p");
        assert_eq!(exchanges[0].response.status(), 404);
        assert!(recorded("{}").is_err());
        assert!(recorded("nothing").is_err());
    }

    #[test]
    fn what_changed_of_headers_is_told() {
        let headers = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, http::HeaderValue::from_static(value));
            }
            headers
        };
        let before = headers(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let after = headers(&[("a", "1"), ("b", "4"), ("d", "5"), ("d", "6")]);
        let mut out = String::new();
        changes(&before, &after, &mut out);
        let mut lines: Vec<_> = out.lines().map(str::trim).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["+ d: 5, 6", "- c: 3", "~ b: 2 -> 4"]);
    }
}
