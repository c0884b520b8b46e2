//! Everything that the API answers to, each once: requests find their way by this table, and the
//! `OpenAPI` document ([`openapi`](super::openapi)) is made of it.

use http::Method;
use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};

use super::{configuration, otlp, overview, plugins, requests, routes, shapes, traces};
use crate::store::Page;

/// One thing to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Overview,
    Traces,
    Histogram,
    Tail,
    Trace,
    Message,
    Routes,
    TestRoute,
    Upstreams,
    Plugins,
    PluginLogs,
    Send,
    Exporters,
    TestExporter,
    Otlp,
    Configuration,
    Form,
    Preview,
    Save,
    Document,
}

/// How it is asked for, and what comes of it.
pub(super) struct Entry {
    pub(super) operation: Operation,
    pub(super) method: Method,
    /// Below `/api/`; a segment in braces is any.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Option<Make>,
    pub(super) answer: Answer,
    /// Of problems that it may answer with, beside those of the guard.
    pub(super) problems: &'static [u16],
}

pub(super) type Make = fn(&mut SchemaGenerator) -> Schema;

pub(super) enum Answer {
    Json(Make),
    /// Each as this says.
    Events(Make),
}

/// Of the query.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) description: &'static str,
}

pub(super) enum Kind {
    Text,
    Number,
    Whole,
    Flag,
    /// May be given several times.
    List,
}

const fn optional(name: &'static str, kind: Kind, description: &'static str) -> Parameter {
    Parameter {
        name,
        kind,
        required: false,
        description,
    }
}

const fn required(name: &'static str, kind: Kind, description: &'static str) -> Parameter {
    Parameter {
        name,
        kind,
        required: true,
        description,
    }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const LIST: &[Parameter] = &[
    optional(
        "limit",
        Kind::Whole,
        "Most of them; at most 500. Default: 100.",
    ),
    optional(
        "before",
        Kind::Whole,
        "The `next` of the answer before, for those that are older.",
    ),
];

const REQUEST: Parameter = optional(
    "request",
    Kind::Whole,
    "Which, where several requests have the trace's id: the `id` of its summary.",
);

/// By which traces are chosen, wherever they are listed, counted or followed.
pub(super) const FILTER: &[Parameter] = &[
    optional("from", Kind::Whole, "Not before: microseconds since 1970."),
    optional("to", Kind::Whole, "Before: microseconds since 1970."),
    optional("route", Kind::Text, "Name of the route."),
    optional("method", Kind::Text, "Method of the request."),
    optional(
        "status",
        Kind::Text,
        "Such as `404`, `5xx`, or `none` where the client left; several by commas.",
    ),
    optional(
        "min_ms",
        Kind::Number,
        "Not shorter than so many milliseconds.",
    ),
    optional(
        "max_ms",
        Kind::Number,
        "Not longer than so many milliseconds.",
    ),
    optional("plugin", Kind::Text, "A plugin of which hooks ran."),
    optional("short_circuit", Kind::Flag, "Whether a plugin answered."),
    optional("failed", Kind::Flag, "Whether the request ended in error."),
    optional("model", Kind::Text, "Model of a call to generative AI."),
    optional("attribute", Kind::List, "A name, or `name=value`."),
    optional(
        "q",
        Kind::Text,
        "The beginning of a trace's or request's id, or part of a path.",
    ),
];

pub(super) fn entry(operation: Operation) -> Entry {
    let get = |path, summary, answer| Entry {
        operation,
        method: Method::GET,
        path,
        summary,
        parameters: &[],
        body: None,
        answer: Answer::Json(answer),
        problems: &[],
    };
    let post = |path, summary, body, answer, problems| Entry {
        method: Method::POST,
        body: Some(body),
        problems,
        ..get(path, summary, answer)
    };
    match operation {
        Operation::Overview => get(
            "overview",
            "Counters, quantiles, and how all parts fare",
            of::<overview::Overview>,
        ),
        Operation::Traces => Entry {
            parameters: LIST,
            problems: &[400, 409],
            ..get(
                "traces",
                "Summaries of recent traces, newest first",
                of::<Page>,
            )
        },
        Operation::Histogram => Entry {
            parameters: const {
                &[
                    required("from", Kind::Whole, "Microseconds since 1970."),
                    required("to", Kind::Whole, "Microseconds since 1970."),
                    optional("buckets", Kind::Whole, "At most 500. Default: 60."),
                ]
            },
            problems: &[400, 409],
            ..get(
                "traces/histogram",
                "How many traces there were when",
                of::<traces::Histogram>,
            )
        },
        Operation::Tail => Entry {
            answer: Answer::Events(shapes::event),
            problems: &[400, 409, 429],
            ..get(
                "traces/tail",
                "Traces as they end: events `trace` with a summary, `missed` with a count",
                shapes::event,
            )
        },
        Operation::Trace => Entry {
            parameters: const { &[REQUEST] },
            problems: &[400, 404, 409],
            ..get(
                "traces/{id}",
                "A trace, and the summaries of all requests with its id",
                shapes::one,
            )
        },
        Operation::Message => Entry {
            parameters: const { &[required("exporter", Kind::Text, "Its name."), REQUEST] },
            problems: &[400, 404, 409],
            ..get(
                "traces/{id}/message",
                "The message that an exporter makes of a trace, and what it would be without filters",
                shapes::message,
            )
        },
        Operation::Routes => get(
            "routes",
            "Routes in their order, with their chains and counters",
            of::<routes::Routes>,
        ),
        Operation::TestRoute => Entry {
            parameters: const {
                &[
                    optional("method", Kind::Text, "Default: GET."),
                    required("url", Kind::Text, "A path, or a URL with a host."),
                    optional("header", Kind::List, "A header, such as `x-tenant: acme`."),
                ]
            },
            problems: &[400],
            ..get(
                "routes/test",
                "Which route a request takes, and why not the others",
                of::<routes::Tested>,
            )
        },
        Operation::Upstreams => get(
            "upstreams",
            "Upstreams with their endpoints and counters",
            of::<routes::Upstreams<'_>>,
        ),
        Operation::Plugins => get(
            "plugins",
            "Plugins with their hooks, limits and counters",
            of::<plugins::Plugins>,
        ),
        Operation::PluginLogs => Entry {
            problems: &[404, 409],
            ..get(
                "plugins/{name}/logs",
                "What a plugin wrote while it handled recent requests, newest first",
                of::<plugins::Logs>,
            )
        },
        Operation::Send => post(
            "requests",
            "Sends a request through Weir, to see its trace",
            of::<requests::Wanted>,
            of::<requests::Sent>,
            &[400, 409, 413, 415, 422],
        ),
        Operation::Exporters => get(
            "exporters",
            "Exporters, and how they fare",
            of::<overview::Exporters>,
        ),
        Operation::TestExporter => post(
            "exporters/test",
            "Connects as an exporter would, with changes that are not saved",
            of::<configuration::Trial>,
            of::<configuration::Probed>,
            &[400, 404, 409, 413, 415, 422],
        ),
        Operation::Otlp => get(
            "otlp",
            "What is received by OTLP, by signal and protocol",
            of::<otlp::Fares>,
        ),
        Operation::Configuration => Entry {
            problems: &[409],
            ..get(
                "configuration",
                "What is in force, with the source of each value",
                of::<configuration::Effective>,
            )
        },
        Operation::Form => Entry {
            parameters: const {
                &[optional(
                    "at",
                    Kind::List,
                    "Keys from the root to a mapping, one after the other.",
                )]
            },
            problems: &[409, 422],
            ..get(
                "configuration/form",
                "A part of the configuration, key by key",
                of::<configuration::Form>,
            )
        },
        Operation::Preview => post(
            "configuration/preview",
            "What changes would do to the file, which stays as it is",
            of::<configuration::Changes>,
            of::<configuration::Preview>,
            &[400, 409, 413, 415, 422],
        ),
        Operation::Save => post(
            "configuration/save",
            "Writes changes to the file, and reloads",
            of::<configuration::Changes>,
            of::<configuration::Saved>,
            &[400, 409, 413, 415, 422],
        ),
        Operation::Document => get("openapi.json", "This document", shapes::document),
    }
}

pub(super) const ALL: [Operation; 20] = [
    Operation::Overview,
    // A name stands before what is any.
    Operation::Traces,
    Operation::Histogram,
    Operation::Tail,
    Operation::Trace,
    Operation::Message,
    Operation::Routes,
    Operation::TestRoute,
    Operation::Upstreams,
    Operation::Plugins,
    Operation::PluginLogs,
    Operation::Send,
    Operation::Exporters,
    Operation::TestExporter,
    Operation::Otlp,
    Operation::Configuration,
    Operation::Form,
    Operation::Preview,
    Operation::Save,
    Operation::Document,
];

/// Why nothing answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Miss {
    NotFound,
    /// Only by this method.
    Method(&'static str),
}

/// What a request asks for. HEAD is as GET.
pub(super) fn find(method: &Method, path: &[&str]) -> Result<Operation, Miss> {
    let wanted = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let mut entries = ALL.into_iter().map(entry);
    let Some(found) = entries.find(|entry| fits(entry.path, path)) else {
        return Err(Miss::NotFound);
    };
    if found.method == *wanted {
        return Ok(found.operation);
    }
    Err(Miss::Method(if found.method == Method::GET {
        "GET, HEAD"
    } else {
        "POST"
    }))
}

fn fits(template: &str, path: &[&str]) -> bool {
    let mut segments = path.iter();
    let fits = template.split('/').all(|wanted| {
        let found = segments.next();
        found.is_some_and(|found| wanted.starts_with('{') || wanted == *found)
    });
    fits && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_find_their_way_by_the_table() {
        let get = |path: &str| find(&Method::GET, &path.split('/').collect::<Vec<_>>());
        assert_eq!(get("traces/tail"), Ok(Operation::Tail));
        assert_eq!(get("traces/0af7"), Ok(Operation::Trace));
        assert_eq!(get("traces/0af7/message"), Ok(Operation::Message));
        assert_eq!(get("traces/0af7/other"), Err(Miss::NotFound));
        assert_eq!(get("configuration/save"), Err(Miss::Method("POST")));
        assert_eq!(find(&Method::HEAD, &["overview"]), Ok(Operation::Overview));
        assert_eq!(
            find(&Method::DELETE, &["overview"]),
            Err(Miss::Method("GET, HEAD"))
        );
    }

    #[test]
    fn each_operation_stands_in_the_table_once() {
        for (index, operation) in ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, index);
        }
    }
}
