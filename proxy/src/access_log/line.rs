//! One line of the access log, as JSON or as text. Pure.
//!
//! A line holds no query, no cookie and no credential: what stands in logs is read by many.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::config::AccessLogFormat;

/// What is known of a request at its end.
#[derive(Clone, Debug)]
pub struct Entry<'e> {
    /// Nanoseconds since 1970 when its head was there.
    pub time: u64,
    pub client: Option<std::net::IpAddr>,
    pub method: &'e str,
    pub host: &'e str,
    /// Without query.
    pub path: &'e str,
    pub version: &'e str,
    /// `None` where the client left before there was one.
    pub status: Option<u16>,
    /// Of the response's body.
    pub bytes: u64,
    pub duration: Duration,
    pub upstream_duration: Duration,
    pub route: &'e str,
    pub upstream: &'e str,
    pub endpoint: &'e str,
    pub tries: u32,
    /// `complete`, or why it was not.
    pub end: &'e str,
    pub trace_id: &'e str,
    pub request_id: &'e str,
    pub user_agent: &'e str,
}

/// The line, with its end.
pub fn write(entry: &Entry<'_>, format: AccessLogFormat) -> String {
    match format {
        AccessLogFormat::Json => as_json(entry),
        AccessLogFormat::Text => as_text(entry),
    }
}

fn time(nanoseconds: u64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

fn milliseconds(time: Duration) -> f64 {
    // Microseconds are enough, and read better.
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn as_json(entry: &Entry<'_>) -> String {
    let mut line = json!({
        "time": time(entry.time),
        "client": entry.client.map(|client| client.to_string()),
        "method": entry.method,
        "host": entry.host,
        "path": entry.path,
        "protocol": entry.version,
        "status": entry.status,
        "bytes": entry.bytes,
        "duration_ms": milliseconds(entry.duration),
        "upstream_ms": milliseconds(entry.upstream_duration),
        "route": entry.route,
        "upstream": entry.upstream,
        "endpoint": entry.endpoint,
        "tries": entry.tries,
        "end": entry.end,
        "trace_id": entry.trace_id,
        "request_id": entry.request_id,
        "user_agent": entry.user_agent,
    })
    .to_string();
    line.push('\n');
    line
}

/// `time client "METHOD path HTTP/version" status bytes ms "host" "user agent" route upstream
/// endpoint tries end trace request`; what is not known is `-`.
fn as_text(entry: &Entry<'_>) -> String {
    let mut out = time(entry.time);
    // Writing to a string does not fail.
    let _ = match entry.client {
        Some(client) => write!(out, " {client}"),
        None => write!(out, " -"),
    };
    out.push_str(" \"");
    escape(&mut out, entry.method);
    out.push(' ');
    escape(&mut out, entry.path);
    let _ = write!(out, " HTTP/{}\"", entry.version);
    let _ = match entry.status {
        Some(status) => write!(out, " {status}"),
        None => write!(out, " -"),
    };
    let _ = write!(out, " {} {:.3}", entry.bytes, milliseconds(entry.duration));
    for text in [entry.host, entry.user_agent] {
        out.push_str(" \"");
        escape(&mut out, text);
        out.push('"');
    }
    for text in [entry.route, entry.upstream, entry.endpoint] {
        out.push(' ');
        if text.is_empty() {
            out.push('-');
        }
        // A space would begin the next column.
        escape(&mut out, &text.replace(' ', "_"));
    }
    let _ = write!(out, " {} {} {} ", entry.tries, entry.end, entry.trace_id);
    escape(&mut out, &entry.request_id.replace(' ', "_"));
    out.push('\n');
    out
}

/// Quotes, backslashes and what is not visible ASCII as `\xHH`, so that nobody writes a line of
/// their own.
fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> Entry<'static> {
        Entry {
            time: 1_700_000_000_123_456_789,
            client: Some("10.0.0.1".parse().unwrap()),
            method: "GET",
            host: "api.test",
            path: "/v1/users",
            version: "1.1",
            status: Some(200),
            bytes: 5,
            duration: Duration::from_micros(1234),
            upstream_duration: Duration::from_millis(1),
            route: "all of it",
            upstream: "up",
            endpoint: "127.0.0.1:9000",
            tries: 1,
            end: "complete",
            trace_id: "0af7651916cd43dd8448eb211c80319c",
            request_id: "r-1",
            user_agent: "test/1 \"x\"",
        }
    }

    #[test]
    fn text_has_columns() {
        assert_eq!(
            write(&entry(), AccessLogFormat::Text),
            "2023-11-14T22:13:20.123Z 10.0.0.1 \"GET /v1/users HTTP/1.1\" 200 5 1.234 \"api.test\" \
             \"test/1 \\x22x\\x22\" all_of_it up 127.0.0.1:9000 1 complete \
             0af7651916cd43dd8448eb211c80319c r-1\n"
        );
        let unknown = Entry {
            client: None,
            status: None,
            upstream: "",
            endpoint: "",
            tries: 0,
            end: "client_disconnected",
            ..entry()
        };
        let line = write(&unknown, AccessLogFormat::Text);
        assert!(
            line.contains("Z - \"GET /v1/users HTTP/1.1\" - 5 "),
            "{line}"
        );
        assert!(
            line.contains(" all_of_it - - 0 client_disconnected "),
            "{line}"
        );
    }

    #[test]
    fn json_has_every_key() {
        let line = write(&entry(), AccessLogFormat::Json);
        assert!(line.ends_with("}\n"));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["time"], "2023-11-14T22:13:20.123Z");
        assert_eq!(json["duration_ms"], 1.234);
        assert_eq!(json["status"], 200);
        assert_eq!(json.as_object().unwrap().len(), 18);
    }

    proptest! {
        #[test]
        fn nobody_writes_a_line_of_their_own(path in "\\PC{0,20}", agent in "[\\x00-\\x7f]{0,20}") {
            let entry = Entry { path: &path, user_agent: &agent, request_id: &agent, ..entry() };
            for format in [AccessLogFormat::Json, AccessLogFormat::Text] {
                let line = write(&entry, format);
                prop_assert_eq!(line.matches('\n').count(), 1);
                prop_assert!(format == AccessLogFormat::Json || line.is_ascii());
            }
        }
    }
}
