//! Changes JSON responses: removes, renames and sets members.
//!
//! ```yaml
//! plugins:
//!   tidy:
//!     module: builtin:response-transform
//!     on_large_body: bypass            # or `reject`: a response that is too large becomes a 502
//!     config:
//!       remove: [/password, "/items/*/internal"]
//!       rename: { /items/*/ident: id }
//!       set: { /source: "weir" }
//!       max_bytes: 1048576             # the default; at most `limits.body`
//!       status: [200]                  # only these; default: 200 to 299
//! ```
//!
//! Paths are JSON Pointers (RFC 6901), in which `*` stands for every member or item. They are removed
//! first, then renamed, then set; what a path does not lead to is left alone, and `set` makes the last
//! member of a path, but not those on the way to it.
//!
//! Only responses of type `application/json` or `…+json` are looked at, in no `content-encoding` or one that
//! Weir decodes. One that is changed goes on in none, and what told of the one before is put right, as
//! wherever a plugin replaces a body. All responses of the route are held until they are whole: do not put
//! it before server-sent events. Integers beyond 64 bits become floats. The span has `response_transform.result`: `changed`, `unchanged`, `no_json`,
//! `encoded`, `malformed`, `status` or `bypassed`, and `response_transform.changes`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use weir_sdk::http::{StatusCode, header};
use weir_sdk::{Action, Error, Interests, Plugin, Response, span};

/// The configuration of `response-transform`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Paths of what is removed. Default: none.
    #[serde(default)]
    remove: Vec<String>,
    /// New names of members, by their paths. Default: none.
    #[serde(default)]
    rename: BTreeMap<String, String>,
    /// Values, by the paths they are set at. Default: none.
    #[serde(default)]
    set: BTreeMap<String, Value>,
    /// Most bytes that a response may have. Default: 1 MiB.
    #[serde(default = "mebibyte")]
    #[schemars(range(min = 1))]
    max_bytes: u64,
    /// Statuses of responses that are changed. Default: 200 to 299.
    #[serde(default)]
    status: Vec<u16>,
}

fn mebibyte() -> u64 {
    1 << 20
}

/// The plugin.
pub struct ResponseTransform {
    remove: Vec<Path>,
    rename: Vec<(Path, String)>,
    set: Vec<(Path, Value)>,
    max_bytes: u64,
    status: Vec<u16>,
}

impl Plugin for ResponseTransform {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        if config.remove.is_empty() && config.rename.is_empty() && config.set.is_empty() {
            return Err("remove, rename, set: at least one of them is needed".into());
        }
        if config.max_bytes == 0 {
            return Err("max_bytes: must be at least 1".into());
        }
        let path = |key: &str, text: &str| {
            Path::new(text).map_err(|error| format!("{key}: {text:?} {error}"))
        };
        let remove = config.remove.iter().map(|text| path("remove", text));
        let rename = config
            .rename
            .into_iter()
            .map(|(text, name)| Ok((path("rename", &text)?, name)));
        let set = config
            .set
            .into_iter()
            .map(|(text, value)| Ok((path("set", &text)?, value)));
        Ok(Self {
            remove: remove.collect::<Result<_, String>>()?,
            rename: rename.collect::<Result<_, String>>()?,
            set: set.collect::<Result<_, String>>()?,
            max_bytes: config.max_bytes,
            status: config.status,
        })
    }

    fn interests(&self) -> Interests {
        Interests::none()
            .on_response()
            .buffer_response_body(self.max_bytes)
            .decoded()
    }

    fn on_response(&self, response: &mut Response) -> Action {
        let (result, changes) = match self.transform(response) {
            Ok(0) => ("unchanged", 0),
            Ok(changes) => ("changed", changes),
            Err(result) => (result, 0),
        };
        span::set_attribute("response_transform.result", result);
        span::set_attribute("response_transform.changes", i64::from(changes));
        Action::Continue
    }
}

weir_sdk::export!(ResponseTransform);

impl ResponseTransform {
    /// How many changes were made.
    fn transform(&self, response: &mut Response) -> Result<u32, &'static str> {
        if !self.is_meant(response.status()) {
            return Err("status");
        }
        if !response
            .header(header::CONTENT_TYPE)
            .is_some_and(|kind| is_json(&kind))
        {
            return Err("no_json");
        }
        let encoding = response.header(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err("encoded");
        }
        let body = response.body().map_err(|_| "bypassed")?;
        let mut value: Value = serde_json::from_slice(&body).map_err(|_| "malformed")?;
        drop(body);
        let mut changes = 0;
        for path in &self.remove {
            path.each_parent(&mut value, &mut |parent, last| {
                changes += remove(parent, last);
            });
        }
        for (path, name) in &self.rename {
            path.each_parent(&mut value, &mut |parent, last| {
                changes += rename(parent, last, name);
            });
        }
        for (path, new) in &self.set {
            path.each_parent(&mut value, &mut |parent, last| {
                changes += set(parent, last, new);
            });
        }
        if changes > 0
            && let Err(error) = response.set_body(value.to_string())
        {
            span::set_error(&error.to_string());
            return Ok(0);
        }
        Ok(changes)
    }

    fn is_meant(&self, status: StatusCode) -> bool {
        if self.status.is_empty() {
            status.is_success()
        } else {
            self.status.contains(&status.as_u16())
        }
    }
}

fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// A JSON Pointer with at least one token.
struct Path {
    way: Vec<Token>,
    last: Token,
}

enum Token {
    Name(String),
    Every,
}

impl Path {
    fn new(text: &str) -> Result<Self, &'static str> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err("is no JSON Pointer: it begins with `/`");
        };
        let mut way: Vec<Token> = Vec::new();
        for token in rest.split('/') {
            if token.replace("~0", "").replace("~1", "").contains('~') {
                return Err("is no JSON Pointer: `~` is written `~0`");
            }
            way.push(match token {
                "*" => Token::Every,
                name => Token::Name(name.replace("~1", "/").replace("~0", "~")),
            });
        }
        let last = way.pop().ok_or("is no JSON Pointer")?;
        Ok(Self { way, last })
    }

    /// Calls `change` with each value that the path leads to but for its last token.
    fn each_parent(&self, value: &mut Value, change: &mut impl FnMut(&mut Value, &Token)) {
        fn walk(
            way: &[Token],
            value: &mut Value,
            last: &Token,
            change: &mut impl FnMut(&mut Value, &Token),
        ) {
            let Some((first, rest)) = way.split_first() else {
                return change(value, last);
            };
            match (first, value) {
                (Token::Every, Value::Array(items)) => {
                    for item in items {
                        walk(rest, item, last, change);
                    }
                }
                (Token::Every, Value::Object(members)) => {
                    for member in members.values_mut() {
                        walk(rest, member, last, change);
                    }
                }
                (Token::Name(name), Value::Object(members)) => {
                    if let Some(member) = members.get_mut(name) {
                        walk(rest, member, last, change);
                    }
                }
                (Token::Name(name), Value::Array(items)) => {
                    if let Some(item) = index(name).and_then(|index| items.get_mut(index)) {
                        walk(rest, item, last, change);
                    }
                }
                _ => {}
            }
        }
        walk(&self.way, value, &self.last, change);
    }
}

/// Of an array, without leading zeros.
fn index(name: &str) -> Option<usize> {
    let plain = name == "0" || !name.starts_with(['0', '+']);
    name.parse().ok().filter(|_| plain)
}

fn remove(parent: &mut Value, last: &Token) -> u32 {
    match (last, parent) {
        (Token::Name(name), Value::Object(members)) => members.shift_remove(name).map_or(0, |_| 1),
        (Token::Name(name), Value::Array(items)) => match index(name) {
            Some(index) if index < items.len() => {
                items.remove(index);
                1
            }
            _ => 0,
        },
        (Token::Every, Value::Object(members)) => count(std::mem::take(members).len()),
        (Token::Every, Value::Array(items)) => count(std::mem::take(items).len()),
        _ => 0,
    }
}

/// Keeps the member's place, and replaces one that has the new name already.
fn rename(parent: &mut Value, last: &Token, new: &str) -> u32 {
    let (Token::Name(name), Value::Object(members)) = (last, parent) else {
        return 0;
    };
    if name == new || !members.contains_key(name) {
        return 0;
    }
    members.shift_remove(new);
    let old = std::mem::take(members);
    for (key, value) in old {
        let key = if key == *name { new.to_owned() } else { key };
        members.insert(key, value);
    }
    1
}

fn set(parent: &mut Value, last: &Token, new: &Value) -> u32 {
    match (last, parent) {
        (Token::Name(name), Value::Object(members)) => {
            members.insert(name.clone(), new.clone());
            1
        }
        (Token::Name(name), Value::Array(items)) => {
            match index(name).and_then(|index| items.get_mut(index)) {
                Some(item) => *item = new.clone(),
                None if name == "-" => items.push(new.clone()),
                None => return 0,
            }
            1
        }
        (Token::Every, Value::Object(members)) => {
            members
                .values_mut()
                .for_each(|member| *member = new.clone());
            count(members.len())
        }
        (Token::Every, Value::Array(items)) => {
            items.fill(new.clone());
            count(items.len())
        }
        _ => 0,
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
