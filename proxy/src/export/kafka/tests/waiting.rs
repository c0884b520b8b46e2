//! Brokers that answer and take nothing, for a reason that is none of the trace's.

use super::*;

/// What the exporter says is wrong, once it does.
fn complaint(exporters: &Exporters) -> String {
    eventually("it says what is wrong", || match status(exporters).state {
        State::Degraded(message) => Some(message),
        _ => None,
    })
}

fn assert_nothing_dropped(exporters: &Exporters) {
    assert_eq!(
        status(exporters).dropped.map(|(_, count)| count),
        [0; Reason::ALL.len()]
    );
}

#[test]
fn what_is_no_fault_of_a_traces_is_no_reason_to_give_it_up() {
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS,
    ] {
        let cluster = cluster();
        let exporters = start(kafka(&cluster.bootstrap_servers(), "traces"));
        wait_until_connected(&exporters);
        refuse(&cluster, error, 2);
        hand_over(&exporters, 50);
        let said = complaint(&exporters);
        assert!(
            said.starts_with("kafka plugin: failed to write trace "),
            "{said}"
        );
        wait_until_delivered(&exporters, 50);
        assert_nothing_dropped(&exporters);
    }
}
