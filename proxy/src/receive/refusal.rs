//! Why a request is not taken, and what that is called in HTTP and in gRPC: the one place where
//! both are chosen.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

/// When to try again what had no room.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Unauthenticated,
    NotFound,
    Method,
    MediaType,
    Encoding,
    Malformed(String),
    TooLarge(usize),
    /// The body did not come in time, or the client left.
    Incomplete,
    QueueFull,
    SpoolFull,
    /// The disk took nothing.
    SpoolFailed,
    /// Kafka did not acknowledge in time, or refused.
    NotDelivered,
    /// The client's own deadline passed.
    Deadline,
    /// In a gRPC stream that is not what gRPC is.
    Framing(&'static str),
}

impl Refusal {
    pub(super) const REASONS: [&'static str; 14] = [
        "unauthenticated",
        "not_found",
        "method",
        "media_type",
        "encoding",
        "malformed",
        "too_large",
        "incomplete",
        "queue_full",
        "spool_full",
        "spool_failed",
        "not_delivered",
        "deadline",
        "framing",
    ];

    /// Its place in [`Refusal::REASONS`].
    pub(super) fn index(&self) -> usize {
        match self {
            Self::Unauthenticated => 0,
            Self::NotFound => 1,
            Self::Method => 2,
            Self::MediaType => 3,
            Self::Encoding => 4,
            Self::Malformed(_) => 5,
            Self::TooLarge(_) => 6,
            Self::Incomplete => 7,
            Self::QueueFull => 8,
            Self::SpoolFull => 9,
            Self::SpoolFailed => 10,
            Self::NotDelivered => 11,
            Self::Deadline => 12,
            Self::Framing(_) => 13,
        }
    }

    pub(super) fn http(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Malformed(_) | Self::Framing(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Incomplete => StatusCode::REQUEST_TIMEOUT,
            Self::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            Self::SpoolFull | Self::SpoolFailed | Self::NotDelivered => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The code of a gRPC status.
    pub(super) fn grpc(&self) -> u8 {
        match self {
            Self::Malformed(_) => 3,
            Self::Deadline | Self::Incomplete => 4,
            Self::TooLarge(_) => 8,
            Self::NotFound | Self::Method | Self::Encoding | Self::MediaType => 12,
            Self::Framing(_) => 13,
            Self::QueueFull | Self::SpoolFull | Self::SpoolFailed | Self::NotDelivered => 14,
            Self::Unauthenticated => 16,
        }
    }

    /// When to send the same again, where it may be taken then.
    pub(super) fn retry(&self) -> Option<Duration> {
        match self {
            Self::QueueFull | Self::SpoolFull | Self::SpoolFailed | Self::NotDelivered => {
                Some(RETRY)
            }
            _ => None,
        }
    }

    pub(super) fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Unauthenticated => "a bearer token is required".into(),
            Self::NotFound => {
                "there is nothing here; OTLP is taken at /v1/traces, /v1/metrics and /v1/logs"
                    .into()
            }
            Self::Method => "use POST".into(),
            Self::MediaType => {
                "content-type must be application/x-protobuf or application/json".into()
            }
            Self::Encoding => "content-encoding must be gzip, zstd or deflate, or not there".into(),
            Self::Malformed(what) => format!("malformed request: {what}").into(),
            Self::TooLarge(limit) => format!("more than {limit} bytes").into(),
            Self::Incomplete => "the request's body did not come to its end".into(),
            Self::QueueFull => "too much waits for Kafka; send it again later".into(),
            Self::SpoolFull => "the spool is full; send it again later".into(),
            Self::SpoolFailed => "the disk takes nothing; send it again later".into(),
            Self::NotDelivered => "Kafka has not acknowledged it; send it again later".into(),
            Self::Deadline => "not acknowledged within the request's own deadline".into(),
            Self::Framing(what) => (*what).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_taken_later_is_to_be_sent_again() {
        let retried = [
            Refusal::QueueFull,
            Refusal::SpoolFull,
            Refusal::SpoolFailed,
            Refusal::NotDelivered,
        ];
        for refusal in retried {
            assert_eq!(refusal.grpc(), 14);
            assert!([429, 503].contains(&refusal.http().as_u16()));
            assert!(refusal.retry().is_some());
        }
        for refusal in [
            Refusal::TooLarge(1),
            Refusal::Malformed(String::new()),
            Refusal::Unauthenticated,
        ] {
            assert!(refusal.retry().is_none());
        }
    }

    #[test]
    fn the_documentation_says_what_each_is_told_as() {
        let page = include_str!("../../../docs/otlp.md");
        let rows = page.lines().map(|line| line.split('|').collect::<Vec<_>>());
        let rows: Vec<_> = rows.filter(|cells| cells.len() == 6).collect();
        for refusal in [
            Refusal::Unauthenticated,
            Refusal::NotFound,
            Refusal::Method,
            Refusal::MediaType,
            Refusal::Encoding,
            Refusal::Malformed(String::new()),
            Refusal::TooLarge(1),
            Refusal::Incomplete,
            Refusal::QueueFull,
            Refusal::SpoolFull,
            Refusal::SpoolFailed,
            Refusal::NotDelivered,
            Refusal::Deadline,
            Refusal::Framing(""),
        ] {
            let grpc = match (&refusal, refusal.grpc()) {
                // It is no call yet.
                (Refusal::Method | Refusal::MediaType, _) => "HTTP 415",
                (_, 3) => "`INVALID_ARGUMENT`",
                (_, 4) => "`DEADLINE_EXCEEDED`",
                (_, 8) => "`RESOURCE_EXHAUSTED`",
                (_, 12) => "`UNIMPLEMENTED`",
                (_, 13) => "`INTERNAL`",
                (_, 14) => "`UNAVAILABLE`",
                (_, 16) => "`UNAUTHENTICATED`",
                (_, other) => panic!("{other} has no name"),
            };
            let http = match refusal {
                // Only gRPC has these.
                Refusal::Deadline | Refusal::Framing(_) => String::new(),
                _ => refusal.http().as_u16().to_string(),
            };
            let is_said = rows.iter().any(|cells| {
                cells[2].contains(&http)
                    && cells[2].contains("Retry-After") == refusal.retry().is_some()
                    && cells[3].contains(grpc)
                    && cells[3].contains("RetryInfo") == refusal.retry().is_some()
            });
            assert!(is_said, "{refusal:?}: {http}, {grpc}");
        }
    }
}
