//! Cases for hosts in other languages: as plain JSON out, and what they saw back in.
//!
//! The fake hosts of the SDKs for JavaScript and Python (`sdk/javascript/testing.js`,
//! `sdk/python/weir/testing.py`) read and write it. They run exchanges; the judge stays here.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::{Action, Case, Observed, Place};
use crate::Certificate;
use crate::testing::InPieces;

impl Case {
    /// The case's exchange: `config`, `request`, `response` and `calls`, with fields as lists of name
    /// and value.
    pub fn exchange(&self) -> Value {
        // Cases are checked when they are read.
        let (Ok(request), Ok(response)) = (self.request(), self.response()) else {
            return Value::Null;
        };
        json!({
            "config": self.config(),
            "request": {
                "method": request.method().as_str(),
                "url": request.uri().to_string(),
                "headers": fields(request.headers()),
                "body": body(request.extensions(), request.body()),
                "client_certificate": request.extensions().get::<Certificate>(),
            },
            "response": message(&response),
            "calls": self.canned(),
        })
    }
}

pub(super) fn message(response: &http::Response<Vec<u8>>) -> Value {
    json!({
        "status": response.status().as_u16(),
        "headers": fields(response.headers()),
        "body": body(response.extensions(), response.body()),
    })
}

/// One text, or a list of the pieces it comes in.
fn body(extensions: &Extensions, whole: &[u8]) -> Value {
    match extensions.get::<InPieces>() {
        Some(InPieces(pieces)) => pieces.iter().map(|piece| text(piece)).collect(),
        None => text(whole).into(),
    }
}

/// Bodies of cases are texts.
fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

fn fields(headers: &HeaderMap) -> Vec<[String; 2]> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        [name.as_str().to_owned(), text(value.as_bytes())]
    };
    headers.iter().map(line).collect()
}

impl Observed {
    /// What a host says that it saw of [`Case::exchange`]. `None` where that is no such thing.
    pub fn of_exchange(seen: &Value) -> Option<Self> {
        let word = |key: &str| seen[key].as_str().map(str::to_owned);
        let words = |key: &str| -> Vec<String> {
            let all = seen[key].as_array().into_iter().flatten();
            all.filter_map(|line| line.as_str().map(str::to_owned))
                .collect()
        };
        let request = match &seen["request"] {
            Value::Null => None,
            request => Some((
                request["url"].as_str()?.to_owned(),
                headers(&request["headers"])?,
            )),
        };
        let response = match &seen["response"] {
            Value::Null => None,
            response => {
                let status = u16::try_from(response["status"].as_u64()?).ok()?;
                let body = response["body"].as_str()?.as_bytes().to_vec();
                let mut made = http::Response::builder().status(status).body(body).ok()?;
                *made.headers_mut() = headers(&response["headers"])?;
                Some(made)
            }
        };
        let places = [
            ("pre_request", Place::PreRequest),
            ("request", Place::Request),
            ("response", Place::Response),
            ("upstream", Place::Upstream),
        ];
        let span = |(name, place): (&str, Place)| {
            let attributes: &Map<String, Value> = seen["spans"][name].as_object()?;
            Some((place, attributes.clone()))
        };
        Some(Self {
            refused: word("refused"),
            failure: word("failure"),
            action: match seen["action"].as_str()? {
                "continue" => Action::Continue,
                "respond" => Action::Respond,
                "reroute" => Action::Reroute,
                "fail" => Action::Fail,
                _ => return None,
            },
            request,
            request_body: seen["request"]["body"].as_str().unwrap_or_default().into(),
            upstream: word("upstream"),
            response,
            spans: places.into_iter().filter_map(span).collect(),
            logs: words("logs"),
            calls: words("calls"),
        })
    }
}

fn headers(lines: &Value) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines.as_array()? {
        let name = HeaderName::try_from(line[0].as_str()?).ok()?;
        headers.append(name, HeaderValue::try_from(line[1].as_str()?).ok()?);
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cases::parse;

    #[test]
    fn a_case_goes_out_and_what_was_seen_is_judged() {
        let cases = parse(
            "cases: [{name: n, config: {a: 1}, request: {url: /x, headers: {x-a: [1, 2]}, body: [o, ne]},
                      response: {body: two},
                      calls: [{upstream: u, path: /k, error: too_large}, {upstream: v, reply: {body: b}}],
                      expect: {action: respond, response: {status: 403, headers: {x-b: c}}, logs: [no]}}]",
        );
        let cases = cases.expect("a case");
        let exchange = cases[0].exchange();
        assert_eq!(exchange["config"], json!({"a": 1}));
        assert_eq!(exchange["request"]["url"], "http://example.com/x");
        let lines = json!([["x-a", "1"], ["x-a", "2"]]);
        assert_eq!(exchange["request"]["headers"], lines);
        assert!(exchange["request"]["client_certificate"].is_null());
        assert_eq!(exchange["request"]["body"], json!(["o", "ne"]));
        assert_eq!(exchange["response"]["body"], "two");
        assert_eq!(exchange["calls"][0]["error"], "too_large");
        assert_eq!(exchange["calls"][0]["path"], "/k");
        assert_eq!(exchange["calls"][1]["reply"]["body"], "b");

        let mut seen = json!({
            "action": "respond", "logs": ["oh no"], "calls": [],
            "response": {"status": 403, "headers": [["x-b", "c"]], "body": ""},
        });
        let observed = Observed::of_exchange(&seen).expect("it was seen");
        assert!(cases[0].differences(&observed).is_empty());
        seen["response"]["status"] = json!(200);
        let observed = Observed::of_exchange(&seen).expect("it was seen");
        assert_eq!(cases[0].differences(&observed).len(), 1);
    }

    #[test]
    fn a_certificate_goes_out_whole() {
        let cases = parse(
            "cases: [{name: n, request: {url: 'https://a/', client_certificate: {subject: CN=a}}}]",
        );
        let exchange = cases.expect("a case")[0].exchange();
        let none: [&str; 0] = [];
        assert_eq!(
            exchange["request"]["client_certificate"],
            json!({
                "subject": "CN=a", "issuer": "", "sha256": "",
                "alternative_names": { "dns": none, "uri": none, "email": none, "ip": none },
            })
        );
    }

    #[test]
    fn what_is_no_observation_is_none() {
        for seen in [json!({}), json!({"action": "sings"}), json!([])] {
            assert!(Observed::of_exchange(&seen).is_none(), "{seen}");
        }
    }
}
