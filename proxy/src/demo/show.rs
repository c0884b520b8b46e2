//! A trace for people: a line a span with its place in time, then the message as it is.

use std::collections::HashMap;

use serde_json::Value;

use super::say;

/// Columns of the waterfall.
const WIDTH: f64 = 30.0;

/// Prints a message of `format: json`.
pub(crate) fn trace(payload: &[u8]) {
    match serde_json::from_slice(payload) {
        Ok(trace) => say(format_args!(
            "{}\n{}\n",
            waterfall(&trace),
            String::from_utf8_lossy(payload)
        )),
        Err(error) => say(format_args!("a message that is no trace: {error}")),
    }
}

/// A line a span.
pub(crate) fn waterfall(trace: &Value) -> String {
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = format!(
        "\ntrace {}  request {}\n",
        text(&trace["TraceID"]),
        text(&trace["RequestID"])
    );
    let Some(spans) = trace["Spans"].as_array() else {
        return out;
    };
    let begin = time(&trace["StartTime"]);
    let total = (time(&trace["EndTime"]) - begin).max(1.0);
    let mut depths: HashMap<String, usize> = HashMap::new();
    for span in spans {
        let depth = depths
            .get(&text(&span["ParentID"]))
            .map_or(0, |depth| depth + 1);
        depths.insert(text(&span["SpanID"]), depth);
        let (start, end) = (
            time(&span["StartTime"]) - begin,
            time(&span["EndTime"]) - begin,
        );
        let name = format!("{}{}", "  ".repeat(depth.min(8)), text(&span["Name"]));
        let status = match (span["Status"].as_str(), span["StatusMsg"].as_str()) {
            (Some("error"), message) => format!("error {}", message.unwrap_or_default()),
            (_, Some(message)) => message.to_owned(),
            _ => String::new(),
        };
        let line = format!(
            "  {name:<44} {} {:>9.3} ms  {status}",
            bar(start, end, total),
            (end - start) / 1e6
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within the bar's few columns"
)]
fn bar(start: f64, end: f64, total: f64) -> String {
    let column = |time: f64| (time / total * WIDTH).clamp(0.0, WIDTH);
    let from = (column(start).floor() as usize).min(WIDTH as usize - 1);
    let to = (column(end).ceil() as usize).clamp(from + 1, WIDTH as usize);
    format!(
        "{}{}{}",
        "·".repeat(from),
        "█".repeat(to - from),
        "·".repeat(WIDTH as usize - to)
    )
}

/// Nanoseconds since the epoch, near enough for a picture.
#[expect(clippy::cast_precision_loss, reason = "for a picture")]
fn time(value: &Value) -> f64 {
    let time = value
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok());
    time.map_or(0.0, |time| time.as_nanosecond() as f64)
}
