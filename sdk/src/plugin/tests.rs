use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Rule {
    #[expect(dead_code, reason = "only read from JSON")]
    percent: u8,
}

#[derive(Debug)]
struct Configured<C>(C);

impl<C: DeserializeOwned + JsonSchema + 'static> Plugin for Configured<C> {
    type Config = C;

    fn new(config: C) -> Result<Self, Error> {
        Ok(Self(config))
    }

    fn interests(&self) -> Interests {
        Interests::none()
    }
}

fn configured<C: DeserializeOwned + JsonSchema + 'static>(config: &str) -> Result<C, String> {
    configure::<Configured<C>>(config).map(|Configured(config)| config)
}

#[test]
fn no_config_is_a_struct_of_defaults() {
    assert!(configured::<Config>("null").unwrap().rules.is_empty());
}

#[test]
fn no_config_is_unit() {
    configured::<()>("null").unwrap();
    configured::<()>("{}").unwrap();
}

#[test]
fn no_config_is_none() {
    assert!(configured::<Option<Config>>("null").unwrap().is_none());
}

#[test]
fn no_config_names_the_field_that_must_be_given() {
    assert_eq!(
        configured::<Rule>("null").unwrap_err(),
        "missing field `percent`"
    );
}

#[test]
fn a_config_for_a_plugin_that_takes_none_is_refused() {
    assert_eq!(
        configured::<()>(r#"{"a":1}"#).unwrap_err(),
        "invalid type: map, expected unit"
    );
}

#[test]
fn a_fault_is_named_with_its_path() {
    let error = configured::<Config>(r#"{"rules":[{"percent":1},{"percent":300}]}"#).unwrap_err();
    assert_eq!(
        error,
        "rules[1].percent: invalid value: integer `300`, expected u8"
    );
}

#[test]
fn an_unknown_key_is_named() {
    let error = configured::<Config>(r#"{"rule":[]}"#).unwrap_err();
    assert_eq!(error, "rule: unknown field `rule`, expected `rules`");
}

#[test]
fn a_refusal_tells_its_causes() {
    #[derive(Debug)]
    struct Refusing;

    #[derive(Debug, thiserror::Error)]
    #[error("the list cannot be read")]
    struct Outer(#[source] std::num::ParseIntError);

    impl Plugin for Refusing {
        type Config = String;

        fn new(config: String) -> Result<Self, Error> {
            config.parse::<u8>().map_err(Outer)?;
            Ok(Self)
        }

        fn interests(&self) -> Interests {
            Interests::none()
        }
    }

    let error = configure::<Refusing>(r#""x""#).unwrap_err();
    assert_eq!(
        error,
        "the list cannot be read: invalid digit found in string"
    );
}

#[test]
fn the_schema_is_that_of_the_config() {
    let schema: serde_json::Value =
        serde_json::from_str(&config_schema::<Configured<Config>>()).unwrap();
    assert_eq!(
        schema["properties"]["rules"]["items"]["$ref"],
        "#/$defs/Rule"
    );
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn interests_hold_what_was_asked_for_and_no_more() {
    let interests = Interests::none().on_request().request_head();
    assert!(interests.contains(Hook::Request));
    assert!(interests.wants_request_head());
    assert!(!interests.contains(Hook::PreRequest));
    assert!(!interests.contains(Hook::Response));
}
