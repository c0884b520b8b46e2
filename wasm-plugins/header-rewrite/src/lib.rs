//! Sets, adds and removes headers, of the request before the upstream sees it and of the response
//! before the client does.
//!
//! ```yaml
//! plugins:
//!   headers:
//!     module: builtin:header-rewrite
//!     config:                    # each key may be left out
//!       request:
//!         remove: [cookie]
//!         set: { x-env: production }
//!         add: { via: "1.1 edge" }
//!       response:
//!         remove: [server, x-powered-by]
//!         set: { strict-transport-security: "max-age=63072000" }
//! ```
//!
//! First `remove` takes all values of a header away, then `set` replaces them by one, then `add`
//! puts one beside those there are. Names and values are checked as the configuration is read;
//! headers that are the proxy's own (`host`, `content-length`, …) are refused there.
//!
//! A hook is only called for where there is something to change. Where the head has no room for
//! what is to be set, a rule may have been there for safety: the request is answered with 431, the
//! response replaced by 502, and the span says why.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::{HeaderName, Response as Answer, StatusCode};
use weir_sdk::{
    Action, Error, HeaderError, Interests, Plugin, Request, Response, header_name, header_value,
    span,
};

/// The configuration of `header-rewrite`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Changes to requests. Default: none.
    #[serde(default)]
    request: Rules,
    /// Changes to responses. Default: none.
    #[serde(default)]
    response: Rules,
}

/// Changes to a head.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Headers to remove, by name.
    remove: Vec<String>,
    /// Headers to replace, or add where there are none: name to value.
    set: BTreeMap<String, String>,
    /// Headers to add beside those there are: name to value.
    add: BTreeMap<String, String>,
}

/// The plugin.
pub struct HeaderRewrite {
    request: Vec<Change>,
    response: Vec<Change>,
}

enum Change {
    Remove(HeaderName),
    Set(HeaderName, String),
    Add(HeaderName, String),
}

impl Plugin for HeaderRewrite {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        let request = config
            .request
            .changes()
            .map_err(|error| format!("request.{error}"))?;
        let response = config
            .response
            .changes()
            .map_err(|error| format!("response.{error}"))?;
        Ok(Self { request, response })
    }

    fn interests(&self) -> Interests {
        let mut interests = Interests::none();
        if !self.request.is_empty() {
            interests = interests.on_request();
        }
        if !self.response.is_empty() {
            interests = interests.on_response();
        }
        interests
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let changed = self.request.iter().try_for_each(|change| match change {
            Change::Remove(name) => request.remove_header(name),
            Change::Set(name, value) => request.set_header(name, value),
            Change::Add(name, value) => request.add_header(name, value),
        });
        done(changed, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    }

    fn on_response(&self, response: &mut Response) -> Action {
        let changed = self.response.iter().try_for_each(|change| match change {
            Change::Remove(name) => response.remove_header(name),
            Change::Set(name, value) => response.set_header(name, value),
            Change::Add(name, value) => response.add_header(name, value),
        });
        done(changed, StatusCode::BAD_GATEWAY)
    }
}

weir_sdk::export!(HeaderRewrite);

fn done(changed: Result<(), HeaderError>, otherwise: StatusCode) -> Action {
    let Err(error) = changed else {
        return Action::Continue;
    };
    span::set_error(&error.to_string());
    let mut answer = Answer::new(Vec::new());
    *answer.status_mut() = otherwise;
    Action::Respond(answer)
}

impl Rules {
    fn changes(self) -> Result<Vec<Change>, String> {
        let mut changes = Vec::with_capacity(self.remove.len() + self.set.len() + self.add.len());
        for name in self.remove {
            let name = header_name(&name).map_err(|error| format!("remove: {name:?}: {error}"))?;
            changes.push(Change::Remove(name));
        }
        for (name, value) in self.set {
            let (name, value) =
                field(&name, value).map_err(|error| format!("set: {name:?}: {error}"))?;
            changes.push(Change::Set(name, value));
        }
        for (name, value) in self.add {
            let (name, value) =
                field(&name, value).map_err(|error| format!("add: {name:?}: {error}"))?;
            changes.push(Change::Add(name, value));
        }
        Ok(changes)
    }
}

fn field(name: &str, value: String) -> Result<(HeaderName, String), HeaderError> {
    header_value(value.as_bytes())?;
    Ok((header_name(name)?, value))
}

#[cfg(test)]
mod tests;
