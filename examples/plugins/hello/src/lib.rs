//! Knows tenants by a header: who shows none, or an unknown one, is answered; the others go on, and
//! their tenant is on the span of the hook.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::{self, HeaderName, StatusCode};
use weir_sdk::{Action, Error, Interests, Plugin, Request, Response, header_name, span, warn};

/// What an operator writes under `config`. The types are checked, and make the schema.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who is let in, in lower case; at least one.
    tenants: Vec<String>,
    /// The header that names the tenant. Default: `x-tenant`.
    #[serde(default = "default_header")]
    header: String,
}

fn default_header() -> String {
    "x-tenant".into()
}

pub struct Tenants {
    known: Vec<String>,
    header: HeaderName,
}

impl Plugin for Tenants {
    type Config = Config;

    /// Once an instance, before any request. An error is what the operator reads.
    fn new(config: Config) -> Result<Self, Error> {
        if config.tenants.is_empty() {
            return Err("tenants: name at least one, else nobody gets in".into());
        }
        Ok(Self {
            known: config.tenants,
            header: header_name(&config.header)?,
        })
    }

    /// A hook that is not named here is never called.
    fn interests(&self) -> Interests {
        Interests::none().on_request().on_response()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let Some(tenant) = request.header(&self.header) else {
            let detail = format!("name your tenant in the header {}", self.header);
            return refuse(StatusCode::BAD_REQUEST, &detail);
        };
        let tenant = tenant.to_ascii_lowercase();
        if !self.known.contains(&tenant) {
            warn!("unknown tenant {tenant}");
            return refuse(StatusCode::FORBIDDEN, "this tenant is not known here");
        }
        span::set_attribute("tenant", &tenant);
        match request.set_header(&self.header, &tenant) {
            Ok(()) => Action::Continue,
            // Fails the hook: the operator's `on_error` decides what becomes of the request.
            Err(error) => panic!("{}: {error}", self.header),
        }
    }

    fn on_response(&self, response: &mut Response) -> Action {
        // A cache may not give one tenant's page to another.
        if let Err(error) = response.add_header("vary", &self.header) {
            span::set_error(&error.to_string());
        }
        Action::Continue
    }
}

weir_sdk::export!(Tenants);

/// An answer as RFC 9457 has it.
fn refuse(status: StatusCode, detail: &str) -> Action {
    let title = status.canonical_reason().unwrap_or_default();
    let problem = format!(
        r#"{{"title":"{title}","status":{},"detail":"{detail}"}}"#,
        status.as_u16()
    );
    let mut answer = http::Response::new(problem.into_bytes());
    *answer.status_mut() = status;
    let json = http::HeaderValue::from_static("application/problem+json");
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    Action::Respond(answer)
}

#[cfg(test)]
mod tests {
    use weir_sdk::testing::{Host, run_cases};

    use super::Tenants;

    /// The same cases that `weir plugin test` runs in Weir.
    #[test]
    fn the_cases_come_out_as_they_say() {
        run_cases::<Tenants>(include_str!("../cases.yaml"));
    }

    /// What a case cannot say is a test in Rust.
    #[test]
    fn the_schema_tells_what_may_be_configured() {
        let schema = Host::<Tenants>::config_schema();
        assert_eq!(schema["properties"]["header"]["default"], "x-tenant");
        assert_eq!(schema["required"][0], "tenants");
    }
}
