use http::{HeaderName, HeaderValue};

use super::*;
use crate::otlp::Signal;
use crate::otlp::status::{Response, Status};

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect()
}

fn http(status: u16, fields: &[(&str, &str)], body: &[u8]) -> Verdict {
    let answer = Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers(fields),
        body: Bytes::copy_from_slice(body),
        trailers: HeaderMap::new(),
    };
    of_http(&answer, SystemTime::UNIX_EPOCH)
}

/// A refusal of gRPC's, with a `RetryInfo` of so many seconds.
fn grpc(code: u8, message: &str, retry: Option<u64>) -> Verdict {
    let status = Status {
        code,
        message,
        retry: retry.map(Duration::from_secs),
    };
    let details = BASE64.encode(status.protobuf());
    let answer = Answer {
        status: StatusCode::OK,
        headers: headers(&[("content-type", "application/grpc")]),
        body: Bytes::new(),
        trailers: headers(&[
            ("grpc-status", &code.to_string()),
            ("grpc-message", message),
            ("grpc-status-details-bin", &details),
        ]),
    };
    of_grpc(&answer, SystemTime::UNIX_EPOCH)
}

fn is_later(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Later { .. })
}

#[test]
fn grpc_codes_are_retried_as_the_specification_says() {
    let retried = [1, 4, 10, 11, 14, 15];
    for code in 1..=16 {
        assert_eq!(
            is_later(&grpc(code, "", None)),
            retried.contains(&code),
            "{code}"
        );
    }
    // Without a RetryInfo it will not get better.
    assert!(is_later(&grpc(8, "", Some(3))));
    assert!(!is_later(&grpc(99, "", None)));
}

#[test]
fn http_statuses_are_retried_as_the_specification_says() {
    for status in 400..600 {
        let later = [429, 502, 503, 504].contains(&status);
        assert_eq!(is_later(&http(status, &[], b"")), later, "{status}");
    }
}

#[test]
fn a_collector_says_when_to_come_again() {
    let after = |verdict| match verdict {
        Verdict::Later { after, .. } => after.map(|after| after.as_secs()),
        other => panic!("{other:?}"),
    };
    assert_eq!(after(grpc(14, "full", Some(7))), Some(7));
    assert_eq!(after(grpc(14, "full", None)), None);
    let http = |value| after(http(503, &[("retry-after", value)], b""));
    assert_eq!(http("120"), Some(120));
    assert_eq!(http("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60));
    assert_eq!(http("Wed, 31 Dec 1969 23:00:00 GMT"), Some(0));
    assert_eq!(http("soon"), None);
}

#[test]
fn refusals_say_what_they_are_about() {
    let why = |verdict| match verdict {
        Verdict::Refused { why, cause } => (why, cause),
        other => panic!("{other:?}"),
    };
    assert_eq!(why(http(413, &[], b"")).0, Why::TooLarge);
    assert_eq!(why(http(400, &[], b"")).0, Why::Data);
    for status in [401, 403, 404, 405, 415, 500] {
        assert_eq!(why(http(status, &[], b"")).0, Why::Other);
    }
    // As grpc-go, tonic and Weir itself say it.
    for (code, said) in [
        (8, "grpc: received message larger than max (5 vs. 4)"),
        (11, "Error, decoded message length too large: found 5 bytes"),
        (8, "more than 4194304 bytes"),
    ] {
        assert_eq!(why(grpc(code, said, None)).0, Why::TooLarge);
    }
    assert_eq!(why(grpc(3, "", None)).0, Why::Data);
    let (why, cause) = why(grpc(16, "50%25 of%0Atokens", None));
    assert_eq!(
        (why, cause.as_str()),
        (Why::Other, "gRPC UNAUTHENTICATED: 50% of tokens")
    );
}

#[test]
fn causes_have_the_collectors_own_words_in_one_line() {
    let cause = |verdict| match verdict {
        Verdict::Refused { cause, .. } | Verdict::Later { cause, .. } => cause,
        Verdict::Taken(partial) => panic!("{partial:?}"),
    };
    let status = Status {
        code: 3,
        message: "bad\r\nid",
        retry: None,
    };
    let json = http(400, &[("content-type", "application/json")], &status.json());
    assert_eq!(cause(json), "HTTP 400 Bad Request: bad id");
    let protobuf = [("content-type", "application/x-protobuf")];
    assert_eq!(
        cause(http(400, &protobuf, &status.protobuf())),
        "HTTP 400 Bad Request: bad id"
    );
    let page = http(502, &[("content-type", "text/html")], b"<html>");
    assert_eq!(cause(page), "HTTP 502 Bad Gateway");
    let long = "x".repeat(1000);
    let long = cause(http(
        400,
        &[("content-type", "text/plain")],
        long.as_bytes(),
    ));
    assert!(long.chars().count() < 330, "{long}");
    let moved = http(301, &[("location", "https://other")], b"");
    assert!(is_later(&moved));
    assert!(cause(moved).contains("https://other"));
}

#[test]
fn a_request_may_be_taken_in_part() {
    let response = Response {
        signal: Signal::Traces,
        rejected: Some((2, "old")),
    };
    let expected = Verdict::Taken(Partial {
        rejected: 2,
        message: "old".to_owned(),
    });
    let json = [("content-type", "application/json; charset=utf-8")];
    assert_eq!(http(200, &json, &response.json()), expected);
    let protobuf = [("content-type", "application/x-protobuf")];
    assert_eq!(http(200, &protobuf, &response.protobuf()), expected);
    assert_eq!(http(202, &[], b""), Verdict::Taken(Partial::default()));
    let message = response.protobuf();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let answer = Answer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: [&[0][..], &length, &message].concat().into(),
        trailers: headers(&[("grpc-status", "0")]),
    };
    assert_eq!(of_grpc(&answer, SystemTime::UNIX_EPOCH), expected);
}

#[test]
fn who_does_not_speak_grpc_is_asked_again_or_believed_by_the_http_status() {
    let answer = |status: u16| {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            trailers: HeaderMap::new(),
        };
        of_grpc(&answer, SystemTime::UNIX_EPOCH)
    };
    assert!(is_later(&answer(200)));
    assert!(is_later(&answer(503)));
    assert!(!is_later(&answer(404)));
}
