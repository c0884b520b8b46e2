//! Prometheus' remote write 1.0: one series for each sample, protobuf in snappy's block format.
//!
//! Source: the remote write specification, and `prompb/remote.proto` and `types.proto` of Prometheus.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message as _;

use super::samples::{Family, Sample};
use crate::config::Push;

#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Point>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Point {
    #[prost(double, tag = "1")]
    value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    /// A counter is 1, a gauge 2, a histogram 3.
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    family: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
}

/// A request's body.
pub(super) fn request(families: &[Family<'_>], push: &Push, now: SystemTime) -> Vec<u8> {
    let bytes = message(families, push, now).encode_to_vec();
    snap::raw::Encoder::new()
        .compress_vec(&bytes)
        .expect("no request is as long as snappy's limit of 4 GiB")
}

fn message(families: &[Family<'_>], push: &Push, now: SystemTime) -> WriteRequest {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let samples = families.iter().flat_map(|family| &family.samples);
    let metadata = families.iter().map(|family| Metadata {
        kind: match family.kind {
            "counter" => 1,
            "gauge" => 2,
            "histogram" => 3,
            _ => 0,
        },
        // Prometheus knows a counter by its samples' name.
        family: match family.kind {
            "counter" => format!("{}_total", family.name),
            _ => family.name.to_owned(),
        },
        help: family.help.to_string(),
        unit: family.unit.to_owned(),
    });
    WriteRequest {
        timeseries: samples.map(|sample| series(sample, push, now)).collect(),
        metadata: metadata.collect(),
    }
}

fn series(sample: &Sample<'_>, push: &Push, now: i64) -> TimeSeries {
    let own = [
        ("__name__", sample.name),
        ("job", "weir"),
        ("instance", push.instance.as_str()),
    ];
    let further = push
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let of_sample = sample.labels.iter().map(|(name, value)| (*name, &**value));
    // What a series says itself is not overwritten.
    let further = further.filter(|(name, _)| sample.labels.iter().all(|(own, _)| own != name));
    let mut labels: Vec<Label> = own
        .into_iter()
        .chain(of_sample)
        .chain(further)
        .map(|(name, value)| label(name, value))
        .collect();
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    let exemplar = sample.exemplar.map(|exemplar| Exemplar {
        labels: vec![label("trace_id", exemplar.trace_id)],
        value: exemplar.value,
        #[expect(clippy::cast_possible_truncation, reason = "a time of this age")]
        timestamp: (exemplar.time * 1e3) as i64,
    });
    TimeSeries {
        labels,
        samples: vec![Point {
            value: sample.value,
            timestamp: now,
        }],
        exemplars: exemplar.into_iter().collect(),
    }
}

fn label(name: &str, value: &str) -> Label {
    Label {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::super::testing::{now, push};
    use super::*;
    use crate::config::PushFormat;

    #[test]
    fn each_sample_is_a_series_with_sorted_labels() {
        let families = samples::read(samples::TEXT);
        let body = request(&families, &push(PushFormat::RemoteWrite), now());
        let bytes = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let request = WriteRequest::decode(&*bytes).unwrap();
        assert_eq!(request.timeseries.len(), 7);
        for series in &request.timeseries {
            assert!(
                series.labels.is_sorted_by(|a, b| a.name < b.name),
                "{series:?}"
            );
            assert_eq!(series.samples[0].timestamp, 1_700_000_001_000);
        }
        let labels = |at: usize| -> Vec<(&str, &str)> {
            let labels = request.timeseries[at].labels.iter();
            labels.map(|label| (&*label.name, &*label.value)).collect()
        };
        let expected = [
            ("__name__", "weir_requests_total"),
            ("instance", "here"),
            ("job", "weir"),
            ("region", "north"),
            ("route", "a\\\"b\n}"),
            ("status", "2xx"),
        ];
        assert_eq!(labels(0), expected);
        let exemplar = &request.timeseries[5].exemplars[0];
        assert_eq!(exemplar.labels[0].name, "trace_id");
        assert_eq!(exemplar.timestamp, 1_700_000_000_250);
        let kinds: Vec<_> = request
            .metadata
            .iter()
            .map(|of| (of.kind, &*of.family))
            .collect();
        assert_eq!(kinds[0], (1, "weir_requests_total"));
        assert_eq!(kinds[2], (3, "weir_request_duration_seconds"));
    }
}
