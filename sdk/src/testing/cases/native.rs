//! Runs cases natively, on the fake host.

use std::any::Any;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Map, Value};

use super::{Action, Case, Observed, Place, parse};
use crate::span;
use crate::testing::{Exchange, Host, Span};
use crate::{Hook, Plugin};

/// Runs a file of [cases](crate::testing::cases) natively, but for those with `native: false`.
///
/// # Panics
///
/// If the file cannot be read, or a case comes out otherwise than it says, with all differences.
///
/// ```
/// # use weir_sdk::{Action, Error, Interests, Plugin, Request};
/// # struct Tag;
/// # impl Plugin for Tag {
/// #     type Config = ();
/// #     fn new((): ()) -> Result<Self, Error> { Ok(Self) }
/// #     fn interests(&self) -> Interests { Interests::none().on_request() }
/// #     fn on_request(&self, request: &mut Request) -> Action {
/// #         request.set_header("x-tag", "1").unwrap();
/// #         Action::Continue
/// #     }
/// # }
/// // In the plugin's tests: run_cases::<Tag>(include_str!("../cases.yaml"))
/// weir_sdk::testing::run_cases::<Tag>(
///     "cases: [{name: a request is tagged, expect: {request: {headers: {x-tag: 1}}}}]",
/// );
/// ```
pub fn run_cases<P: Plugin>(text: &str) {
    let cases = parse(text).unwrap_or_else(|fault| panic!("the cases cannot be read: {fault}"));
    let mut report = String::new();
    for case in cases.iter().filter(|case| case.native) {
        let differences = case.differences(&observe::<P>(case));
        if !differences.is_empty() {
            let _ = write!(report, "\ncase `{}`", case.name);
        }
        for difference in differences {
            let _ = write!(report, "\n{difference}");
        }
    }
    assert!(report.is_empty(), "{report}\n");
}

impl std::fmt::Display for super::Difference {
    /// Three lines, indented.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let indented = |text: &str| text.replace('\n', "\n             ");
        writeln!(f, "  {}", self.what)?;
        writeln!(f, "    expected {}", indented(&self.expected))?;
        write!(f, "    got      {}", indented(&self.got))
    }
}

fn observe<P: Plugin>(case: &Case) -> Observed {
    let mut observed = Observed::default();
    let run = catch_unwind(AssertUnwindSafe(|| exchange::<P>(case, &mut observed)));
    if let Err(panic) = run {
        // A hook that fails is answered with 500 where `on_error` does not pass it over.
        let answer = http::Response::builder().status(500).body(Vec::new());
        observed.response = answer.ok();
        observed.action = Action::Fail;
        observed.failure = Some(message(&*panic));
    }
    observed
}

fn exchange<P: Plugin>(case: &Case, observed: &mut Observed) {
    let (Ok(request), Ok(response)) = (case.request(), case.response()) else {
        unreachable!("cases are checked when they are read");
    };
    let host = match Host::<P>::calling(case.native_upstreams(), case.config().clone()) {
        Ok(host) => host,
        Err(reason) => {
            observed.refused = Some(reason);
            return;
        }
    };
    let mut exchange = host.request(request);
    observed.upstream = exchange.upstream().map(Into::into);
    observed.action = match (exchange.answer(), exchange.upstream()) {
        (Some(_), _) => Action::Respond,
        (None, Some(_)) => Action::Reroute,
        (None, None) => Action::Continue,
    };
    let headers = exchange.request_headers().clone();
    observed.request = Some((exchange.uri().to_string(), headers));
    observed.request_body = exchange.request_body().to_vec();
    note(&exchange, observed);
    observed.response = Some(exchange.response(response));
    note(&exchange, observed);
}

fn note<P: Plugin>(exchange: &Exchange<'_, P>, observed: &mut Observed) {
    let hooks = [
        (Place::PreRequest, Hook::PreRequest),
        (Place::Request, Hook::Request),
        (Place::Response, Hook::Response),
    ];
    for (place, hook) in hooks {
        if exchange.called(hook) {
            let attributes = attributes(exchange.span(hook));
            observed.spans.insert(place, attributes);
        }
    }
    let upstream = attributes(exchange.upstream_span());
    observed.spans.insert(Place::Upstream, upstream);
    let lines = exchange.logs().iter().map(|line| line.message.clone());
    observed.logs = lines.collect();
    let calls = exchange.calls().iter().map(|call| {
        let request = &call.request;
        format!("{} {} {}", request.method(), call.upstream, request.uri())
    });
    observed.calls = calls.collect();
}

fn attributes(span: &Span) -> Map<String, Value> {
    let error = span.error.as_deref();
    let error = error.map(|message| ("error.message".into(), message.into()));
    let attributes = span.attributes.iter().map(|(name, value)| {
        let value = match value {
            span::Value::Text(text) => Value::from(&**text),
            span::Value::Boolean(truth) => Value::from(*truth),
            span::Value::Integer(integer) => Value::from(*integer),
            span::Value::Float(float) => Value::from(*float),
            span::Value::Texts(texts) => texts.iter().map(|text| &**text).collect(),
        };
        (name.clone(), value)
    });
    attributes.chain(error).collect()
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panicked").into()
}
