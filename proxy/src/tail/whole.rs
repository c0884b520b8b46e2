//! Puts the parts of a large trace together again.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::Value;

use super::decode::Trace;

/// Traces that wait for parts; the oldest is given up, as far as it is known, when there are more.
const WAITING: usize = 64;

/// See the module's documentation. Two requests of one caller's trace have the same id, and roots of
/// their own.
#[derive(Debug, Default)]
pub(super) struct Whole(IndexMap<Key, Parts>);

/// A trace's id, and the `traceparent` of its messages.
type Key = (String, String);

#[derive(Debug)]
struct Parts {
    count: usize,
    parts: BTreeMap<usize, Trace>,
}

impl Whole {
    /// Adds what came, with its `weir-part` and `traceparent`; gives what is to be shown now.
    pub(super) fn add(
        &mut self,
        trace: Trace,
        part: Option<&str>,
        traceparent: Option<&str>,
    ) -> Vec<Trace> {
        let Some((index, count)) = part.and_then(numbers) else {
            return vec![trace];
        };
        let key = (
            trace.id().to_owned(),
            traceparent.unwrap_or_default().to_owned(),
        );
        let parts = self.0.entry(key.clone()).or_insert_with(|| Parts {
            count,
            parts: BTreeMap::new(),
        });
        if parts.count != count {
            // It was split anew, and sent again.
            parts.count = count;
            parts.parts.clear();
        }
        parts.parts.insert(index, trace);
        if parts.parts.len() >= count {
            return self
                .0
                .shift_remove(&key)
                .and_then(merged)
                .into_iter()
                .collect();
        }
        if self.0.len() > WAITING {
            let oldest = self.0.shift_remove_index(0);
            return oldest
                .and_then(|(_, parts)| merged(parts))
                .into_iter()
                .collect();
        }
        Vec::new()
    }

    /// What never became whole.
    pub(super) fn take(&mut self) -> Vec<Trace> {
        let all = std::mem::take(&mut self.0);
        all.into_values().filter_map(merged).collect()
    }
}

/// Of `2/5`.
fn numbers(part: &str) -> Option<(usize, usize)> {
    let (index, count) = part.split_once('/')?;
    let (index, count) = (index.parse().ok()?, count.parse().ok()?);
    (1..=count).contains(&index).then_some((index, count))
}

fn merged(parts: Parts) -> Option<Trace> {
    let mut parts = parts.parts.into_values();
    let mut whole = parts.next()?;
    for part in parts {
        let Some(Value::Array(more)) = part.0.get("Spans").cloned() else {
            continue;
        };
        if let Some(Value::Array(spans)) = whole.0.get_mut("Spans") {
            spans.extend(more);
        }
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(id: &str, span: &str) -> Trace {
        Trace(json!({ "TraceID": id, "Spans": [{ "SpanID": span }] }))
    }

    #[test]
    fn parts_become_one_trace_when_all_are_there() {
        let mut whole = Whole::default();
        assert_eq!(whole.add(part("a", "1"), Some("1/2"), Some("root")), []);
        assert_eq!(whole.add(part("b", "1"), None, None), [part("b", "1")]);
        assert_eq!(whole.add(part("a", "1"), Some("1/2"), Some("root")), []);
        let both = whole.add(part("a", "2"), Some("2/2"), Some("root"));
        let spans = json!([{ "SpanID": "1" }, { "SpanID": "2" }]);
        assert_eq!(both[0].0["Spans"], spans);
        assert_eq!(whole.take(), []);
    }

    #[test]
    fn two_requests_of_one_trace_are_not_mixed() {
        let mut whole = Whole::default();
        assert_eq!(whole.add(part("a", "1"), Some("1/2"), Some("one")), []);
        assert_eq!(whole.add(part("a", "2"), Some("1/2"), Some("other")), []);
        let spans = |first: &str, second: &str| json!([{ "SpanID": first }, { "SpanID": second }]);
        let other = whole.add(part("a", "4"), Some("2/2"), Some("other"));
        assert_eq!(other[0].0["Spans"], spans("2", "4"));
        let one = whole.add(part("a", "3"), Some("2/2"), Some("one"));
        assert_eq!(one[0].0["Spans"], spans("1", "3"));
    }

    #[test]
    fn what_lacks_a_part_is_given_in_the_end() {
        let mut whole = Whole::default();
        for index in 0..WAITING {
            assert_eq!(
                whole.add(part(&index.to_string(), "1"), Some("1/2"), Some("root")),
                []
            );
        }
        let given_up = whole.add(part("more", "1"), Some("1/2"), Some("root"));
        assert_eq!(given_up, [part("0", "1")]);
        assert_eq!(whole.take().len(), WAITING);
    }
}
