//! Limits how often each client may ask, and answers the others with 429.
//!
//! ```yaml
//! plugins:
//!   limit:
//!     module: builtin:rate-limit
//!     config:
//!       requests: 100        # so many
//!       seconds: 60          # in so many seconds
//!       burst: 20            # at most so many at once; default: `requests`
//!       by: client           # client, all, or header
//!       header: x-api-key    # with `by: header`; a request without it counts as its client
//!       headers: true        # tell the client by `ratelimit` and `ratelimit-policy`
//! ```
//!
//! It is a token bucket of `burst` tokens, filled at `requests` in `seconds`, one for each client.
//! Buckets are in the plugin's key-value store: all workers share them, and each lives until it would
//! be full. A store that overflows (`limits.kv`) forgets those that were not used for long, who may
//! then ask anew. Routes whose configurations differ in rate or burst have buckets of their own, others
//! share them. They count by the wall clock. In Redis (`kv.redis`) all processes of Weir that use it share
//! the buckets, and the machines' clocks must be about the same; while it cannot be reached the hook
//! fails, so that `on_error` says whether requests wait for it or pass. Values of `header` are kept as
//! they are: prefer one that an earlier plugin has checked.
//!
//! `on-request` takes a token, or answers `application/problem+json` with `retry-after`.
//! `on-response` adds `ratelimit-policy` and `ratelimit`
//! (draft-ietf-httpapi-ratelimit-headers). The span has `rate_limit.result`, `allowed` or `limited`,
//! and `rate_limit.remaining`.

use std::time::{Duration, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::{HeaderName, HeaderValue, Response as Answer, StatusCode, header};
use weir_sdk::{
    Action, Error, Interests, Plugin, Request, Response, clock, exchange, header_name, kv, span,
};

/// How often a bucket that others change at the same time is tried again.
const TRIES: usize = 64;

/// Longest value of a header that is told from others.
const LONGEST_KEY: usize = 512;

/// How many tokens are left, and nanoseconds until the next; or how long it takes until there is one.
type Taken = Result<(u32, u64), u64>;

/// What `on-request` leaves for `on-response`: tokens left, and seconds until there is one more.
const LEFT: &str = "left";

/// The configuration of `rate-limit`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many requests; at least one.
    #[schemars(range(min = 1))]
    requests: u32,
    /// In how many seconds; at most a day. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 86_400))]
    seconds: u32,
    /// Most requests at once. Default: `requests`.
    #[schemars(range(min = 1))]
    burst: Option<u32>,
    /// Whose requests are counted together. Default: `client`.
    #[serde(default)]
    by: By,
    /// The header, with `by: header`.
    header: Option<String>,
    /// Whether responses tell how many requests are left. Default: `true`.
    #[serde(default = "yes")]
    headers: bool,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Those of one address.
    #[default]
    Client,
    /// All.
    All,
    /// Those that have the same value of a header.
    Header,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

/// The plugin.
pub struct RateLimit {
    /// Nanoseconds in which one token comes.
    interval: u64,
    burst: u32,
    by: By,
    header: Option<HeaderName>,
    policy: Option<String>,
}

impl Plugin for RateLimit {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        let Config {
            requests,
            seconds,
            burst,
            by,
            header,
            headers,
        } = config;
        if requests == 0 {
            return Err("requests: nobody could ask; at least 1".into());
        }
        if !(1..=86_400).contains(&seconds) {
            return Err(format!("seconds: {seconds} is not from 1 to 86400, a day").into());
        }
        let burst = burst.unwrap_or(requests);
        if burst == 0 {
            return Err("burst: nobody could ask; at least 1".into());
        }
        let header = match (by, header) {
            (By::Header, Some(name)) => {
                Some(header_name(&name).map_err(|error| format!("header: {name:?}: {error}"))?)
            }
            (By::Header, None) => return Err("header: is needed with `by: header`".into()),
            (_, Some(_)) => return Err("header: is of use only with `by: header`".into()),
            (_, None) => None,
        };
        let interval = (u64::from(seconds) * 1_000_000_000 / u64::from(requests)).max(1);
        if interval.saturating_mul(burst.into()) > 86_400_000_000_000 {
            return Err("burst: takes more than a day to fill at this rate".into());
        }
        let policy = headers.then(|| format!("\"default\";q={requests};w={seconds}"));
        Ok(Self {
            interval,
            burst,
            by,
            header,
            policy,
        })
    }

    fn interests(&self) -> Interests {
        let interests = Interests::none().on_request();
        if self.policy.is_some() {
            interests.on_response()
        } else {
            interests
        }
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let now = clock::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let taken = match self.take(&self.key(request), now) {
            Ok(taken) => taken,
            // The operator has said in `on_error` what is to become of the request then.
            Err(error) => panic!("{error}"),
        };
        let (result, left, wait) = match taken {
            Ok((left, wait)) => ("allowed", left, wait),
            Err(wait) => ("limited", 0, wait),
        };
        span::set_attribute("rate_limit.result", result);
        span::set_attribute("rate_limit.remaining", i64::from(left));
        let seconds = wait.div_ceil(1_000_000_000);
        if self.policy.is_some() {
            exchange::set(LEFT, &format!("\"default\";r={left};t={seconds}"));
        }
        if taken.is_ok() {
            return Action::Continue;
        }
        Action::Respond(too_many(seconds))
    }

    fn on_response(&self, response: &mut Response) -> Action {
        if let (Some(policy), Some(left)) = (&self.policy, exchange::get(LEFT)) {
            // A head that is full goes without.
            let _ = response.set_header("ratelimit-policy", policy);
            let _ = response.set_header("ratelimit", left);
        }
        Action::Continue
    }
}

weir_sdk::export!(RateLimit);

impl RateLimit {
    /// Of the bucket: what a number in it means depends on rate and burst.
    fn key(&self, request: &Request) -> String {
        let value = self.header.as_ref().and_then(|name| request.header(name));
        let (rate, burst) = (self.interval, self.burst);
        match (self.by, value) {
            (By::All, _) => format!("{rate}:{burst}:all"),
            (By::Header, Some(value)) => {
                let value = &value[..value.floor_char_boundary(LONGEST_KEY)];
                format!("{rate}:{burst}:header:{value}")
            }
            (By::Client | By::Header, _) => {
                format!("{rate}:{burst}:client:{}", request.client_address())
            }
        }
    }

    /// Takes a token. The error is of the store.
    ///
    /// A bucket is one number (the generic cell rate algorithm): when it will be full again, in
    /// nanoseconds since 1970. There is none for a bucket that is full.
    fn take(&self, key: &str, now: u64) -> Result<Taken, kv::Error> {
        let whole = self.interval * u64::from(self.burst);
        for _ in 0..TRIES {
            let present = kv::get(key)?;
            let bytes = present.as_deref().and_then(|value| value.try_into().ok());
            let full = bytes.map_or(now, u64::from_le_bytes).max(now);
            let after = full + self.interval;
            if after - now > whole {
                return Ok(Err(after - now - whole));
            }
            let ttl = Duration::from_nanos(after - now) + Duration::from_millis(1);
            if kv::compare_and_set(key, present.as_deref(), after.to_le_bytes(), ttl)? {
                let room = whole - (after - now);
                let left = u32::try_from(room / self.interval).unwrap_or(u32::MAX);
                return Ok(Ok((left, self.interval - room % self.interval)));
            }
        }
        // So many others at once are more than any limit means to let in.
        Ok(Err(self.interval))
    }
}

fn too_many(seconds: u64) -> Answer<Vec<u8>> {
    let problem = r#"{"title":"Too Many Requests","status":429,"detail":"too many requests in a short time"}"#;
    let mut answer = Answer::new(problem.as_bytes().to_vec());
    *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let headers = answer.headers_mut();
    let json = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, json);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    answer
}

#[cfg(test)]
mod tests;
