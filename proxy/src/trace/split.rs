//! One trace as several messages, where one would be too large.
//!
//! It is divided along its spans, the root in the first part; each part is a message that is valid
//! by itself. Where even one span is too large, the longest texts of the trace are cut.

use std::ops::Range;

use super::Trace;
use crate::filter::Selection;

/// Appends a message to a buffer.
pub type Encode = fn(&Trace<'_>, &Selection<'_>, &mut Vec<u8>);

/// Texts are not cut shorter than this, in bytes.
const SHORTEST: usize = 16;

/// Encodes what `selection` leaves of `trace` as messages of at most `limit` bytes, the root's
/// first. `None` where it cannot be done: a span has too many attributes.
pub fn split(
    trace: &mut Trace<'_>,
    selection: &Selection<'_>,
    encode: Encode,
    limit: usize,
) -> Option<Vec<Vec<u8>>> {
    let count = selection.spans(trace).count();
    let mut longest = limit / 2;
    loop {
        let mut parts = Vec::new();
        let of = Division {
            trace,
            selection,
            encode,
            limit,
        };
        if of.divide(0..count, &mut parts) {
            return Some(parts);
        }
        if longest < SHORTEST {
            return None;
        }
        trace.truncate(longest);
        longest /= 2;
    }
}

struct Division<'a, 'r> {
    trace: &'a Trace<'r>,
    selection: &'a Selection<'a>,
    encode: Encode,
    limit: usize,
}

impl Division<'_, '_> {
    /// Halves the spans until each part fits; says whether it did.
    fn divide(&self, spans: Range<usize>, parts: &mut Vec<Vec<u8>>) -> bool {
        let mut out = Vec::new();
        let part = self.selection.part(spans.clone());
        (self.encode)(self.trace, &part, &mut out);
        if out.len() <= self.limit {
            parts.push(out);
            return true;
        }
        let middle = spans.start.midpoint(spans.end);
        spans.len() > 1
            && self.divide(spans.start..middle, parts)
            && self.divide(middle..spans.end, parts)
    }
}

impl<'r> Trace<'r> {
    /// Cuts every text that has more than `longest` bytes, and counts it.
    fn truncate(&mut self, longest: usize) {
        let mut count = 0;
        let mut cut = |text: &mut &'r str| {
            if text.len() > longest {
                *text = &text[..text.floor_char_boundary(longest)];
                count += 1;
            }
        };
        for span in &mut self.spans {
            cut(&mut span.name);
            cut(&mut span.message);
        }
        for (_, value) in &mut self.request_headers {
            cut(value);
        }
        for line in &mut self.plugin_logs {
            cut(&mut line.message);
        }
        let of_spans = self.spans.iter_mut().map(|span| &mut span.attributes);
        let of_events = self.events.iter_mut().map(|event| &mut event.attributes);
        for attributes in of_spans.chain(of_events) {
            count += attributes.truncate(longest);
        }
        self.head.truncated += count;
    }
}

#[cfg(test)]
mod tests;
