//! Reads the text that Weir itself wrote, so that what is pushed is what is scraped. Values in, values
//! out.

use std::borrow::Cow;
use std::collections::HashSet;

/// Metrics of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Family<'t> {
    pub(super) name: &'t str,
    /// `counter`, `gauge` or `histogram`.
    pub(super) kind: &'t str,
    pub(super) help: Cow<'t, str>,
    /// As `OpenMetrics` has it, such as `seconds`; empty where there is none.
    pub(super) unit: &'t str,
    /// The name without the unit, where no other metric has that name.
    pub(super) stem: &'t str,
    pub(super) samples: Vec<Sample<'t>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample<'t> {
    /// That of the family, with `_total`, `_bucket`, `_sum` or `_count`.
    pub(super) name: &'t str,
    pub(super) labels: Vec<(&'t str, Cow<'t, str>)>,
    pub(super) value: f64,
    pub(super) exemplar: Option<Exemplar<'t>>,
}

/// A trace that fell into a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exemplar<'t> {
    pub(super) trace_id: &'t str,
    pub(super) value: f64,
    /// Seconds since 1970.
    pub(super) time: f64,
}

pub(super) fn read(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            if let (Some(family), Some(sample)) = (families.last_mut(), sample(line)) {
                family.samples.push(sample);
            }
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        let (Some(what), Some(name)) = (words.next(), words.next()) else {
            continue;
        };
        let said = words.next().unwrap_or_default();
        if families.last().is_none_or(|family| family.name != name) {
            families.push(Family {
                name,
                ..Family::default()
            });
        }
        let Some(family) = families.last_mut() else {
            continue;
        };
        match what {
            "HELP" => family.help = unescaped(said),
            "TYPE" => family.kind = said,
            "UNIT" => family.unit = said,
            _ => {}
        }
    }
    let names: HashSet<&str> = families.iter().map(|family| family.name).collect();
    for family in &mut families {
        let stem = family.name.strip_suffix(family.unit);
        let stem = stem.and_then(|stem| stem.strip_suffix('_'));
        let free = stem.filter(|stem| !names.contains(stem));
        family.stem = free.unwrap_or(family.name);
    }
    families.retain(|family| !family.samples.is_empty());
    families
}

/// As many families together as have no more samples than that, or one.
pub(super) fn chunks<'t>(families: Vec<Family<'t>>, most: usize) -> Vec<Vec<Family<'t>>> {
    let mut chunks: Vec<Vec<Family<'t>>> = Vec::new();
    let mut count = most;
    for family in families {
        count += family.samples.len();
        if count > most {
            count = family.samples.len();
            chunks.push(Vec::new());
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(family);
        }
    }
    chunks
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let end = closing(after)?;
            labels.push((label, unescaped(&after[..end])));
            rest = &after[end + 1..];
        }
    }
    let (value, exemplar) = match rest.split_once(" # ") {
        Some((value, exemplar)) => (value, self::exemplar(exemplar)),
        None => (rest, None),
    };
    Some(Sample {
        name,
        labels,
        value: value.trim().parse().ok()?,
        exemplar,
    })
}

fn exemplar(text: &str) -> Option<Exemplar<'_>> {
    let (trace_id, rest) = text.strip_prefix("{trace_id=\"")?.split_once("\"} ")?;
    let (value, time) = rest.split_once(' ')?;
    Some(Exemplar {
        trace_id,
        value: value.parse().ok()?,
        time: time.parse().ok()?,
    })
}

/// Where the quote ends that a label's value stands in.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
pub(super) const TEXT: &str = "\
# HELP weir_requests Requests.
# TYPE weir_requests counter
weir_requests_total{route=\"a\\\\\\\"b\\n}\",status=\"2xx\"} 2
# HELP weir_config_generation Number.
# TYPE weir_config_generation gauge
weir_config_generation 3
# HELP weir_empty Nothing.
# TYPE weir_empty counter
# HELP weir_request_duration_seconds Durations.
# TYPE weir_request_duration_seconds histogram
# UNIT weir_request_duration_seconds seconds
weir_request_duration_seconds_sum{route=\"a\"} 2.5
weir_request_duration_seconds_count{route=\"a\"} 3
weir_request_duration_seconds_bucket{le=\"0.000000256\",route=\"a\"} 0
weir_request_duration_seconds_bucket{le=\"1.0\",route=\"a\"} 1 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.5 1700000000.250
weir_request_duration_seconds_bucket{le=\"+Inf\",route=\"a\"} 3
# EOF
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let families = read(TEXT);
        let names: Vec<_> = families
            .iter()
            .map(|family| (family.name, family.kind, family.unit))
            .collect();
        let expected = [
            ("weir_requests", "counter", ""),
            ("weir_config_generation", "gauge", ""),
            ("weir_request_duration_seconds", "histogram", "seconds"),
        ];
        assert_eq!(names, expected);
        let labels = &families[0].samples[0].labels;
        assert_eq!(labels[0], ("route", "a\\\"b\n}".into()));
        assert_eq!(labels[1], ("status", "2xx".into()));
        let durations = &families[2].samples;
        assert_eq!(durations.len(), 5);
        assert_eq!(durations[4].value.to_bits(), 3.0_f64.to_bits());
        let exemplar = durations[3].exemplar.expect("an exemplar");
        assert_eq!(exemplar.trace_id, "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn a_unit_stays_in_a_name_that_another_metric_would_have_without_it() {
        let text = "# TYPE a counter\na_total 1\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total 2\n\
            # TYPE b_bytes gauge\n# UNIT b_bytes bytes\nb_bytes 3\n";
        let stems: Vec<&str> = read(text).iter().map(|family| family.stem).collect();
        assert_eq!(stems, ["a", "a_bytes", "b"]);
    }

    #[test]
    fn chunks_hold_whole_families() {
        let lens = |most| -> Vec<usize> {
            let chunks = chunks(read(TEXT), most);
            chunks.iter().map(Vec::len).collect()
        };
        assert_eq!(lens(100), [3]);
        assert_eq!(lens(2), [2, 1]);
        assert_eq!(lens(1), [1, 1, 1]);
        assert!(chunks(Vec::new(), 1).is_empty());
    }
}
