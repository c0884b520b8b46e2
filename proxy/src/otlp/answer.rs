//! OTLP's answers as a client reads them: what [`super::status`] writes, from protobuf and JSON.
//!
//! Whoever answers may be no friend of OTLP: what does not read says nothing, and harms nobody.

use std::time::Duration;

use serde_json::Value as Json;

use super::wire::{Reader, Value};

/// What an `Export…ServiceResponse` says of items that were not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    pub rejected: u64,
    /// Why, or a warning where nothing was rejected.
    pub message: String,
}

/// What a `google.rpc.Status` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    /// By a `RetryInfo`: the same may be sent again after so long.
    pub retry: Option<Duration>,
}

impl Partial {
    pub fn protobuf(bytes: &[u8]) -> Self {
        let mut partial = Self::default();
        if let Some(inner) = message(bytes, 1) {
            let mut reader = Reader::new(inner);
            while let Ok(Some((number, value))) = reader.field() {
                match (number, value) {
                    (1, Value::Varint(count)) => partial.rejected = signed(count),
                    (2, Value::Bytes(text)) => partial.message = lossy(text),
                    _ => {}
                }
            }
        }
        partial
    }

    pub fn json(bytes: &[u8]) -> Self {
        let json: Json = serde_json::from_slice(bytes).unwrap_or_default();
        let partial = &json["partialSuccess"];
        let rejected = &partial["rejectedSpans"];
        Self {
            rejected: rejected
                .as_u64()
                .or_else(|| rejected.as_str()?.parse().ok())
                .unwrap_or_default(),
            message: text(&partial["errorMessage"]),
        }
    }
}

impl Failure {
    pub fn protobuf(bytes: &[u8]) -> Self {
        let mut failure = Self::default();
        let mut reader = Reader::new(bytes);
        while let Ok(Some((number, value))) = reader.field() {
            match (number, value) {
                (2, Value::Bytes(text)) => failure.message = lossy(text),
                (3, Value::Bytes(any)) => failure.retry = failure.retry.or(retry(any)),
                _ => {}
            }
        }
        failure
    }

    pub fn json(bytes: &[u8]) -> Self {
        let json: Json = serde_json::from_slice(bytes).unwrap_or_default();
        Self {
            message: text(&json["message"]),
            // Over HTTP it is a header that says when.
            retry: None,
        }
    }
}

/// An `Any` that is a `RetryInfo`.
fn retry(any: &[u8]) -> Option<Duration> {
    message(any, 1).filter(|url| url.ends_with(b"/google.rpc.RetryInfo"))?;
    let info = message(any, 2).unwrap_or_default();
    let mut delay = Duration::ZERO;
    let mut reader = Reader::new(message(info, 1).unwrap_or_default());
    while let Ok(Some((number, value))) = reader.field() {
        match (number, value) {
            (1, Value::Varint(seconds)) => delay += Duration::from_secs(signed(seconds)),
            (2, Value::Varint(nanos)) => {
                delay += Duration::from_nanos(signed(nanos).min(999_999_999));
            }
            _ => {}
        }
    }
    Some(delay)
}

/// The last field of this number that has a length.
fn message(bytes: &[u8], number: u32) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let mut found = None;
    while let Ok(Some((of, value))) = reader.field() {
        if let Value::Bytes(bytes) = value
            && of == number
        {
            found = Some(bytes);
        }
    }
    found
}

/// Of protobuf's `int64`; less than nothing is nothing, and what is beyond reason is no more than
/// that.
fn signed(value: u64) -> u64 {
    u64::try_from(value.cast_signed())
        .unwrap_or_default()
        .min(u64::from(u32::MAX))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::Signal;
    use crate::otlp::status::{Response, Status};

    #[test]
    fn what_weir_answers_weir_reads() {
        let response = |rejected| Response {
            signal: Signal::Traces,
            rejected,
        };
        let none = response(None);
        assert_eq!(Partial::protobuf(&none.protobuf()), Partial::default());
        assert_eq!(Partial::json(&none.json()), Partial::default());
        let some = response(Some((7, "too large")));
        let expected = Partial {
            rejected: 7,
            message: "too large".to_owned(),
        };
        assert_eq!(Partial::protobuf(&some.protobuf()), expected);
        assert_eq!(Partial::json(&some.json()), expected);
        for retry in [None, Some(Duration::from_secs(2))] {
            let status = Status {
                code: 14,
                message: "full",
                retry,
            };
            let read = Failure::protobuf(&status.protobuf());
            assert_eq!((read.message.as_str(), read.retry), ("full", retry));
            assert_eq!(Failure::json(&status.json()).message, "full");
        }
    }

    #[test]
    fn what_is_no_answer_says_nothing() {
        for bytes in [
            &b"<html>"[..],
            b"",
            b"\x0a\xff",
            b"\x0a\x02\x08",
            b"[1]",
            b"{\"partialSuccess\":3}",
        ] {
            assert_eq!(Partial::protobuf(bytes), Partial::default());
            assert_eq!(Partial::json(bytes), Partial::default());
            assert_eq!(Failure::json(bytes), Failure::default());
            assert_eq!(Failure::protobuf(bytes).retry, None);
        }
        // Less than nothing.
        let negative = b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(Partial::protobuf(negative), Partial::default());
    }
}
