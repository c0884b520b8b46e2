//! Recent traces: lists of summaries, one whole, one as an exporter sends it, and those to come.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, Parameters, Problem};
use crate::admin::body::Body;
use crate::admin::seats::Busy;
use crate::app::App;
use crate::config::{Exporter, Format};
use crate::filter::{Filters, Selection};
use crate::store::{Bucket, Filter, Store};
use crate::trace::split::Encode;
use crate::trace::{json, otlp, record};

/// Most summaries of one answer.
const MOST: usize = 500;

const WITHOUT_STORE: &str = "recent traces are not kept: add `store: {}` to the configuration";

/// How many traces there were when.
#[derive(Serialize, JsonSchema)]
pub(super) struct Histogram {
    buckets: Vec<Bucket>,
}

pub(super) fn store(app: &App) -> Result<Arc<Store>, Problem> {
    app.store()
        .ok_or_else(|| Problem::new(StatusCode::CONFLICT, WITHOUT_STORE))
}

fn filter(parameters: &Parameters) -> Result<Filter, Problem> {
    let pairs = parameters.0.iter();
    Filter::parse(pairs.map(|(name, value)| (name.as_str(), value.as_str())))
        .map_err(Problem::invalid)
}

/// Asks the store on a thread that may wait for the disk.
pub(super) async fn ask<T: Send + 'static>(
    question: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let failed = |error: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error);
    let answer = tokio::task::spawn_blocking(question).await;
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    answer.map_err(|error| failed(format!("the store of recent traces: {error}")))
}

pub(super) async fn list(app: &App, parameters: &Parameters) -> Result<Answer, Problem> {
    let (store, filter) = (store(app)?, filter(parameters)?);
    let before = parameters.number("before")?;
    let limit = parameters.number("limit")?.unwrap_or(100).clamp(1, MOST);
    let page = ask(move || store.search(&filter, before, limit)).await?;
    Ok(super::super::body(StatusCode::OK, &page))
}

pub(super) async fn histogram(app: &App, parameters: &Parameters) -> Result<Answer, Problem> {
    let (store, filter) = (store(app)?, filter(parameters)?);
    let time = |name: &str| {
        let missing = || Problem::invalid(format!("`{name}` is needed: microseconds since 1970"));
        parameters.number(name)?.ok_or_else(missing)
    };
    let (from, to): (i64, i64) = (time("from")?, time("to")?);
    let buckets = parameters.number("buckets")?.unwrap_or(60).clamp(1, 500);
    let buckets = ask(move || store.histogram(&filter, from, to, buckets)).await?;
    Ok(super::super::body(StatusCode::OK, &Histogram { buckets }))
}

pub(super) async fn one(app: &App, id: &str, parameters: &Parameters) -> Result<Answer, Problem> {
    let (summaries, record) = find(app, id, parameters).await?;
    let trace = record::read(&record)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    let mut text = Vec::with_capacity(4 * record.len());
    text.extend_from_slice(br#"{"requests":"#);
    text.extend_from_slice(json!(summaries).to_string().as_bytes());
    text.extend_from_slice(br#","trace":"#);
    json::encode(&trace, &Selection::all(), &mut text);
    text.extend_from_slice(b"}\n");
    Ok(as_json(text))
}

/// The message that an exporter makes of it, and what it would be without filters.
pub(super) async fn message(
    app: &App,
    id: &str,
    parameters: &Parameters,
) -> Result<Answer, Problem> {
    let (_, record) = find(app, id, parameters).await?;
    let trace = record::read(&record)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    let name = parameters.get("exporter").unwrap_or_default();
    let generation = app.generation();
    let exporter = generation.config.exporters.get(name);
    let exporter = exporter.ok_or_else(|| Problem::missing("exporter of that name"))?;
    // Binary messages are shown as the JSON that says the same.
    let encode: Encode = match exporter {
        Exporter::Kafka(kafka) => match kafka.format {
            Format::Json => json::encode,
            // (`Prepared` is of receivers alone.)
            Format::OtlpJson | Format::OtlpProtobuf | Format::Prepared(_) => otlp::encode_json,
        },
        Exporter::Otlp(_) => otlp::encode_json,
    };
    let filters = Filters::new(exporter.filters());
    let mut text = br#"{"whole":"#.to_vec();
    encode(&trace, &Selection::all(), &mut text);
    match filters.select(&trace) {
        Some(selection) => {
            text.extend_from_slice(br#","message":"#);
            encode(&trace, &selection, &mut text);
        }
        None => text.extend_from_slice(br#","sampled_out":true"#),
    }
    text.extend_from_slice(b"}\n");
    Ok(as_json(text))
}

async fn find(
    app: &App,
    id: &str,
    parameters: &Parameters,
) -> Result<(Vec<crate::store::Summary>, Vec<u8>), Problem> {
    let store = store(app)?;
    let (trace_id, number) = (id.to_ascii_lowercase(), parameters.number("request")?);
    let found = ask(move || store.trace(&trace_id, number)).await?;
    found.ok_or_else(|| {
        let why = "there is no such trace here: it may be older than what is kept, or was not kept";
        Problem::new(StatusCode::NOT_FOUND, why)
    })
}

pub(super) fn tail(
    app: &App,
    busy: Busy,
    parameters: &Parameters,
) -> Result<Response<Body>, Problem> {
    let tail = store(app)?.tail(filter(parameters)?).ok_or_else(|| {
        let why = "too many follow traces live already";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, why)
    })?;
    let mut response = Response::new(Body::follow(tail, busy));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream");
    headers.insert(http::header::CONTENT_TYPE, kind);
    let caching = HeaderValue::from_static("no-store");
    headers.insert(http::header::CACHE_CONTROL, caching);
    Ok(response)
}

fn as_json(text: Vec<u8>) -> Answer {
    let mut response = super::super::body(StatusCode::OK, &Value::Null);
    *response.body_mut() = text.into();
    response
}
