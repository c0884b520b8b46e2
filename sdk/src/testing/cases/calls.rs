//! What upstreams reply to a plugin's own calls.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Case, Response, lines};
use crate::http_client;
use crate::testing::Upstreams;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    upstream: String,
    /// Of which requests; any, where it says nothing.
    method: Option<String>,
    /// With the query.
    path: Option<String>,
    reply: Option<Response>,
    error: Option<Error>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Error {
    Connect,
    Timeout,
    Broken,
    TooLarge,
    Overload,
}

impl Call {
    fn fits(&self, upstream: &str, method: &str, target: &str) -> bool {
        let says = |said: &Option<String>, it: &str| said.as_deref().is_none_or(|said| said == it);
        self.upstream == upstream && says(&self.method, method) && says(&self.path, target)
    }
}

impl Case {
    /// The upstreams that the plugin may call: those whose replies the case has.
    pub fn upstreams(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for call in &self.calls {
            if !names.contains(&call.upstream.as_str()) {
                names.push(&call.upstream);
            }
        }
        names
    }

    /// What an upstream replies to a call: of the entries that fit, the first. `None` where the case
    /// does not say.
    pub fn reply(
        &self,
        upstream: &str,
        method: &str,
        target: &str,
    ) -> Option<Result<http::Response<Vec<u8>>, http_client::Error>> {
        let mut calls = self.calls.iter();
        let call = calls.find(|call| call.fits(upstream, method, target))?;
        if let Some(error) = call.error {
            return Some(Err(match error {
                Error::Connect => http_client::Error::Connect,
                Error::Timeout => http_client::Error::Timeout,
                Error::Broken => http_client::Error::Broken,
                Error::TooLarge => http_client::Error::TooLarge,
                Error::Overload => http_client::Error::Overload,
            }));
        }
        let reply = call.reply.clone().unwrap_or_default();
        Some(Ok(
            made(&reply).expect("cases are checked when they are read")
        ))
    }

    /// All of them, as plain JSON.
    pub(super) fn canned(&self) -> Vec<Value> {
        let one = |call: &Call| {
            let error = call.error.map(|error| match error {
                Error::Connect => "connect",
                Error::Timeout => "timeout",
                Error::Broken => "broken",
                Error::TooLarge => "too_large",
                Error::Overload => "overload",
            });
            let reply = call.reply.as_ref().and_then(|reply| made(reply).ok());
            let mut canned = json!({ "upstream": call.upstream });
            for (key, value) in [
                ("method", call.method.as_deref()),
                ("path", call.path.as_deref()),
                ("error", error),
            ] {
                if let Some(value) = value {
                    canned[key] = value.into();
                }
            }
            if let Some(reply) = reply {
                canned["reply"] = super::foreign::message(&reply);
            }
            canned
        };
        self.calls.iter().map(one).collect()
    }

    pub(super) fn check_calls(&self) -> Result<(), String> {
        for call in &self.calls {
            if call.reply.is_some() == call.error.is_some() {
                let upstream = &call.upstream;
                return Err(format!(
                    "calls: of `{upstream}` say either `reply` or `error`"
                ));
            }
            if let Some(reply) = &call.reply {
                made(reply)?;
            }
        }
        Ok(())
    }

    pub(super) fn native_upstreams(&self) -> Upstreams {
        let mut upstreams = Upstreams::new();
        for name in self.upstreams() {
            let (case, upstream) = (self.clone(), name.to_owned());
            upstreams = upstreams.with(name, move |request| {
                let target = request.uri().to_string();
                let reply = case.reply(&upstream, request.method().as_str(), &target);
                reply.unwrap_or(Err(http_client::Error::Connect))
            });
        }
        upstreams
    }
}

fn made(reply: &Response) -> Result<http::Response<Vec<u8>>, String> {
    let mut response = http::Response::builder().status(reply.status);
    for (name, value) in lines(&reply.headers, "calls.reply.headers")? {
        response = response.header(name, value);
    }
    response
        .body(reply.body.whole())
        .map_err(|error| format!("calls.reply: {error}"))
}
