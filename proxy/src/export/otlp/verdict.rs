//! What a collector's answer means for the traces that were sent: OTLP's rules, for gRPC and HTTP.
//!
//! Values in, values out. Source: the OTLP specification 1.10, «OTLP/gRPC response» and «OTLP/HTTP
//! response», with its tables of retryable codes.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use crate::config::OtlpProtocol;
use crate::otlp::answer::{Failure, Partial};

/// gRPC's binary headers are base64, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Before a message of gRPC's: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Most characters of somebody else's words.
const MAX_WORDS: usize = 300;

/// Names of gRPC's codes.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was taken, but for what this says.
    Taken(Partial),
    /// The same is to be sent again, not before so long where that is said.
    Later {
        cause: String,
        after: Option<Duration>,
    },
    /// The same must not be sent again.
    Refused { cause: String, why: Why },
}

impl Verdict {
    /// With somebody else's words changed.
    pub(crate) fn map_words(self, change: impl Fn(String) -> String) -> Self {
        match self {
            Self::Taken(partial) => Self::Taken(Partial {
                message: change(partial.message),
                ..partial
            }),
            Self::Later { cause, after } => Self::Later {
                cause: change(cause),
                after,
            },
            Self::Refused { cause, why } => Self::Refused {
                cause: change(cause),
                why,
            },
        }
    }
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It may be taken in smaller requests.
    TooLarge,
    /// Something in it; the rest may be taken without that.
    Data,
    /// Whatever were sent there would meet the same: a token, a path, a server that is broken.
    Other,
}

/// `now` is for a `Retry-After` that is a date.
pub(crate) fn of(protocol: OtlpProtocol, answer: &Answer, now: SystemTime) -> Verdict {
    match protocol {
        OtlpProtocol::Grpc => of_grpc(answer, now),
        OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => of_http(answer, now),
    }
}

fn of_http(answer: &Answer, now: SystemTime) -> Verdict {
    let is_json = media_type(&answer.headers).starts_with("application/json");
    if answer.status.is_success() {
        return Verdict::Taken(if is_json {
            Partial::json(&answer.body)
        } else {
            Partial::protobuf(&answer.body)
        });
    }
    let said = match media_type(&answer.headers) {
        kind if kind.starts_with("application/json") => Failure::json(&answer.body).message,
        kind if kind.starts_with("application/x-protobuf") => {
            Failure::protobuf(&answer.body).message
        }
        kind if kind.starts_with("text/plain") => String::from_utf8_lossy(&answer.body).into(),
        _ => String::new(),
    };
    of_status(answer, &said, now)
}

fn of_grpc(answer: &Answer, now: SystemTime) -> Verdict {
    let field = |name: &str| {
        answer
            .trailers
            .get(name)
            .or_else(|| answer.headers.get(name))
    };
    let code = field("grpc-status").and_then(|code| code.to_str().ok()?.parse::<u8>().ok());
    let Some(code) = code else {
        // Somebody on the way has answered.
        return if answer.status.is_success() {
            Verdict::Later {
                cause: "the answer has no gRPC status: does the endpoint take OTLP/gRPC?"
                    .to_owned(),
                after: None,
            }
        } else {
            of_status(answer, "", now)
        };
    };
    if code == 0 {
        let message = answer.body.get(PREFIX..).unwrap_or_default();
        return Verdict::Taken(Partial::protobuf(message));
    }
    let details = field("grpc-status-details-bin");
    let details = details.and_then(|value| BASE64.decode(value.as_bytes()).ok());
    let details = details.map(|bytes| Failure::protobuf(&bytes));
    let details = details.unwrap_or_default();
    let said = match field("grpc-message") {
        Some(message) => percent_decoded(message.as_bytes()),
        None => details.message,
    };
    let name = CODES.get(usize::from(code)).copied();
    let cause = join(
        &name.map_or_else(
            || format!("gRPC code {code}"),
            |name| format!("gRPC {name}"),
        ),
        &said,
    );
    let too_large = is_about_size(&said) && details.retry.is_none();
    match code {
        // Tonic says so of what is too large.
        8 | 11 if too_large => Verdict::Refused {
            cause,
            why: Why::TooLarge,
        },
        8 if details.retry.is_none() => Verdict::Refused {
            cause,
            why: Why::Other,
        },
        1 | 4 | 8 | 10 | 11 | 14 | 15 => Verdict::Later {
            cause,
            after: details.retry,
        },
        3 => Verdict::Refused {
            cause,
            why: Why::Data,
        },
        _ => Verdict::Refused {
            cause,
            why: Why::Other,
        },
    }
}

/// By HTTP's status alone.
fn of_status(answer: &Answer, said: &str, now: SystemTime) -> Verdict {
    let status = answer.status;
    let reason = status.canonical_reason().unwrap_or_default();
    let name = format!("HTTP {} {reason}", status.as_u16());
    let cause = join(name.trim_end(), said);
    match status.as_u16() {
        429 | 502..=504 => Verdict::Later {
            cause,
            after: retry_after(&answer.headers, now),
        },
        // OTLP says nothing of it, and nobody has looked at what was sent.
        300..=399 => {
            let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok());
            Verdict::Later {
                cause: join(
                    &cause,
                    &format!(
                        "redirects are not followed; `endpoint` may have to be {}",
                        to.map_or("another one".into(), words)
                    ),
                ),
                after: None,
            }
        }
        413 => Verdict::Refused {
            cause,
            why: Why::TooLarge,
        },
        400 | 422 => Verdict::Refused {
            cause,
            why: Why::Data,
        },
        _ => Verdict::Refused {
            cause,
            why: Why::Other,
        },
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(value)
        .ok()?;
    let until = SystemTime::from(at).duration_since(now);
    Some(until.unwrap_or_default())
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// What gRPC's libraries say of a message that is too large has no code of its own.
fn is_about_size(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    let says = |words| said.contains(words);
    says("larger than")
        || says("too large")
        || says("exceeds maximum")
        || (says("more than") && says("bytes"))
}

fn join(what: &str, said: &str) -> String {
    let said = words(said);
    if said.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {said}")
    }
}

/// Somebody else's words, as one line of bounded length.
pub(super) fn words(said: &str) -> String {
    let line: Vec<&str> = said
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = line.join(" ");
    match line.char_indices().nth(MAX_WORDS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A message as gRPC has it in a header.
fn percent_decoded(message: &[u8]) -> String {
    let mut out = Vec::with_capacity(message.len());
    let mut rest = message;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if let (b'%', [high, low, tail @ ..]) = (byte, tail)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push(high << 4 | low);
            rest = tail;
        } else {
            out.push(*byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests;
