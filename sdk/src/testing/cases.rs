//! A plugin's cases: exchanges and what is to come of them, in a file beside the code.
//!
//! One file serves both hosts. [`run_cases`] runs it natively in `cargo test`;
//! `weir plugin test` runs it on the module, in Weir itself. What each of them saw becomes an
//! [`Observed`], and [`Case::differences`] compares: the format has one reader and one judge.
//!
//! ```yaml
//! # cases.yaml
//! config: { name: Ada }              # for each case that has none of its own
//! cases:
//!   - name: each response is greeted
//!     request: { method: GET, url: /page?x=1, headers: { accept: text/html } }
//!     response: { status: 200, headers: { content-type: text/html }, body: page }
//!     calls:                         # what upstreams reply to the plugin's own calls
//!       - { upstream: names, path: "/ada", reply: { status: 200, body: Ada } }
//!       - { upstream: names, error: timeout }   # any other
//!     expect:
//!       action: continue             # or respond, reroute, fail
//!       request:                     # as it would go to the upstream
//!         url: /page?x=1
//!         headers: { accept: text/html, x-secret: null }
//!         body: ""
//!       response:                    # as the client would get it
//!         status: 200
//!         headers: { x-hello: "hello, Ada" }
//!         body: { contains: page }
//!       spans: { response: { hello.greeting: "hello, Ada" } }
//!       logs: [greeted]
//!       calls: [GET names /ada]      # all of them, in order
//!   - name: nobody is not greeted
//!     config: { name: "" }
//!     expect: { refused: nobody to greet }
//! ```
//!
//! A body that is a list of texts comes in these pieces, for a plugin that streams it.
//!
//! A request by `https` may have a `client_certificate`, with `subject`, `issuer`, `sha256` and
//! `alternative_names` (lists `dns`, `uri`, `email` and `ip`), each empty where it is not said.
//!
//! All of `expect` is optional; a plugin that fails or refuses its configuration where the case
//! does not say so fails the case. A value is a text or a number, `{contains: …}` for a part of a
//! text, or `null` for what must not be there; a header that came several times is a list. `failure`,
//! `refused` and `logs` are parts of texts. `spans` has `pre_request`, `request`, `response` and
//! `upstream`.

mod calls;
mod compare;
mod foreign;
mod native;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::InPieces;
use crate::Certificate;
pub use native::run_cases;

/// Where a request goes to whose URL is a path.
const ORIGIN: &str = "http://example.com";

/// Reads a file of cases, which is YAML (or JSON). The error says what is wrong, and where.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if file.cases.is_empty() {
        return Err("`cases` is empty: there is nothing to test".into());
    }
    let mut cases = file.cases;
    for case in &mut cases {
        if case.config.is_none() {
            case.config = Some(file.config.clone());
        }
        (case.check()).map_err(|fault| format!("case `{}`: {fault}", case.name))?;
    }
    Ok(cases)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    config: Value,
    cases: Vec<Case>,
}

/// An exchange, and what is to come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    #[serde(default, deserialize_with = "given")]
    config: Option<Value>,
    #[serde(default)]
    request: Request,
    #[serde(default)]
    response: Response,
    #[serde(default)]
    calls: Vec<calls::Call>,
    #[serde(default)]
    expect: Expect,
    /// Whether it can be run natively too; `false` where it shows what only Weir has, as limits.
    #[serde(default = "yes")]
    pub native: bool,
}

/// A `null` that was written is a value, not an absence.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Request {
    method: String,
    url: String,
    headers: BTreeMap<String, Value>,
    body: Body,
    client_certificate: Option<Certificate>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: "GET".into(),
            url: "/".into(),
            headers: BTreeMap::new(),
            body: Body::default(),
            client_certificate: None,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Response {
    status: u16,
    headers: BTreeMap<String, Value>,
    body: Body,
}

impl Default for Response {
    fn default() -> Self {
        Self {
            status: 200,
            headers: BTreeMap::new(),
            body: Body::default(),
        }
    }
}

/// A body as it comes: a text in one piece, a list of texts in these.
#[derive(Clone, Debug, Default)]
struct Body(Vec<String>);

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let body = Value::deserialize(from)?;
        let pieces = match &body {
            Value::Array(pieces) => pieces.as_slice(),
            body => std::slice::from_ref(body),
        };
        let pieces: Option<_> = pieces.iter().map(compare::scalar).collect();
        let fault =
            || serde::de::Error::custom("`body` is to be a text, or a list of texts: its pieces");
        pieces.map(Self).ok_or_else(fault)
    }
}

impl Body {
    fn whole(&self) -> Vec<u8> {
        self.0.concat().into_bytes()
    }

    fn pieces(&self) -> Option<InPieces> {
        let pieces = || self.0.iter().map(|piece| piece.clone().into_bytes());
        (self.0.len() > 1).then(|| InPieces(pieces().collect()))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expect {
    refused: Option<String>,
    failure: Option<String>,
    action: Option<Action>,
    request: ExpectedRequest,
    upstream: Option<String>,
    response: ExpectedResponse,
    spans: BTreeMap<Place, Map<String, Value>>,
    logs: Vec<String>,
    calls: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ExpectedRequest {
    url: Option<String>,
    headers: Map<String, Value>,
    body: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ExpectedResponse {
    status: Option<u16>,
    headers: Map<String, Value>,
    body: Option<Value>,
}

/// What came of the request's hooks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The request went on.
    #[default]
    Continue,
    /// The plugin answered instead of the upstream.
    Respond,
    /// The plugin chose an upstream.
    Reroute,
    /// A hook failed.
    Fail,
}

/// Whose span.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The hook's before routing.
    PreRequest,
    /// The hook's before the upstream.
    Request,
    /// The hook's on the response.
    Response,
    /// That of the call to the upstream.
    Upstream,
}

/// What a host saw when it ran a case.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The configuration was refused, and why; nothing else has happened then.
    pub refused: Option<String>,
    /// A hook failed, and how.
    pub failure: Option<String>,
    /// What came of the request's hooks.
    pub action: Action,
    /// The request as it goes to the upstream: its whole URL, and its headers.
    pub request: Option<(String, http::HeaderMap)>,
    /// Its body.
    pub request_body: Vec<u8>,
    /// The upstream that a reroute named.
    pub upstream: Option<String>,
    /// What the client gets.
    pub response: Option<http::Response<Vec<u8>>>,
    /// Attributes of the spans of hooks that were called.
    pub spans: BTreeMap<Place, Map<String, Value>>,
    /// Lines of the log.
    pub logs: Vec<String>,
    /// The plugin's own calls: method, upstream, and path with query.
    pub calls: Vec<String>,
}

/// Something that came out otherwise than the case says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which value, as its key in the file.
    pub what: String,
    /// What the case says.
    pub expected: String,
    /// What was seen.
    pub got: String,
}

impl Case {
    /// The plugin's configuration.
    pub fn config(&self) -> &Value {
        self.config.as_ref().unwrap_or(&Value::Null)
    }

    /// The request that begins the exchange; the client's [`Certificate`] and the [pieces](InPieces) of its
    /// body, where there are any, are among its extensions.
    pub fn request(&self) -> Result<http::Request<Vec<u8>>, String> {
        let Request {
            method,
            url,
            headers,
            body,
            client_certificate,
        } = &self.request;
        let url = if url.starts_with('/') {
            format!("{ORIGIN}{url}")
        } else if url.contains("://") {
            url.clone()
        } else {
            return Err("request.url: is to be a path, or a URL such as http://host/path".into());
        };
        let mut request = http::Request::builder().method(method.as_str()).uri(url);
        for (name, value) in lines(headers, "request.headers")? {
            request = request.header(name, value);
        }
        if let Some(certificate) = client_certificate {
            request = request.extension(certificate.clone());
        }
        if let Some(pieces) = body.pieces() {
            request = request.extension(pieces);
        }
        request
            .body(body.whole())
            .map_err(|error| format!("request: {error}"))
    }

    /// The upstream's response, whose [pieces](InPieces) are among its extensions as a request's.
    pub fn response(&self) -> Result<http::Response<Vec<u8>>, String> {
        let mut response = http::Response::builder().status(self.response.status);
        for (name, value) in lines(&self.response.headers, "response.headers")? {
            response = response.header(name, value);
        }
        if let Some(pieces) = self.response.body.pieces() {
            response = response.extension(pieces);
        }
        response
            .body(self.response.body.whole())
            .map_err(|error| format!("response: {error}"))
    }

    /// What came out otherwise than the case says; nothing where all is as it says.
    pub fn differences(&self, observed: &Observed) -> Vec<Difference> {
        compare::differences(&self.expect, observed)
    }

    /// What a reader of YAML cannot know.
    fn check(&self) -> Result<(), String> {
        let request = self.request()?;
        if request.uri().authority().is_none() {
            return Err(format!(
                "request.url: `{}` is neither a path nor a URL",
                self.request.url
            ));
        }
        if self.request.client_certificate.is_some() && request.uri().scheme_str() != Some("https")
        {
            return Err(
                "request.client_certificate: is shown by https alone: make `url` as https://host/path"
                    .into(),
            );
        }
        self.response()?;
        self.check_calls()?;
        compare::check(&self.expect)
    }
}

/// Header lines of what may be a text or a list of texts.
fn lines<'c>(
    headers: &'c BTreeMap<String, Value>,
    what: &str,
) -> Result<Vec<(&'c str, String)>, String> {
    let mut lines = Vec::new();
    for (name, value) in headers {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            let text = compare::scalar(value)
                .ok_or_else(|| format!("{what}.{name}: `{value}` is no text"))?;
            lines.push((name.as_str(), text));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
