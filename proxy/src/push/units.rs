//! Units as OpenTelemetry writes them: of what is measured, and of things that are counted, which stand between
//! braces. Prometheus has the former in a metric's name, and leaves the latter out.

use super::samples::Family;

/// The unit of a metric; empty where it is neither, as of a gauge that is 1 where something is so.
pub(super) fn of(family: &Family<'_>) -> &'static str {
    match family.unit {
        "seconds" => "s",
        "bytes" => "By",
        _ => thing(family.name),
    }
}

/// What a metric of this name counts, as in `weir_upstream_retries_refused`: a name says it last, with what
/// became of it behind. Some leave it to their documentation.
fn thing(name: &str) -> &'static str {
    let known = |word: &str| {
        Some(match word {
            "connections" | "connects" | "disconnects" => "{connection}",
            "cuts" => "{cut}",
            "descriptors" => "{descriptor}",
            "ejections" => "{ejection}",
            "errors" => "{error}",
            "failures" => "{failure}",
            "handshakes" => "{handshake}",
            "items" => "{item}",
            "letters" => "{letter}",
            "messages" => "{message}",
            "orders" => "{order}",
            "pauses" => "{pause}",
            "pushes" => "{push}",
            "reloads" => "{reload}",
            "requests" => "{request}",
            "retries" => "{retry}",
            "spans" => "{span}",
            "timeouts" => "{timeout}",
            _ => return None,
        })
    };
    match name {
        "weir_access_log_dropped" => "{line}",
        "weir_export_taken"
        | "weir_export_sampled_out"
        | "weir_export_delivered"
        | "weir_export_dropped"
        | "weir_spool_unsynced" => "{trace}",
        "weir_otlp_dropped" | "weir_otlp_produced" | "weir_otlp_spool_unsynced" => "{message}",
        "weir_plugin_metrics_dropped" => "{value}",
        "weir_plugin_refusals" => "{refusal}",
        // Plugins count what they like.
        _ if name.starts_with("weir_plugin_") => "",
        "weir_otlp_received" | "weir_otlp_acknowledged" | "weir_otlp_refused" => "{request}",
        _ => name.rsplit('_').find_map(known).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_has_its_unit_and_what_is_counted_its_name() {
        for (name, unit, expected) in [
            ("weir_requests", "", "{request}"),
            ("weir_requests_active", "", "{request}"),
            ("weir_request_duration_seconds", "seconds", "s"),
            ("weir_upstream_retries_refused", "", "{retry}"),
            ("weir_tls_handshake_failures", "", "{failure}"),
            ("weir_kafka_queue_bytes", "bytes", "By"),
            ("weir_kafka_broker_request_errors", "", "{error}"),
            ("weir_export_dead_letters", "", "{letter}"),
            ("weir_export_dropped", "", "{trace}"),
            ("weir_config_generation", "", ""),
            ("weir_endpoint_available", "", ""),
            ("weir_plugin_shop_requests", "", ""),
        ] {
            let family = Family {
                name,
                unit,
                ..Family::default()
            };
            assert_eq!(of(&family), expected, "{name}");
        }
    }
}
