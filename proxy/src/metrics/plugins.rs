//! What plugins count themselves, and what they were refused, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{Labels, counter, descriptor};
use crate::plugin::measures::{Families, Family, Kind, Series};

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    plugins: &BTreeMap<String, Arc<Families>>,
) -> Result<(), Error> {
    // Two plugins may have one name here, as `a-b` and `a_b`: they are one family, then.
    let mut named: BTreeMap<String, Vec<(&str, Arc<Family>)>> = BTreeMap::new();
    for (plugin, families) in plugins {
        for family in families.all() {
            let name = format!("weir_plugin_{}_{}", legal(plugin), family.name);
            named.entry(name).or_default().push((plugin, family));
        }
    }
    for (name, families) in &named {
        let Some((_, first)) = families.first() else {
            continue;
        };
        let kind = metric_type(&first.kind);
        let mut described = descriptor(encoder, name, &first.help, kind)?;
        for (plugin, family) in families {
            if metric_type(&family.kind).as_str() != kind.as_str() {
                continue;
            }
            for series in family.all() {
                let own = family.labels.iter().map(String::as_str);
                let labels: Vec<(&str, &str)> = [("plugin", *plugin)]
                    .into_iter()
                    .chain(own.zip(series.values.iter().map(String::as_str)))
                    .collect();
                value(described.encode_family(&Labels(&labels))?, family, &series)?;
            }
        }
    }
    let dropped = plugins.iter().filter_map(|(plugin, families)| {
        let count = families.dropped();
        (count > 0).then_some(([("plugin", plugin.as_str())], count))
    });
    counter(
        encoder,
        "weir_plugin_metrics_dropped",
        "Values of plugins' own metrics that were dropped.",
        dropped,
    )?;
    let refused = plugins.iter().flat_map(|(plugin, families)| {
        let refused = families.refusals().all();
        refused.map(|(what, count)| ([("plugin", plugin.as_str()), ("what", what)], count))
    });
    counter(
        encoder,
        "weir_plugin_refusals",
        "What plugins asked for and were refused, or had dropped, by what it was.",
        refused,
    )
}

fn value(mut encoder: MetricEncoder<'_>, family: &Family, series: &Series) -> Result<(), Error> {
    match &family.kind {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&series.number(), None),
        Kind::Gauge => encoder.encode_gauge(&series.number()),
        Kind::Histogram(bounds) => {
            let bounds = bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(series.buckets()).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(series.number(), count, &buckets, None)
        }
    }
}

fn metric_type(kind: &Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram(_) => MetricType::Histogram,
    }
}

/// A plugin's name as a part of a metric's.
fn legal(plugin: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    plugin.chars().map(legal).collect()
}
