//! What exporters and their clients say on `/metrics`, beside how many traces they took and lost.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::statistics::{Broker, Statistics, Totals};
use super::status::Status;
use crate::metrics::{counter, gauge};

/// The exporters of this moment.
#[derive(Debug)]
pub struct Clients(pub Vec<Status>);

/// A counter of a broker's: name, help, value.
type Total = (&'static str, &'static str, fn(&Totals) -> u64);

const TOTALS: [Total; 8] = [
    (
        "weir_kafka_broker_connects",
        "Connections made to a broker.",
        |totals| totals.connects,
    ),
    (
        "weir_kafka_broker_disconnects",
        "Connections to a broker that ended.",
        |totals| totals.disconnects,
    ),
    (
        "weir_kafka_broker_requests",
        "Requests sent to a broker.",
        |totals| totals.requests,
    ),
    (
        "weir_kafka_broker_sent_bytes",
        "Bytes sent to a broker.",
        |totals| totals.sent_bytes,
    ),
    (
        "weir_kafka_broker_received_bytes",
        "Bytes received from a broker.",
        |totals| totals.received_bytes,
    ),
    (
        "weir_kafka_broker_request_errors",
        "Requests and answers that failed.",
        |totals| totals.errors,
    ),
    (
        "weir_kafka_broker_request_retries",
        "Requests that were sent again.",
        |totals| totals.retries,
    ),
    (
        "weir_kafka_broker_request_timeouts",
        "Requests that were not answered in time.",
        |totals| totals.timeouts,
    ),
];

impl Clients {
    fn each(&self) -> impl Iterator<Item = (&str, &Statistics)> {
        self.0
            .iter()
            .filter_map(|status| Some((status.exporter.as_str(), status.client.as_deref()?)))
    }

    fn brokers(&self) -> impl Iterator<Item = ([(&str, &str); 2], &Broker)> {
        self.each().flat_map(|(exporter, client)| {
            client
                .brokers
                .iter()
                .map(move |(name, broker)| ([("exporter", exporter), ("broker", &**name)], broker))
        })
    }
}

impl Collector for Clients {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let encoder = &mut encoder;
        counter(
            encoder,
            "weir_export_retried",
            "Messages given to another client, as the one before could not deliver them, and requests \
             sent again.",
            self.0
                .iter()
                .map(|status| ([("exporter", status.exporter.as_str())], status.retried)),
        )?;
        counter(
            encoder,
            "weir_export_rejected_spans",
            "Spans that the destination refused of requests that it took.",
            self.0.iter().map(|status| {
                let exporter = ("exporter", status.exporter.as_str());
                ([exporter], status.rejected_spans)
            }),
        )?;
        let letters = self.0.iter().flat_map(|status| {
            status.dead_letters.iter().map(|(reason, count)| {
                let exporter = ("exporter", status.exporter.as_str());
                ([exporter, ("reason", reason.as_str())], *count)
            })
        });
        counter(
            encoder,
            "weir_export_dead_letters",
            "Traces refused for good and kept as dead letters, by reason.",
            letters,
        )?;
        let of_client = |value: fn(&Statistics) -> u64| {
            self.each()
                .map(move |(exporter, client)| ([("exporter", exporter)], value(client)))
        };
        gauge(
            encoder,
            "weir_kafka_queue_messages",
            "Messages in librdkafka: waiting, or not acknowledged.",
            of_client(|client| client.queue_messages),
        )?;
        gauge(
            encoder,
            "weir_kafka_queue_bytes",
            "Bytes of these messages.",
            of_client(|client| client.queue_bytes),
        )?;
        floats(
            encoder,
            "weir_kafka_batch_messages",
            "Messages of a batch lately, on the average.",
            self.each()
                .map(|(exporter, client)| ([("exporter", exporter)], client.batch_messages)),
        )?;
        floats(
            encoder,
            "weir_kafka_batch_bytes",
            "Bytes of a batch lately, on the average.",
            self.each()
                .map(|(exporter, client)| ([("exporter", exporter)], client.batch_bytes)),
        )?;
        gauge(
            encoder,
            "weir_kafka_broker_up",
            "1 where there is a connection to the broker.",
            self.brokers()
                .map(|(labels, broker)| (labels, u64::from(broker.is_up))),
        )?;
        gauge(
            encoder,
            "weir_kafka_broker_requests_active",
            "Requests that wait for the broker's answer.",
            self.brokers()
                .map(|(labels, broker)| (labels, broker.waiting)),
        )?;
        floats(
            encoder,
            "weir_kafka_broker_throttle_seconds",
            "For how long the broker held answers back lately, on the average.",
            self.brokers()
                .map(|(labels, broker)| (labels, broker.throttle)),
        )?;
        let trips = self.brokers().flat_map(|(labels, broker)| {
            let trip = broker.round_trip.into_iter();
            trip.flat_map(move |trip| {
                let [exporter, broker] = labels;
                [("0.5", trip.p50), ("0.99", trip.p99), ("1", trip.max)].map(
                    |(quantile, seconds)| ([exporter, broker, ("quantile", quantile)], seconds),
                )
            })
        });
        floats(
            encoder,
            "weir_kafka_broker_round_trip_seconds",
            "From a request to the broker's answer, lately.",
            trips,
        )?;
        for (name, help, value) in TOTALS {
            let totals = self.brokers();
            let totals = totals.map(|(labels, broker)| (labels, value(&broker.totals)));
            counter(encoder, name, help, totals)?;
        }
        Ok(())
    }
}

/// One family of gauges that are no whole numbers.
fn floats<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'a str, &'a str); N], f64)>,
) -> Result<(), std::fmt::Error> {
    let mut family = crate::metrics::descriptor(encoder, name, help, MetricType::Gauge)?;
    for (labels, value) in values {
        let labels = crate::metrics::Labels(&labels);
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
