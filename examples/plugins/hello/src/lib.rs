//! Says hello in a header of each response.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::{Action, Error, Interests, Plugin, Response, span};

/// The plugin's `config`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whom to greet. Default: `world`.
    #[serde(default = "world")]
    name: String,
}

fn world() -> String {
    "world".into()
}

pub struct Hello {
    greeting: String,
}

impl Plugin for Hello {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        if config.name.is_empty() {
            return Err("name: there is nobody to greet".into());
        }
        Ok(Self { greeting: format!("hello, {}", config.name) })
    }

    fn interests(&self) -> Interests {
        Interests::none().on_response()
    }

    fn on_response(&self, response: &mut Response) -> Action {
        match response.set_header("x-hello", &self.greeting) {
            Ok(()) => span::set_attribute("hello.greeting", &self.greeting),
            Err(error) => span::set_error(&error.to_string()),
        }
        Action::Continue
    }
}

weir_sdk::export!(Hello);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_sdk::testing::Host;
    use weir_sdk::{Hook, http};

    use super::*;

    #[test]
    fn each_response_is_greeted() {
        let host = Host::<Hello>::new(json!({ "name": "Ada" })).unwrap();
        let mut exchange = host.request(http::Request::new(()));
        let response = exchange.response(http::Response::new("page"));
        assert_eq!(response.headers()["x-hello"], "hello, Ada");
        let span = exchange.span(Hook::Response);
        assert_eq!(span.attribute("hello.greeting"), Some(&"hello, Ada".into()));
    }

    #[test]
    fn nobody_is_not_greeted() {
        let refused = Host::<Hello>::new(json!({ "name": "" })).unwrap_err();
        assert_eq!(refused, "name: there is nobody to greet");
    }
}
