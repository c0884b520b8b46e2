//! The keys that signatures are checked with: given, or fetched from the issuer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use weir_sdk::crypto::{self, Hash, PublicKey};
use weir_sdk::{Error, clock, http, http_client, kv};

use crate::Refusal;
use crate::token::{Algorithm, Token, decode};

/// How long fetched keys are used while they cannot be fetched again.
const STALE: Duration = Duration::from_hours(24);

/// How long nobody tries after it failed.
const FAILED: Duration = Duration::from_secs(2);

/// How long one who fetches keys may take before another does, unless keys are fetched more often.
const FETCHING: Duration = Duration::from_secs(10);

/// Most keys of a set, and most that one token is tried with.
const KEYS: usize = 256;
const TRIED: usize = 8;

/// Of an HS256 secret (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;

/// In the plugin's store, of each source and issuer: when the set was fetched (nanoseconds, eight bytes),
/// and the set; whether fetching failed lately; and that somebody fetches, as keys are old or one is
/// unknown.
const FETCHED: &str = "jwks";
const FAILURE: &str = "failed";
const REFRESHING: &str = "refreshing";
const UNKNOWN: &str = "unknown";

/// Where keys are fetched from.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// One of the plugin's `upstreams`.
    upstream: String,
    /// The path of the JSON Web Key Set.
    path: String,
    /// How long fetched keys are used before they are fetched again. Default: 300.
    #[serde(default = "refresh")]
    refresh_seconds: u32,
    /// How often at most a token with an unknown key id has keys fetched. Default: 30.
    #[serde(default = "refetch")]
    refetch_seconds: u32,
    /// How long fetching may take. Default: 2000.
    #[serde(default = "timeout")]
    timeout_ms: u32,
}

fn refresh() -> u32 {
    300
}

fn refetch() -> u32 {
    30
}

fn timeout() -> u32 {
    2000
}

/// A public key with what it may be used for.
#[derive(Debug, PartialEq)]
struct Key {
    id: Option<String>,
    algorithm: Option<String>,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Key {
    /// A JSON Web Key; `None` where it is none that can check a signature.
    fn parse(jwk: &Value) -> Option<Self> {
        let field = |name: &str| decode(jwk[name].as_str()?);
        if jwk["use"].as_str().is_some_and(|usage| usage != "sig") {
            return None;
        }
        if let Some(operations) = jwk["key_ops"].as_array()
            && !operations.iter().any(|operation| operation == "verify")
        {
            return None;
        }
        let point = |len: usize| {
            let (x, y) = (field("x")?, field("y")?);
            (x.len() == len && y.len() == len).then(|| [&[4][..], &x, &y].concat())
        };
        let kind = match (jwk["kty"].as_str()?, jwk["crv"].as_str()) {
            ("RSA", _) => Kind::Rsa {
                n: without_zeros(field("n")?),
                e: without_zeros(field("e")?),
            },
            ("EC", Some("P-256")) => Kind::P256(point(32)?),
            ("EC", Some("P-384")) => Kind::P384(point(48)?),
            ("EC", Some("P-521")) => Kind::P521(point(66)?),
            ("OKP", Some("Ed25519")) => Kind::Ed25519(field("x")?),
            _ => return None,
        };
        Some(Self {
            id: jwk["kid"].as_str().map(str::to_owned),
            algorithm: jwk["alg"].as_str().map(str::to_owned),
            kind,
        })
    }

    /// Whether it may check a token of this algorithm.
    fn fits(&self, algorithm: Algorithm) -> bool {
        let name = format!("{algorithm:?}");
        let kind = match self.kind {
            Kind::Rsa { .. } => name.starts_with("RS") || name.starts_with("PS"),
            Kind::P256(_) => algorithm == Algorithm::ES256,
            Kind::P384(_) => algorithm == Algorithm::ES384,
            Kind::P521(_) => algorithm == Algorithm::ES512,
            Kind::Ed25519(_) => algorithm == Algorithm::EdDSA,
        };
        kind && self
            .algorithm
            .as_ref()
            .is_none_or(|only| *only == name || only == "Ed25519")
    }

    fn public(&self) -> PublicKey<'_> {
        match &self.kind {
            Kind::Rsa { n, e } => PublicKey::Rsa { n, e },
            Kind::P256(bytes) | Kind::P384(bytes) | Kind::P521(bytes) | Kind::Ed25519(bytes) => {
                PublicKey::Point(bytes)
            }
        }
    }
}

fn without_zeros(bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}

/// A key set; what in it is no key for signatures is passed over (RFC 7517, section 5).
fn parse_set(json: &[u8]) -> Option<Vec<Key>> {
    let set: Value = serde_json::from_slice(json).ok()?;
    let keys = set["keys"].as_array()?.iter();
    Some(keys.take(KEYS).filter_map(Key::parse).collect())
}

/// Keys as an instance last saw them.
#[derive(Clone)]
struct Fetched {
    at: u64,
    keys: Rc<Vec<Key>>,
}

/// See the module's documentation.
pub(crate) struct Keys {
    source: Option<Source>,
    given: Vec<Key>,
    secret: Option<String>,
    /// Whose tokens the keys are for; `None`: anybody's.
    issuer: Option<String>,
    fetched: RefCell<Option<Fetched>>,
    /// Until when this instance fetches nothing, as that failed.
    paused: Cell<u64>,
}

impl Keys {
    pub(crate) fn new(
        source: Option<Source>,
        given: &[Value],
        secret: Option<String>,
        issuer: Option<String>,
    ) -> Result<Self, Error> {
        if let Some(Source { upstream, path, .. }) = &source {
            if !http_client::may_call(upstream) {
                return Err(format!(
                    "jwks.upstream: list `{upstream}` in `upstreams` of this plugin"
                )
                .into());
            }
            if !path.starts_with('/') {
                return Err(format!("jwks.path: {path:?} does not begin with a slash").into());
            }
        }
        if secret
            .as_ref()
            .is_some_and(|secret| secret.len() < SECRET_BYTES)
        {
            return Err(format!("secret: has fewer than {SECRET_BYTES} bytes").into());
        }
        let mut keys = Vec::new();
        for (index, jwk) in given.iter().enumerate() {
            let key = Key::parse(jwk);
            keys.push(
                key.ok_or_else(|| format!("keys[{index}]: is no public key for signatures"))?,
            );
        }
        Ok(Self {
            source,
            given: keys,
            secret,
            issuer,
            fetched: RefCell::default(),
            paused: Cell::default(),
        })
    }

    /// Checks a token's signature with the keys that are made for its algorithm.
    pub(crate) fn verify(&self, algorithm: Algorithm, token: &Token<'_>) -> Result<(), Refusal> {
        let Some(of_host) = algorithm.of_host() else {
            let secret = self.secret.as_ref().ok_or(Refusal::UnknownKey)?;
            let right = crypto::hmac(Hash::Sha256, secret.as_bytes(), token.signed.as_bytes());
            return if crypto::equal(&right, &token.signature) {
                Ok(())
            } else {
                Err(Refusal::Signature)
            };
        };
        let check = |keys: &[Key]| {
            let fitting = keys.iter().filter(|key| {
                key.fits(algorithm)
                    && token
                        .key_id()
                        .is_none_or(|id| key.id.as_deref() == Some(id))
            });
            let mut known = false;
            for key in fitting.take(TRIED) {
                known = true;
                let message = token.signed.as_bytes();
                if crypto::verify(of_host, key.public(), message, &token.signature) {
                    return Ok(());
                }
            }
            Err(if known {
                Refusal::Signature
            } else {
                Refusal::UnknownKey
            })
        };
        let of_given = check(&self.given);
        let (Err(Refusal::UnknownKey), Some(source)) = (of_given, &self.source) else {
            return of_given;
        };
        match check(&self.current(source)?) {
            Err(Refusal::UnknownKey) => match self.anew(source) {
                Some(keys) => check(&keys),
                None => Err(Refusal::UnknownKey),
            },
            checked => checked,
        }
    }

    /// The keys as they are known, fetched where there are none or they have become old.
    fn current(&self, source: &Source) -> Result<Rc<Vec<Key>>, Refusal> {
        let now = now();
        let refresh = Duration::from_secs(source.refresh_seconds.into());
        let is_fresh = |known: &Fetched| now < after(known.at, refresh);
        let mine = self.fetched.borrow().clone();
        if let Some(mine) = &mine
            && is_fresh(mine)
        {
            return Ok(Rc::clone(&mine.keys));
        }
        let known = self.shared(source).or(mine);
        let known = known.filter(|known| now < after(known.at, STALE));
        let refreshing = self.entry(source, REFRESHING);
        // What was fetched meanwhile is fresh for longer, so that nobody is taken for who fetched before.
        let fetching = FETCHING.min(refresh.max(Duration::from_secs(1)));
        if let Some(known) = &known
            && (is_fresh(known) || !first(&refreshing, fetching).unwrap_or(true))
        {
            return Ok(Rc::clone(&known.keys));
        }
        // Without the store, each instance pauses by itself.
        let failed = kv::get(&self.entry(source, FAILURE));
        let failed = failed.map_or(now < self.paused.get(), |failed| failed.is_some());
        let fetched = if failed { None } else { self.fetch(source) };
        // Better old keys than none.
        let keys = fetched.or_else(|| known.map(|known| known.keys));
        keys.ok_or(Refusal::KeysUnavailable)
    }

    /// Keys for a token whose key is unknown: what another instance has fetched meanwhile, or what is
    /// fetched now, where that may be.
    fn anew(&self, source: &Source) -> Option<Rc<Vec<Key>>> {
        let before = self.fetched.borrow().as_ref().map(|known| known.at);
        if let Some(shared) = self.shared(source)
            && Some(shared.at) != before
        {
            return Some(shared.keys);
        }
        let pause = Duration::from_secs(source.refetch_seconds.into());
        // Without the store nobody counts how often: clients could have keys fetched at will.
        let unknown = self.entry(source, UNKNOWN);
        let is_first = first(&unknown, pause.max(Duration::from_secs(1)));
        if !is_first.unwrap_or(false) {
            return None;
        }
        self.fetch(source)
    }

    /// A key of the plugin's store. Routes may have sources and issuers of their own, and their keys are
    /// never another's.
    fn entry(&self, source: &Source, what: &str) -> String {
        let Source { upstream, path, .. } = source;
        let issuer = self.issuer.as_deref().unwrap_or_default();
        format!("{what} {upstream} {path} {issuer}")
    }

    /// What some instance has fetched, and this one keeps from now on, unless it has a newer set.
    fn shared(&self, source: &Source) -> Option<Fetched> {
        let value = kv::get(&self.entry(source, FETCHED)).ok().flatten()?;
        let (at, set) = value.split_first_chunk::<8>()?;
        let at = u64::from_le_bytes(*at);
        let mut mine = self.fetched.borrow_mut();
        if mine.as_ref().is_none_or(|mine| mine.at < at) {
            let keys = Rc::new(parse_set(set)?);
            *mine = Some(Fetched { at, keys });
        }
        mine.clone()
    }

    fn fetch(&self, source: &Source) -> Option<Rc<Vec<Key>>> {
        let failed = |reason: &dyn std::fmt::Display| {
            weir_sdk::warn!("no keys from upstream {}: {reason}", source.upstream);
            self.paused.set(after(now(), FAILED));
            // A store that is full has nobody wait.
            let _ = kv::set(&self.entry(source, FAILURE), "", FAILED);
        };
        let request = http::Request::get(&source.path)
            .header("accept", "application/json")
            .body("");
        let request = request.map_err(|error| failed(&error)).ok()?;
        let limit = Duration::from_millis(source.timeout_ms.into());
        let reply = match http_client::send_within(&source.upstream, &request, limit) {
            Ok(reply) if reply.status() == 200 => reply,
            Ok(reply) => {
                failed(&reply.status());
                return None;
            }
            Err(error) => {
                failed(&error);
                return None;
            }
        };
        let Some(keys) = parse_set(reply.body()) else {
            failed(&"what came is no JSON Web Key Set");
            return None;
        };
        let (at, keys) = (now(), Rc::new(keys));
        let value = [&at.to_le_bytes()[..], reply.body()].concat();
        if let Err(error) = kv::set(&self.entry(source, FETCHED), value, STALE) {
            weir_sdk::warn!("the keys are not shared: {error}");
        }
        *self.fetched.borrow_mut() = Some(Fetched {
            at,
            keys: Rc::clone(&keys),
        });
        Some(keys)
    }
}

/// Whether nobody else was the first within this time.
fn first(what: &str, time: Duration) -> Result<bool, kv::Error> {
    kv::compare_and_set(what, None, "", time)
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let now = clock::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    after(0, now)
}

/// So much later, in nanoseconds.
fn after(at: u64, time: Duration) -> u64 {
    at.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
