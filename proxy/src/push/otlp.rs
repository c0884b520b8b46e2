//! Metrics as OTLP: names with dots and without their unit, which stands beside ([`units`]), as OpenTelemetry
//! has them. Prometheus makes of these the very names that it scrapes.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::samples::{self, Family, Sample};
use super::units;
use crate::config::Push;

/// When points were taken, and since when counters count: nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    start: u64,
    now: u64,
}

/// A request's message; counters count since `started`.
pub(super) fn request(
    families: &[Family<'_>],
    push: &Push,
    now: SystemTime,
    started: SystemTime,
) -> Vec<u8> {
    let times = Times {
        start: nanoseconds(started),
        now: nanoseconds(now),
    };
    let version = env!("CARGO_PKG_VERSION");
    let own = [
        ("service.name", "weir"),
        ("service.version", version),
        ("service.instance.id", push.instance.as_str()),
    ];
    let further = push
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let resource = Resource {
        attributes: own.into_iter().chain(further).map(attribute).collect(),
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "weir".to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_metrics = ScopeMetrics {
        scope: Some(scope),
        metrics: families
            .iter()
            .map(|family| metric(family, times))
            .collect(),
        schema_url: String::new(),
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![scope_metrics],
            schema_url: String::new(),
        }],
    };
    request.encode_to_vec()
}

fn metric(family: &Family<'_>, times: Times) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let points = || {
        family
            .samples
            .iter()
            .map(|sample| number(sample, times))
            .collect()
    };
    let data = match family.kind {
        "counter" => Data::Sum(Sum {
            data_points: points(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        "histogram" => Data::Histogram(Histogram {
            data_points: histograms(&family.samples, times),
            aggregation_temporality: cumulative,
        }),
        _ => Data::Gauge(Gauge {
            data_points: points(),
        }),
    };
    Metric {
        name: family.stem.replace('_', "."),
        description: family.help.to_string(),
        unit: units::of(family).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(sample: &Sample<'_>, times: Times) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        value: Some(Number::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }
}

/// A histogram's samples stand together: its buckets come after sum and count, in their order.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of one process"
)]
fn histograms(samples: &[Sample<'_>], times: Times) -> Vec<HistogramDataPoint> {
    let mut points: Vec<HistogramDataPoint> = Vec::new();
    let mut before = 0;
    for sample in samples {
        if sample.name.ends_with("_sum") {
            before = 0;
            points.push(HistogramDataPoint {
                attributes: attributes(sample),
                start_time_unix_nano: times.start,
                time_unix_nano: times.now,
                sum: Some(sample.value),
                ..HistogramDataPoint::default()
            });
            continue;
        }
        let Some(point) = points.last_mut() else {
            continue;
        };
        let count = sample.value as u64;
        if sample.name.ends_with("_count") {
            point.count = count;
            continue;
        }
        let bound = sample.labels.iter().find(|(name, _)| *name == "le");
        let bound = bound.and_then(|(_, bound)| bound.parse().ok());
        // The last has no end.
        point
            .explicit_bounds
            .extend(bound.filter(|bound: &f64| bound.is_finite()));
        point.bucket_counts.push(count.saturating_sub(before));
        before = count;
        point.exemplars.extend(sample.exemplar.and_then(trace));
    }
    points
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time of this age"
)]
fn trace(exemplar: samples::Exemplar<'_>) -> Option<Exemplar> {
    let id = u128::from_str_radix(exemplar.trace_id, 16).ok()?;
    Some(Exemplar {
        trace_id: id.to_be_bytes().to_vec(),
        time_unix_nano: (exemplar.time * 1e9) as u64,
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
        ..Exemplar::default()
    })
}

fn attributes(sample: &Sample<'_>) -> Vec<KeyValue> {
    let labels = sample.labels.iter().filter(|(name, _)| *name != "le");
    labels
        .map(|(name, value)| attribute((name, value)))
        .collect()
}

fn attribute((key, value): (&str, &str)) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{now, push};
    use super::*;
    use crate::config::PushFormat;

    #[test]
    fn metrics_have_opentelemetrys_names_units_and_buckets() {
        let families = samples::read(samples::TEXT);
        let started = now() - std::time::Duration::from_secs(5);
        let bytes = request(&families, &push(PushFormat::Otlp), now(), started);
        let request = ExportMetricsServiceRequest::decode(&*bytes).unwrap();
        let resource = &request.resource_metrics[0];
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        let keys: Vec<&str> = attributes.iter().map(|of| &*of.key).collect();
        assert_eq!(
            keys,
            [
                "service.name",
                "service.version",
                "service.instance.id",
                "region"
            ]
        );
        let metrics = &resource.scope_metrics[0].metrics;
        let names: Vec<(&str, &str)> = metrics.iter().map(|of| (&*of.name, &*of.unit)).collect();
        let expected = [
            ("weir.requests", "{request}"),
            ("weir.config.generation", ""),
            ("weir.request.duration", "s"),
        ];
        assert_eq!(names, expected);
        let Some(Data::Sum(sum)) = &metrics[0].data else {
            panic!("a sum");
        };
        assert!(sum.is_monotonic);
        let Some(Data::Histogram(histogram)) = &metrics[2].data else {
            panic!("a histogram");
        };
        let [point] = &histogram.data_points[..] else {
            panic!("one point");
        };
        assert_eq!(point.bucket_counts, [0, 1, 2]);
        assert_eq!(point.explicit_bounds, [0.000_000_256, 1.0]);
        assert_eq!((point.count, point.sum), (3, Some(2.5)));
        assert_eq!(
            point.time_unix_nano - point.start_time_unix_nano,
            5_000_000_000
        );
        assert_eq!(point.exemplars[0].trace_id[0], 0x0a);
        assert_eq!(point.attributes.len(), 1);
    }
}
