//! A trace as one line for people, or as one line of JSON.

use std::fmt::Write as _;

use super::decode::{Span, Trace};

/// Columns of the waterfall.
const WIDTH: usize = 24;

/// Longest text shown of what failed.
const MESSAGE: usize = 80;

pub(super) struct Show {
    pub(super) json: bool,
    pub(super) color: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Color {
    Red,
    Green,
    Yellow,
    Magenta,
    Cyan,
    Dim,
}

impl Show {
    pub(super) fn line(&self, trace: &Trace) -> String {
        if self.json {
            return trace.0.to_string();
        }
        let root = trace.root();
        let (start, end) = trace.times();
        let time = jiff::Timestamp::from_nanosecond(start.into()).unwrap_or_default();
        let time = time.strftime("%H:%M:%S%.3f");
        let status = trace.status();
        let (status, color) = match status {
            Some(status @ ..400) => (status.to_string(), Color::Green),
            Some(status @ 400..500) => (status.to_string(), Color::Yellow),
            Some(status) => (status.to_string(), Color::Red),
            None => ("---".to_owned(), Color::Red),
        };
        let mut line = format!(
            "{} {} {:>10} {} {} {}",
            self.paint(&time.to_string(), Color::Dim),
            self.paint(&status, color),
            lasted(end - start),
            self.waterfall(trace, start, end),
            printable(root.name),
            self.paint(&printable(trace.id()), Color::Dim),
        );
        let failed = trace.spans().skip(1).find(|span| span.is_error);
        let failed = failed.or_else(|| Some(root).filter(|root| root.is_error));
        if let Some(failed) = failed {
            let mut said = printable(failed.name);
            if !failed.message.is_empty() {
                let message: String = printable(failed.message).chars().take(MESSAGE).collect();
                let _ = write!(said, ": {message}");
            }
            line.push(' ');
            line += &self.paint(&said, Color::Red);
        }
        line
    }

    /// Hooks stand before calls: they are short, and each is seen.
    fn waterfall(&self, trace: &Trace, start: i64, end: i64) -> String {
        let mut cells = [('·', Color::Dim); WIDTH];
        let total = (end - start).max(1);
        let mut spans: Vec<(u8, Span<'_>)> = trace
            .spans()
            .skip(1)
            .map(|span| match span.kind {
                _ if span.is_error => (3, span),
                "plugin" => (2, span),
                "http.client" | "llm.call" | "retry" => (1, span),
                _ => (0, span),
            })
            .collect();
        spans.sort_by_key(|(rank, _)| *rank);
        for (rank, span) in spans {
            let cell = match rank {
                0 => ('░', Color::Dim),
                1 => ('█', Color::Cyan),
                2 => ('▒', Color::Magenta),
                _ => ('!', Color::Red),
            };
            let column = |time: i64| {
                let part = i128::from((time - start).clamp(0, total)) * WIDTH as i128;
                usize::try_from(part / i128::from(total)).unwrap_or_default()
            };
            let from = column(span.start).min(WIDTH - 1);
            let to = column(span.end).clamp(from + 1, WIDTH);
            cells[from..to].fill(cell);
        }
        let mut out = String::new();
        for run in cells.chunk_by(|one, other| one.1 == other.1) {
            let text: String = run.iter().map(|cell| cell.0).collect();
            out += &self.paint(&text, run[0].1);
        }
        out
    }

    fn paint(&self, text: &str, color: Color) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match color {
            Color::Red => 31,
            Color::Green => 32,
            Color::Yellow => 33,
            Color::Magenta => 35,
            Color::Cyan => 36,
            Color::Dim => 2,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// What a client or a plugin said must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "shown to three digits")]
fn lasted(nanos: i64) -> String {
    let millis = nanos as f64 / 1e6;
    if millis >= 10_000.0 {
        format!("{:.2} s", millis / 1e3)
    } else {
        format!("{millis:.3} ms")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PLAIN: Show = Show {
        json: false,
        color: false,
    };

    fn span(name: &str, kind: &str, start: u32, end: u32, message: &str) -> Value {
        json!({
            "Name": name, "Kind": kind,
            "StartTime": format!("2026-01-02T03:04:05.{start:03}Z"),
            "EndTime": format!("2026-01-02T03:04:05.{end:03}Z"),
            "Status": if message.is_empty() { "ok" } else { "error" }, "StatusMsg": message,
            "Attributes": { "http.response.status_code": 200 },
        })
    }

    fn trace(name: &str, message: &str) -> Trace {
        let root = span(name, "http.request", 0, 240, "");
        let hook = span("plugin.auth.prehook", "plugin", 0, 20, message);
        let call = span("GET", "http.client", 60, 180, "");
        Trace(json!({ "TraceID": "0af7", "RootSpan": root, "Spans": [root, hook, call] }))
    }

    #[test]
    fn a_trace_is_one_line_with_its_waterfall() {
        assert_eq!(
            PLAIN.line(&trace("GET /", "")),
            "03:04:05.000 200 240.000 ms ▒▒····████████████······ GET / 0af7"
        );
    }

    #[test]
    fn what_failed_is_said() {
        assert_eq!(
            PLAIN.line(&trace("GET /", "no key")),
            "03:04:05.000 200 240.000 ms !!····████████████······ GET / 0af7 plugin.auth.prehook: \
             no key"
        );
    }

    #[test]
    fn nothing_that_was_sent_steers_the_terminal() {
        let line = PLAIN.line(&trace("GET /\u{1b}[2J\n", "\u{7}"));
        assert!(!line.contains(char::is_control), "{line:?}");
    }

    #[test]
    fn colours_come_only_where_they_are_wanted() {
        let colored = Show {
            color: true,
            ..PLAIN
        };
        let line = colored.line(&trace("GET /", ""));
        assert!(line.contains("\u{1b}[32m200\u{1b}[0m"), "{line:?}");
        assert!(!PLAIN.line(&trace("GET /", "")).contains('\u{1b}'));
    }
}
