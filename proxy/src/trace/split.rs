//! One trace as several messages, where one would be too large.
//!
//! It is divided along its spans, the root in the first part; each part is a message that is valid
//! by itself. Where even one span is too large, its longest texts are cut, and those of no other.

use std::ops::Range;

use super::{SpanIndex, Trace};
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
    let (mut of_root, mut of_others) = (limit / 2, limit / 2);
    loop {
        let mut parts = Vec::new();
        let mut too_large = Vec::new();
        let of = Division {
            trace,
            selection,
            encode,
            limit,
        };
        of.divide(0..count, &mut parts, &mut too_large);
        if too_large.is_empty() {
            return Some(parts);
        }
        // The JSON repeats the root in every part, so that others may fit once that is shorter.
        let (longest, cut) = if too_large[0] == 0 || of_others < SHORTEST {
            (&mut of_root, vec![SpanIndex::ROOT])
        } else {
            let spans: Vec<_> = selection.spans(trace).map(|(index, ..)| index).collect();
            let cut: Vec<_> = too_large.iter().map(|number| spans[*number]).collect();
            (&mut of_others, cut)
        };
        if *longest < SHORTEST {
            return None;
        }
        for span in cut {
            trace.truncate(selection, span, *longest);
        }
        *longest /= 2;
    }
}

struct Division<'a, 'r> {
    trace: &'a Trace<'r>,
    selection: &'a Selection<'a>,
    encode: Encode,
    limit: usize,
}

impl Division<'_, '_> {
    /// Halves the spans until each part fits; gives the numbers of those that do not even alone.
    fn divide(&self, spans: Range<usize>, parts: &mut Vec<Vec<u8>>, too_large: &mut Vec<usize>) {
        let mut out = Vec::new();
        let part = self.selection.part(spans.clone());
        (self.encode)(self.trace, &part, &mut out);
        if out.len() <= self.limit {
            parts.push(out);
        } else if spans.len() > 1 {
            let middle = spans.start.midpoint(spans.end);
            self.divide(spans.start..middle, parts, too_large);
            self.divide(middle..spans.end, parts, too_large);
        } else {
            too_large.push(spans.start);
        }
    }
}

impl<'r> Trace<'r> {
    /// Cuts every text of a span that has more than `longest` bytes, and counts it: also of the log
    /// lines that end up on it, and with the root those that are said once a trace.
    fn truncate(&mut self, selection: &Selection<'_>, span: SpanIndex, longest: usize) {
        let is_root = span == SpanIndex::ROOT;
        let mut count = 0;
        let mut cut = |text: &mut &'r str| {
            if text.len() > longest {
                *text = &text[..text.floor_char_boundary(longest)];
                count += 1;
            }
        };
        let of = &mut self.spans[span.get()];
        cut(&mut of.name);
        cut(&mut of.message);
        if is_root {
            for (_, value) in &mut self.request_headers {
                cut(value);
            }
        }
        for line in &mut self.plugin_logs {
            if is_root || selection.survivor(line.span) == span {
                cut(&mut line.message);
            }
        }
        count += of.attributes.truncate(longest);
        let events = of.events.start as usize..of.events.end as usize;
        for event in &mut self.events[events] {
            count += event.attributes.truncate(longest);
        }
        self.head.truncated += count;
    }
}

#[cfg(test)]
mod tests;
