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

#[test]
fn a_partition_without_a_leader_is_said_and_gets_everything_once_it_has_one() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("traces", 2, 1).unwrap();
    cluster.partition_leader("traces", 0, None).unwrap();
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    config.producer.request_timeout = Duration::from_millis(300);
    let exporters = start(config);
    hand_over(&exporters, 50);
    // The other partition takes its own.
    assert_eq!(
        complaint(&exporters),
        "kafka plugin: failed to connect/authenticate with broker: topic \"traces\" takes nothing of \
         what is sent: its partition 0 has no leader"
    );
    let delivered = eventually("the other partition takes its own", || {
        Some(status(&exporters).delivered).filter(|delivered| *delivered > 0)
    });
    assert!(delivered < 50, "{delivered}");
    cluster.partition_leader("traces", 0, Some(1)).unwrap();
    wait_until_delivered(&exporters, 50);
    wait_until_connected(&exporters);
    assert_nothing_dropped(&exporters);
}

#[test]
fn a_topic_with_too_few_replicas_in_sync_is_said_and_gets_everything_once_there_are_enough() {
    // The client has room for all of them, and for few.
    for buffer_bytes in [64 << 20, 64 << 10] {
        let cluster = cluster();
        let mut config = kafka(&cluster.bootstrap_servers(), "traces");
        config.producer.request_timeout = Duration::from_millis(300);
        config.producer.max_message_bytes = 4_000;
        config.buffer_bytes = buffer_bytes;
        let exporters = start(config);
        wait_until_connected(&exporters);
        refuse(
            &cluster,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            10_000,
        );
        hand_over(&exporters, 100);
        assert_eq!(
            complaint(&exporters),
            "kafka plugin: failed to connect/authenticate with broker: topic \"traces\" takes nothing \
             of what is sent: has it enough replicas in sync (`min.insync.replicas`)?"
        );
        assert_eq!(status(&exporters).delivered, 0);
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        wait_until_delivered(&exporters, 100);
        wait_until_connected(&exporters);
        assert_nothing_dropped(&exporters);
    }
}

#[test]
fn a_topic_of_which_no_partition_has_a_leader_is_said_at_the_start() {
    let cluster = cluster();
    cluster.partition_leader("traces", 0, None).unwrap();
    let exporters = start(kafka(&cluster.bootstrap_servers(), "traces"));
    assert_eq!(
        complaint(&exporters),
        "kafka plugin: failed to connect/authenticate with broker: topic \"traces\" has no leader"
    );
    cluster.partition_leader("traces", 0, Some(1)).unwrap();
    wait_until_connected(&exporters);
}
