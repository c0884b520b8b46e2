//! The host's functions as the rest of the crate calls them, in native code; the twin of `guest`.

mod outward;

use std::time::Duration;

use super::context::{Context, Event, Log, Span};
use super::head::{Fields, check_status, is_plain};
use crate::log::Level;
use crate::span::{Target, Value, upstream};
use crate::{BodyError, Certificate, HeaderError, RerouteError, RespondError, kv};

pub(crate) use outward::{
    counter, digest, equal, gauge, histogram, hmac, may_call, metric_add, metric_set, send, verify,
};

const MAX_REQUEST_ID_BYTES: usize = 200;
const MAX_KEPT: usize = 64;
const MAX_KEPT_BYTES: usize = 16 << 10;
const MAX_RANDOM_BYTES: u32 = 4096;
/// The default of `limits.body`.
const MAX_BODY_BYTES: u64 = 4 << 20;

#[derive(Clone, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) scheme: String,
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) client_address: String,
    pub(crate) client_certificate: Option<Certificate>,
    pub(crate) fields: Fields,
    pub(crate) upstream: Option<String>,
    pub(crate) routed: bool,
    pub(crate) body: Body,
    pub(crate) skips_body: bool,
}

/// A body, and how much of it the plugin wants to hold.
#[derive(Clone, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) most: Option<u64>,
    /// The running hook has put it in the place of another.
    pub(crate) replaced: bool,
}

impl Body {
    fn check(&self, bytes: &[u8]) -> Result<(), BodyError> {
        match self.most {
            None => Err(BodyError::NotBuffered),
            Some(most) if bytes.len() as u64 > most.min(MAX_BODY_BYTES) => Err(BodyError::TooLarge),
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn get(&self) -> Result<Vec<u8>, BodyError> {
        self.check(&self.bytes)?;
        Ok(self.bytes.clone())
    }

    pub(crate) fn set(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        self.get()?;
        if bytes.len() as u64 > MAX_BODY_BYTES {
            return Err(BodyError::TooLarge);
        }
        self.bytes = bytes.into();
        self.replaced = true;
        Ok(())
    }
}

impl Request {
    pub(crate) fn method(&self) -> String {
        self.method.clone()
    }

    pub(crate) fn scheme(&self) -> String {
        self.scheme.clone()
    }

    pub(crate) fn authority(&self) -> String {
        self.authority.clone()
    }

    pub(crate) fn path(&self) -> String {
        self.path.clone()
    }

    pub(crate) fn query(&self) -> Option<String> {
        self.query.clone()
    }

    pub(crate) fn client_address(&self) -> String {
        self.client_address.clone()
    }

    pub(crate) fn client_certificate(&self) -> Option<Certificate> {
        self.client_certificate.clone()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.fields.header(name)
    }

    pub(crate) fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.fields.header_values(name)
    }

    pub(crate) fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.fields.headers()
    }

    pub(crate) fn set_header(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        self.fields.set_header(name, value)
    }

    pub(crate) fn add_header(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        self.fields.add_header(name, value)
    }

    pub(crate) fn remove_header(&mut self, name: &str) -> Result<(), HeaderError> {
        self.fields.remove_header(name)
    }

    pub(crate) fn body(&self) -> Result<Vec<u8>, BodyError> {
        self.body.get()
    }

    pub(crate) fn set_body(&mut self, body: &[u8]) -> Result<(), BodyError> {
        self.body.set(body)
    }

    pub(crate) fn skip_body(&mut self) {
        self.skips_body = true;
    }

    pub(crate) fn reroute(
        &mut self,
        authority: Option<&str>,
        path_and_query: Option<&str>,
        upstream: Option<&str>,
    ) -> Result<(), RerouteError> {
        if self.routed {
            return Err(RerouteError::TooLate);
        }
        let invalid = |what, text| RerouteError::Invalid(format!("{text:?} is not {what}"));
        let authority = authority
            .map(|text| match text.parse::<http::uri::Authority>() {
                Ok(authority) if !text.contains('@') => Ok(authority),
                _ => Err(invalid("an authority", text)),
            })
            .transpose()?;
        let target = path_and_query
            .map(|text| match text.parse::<http::uri::PathAndQuery>() {
                Ok(target) if text.starts_with('/') && is_plain(target.path()) => Ok(target),
                _ => Err(invalid("a path with query", text)),
            })
            .transpose()?;

        if let Some(authority) = authority {
            let host = authority
                .as_str()
                .parse()
                .expect("an authority is a field value");
            self.fields.0.insert(http::header::HOST, host);
            self.authority = authority.to_string();
        }
        if let Some(target) = target {
            self.path = target.path().into();
            self.query = target.query().map(Into::into);
        }
        if let Some(upstream) = upstream {
            self.upstream = Some(upstream.into());
        }
        Ok(())
    }
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) request: Request,
    pub(crate) has_request_head: bool,
    pub(crate) body: Body,
    pub(crate) skips_body: bool,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn set_status(&mut self, status: u16) -> Result<(), RespondError> {
        check_status(status)?;
        self.status = status;
        Ok(())
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.fields.header(name)
    }

    pub(crate) fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.fields.header_values(name)
    }

    pub(crate) fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.fields.headers()
    }

    pub(crate) fn set_header(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        self.fields.set_header(name, value)
    }

    pub(crate) fn add_header(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        self.fields.add_header(name, value)
    }

    pub(crate) fn remove_header(&mut self, name: &str) -> Result<(), HeaderError> {
        self.fields.remove_header(name)
    }

    pub(crate) fn body(&self) -> Result<Vec<u8>, BodyError> {
        self.body.get()
    }

    pub(crate) fn set_body(&mut self, body: &[u8]) -> Result<(), BodyError> {
        self.body.set(body)
    }

    pub(crate) fn skip_body(&mut self) {
        self.skips_body = true;
    }

    pub(crate) fn request_header(&self, name: &str) -> Option<String> {
        assert!(
            self.has_request_head,
            "`interests` did not ask for the request's head"
        );
        self.request.header(name)
    }

    pub(crate) fn request_method(&self) -> String {
        self.request.method()
    }

    pub(crate) fn request_path(&self) -> String {
        self.request.path()
    }
}

#[derive(Default)]
pub(crate) struct Chunk {
    pub(crate) data: Vec<u8>,
    pub(crate) last: bool,
    pub(crate) trailers: Fields,
    pub(crate) written: Vec<Vec<u8>>,
}

impl Chunk {
    pub(crate) fn data(&self) -> Vec<u8> {
        self.data.clone()
    }

    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.data.len()).expect("a piece has at most 64 KiB")
    }

    pub(crate) fn is_last(&self) -> bool {
        self.last
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        let written: usize = self.written.iter().map(Vec::len).sum();
        if (written + bytes.len()) as u64 > MAX_BODY_BYTES {
            return Err(BodyError::TooLarge);
        }
        self.written.push(bytes.into());
        Ok(())
    }

    pub(crate) fn trailers(&self) -> Vec<(String, Vec<u8>)> {
        self.trailers.headers()
    }

    pub(crate) fn set_trailer(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        self.check_last()?;
        self.trailers.set_header(name, value)
    }

    pub(crate) fn remove_trailer(&mut self, name: &str) -> Result<(), HeaderError> {
        self.check_last()?;
        self.trailers.remove_header(name)
    }

    fn check_last(&self) -> Result<(), HeaderError> {
        if self.last {
            Ok(())
        } else {
            Err(HeaderError::Immutable)
        }
    }
}

pub(crate) fn set_attribute(on: Target, name: &str, value: &Value<'_>) {
    with_span(on, |span| {
        if name.starts_with("weir.") {
            span.dropped += 1;
        } else {
            span.attributes
                .insert(name.into(), value.clone().into_owned());
        }
    });
}

pub(crate) fn add_event(on: Target, name: &str, attributes: &[(&str, Value<'_>)]) {
    let attributes = attributes
        .iter()
        .map(|(name, value)| ((*name).into(), value.clone().into_owned()))
        .collect();
    with_span(on, |span| {
        span.events.push(Event {
            name: name.into(),
            attributes,
        });
    });
}

pub(crate) fn describe_call(kind: upstream::Kind, name: &str) {
    with_span(Target::Upstream, |span| {
        span.call = Some((kind, name.into()));
    });
}

pub(crate) fn set_call_error(message: &str) {
    with_span(Target::Upstream, |span| span.error = Some(message.into()));
}

pub(crate) fn set_error(message: &str) {
    with_span(Target::Hook, |span| span.error = Some(message.into()));
}

pub(crate) fn log(level: Level, message: &str) {
    Context::with(|context| {
        context.logs.push(Log {
            level,
            message: message.into(),
        });
    });
}

pub(crate) fn request_id() -> String {
    Context::with_exchange(|context| context.request_id.clone())
}

pub(crate) fn set_request_id(id: &str) {
    if !id.is_empty() && !id.chars().any(char::is_control) {
        let kept = id.floor_char_boundary(MAX_REQUEST_ID_BYTES);
        Context::with_exchange(|context| context.request_id = id[..kept].into());
    }
}

pub(crate) fn get(key: &str) -> Option<String> {
    Context::with_exchange(|context| context.values.get(key).cloned())
}

pub(crate) fn set(key: &str, value: &str) {
    assert!(
        key.len() + value.len() <= MAX_KEPT_BYTES,
        "a value of {} bytes to keep",
        value.len()
    );
    Context::with_exchange(|context| {
        context.values.insert(key.into(), value.into());
        assert!(
            context.values.len() <= MAX_KEPT,
            "more than {MAX_KEPT} values to keep"
        );
    });
}

pub(crate) fn kv_get(key: &str) -> Result<Option<Vec<u8>>, kv::Error> {
    Context::with(|context| context.kv_get(key))
}

pub(crate) fn kv_set(key: &str, value: &[u8], ttl_ms: u64) -> Result<(), kv::Error> {
    Context::with(|context| context.kv_put(key, value, context.kv_expiry(ttl_ms)))
}

pub(crate) fn kv_delete(key: &str) -> Result<bool, kv::Error> {
    Context::with(|context| {
        let was = context.kv_get(key)?.is_some();
        context.kv.borrow_mut().remove(key);
        Ok(was)
    })
}

pub(crate) fn kv_add(key: &str, delta: i64, ttl_ms: u64) -> Result<i64, kv::Error> {
    Context::with(|context| {
        let (present, expires) = match context.kv_get(key)? {
            None => (0, context.kv_expiry(ttl_ms)),
            Some(value) => {
                let text = String::from_utf8(value).ok();
                let number: Option<i64> = text.and_then(|text| text.parse().ok());
                let expires = context.kv.borrow()[key].1;
                (number.ok_or(kv::Error::NotANumber)?, expires)
            }
        };
        let sum = present.checked_add(delta).ok_or(kv::Error::NotANumber)?;
        context.kv_put(key, sum.to_string().as_bytes(), expires)?;
        Ok(sum)
    })
}

pub(crate) fn kv_compare_and_set(
    key: &str,
    expected: Option<&[u8]>,
    value: &[u8],
    ttl_ms: u64,
) -> Result<bool, kv::Error> {
    Context::with(|context| {
        if context.kv_get(key)?.as_deref() != expected {
            return Ok(false);
        }
        context.kv_put(key, value, context.kv_expiry(ttl_ms))?;
        Ok(true)
    })
}

pub(crate) fn now() -> u64 {
    nanoseconds(Context::with(|context| context.now))
}

pub(crate) fn monotonic() -> u64 {
    now()
}

/// `SplitMix64`: the same numbers in each run, and no two alike.
pub(crate) fn random() -> u64 {
    Context::with(|context| {
        context.random = context.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = context.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    })
}

pub(crate) fn random_bytes(len: u32) -> Vec<u8> {
    let len = len.min(MAX_RANDOM_BYTES) as usize;
    std::iter::repeat_with(random)
        .flat_map(u64::to_ne_bytes)
        .take(len)
        .collect()
}

fn with_span(on: Target, work: impl FnOnce(&mut Span)) {
    Context::with_exchange(|context| {
        work(match on {
            Target::Hook => &mut context.hook,
            Target::Upstream => &mut context.upstream,
        });
    });
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("the clock stays before the year 2554")
}
