//! Lets requests in that show a valid JSON Web Token (RFC 7519), and answers the others with 401.
//!
//! ```yaml
//! upstreams:
//!   issuer: { endpoints: ["https://id.example.com"] }
//! plugins:
//!   auth:
//!     module: builtin:jwt-auth
//!     upstreams: [issuer]                     # whom it may call for keys
//!     config:
//!       jwks: { upstream: issuer, path: /.well-known/jwks.json }
//!       algorithms: [RS256]                   # default: RS256, ES256 and EdDSA; HS256 with a `secret`
//!       issuer: https://id.example.com        # default: any
//!       audience: [api]                       # one of them; default: any
//!       leeway_seconds: 60                    # the default: how far clocks may differ
//!       claims_to_headers: { sub: x-user }    # what clients say in these headers is removed
//!       hide: false                           # the default: the upstream sees the token
//! ```
//!
//! Instead of `jwks`, or beside it, `keys` are JSON Web Keys, and `secret` is that of HS256, of at least
//! 32 bytes. A token names its algorithm, but never chooses it: it is one of `algorithms`, and takes only
//! a key made for it, so that a public key is never a secret.
//!
//! Keys of `jwks` are fetched when they are first needed, kept for `refresh_seconds` (300), and shared by
//! all workers, but not by configurations with another `issuer`. A token with an unknown key id has them
//! fetched again, at most each `refetch_seconds` (30). While the issuer cannot be reached, keys are used
//! for up to a day; without any, requests get 503.
//!
//! Several tokens that the upstream would see, of which it could take another than the one that was
//! checked, are `malformed`.
//!
//! The span has `jwt_auth.result`: `accepted`, or why not: `missing`, `malformed`, `algorithm`,
//! `unknown_key`, `signature`, `expired`, `not_yet_valid`, `issuer`, `audience`, `claims`,
//! `keys_unavailable`; and `enduser.id`, the `sub` of an accepted one.

mod keys;
mod token;

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use weir_sdk::http::{HeaderName, HeaderValue, Response as Answer, StatusCode, header};
use weir_sdk::{Action, Error, Interests, Plugin, Request, clock, header_name, span};

use keys::{Keys, Source};
use token::{Algorithm, Token};

/// The configuration of `jwt-auth`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the issuer's keys are fetched from.
    jwks: Option<Source>,
    /// Keys that are always there, as JSON Web Keys (RFC 7517).
    #[serde(default)]
    keys: Vec<Value>,
    /// The secret of HS256, of at least 32 bytes.
    secret: Option<String>,
    /// Algorithms that a token may have. Default: RS256, ES256 and `EdDSA` where there are keys, HS256
    /// where there is a secret.
    algorithms: Option<Vec<Algorithm>>,
    /// What `iss` must be. Default: anything.
    issuer: Option<String>,
    /// What `aud` must name, one of them. Default: anything.
    #[serde(default)]
    audience: Vec<String>,
    /// How far the clocks may differ. Default: 60.
    #[serde(default = "leeway")]
    leeway_seconds: u32,
    /// Whether a token must say when it expires. Default: true.
    #[serde(default = "yes")]
    require_expiry: bool,
    /// The header that the token is in, behind `Bearer `. Default: `authorization`.
    #[serde(default = "authorization")]
    header: String,
    /// Headers that tell claims to the upstream, by the claim; lists are joined by commas.
    #[serde(default)]
    claims_to_headers: BTreeMap<String, String>,
    /// Whether the token is removed before the upstream is called. Default: false.
    #[serde(default)]
    hide: bool,
    /// What clients are told they may not enter. Default: `restricted`.
    #[serde(default = "realm")]
    realm: String,
}

fn leeway() -> u32 {
    60
}

fn yes() -> bool {
    true
}

fn authorization() -> String {
    "authorization".into()
}

fn realm() -> String {
    "restricted".into()
}

/// The plugin.
pub struct JwtAuth {
    keys: Keys,
    algorithms: Vec<Algorithm>,
    issuer: Option<String>,
    audience: Vec<String>,
    leeway: f64,
    require_expiry: bool,
    header: HeaderName,
    claims_to_headers: Vec<(String, HeaderName)>,
    hide: bool,
    realm: String,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Missing,
    Malformed,
    Algorithm,
    UnknownKey,
    Signature,
    Expired,
    NotYetValid,
    Issuer,
    Audience,
    Claims,
    KeysUnavailable,
}

impl Refusal {
    fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

impl Plugin for JwtAuth {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        let realm = config.realm;
        if realm.contains(['"', '\\']) || HeaderValue::try_from(&realm).is_err() {
            return Err(
                format!("realm: {realm:?} has a quote, backslash or control character").into(),
            );
        }
        let has_keys = config.jwks.is_some() || !config.keys.is_empty();
        if !has_keys && config.secret.is_none() {
            return Err("one of `jwks`, `keys` and `secret` is needed, else nobody gets in".into());
        }
        let algorithms = config.algorithms.unwrap_or_else(|| {
            let of_keys = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
            let mut all = if has_keys {
                of_keys.to_vec()
            } else {
                Vec::new()
            };
            all.extend(config.secret.is_some().then_some(Algorithm::HS256));
            all
        });
        if algorithms.is_empty() {
            return Err("algorithms: at least one is needed, else nobody gets in".into());
        }
        let header = name("header", &config.header)?;
        let mut claims_to_headers = Vec::new();
        for (claim, header) in config.claims_to_headers {
            let header = name(&format!("claims_to_headers.{claim}"), &header)?;
            claims_to_headers.push((claim, header));
        }
        Ok(Self {
            keys: Keys::new(
                config.jwks,
                &config.keys,
                config.secret,
                config.issuer.clone(),
            )?,
            algorithms,
            issuer: config.issuer,
            audience: config.audience,
            leeway: config.leeway_seconds.into(),
            require_expiry: config.require_expiry,
            header,
            claims_to_headers,
            hide: config.hide,
            realm,
        })
    }

    fn interests(&self) -> Interests {
        Interests::none().on_request()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let shown = request.header(&self.header);
        for (_, name) in &self.claims_to_headers {
            request
                .remove_header(name)
                .expect("no header of the proxy's");
        }
        let alone = self.hide || request.header_values(&self.header).len() <= 1;
        let checked = if alone {
            self.check(shown.as_deref())
        } else {
            Err(Refusal::Malformed)
        };
        let claims = match checked {
            Ok(claims) => claims,
            Err(refusal) => {
                span::set_attribute("jwt_auth.result", refusal.name());
                return Action::Respond(self.answer(refusal));
            }
        };
        span::set_attribute("jwt_auth.result", "accepted");
        if let Some(user) = claims["sub"].as_str() {
            span::set_attribute("enduser.id", user);
        }
        if self.hide {
            request
                .remove_header(&self.header)
                .expect("no header of the proxy's");
        }
        for (claim, name) in &self.claims_to_headers {
            if let Some(value) = text(&claims[claim.as_str()])
                && let Err(error) = request.set_header(name, &value)
            {
                weir_sdk::warn!("claim {claim} is not told to the upstream: {error}");
            }
        }
        Action::Continue
    }
}

weir_sdk::export!(JwtAuth);

impl JwtAuth {
    /// The claims of a token that is valid.
    fn check(&self, shown: Option<&str>) -> Result<Value, Refusal> {
        let (scheme, token) = shown
            .and_then(|shown| shown.split_once(' '))
            .ok_or(Refusal::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::Missing);
        }
        let token = Token::parse(token.trim()).ok_or(Refusal::Malformed)?;
        let algorithm = token.algorithm().ok_or(Refusal::Algorithm)?;
        if !self.algorithms.contains(&algorithm) {
            return Err(Refusal::Algorithm);
        }
        self.keys.verify(algorithm, &token)?;
        let claims = token.claims().ok_or(Refusal::Malformed)?;
        self.check_claims(&claims)?;
        Ok(claims)
    }

    fn check_claims(&self, claims: &Value) -> Result<(), Refusal> {
        let now = clock::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = now.as_secs_f64();
        // A date that is none must not pass for one that is not there.
        let date = |name: &str| match &claims[name] {
            Value::Null => Ok(None),
            date => date.as_f64().map(Some).ok_or(Refusal::Claims),
        };
        match date("exp")? {
            Some(expiry) if now >= expiry + self.leeway => return Err(Refusal::Expired),
            None if self.require_expiry => return Err(Refusal::Claims),
            _ => {}
        }
        if date("nbf")?.is_some_and(|from| now + self.leeway < from) {
            return Err(Refusal::NotYetValid);
        }
        if let Some(issuer) = &self.issuer
            && claims["iss"] != issuer.as_str()
        {
            return Err(Refusal::Issuer);
        }
        let named = |audience: &Value| {
            let mut ours = self.audience.iter();
            ours.any(|ours| audience == ours.as_str())
        };
        let fits = match &claims["aud"] {
            Value::Array(several) => several.iter().any(named),
            one => named(one),
        };
        if !self.audience.is_empty() && !fits {
            return Err(Refusal::Audience);
        }
        Ok(())
    }

    fn answer(&self, refusal: Refusal) -> Answer<Vec<u8>> {
        let (status, problem) = match refusal {
            Refusal::KeysUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                r#"{"title":"Service Unavailable","status":503,"detail":"tokens cannot be checked now"}"#,
            ),
            _ => (
                StatusCode::UNAUTHORIZED,
                r#"{"title":"Unauthorized","status":401,"detail":"a valid token is needed"}"#,
            ),
        };
        let mut answer = Answer::new(problem.as_bytes().to_vec());
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if status == StatusCode::UNAUTHORIZED {
            let error = match refusal {
                Refusal::Missing => "",
                _ => ", error=\"invalid_token\"",
            };
            let challenge = format!("Bearer realm=\"{}\"{error}", self.realm);
            if let Ok(challenge) = HeaderValue::try_from(challenge) {
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
        }
        answer
    }
}

fn name(key: &str, name: &str) -> Result<HeaderName, Error> {
    Ok(header_name(name).map_err(|error| format!("{key}: {name:?}: {error}"))?)
}

/// A claim as a header has it.
fn text(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(text).collect();
            items.map(|items| items.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
