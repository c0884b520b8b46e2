//! A fixture: does with its key-value store what a request asks for in `x-kv`, one operation behind the
//! other, and answers what came of each, a line for each. Requests without `x-kv` go on.
//!
//! ```text
//! x-kv: set KEY VALUE MILLIS; get KEY; add KEY NUMBER MILLIS; swap KEY EXPECTED VALUE MILLIS; delete KEY
//! ```
//!
//! Values are hexadecimal, and `-` stands for none; `*N` for N zeros. With `strict` it panics where the
//! store is not available.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::{Action, Error, Interests, Plugin, Request, http, kv};

/// The configuration of `keeper`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    strict: bool,
    /// Adds one to `configured` when it is configured.
    counts: bool,
}

/// The plugin.
pub struct Keeper {
    strict: bool,
}

impl Plugin for Keeper {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        if config.counts {
            kv::add("configured", 1, Duration::ZERO).map_err(|error| error.to_string())?;
        }
        Ok(Self {
            strict: config.strict,
        })
    }

    fn interests(&self) -> Interests {
        Interests::none().on_request()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let Some(asked) = request.header("x-kv") else {
            return Action::Continue;
        };
        let done = asked.split(';').map(|operation| {
            let done = operate(operation.split_whitespace());
            match done {
                Err(kv::Error::Unavailable) if self.strict => panic!("the store is gone"),
                Err(error) => format!("{error:?}\n"),
                Ok(done) => done + "\n",
            }
        });
        let body: String = done.collect();
        Action::Respond(http::Response::new(body.into_bytes()))
    }
}

weir_sdk::export!(Keeper);

fn operate<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<String, kv::Error> {
    let operation = words.next().expect("an operation");
    let key = words.next().expect("a key");
    let key = match key.strip_prefix('*') {
        Some(len) => "k".repeat(len.parse().expect("a length")),
        None => key.to_owned(),
    };
    let key = key.as_str();
    let mut next = || words.next().expect("another word");
    let millis = |text: &str| Duration::from_millis(text.parse().expect("milliseconds"));
    Ok(match operation {
        "get" => kv::get(key)?.map_or_else(|| "-".into(), |value| hex(&value)),
        "set" => {
            let (value, ttl) = (bytes(next()), millis(next()));
            kv::set(key, value.unwrap_or_default(), ttl)?;
            "set".into()
        }
        "delete" => kv::delete(key)?.to_string(),
        "add" => {
            let delta = next().parse().expect("a number");
            kv::add(key, delta, millis(next()))?.to_string()
        }
        "swap" => {
            let (expected, value, ttl) = (bytes(next()), bytes(next()), millis(next()));
            let value = value.unwrap_or_default();
            kv::compare_and_set(key, expected.as_deref(), value, ttl)?.to_string()
        }
        other => panic!("{other} is no operation"),
    })
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "empty".into();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if let Some(len) = text.strip_prefix('*') {
        return Some(vec![0; len.parse().expect("a length")]);
    }
    match text {
        "-" => None,
        "empty" => Some(Vec::new()),
        text => {
            let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
            Some((0..text.len()).step_by(2).map(byte).collect())
        }
    }
}
