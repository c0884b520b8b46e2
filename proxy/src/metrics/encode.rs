//! How counters, gauges and histograms are written as families of `OpenMetrics`.

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::Sum;

struct Value<T>(T, MetricType);

impl EncodeMetric for Value<u64> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self.1 {
            MetricType::Gauge => encoder.encode_gauge(&i64::try_from(self.0).unwrap_or(i64::MAX)),
            _ => encoder.encode_counter::<NoLabelSet, _, u64>(&self.0, None),
        }
    }

    fn metric_type(&self) -> MetricType {
        self.1
    }
}

/// What units names of families end with, as Prometheus and OpenTelemetry have them.
static UNITS: [(&str, Unit); 2] = [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)];

/// Begins a family. The unit is in its name, and is told beside it.
pub(crate) fn descriptor<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, std::fmt::Error> {
    let found = UNITS
        .iter()
        .find_map(|(suffix, unit)| Some((name.strip_suffix(suffix)?, unit)));
    let (name, unit) = found.map_or((name, None), |(stem, unit)| (stem, Some(unit)));
    encoder.encode_descriptor(name, help, unit, kind)
}

/// One family of counters; `name` is without `_total`. Without labels there is one value.
pub(crate) fn counter<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'a str, &'a str); N], u64)>,
) -> Result<(), std::fmt::Error> {
    family(encoder, name, help, MetricType::Counter, values)
}

/// One family of gauges.
pub(crate) fn gauge<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'a str, &'a str); N], u64)>,
) -> Result<(), std::fmt::Error> {
    family(encoder, name, help, MetricType::Gauge, values)
}

fn family<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    values: impl IntoIterator<Item = ([(&'a str, &'a str); N], u64)>,
) -> Result<(), std::fmt::Error> {
    let mut family = descriptor(encoder, name, help, kind)?;
    for (labels, value) in values {
        let metric = Value(value, kind);
        if N == 0 {
            return metric.encode(family);
        }
        metric.encode(family.encode_family(&Labels(&labels))?)?;
    }
    Ok(())
}

#[derive(Debug)]
pub(crate) struct Labels<'a>(pub(crate) &'a [(&'a str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::EncodeLabel;
        for label in self.0 {
            label.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

pub(super) fn histogram<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'a str, &'a str); N], Sum)>,
) -> Result<(), std::fmt::Error> {
    let mut family = descriptor(encoder, name, help, MetricType::Histogram)?;
    for (labels, sum) in values {
        family
            .encode_family(&Labels(&labels))?
            .encode_histogram::<NoLabelSet>(sum.sum, sum.count, &sum.buckets, None)?;
    }
    Ok(())
}
