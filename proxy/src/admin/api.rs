//! The JSON API of the console, under `/api/`. [`guard`](super::guard) has let the request in.

mod configuration;
mod openapi;
mod operations;
mod otlp;
mod overview;
mod plugins;
mod requests;
mod routes;
mod shapes;
mod traces;

pub(super) use overview::{STARTED, recent};

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::body::Body;
use super::seats::Busy;
use super::{PATIENCE, not_allowed, problem, query};
use crate::app::App;
use operations::{Miss, Operation};

/// Most bytes of what is sent here.
const MOST: usize = 2 << 20;

type Answer = Response<Full<Bytes>>;

/// Why there is no answer but a problem.
pub(super) struct Problem(StatusCode, String);

impl Problem {
    fn new(status: StatusCode, detail: impl ToString) -> Self {
        Self(status, detail.to_string())
    }

    fn missing(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    fn invalid(detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

/// Parameters of the request's query.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let number = self.get(name).map(|value| {
            let problem = |_| Problem::invalid(format!("`{name}` must be a number"));
            value.parse().map_err(problem)
        });
        number.transpose()
    }
}

/// Answers `/api/` and `path`.
pub(super) async fn answer(
    app: &Arc<App>,
    busy: Busy,
    path: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    let parameters = Parameters(query::parse(request.uri().query().unwrap_or_default()));
    let segments: Vec<String> = path.split('/').map(query::decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let answer = match operations::find(request.method(), &segments) {
        Ok(Operation::Tail) => {
            return traces::tail(app, busy, &parameters).unwrap_or_else(
                |Problem(status, detail)| problem(status, &detail).map(Body::from),
            );
        }
        Ok(operation) => run(operation, app, &segments, &parameters, request).await,
        Err(Miss::NotFound) => Err(Problem::missing("such thing here")),
        Err(Miss::Method(allowed)) => return not_allowed(allowed).map(Body::from),
    };
    let mut answer = answer.unwrap_or_else(|Problem(status, detail)| problem(status, &detail));
    let no_store = http::HeaderValue::from_static("no-store");
    answer
        .headers_mut()
        .insert(http::header::CACHE_CONTROL, no_store);
    answer.map(Body::from)
}

async fn run(
    operation: Operation,
    app: &Arc<App>,
    path: &[&str],
    parameters: &Parameters,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let id = path.get(1).copied().unwrap_or_default();
    match operation {
        Operation::Overview => overview::overview(app).await,
        Operation::Traces => traces::list(app, parameters).await,
        Operation::Histogram => traces::histogram(app, parameters).await,
        // Its answer does not end, and is given before.
        Operation::Tail => Err(Problem::missing("such thing here")),
        Operation::Trace => traces::one(app, id, parameters).await,
        Operation::Message => traces::message(app, id, parameters).await,
        Operation::Routes => Ok(routes::routes(app)),
        Operation::TestRoute => routes::test(app, parameters),
        Operation::Upstreams => Ok(routes::upstreams(app)),
        Operation::Plugins => Ok(plugins::plugins(app)),
        Operation::PluginLogs => plugins::logs(app, id).await,
        Operation::Send => requests::send(app, read(request).await?).await,
        Operation::Exporters => Ok(overview::exporters(app)),
        Operation::TestExporter => configuration::test_exporter(app, read(request).await?).await,
        Operation::Otlp => Ok(otlp::fares(app)),
        Operation::Configuration => configuration::effective(app),
        Operation::Form => configuration::form(app, parameters).await,
        Operation::Preview => configuration::preview(app, read(request).await?),
        Operation::Save => configuration::save(app, read(request).await?).await,
        Operation::Document => Ok(super::body(StatusCode::OK, &openapi::document())),
    }
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Problem> {
    let is_json = request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_json {
        let detail = "the body must be application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = Limited::new(request.into_body(), MOST).collect();
    let body = tokio::time::timeout(PATIENCE, body).await.map_err(|_| {
        let detail = "the body did not come in time";
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
    })?;
    let body = body.map_err(|error| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error))?;
    serde_json::from_slice(&body.to_bytes()).map_err(Problem::invalid)
}
