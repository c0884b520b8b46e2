//! The messages of OTLP 1.10 as tables: those of `opentelemetry/proto` that the three export
//! requests reach.

/// A message and its fields, by ascending numbers.
#[derive(Debug)]
pub struct Message {
    pub fields: &'static [Field],
    /// By number: one more than the place in `fields`, or zero.
    places: [u8; PLACES],
    /// Bytes that its length mostly takes.
    pub width: usize,
    /// Whether it is what a sender counts: a span, a data point, a log record.
    pub is_item: bool,
    /// Whether it is an attribute, or lies in the value of one or of a body.
    pub is_value: bool,
    /// How a request is taken apart at it.
    pub part: Part,
}

/// What a message is when a request is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It stays whole.
    Leaf,
    /// Messages in the fields of these numbers may come apart; without any, there is nothing in it.
    Branch(&'static [u32]),
    /// As a branch; without any, it is a leaf.
    Twig(&'static [u32]),
}

#[derive(Debug)]
pub struct Field {
    pub number: u32,
    /// As in the `.proto` file, and in OTLP/JSON.
    pub name: &'static str,
    pub camel: &'static str,
    /// The same in quotes, with a colon.
    pub key: &'static str,
    pub camel_key: &'static str,
    pub kind: Kind,
    pub label: Label,
    /// With which minor version of OTLP 1 it came.
    pub since: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// A scalar that is there or has its default: one cannot tell.
    Plain,
    /// One can tell.
    Optional,
    Repeated,
    /// A member of the message's only `oneof`.
    Oneof,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Bool,
    Int32,
    Uint32,
    Sint32,
    Int64,
    Uint64,
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    Text,
    Bytes,
    /// Bytes of this number, or none; hexadecimal in OTLP/JSON.
    Id(usize),
    /// Its names; they count from zero.
    Enum(&'static [&'static str]),
    Message(&'static Message),
}

/// One more than the highest number of a field.
const PLACES: usize = 17;

impl Message {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are fewer fields than that"
    )]
    const fn new(fields: &'static [Field], width: usize) -> Self {
        let mut places = [0; PLACES];
        let mut at = 0;
        while at < fields.len() {
            let number = fields[at].number as usize;
            assert!(at == 0 || fields[at - 1].number < fields[at].number);
            places[number] = at as u8 + 1;
            at += 1;
        }
        Self {
            fields,
            places,
            width,
            is_item: false,
            is_value: false,
            part: Part::Leaf,
        }
    }

    const fn item(self) -> Self {
        Self {
            is_item: true,
            ..self
        }
    }

    const fn value(self) -> Self {
        Self {
            is_value: true,
            ..self
        }
    }

    const fn part(self, part: Part) -> Self {
        Self { part, ..self }
    }

    /// Whether it is the `KeyValue` that attributes are.
    pub fn is_attribute(&self) -> bool {
        std::ptr::eq(self, &raw const KEY_VALUE)
    }

    /// Where in `fields` the one of this number is.
    pub fn place(&self, number: u32) -> Option<usize> {
        let place = *self.places.get(number as usize)?;
        usize::from(place).checked_sub(1)
    }
}

macro_rules! field {
    ($number:literal $name:literal $camel:literal $kind:expr, $label:ident) => {
        field!($number $name $camel $kind, $label since 0)
    };
    ($number:literal $name:literal $camel:literal $kind:expr, $label:ident since $minor:literal) => {
        Field {
            number: $number,
            name: $name,
            camel: $camel,
            key: concat!("\"", $name, "\":"),
            camel_key: concat!("\"", $camel, "\":"),
            kind: $kind,
            label: Label::$label,
            since: $minor,
        }
    };
}

use Kind::{
    Bool, Bytes, Double, Enum, Fixed32, Fixed64, Id, Int32, Int64, Message as Of, Sfixed64, Sint32,
    Text, Uint32, Uint64,
};

const TRACE_ID: Kind = Id(16);
const SPAN_ID: Kind = Id(8);

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident($width:literal) $(.$method:ident($argument:expr))? $(! $item:ident)? {
        $($number:literal $field:literal $camel:literal $kind:expr, $label:ident $(since $minor:literal)?;)*
    })*) => {
        $(
            $(#[$doc])*
            pub static $name: Message =
                Message::new(&[$(field!($number $field $camel $kind, $label $(since $minor)?)),*], $width)
                $(.$method($argument))? $(.$item())?;
        )*
    };
}

messages! {
    TRACES_REQUEST(3).part(Part::Branch(&[1])) {
        1 "resource_spans" "resourceSpans" Of(&RESOURCE_SPANS), Repeated;
    }
    METRICS_REQUEST(3).part(Part::Branch(&[1])) {
        1 "resource_metrics" "resourceMetrics" Of(&RESOURCE_METRICS), Repeated;
    }
    LOGS_REQUEST(3).part(Part::Branch(&[1])) {
        1 "resource_logs" "resourceLogs" Of(&RESOURCE_LOGS), Repeated;
    }

    RESOURCE_SPANS(3).part(Part::Branch(&[2])) {
        1 "resource" "resource" Of(&RESOURCE), Optional;
        2 "scope_spans" "scopeSpans" Of(&SCOPE_SPANS), Repeated;
        3 "schema_url" "schemaUrl" Text, Plain;
    }
    SCOPE_SPANS(3).part(Part::Branch(&[2])) {
        1 "scope" "scope" Of(&SCOPE), Optional;
        2 "spans" "spans" Of(&SPAN), Repeated;
        3 "schema_url" "schemaUrl" Text, Plain;
    }
    SPAN(2) !item {
        1 "trace_id" "traceId" TRACE_ID, Plain;
        2 "span_id" "spanId" SPAN_ID, Plain;
        3 "trace_state" "traceState" Text, Plain;
        4 "parent_span_id" "parentSpanId" SPAN_ID, Plain;
        5 "name" "name" Text, Plain;
        6 "kind" "kind" Enum(SPAN_KIND), Plain;
        7 "start_time_unix_nano" "startTimeUnixNano" Fixed64, Plain;
        8 "end_time_unix_nano" "endTimeUnixNano" Fixed64, Plain;
        9 "attributes" "attributes" Of(&KEY_VALUE), Repeated;
        10 "dropped_attributes_count" "droppedAttributesCount" Uint32, Plain;
        11 "events" "events" Of(&EVENT), Repeated;
        12 "dropped_events_count" "droppedEventsCount" Uint32, Plain;
        13 "links" "links" Of(&LINK), Repeated;
        14 "dropped_links_count" "droppedLinksCount" Uint32, Plain;
        15 "status" "status" Of(&STATUS), Optional;
        16 "flags" "flags" Fixed32, Plain since 1;
    }
    EVENT(1) {
        1 "time_unix_nano" "timeUnixNano" Fixed64, Plain;
        2 "name" "name" Text, Plain;
        3 "attributes" "attributes" Of(&KEY_VALUE), Repeated;
        4 "dropped_attributes_count" "droppedAttributesCount" Uint32, Plain;
    }
    LINK(1) {
        1 "trace_id" "traceId" TRACE_ID, Plain;
        2 "span_id" "spanId" SPAN_ID, Plain;
        3 "trace_state" "traceState" Text, Plain;
        4 "attributes" "attributes" Of(&KEY_VALUE), Repeated;
        5 "dropped_attributes_count" "droppedAttributesCount" Uint32, Plain;
        6 "flags" "flags" Fixed32, Plain since 1;
    }
    STATUS(1) {
        2 "message" "message" Text, Plain;
        3 "code" "code" Enum(STATUS_CODE), Plain;
    }

    RESOURCE_LOGS(3).part(Part::Branch(&[2])) {
        1 "resource" "resource" Of(&RESOURCE), Optional;
        2 "scope_logs" "scopeLogs" Of(&SCOPE_LOGS), Repeated;
        3 "schema_url" "schemaUrl" Text, Plain;
    }
    SCOPE_LOGS(3).part(Part::Branch(&[2])) {
        1 "scope" "scope" Of(&SCOPE), Optional;
        2 "log_records" "logRecords" Of(&LOG_RECORD), Repeated;
        3 "schema_url" "schemaUrl" Text, Plain;
    }
    LOG_RECORD(2) !item {
        1 "time_unix_nano" "timeUnixNano" Fixed64, Plain;
        2 "severity_number" "severityNumber" Enum(SEVERITY_NUMBER), Plain;
        3 "severity_text" "severityText" Text, Plain;
        5 "body" "body" Of(&ANY_VALUE), Optional;
        6 "attributes" "attributes" Of(&KEY_VALUE), Repeated;
        7 "dropped_attributes_count" "droppedAttributesCount" Uint32, Plain;
        8 "flags" "flags" Fixed32, Plain;
        9 "trace_id" "traceId" TRACE_ID, Plain;
        10 "span_id" "spanId" SPAN_ID, Plain;
        11 "observed_time_unix_nano" "observedTimeUnixNano" Fixed64, Plain;
        12 "event_name" "eventName" Text, Plain since 5;
    }

    RESOURCE_METRICS(3).part(Part::Branch(&[2])) {
        1 "resource" "resource" Of(&RESOURCE), Optional;
        2 "scope_metrics" "scopeMetrics" Of(&SCOPE_METRICS), Repeated;
        3 "schema_url" "schemaUrl" Text, Plain;
    }
    SCOPE_METRICS(3).part(Part::Branch(&[2])) {
        1 "scope" "scope" Of(&SCOPE), Optional;
        2 "metrics" "metrics" Of(&METRIC), Repeated;
        3 "schema_url" "schemaUrl" Text, Plain;
    }
    METRIC(2).part(Part::Twig(&[5, 7, 9, 10, 11])) {
        1 "name" "name" Text, Plain;
        2 "description" "description" Text, Plain;
        3 "unit" "unit" Text, Plain;
        5 "gauge" "gauge" Of(&GAUGE), Oneof;
        7 "sum" "sum" Of(&SUM), Oneof;
        9 "histogram" "histogram" Of(&HISTOGRAM), Oneof;
        10 "exponential_histogram" "exponentialHistogram" Of(&EXPONENTIAL_HISTOGRAM), Oneof;
        11 "summary" "summary" Of(&SUMMARY), Oneof;
        12 "metadata" "metadata" Of(&KEY_VALUE), Repeated since 2;
    }
    GAUGE(2).part(Part::Twig(&[1])) {
        1 "data_points" "dataPoints" Of(&NUMBER_DATA_POINT), Repeated;
    }
    SUM(2).part(Part::Twig(&[1])) {
        1 "data_points" "dataPoints" Of(&NUMBER_DATA_POINT), Repeated;
        2 "aggregation_temporality" "aggregationTemporality" Enum(TEMPORALITY), Plain;
        3 "is_monotonic" "isMonotonic" Bool, Plain;
    }
    HISTOGRAM(2).part(Part::Twig(&[1])) {
        1 "data_points" "dataPoints" Of(&HISTOGRAM_DATA_POINT), Repeated;
        2 "aggregation_temporality" "aggregationTemporality" Enum(TEMPORALITY), Plain;
    }
    EXPONENTIAL_HISTOGRAM(2).part(Part::Twig(&[1])) {
        1 "data_points" "dataPoints" Of(&EXPONENTIAL_HISTOGRAM_DATA_POINT), Repeated;
        2 "aggregation_temporality" "aggregationTemporality" Enum(TEMPORALITY), Plain;
    }
    SUMMARY(2).part(Part::Twig(&[1])) {
        1 "data_points" "dataPoints" Of(&SUMMARY_DATA_POINT), Repeated;
    }
    NUMBER_DATA_POINT(1) !item {
        2 "start_time_unix_nano" "startTimeUnixNano" Fixed64, Plain;
        3 "time_unix_nano" "timeUnixNano" Fixed64, Plain;
        4 "as_double" "asDouble" Double, Oneof;
        5 "exemplars" "exemplars" Of(&EXEMPLAR), Repeated;
        6 "as_int" "asInt" Sfixed64, Oneof;
        7 "attributes" "attributes" Of(&KEY_VALUE), Repeated;
        8 "flags" "flags" Uint32, Plain;
    }
    HISTOGRAM_DATA_POINT(2) !item {
        2 "start_time_unix_nano" "startTimeUnixNano" Fixed64, Plain;
        3 "time_unix_nano" "timeUnixNano" Fixed64, Plain;
        4 "count" "count" Fixed64, Plain;
        5 "sum" "sum" Double, Optional;
        6 "bucket_counts" "bucketCounts" Fixed64, Repeated;
        7 "explicit_bounds" "explicitBounds" Double, Repeated;
        8 "exemplars" "exemplars" Of(&EXEMPLAR), Repeated;
        9 "attributes" "attributes" Of(&KEY_VALUE), Repeated;
        10 "flags" "flags" Uint32, Plain;
        11 "min" "min" Double, Optional;
        12 "max" "max" Double, Optional;
    }
    EXPONENTIAL_HISTOGRAM_DATA_POINT(2) !item {
        1 "attributes" "attributes" Of(&KEY_VALUE), Repeated;
        2 "start_time_unix_nano" "startTimeUnixNano" Fixed64, Plain;
        3 "time_unix_nano" "timeUnixNano" Fixed64, Plain;
        4 "count" "count" Fixed64, Plain;
        5 "sum" "sum" Double, Optional;
        6 "scale" "scale" Sint32, Plain;
        7 "zero_count" "zeroCount" Fixed64, Plain;
        8 "positive" "positive" Of(&BUCKETS), Optional;
        9 "negative" "negative" Of(&BUCKETS), Optional;
        10 "flags" "flags" Uint32, Plain;
        11 "exemplars" "exemplars" Of(&EXEMPLAR), Repeated;
        12 "min" "min" Double, Optional;
        13 "max" "max" Double, Optional;
        14 "zero_threshold" "zeroThreshold" Double, Plain;
    }
    BUCKETS(1) {
        1 "offset" "offset" Sint32, Plain;
        2 "bucket_counts" "bucketCounts" Uint64, Repeated;
    }
    SUMMARY_DATA_POINT(1) !item {
        2 "start_time_unix_nano" "startTimeUnixNano" Fixed64, Plain;
        3 "time_unix_nano" "timeUnixNano" Fixed64, Plain;
        4 "count" "count" Fixed64, Plain;
        5 "sum" "sum" Double, Plain;
        6 "quantile_values" "quantileValues" Of(&VALUE_AT_QUANTILE), Repeated;
        7 "attributes" "attributes" Of(&KEY_VALUE), Repeated;
        8 "flags" "flags" Uint32, Plain;
    }
    VALUE_AT_QUANTILE(1) {
        1 "quantile" "quantile" Double, Plain;
        2 "value" "value" Double, Plain;
    }
    EXEMPLAR(1) {
        2 "time_unix_nano" "timeUnixNano" Fixed64, Plain;
        3 "as_double" "asDouble" Double, Oneof;
        4 "span_id" "spanId" SPAN_ID, Plain;
        5 "trace_id" "traceId" TRACE_ID, Plain;
        6 "as_int" "asInt" Sfixed64, Oneof;
        7 "filtered_attributes" "filteredAttributes" Of(&KEY_VALUE), Repeated;
    }

    RESOURCE(2) {
        1 "attributes" "attributes" Of(&KEY_VALUE), Repeated;
        2 "dropped_attributes_count" "droppedAttributesCount" Uint32, Plain;
        3 "entity_refs" "entityRefs" Of(&ENTITY_REF), Repeated since 6;
    }
    ENTITY_REF(1) {
        1 "schema_url" "schemaUrl" Text, Plain;
        2 "type" "type" Text, Plain;
        3 "id_keys" "idKeys" Text, Repeated;
        4 "description_keys" "descriptionKeys" Text, Repeated;
    }
    SCOPE(1) {
        1 "name" "name" Text, Plain;
        2 "version" "version" Text, Plain;
        3 "attributes" "attributes" Of(&KEY_VALUE), Repeated;
        4 "dropped_attributes_count" "droppedAttributesCount" Uint32, Plain;
    }
    KEY_VALUE(1) !value {
        1 "key" "key" Text, Plain;
        2 "value" "value" Of(&ANY_VALUE), Optional;
        3 "key_strindex" "keyStrindex" Int32, Plain since 10;
    }
    ANY_VALUE(1) !value {
        1 "string_value" "stringValue" Text, Oneof;
        2 "bool_value" "boolValue" Bool, Oneof;
        3 "int_value" "intValue" Int64, Oneof;
        4 "double_value" "doubleValue" Double, Oneof;
        5 "array_value" "arrayValue" Of(&ARRAY_VALUE), Oneof;
        6 "kvlist_value" "kvlistValue" Of(&KEY_VALUE_LIST), Oneof;
        7 "bytes_value" "bytesValue" Bytes, Oneof;
        8 "string_value_strindex" "stringValueStrindex" Int32, Oneof since 10;
    }
    ARRAY_VALUE(1) !value {
        1 "values" "values" Of(&ANY_VALUE), Repeated;
    }
    KEY_VALUE_LIST(1) !value {
        1 "values" "values" Of(&KEY_VALUE), Repeated;
    }
}

const SPAN_KIND: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

const STATUS_CODE: &[&str] = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

const TEMPORALITY: &[&str] = &[
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
];

const SEVERITY_NUMBER: &[&str] = &[
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];
