//! librdkafka's errors, in words a person understands, and what they mean for a message.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Why an exporter does not deliver. `Display` gives the words that people search for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("kafka plugin: topic \"{0}\" does not exist")]
    MissingTopic(String),
    #[error("kafka plugin: failed to connect/authenticate with broker: {0}")]
    Broker(String),
}

/// What becomes of a message that librdkafka gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It never was the message's turn.
    Purged,
    /// The same message may succeed with a new client, or once someone has mended something.
    Later,
    TooLarge,
    /// It will never be taken.
    Refused,
}

pub(super) fn verdict(code: RDKafkaErrorCode) -> Verdict {
    use RDKafkaErrorCode as Code;
    match code {
        Code::PurgeQueue | Code::PurgeInflight => Verdict::Purged,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Verdict::TooLarge,
        Code::BadMessage
        | Code::BadCompression
        | Code::InvalidArgument
        | Code::InvalidMessage
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidRequest
        | Code::InvalidRequiredAcks
        | Code::InvalidTimestamp
        | Code::InvalidTopic
        | Code::PolicyViolation
        | Code::UnsupportedCompressionType
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedVersion => Verdict::Refused,
        _ => Verdict::Later,
    }
}

/// Why a message was not written.
pub(super) fn write_cause(code: RDKafkaErrorCode, topic: &str) -> String {
    use RDKafkaErrorCode as Code;
    match code {
        Code::TopicAuthorizationFailed => format!("not authorized to write to topic \"{topic}\""),
        Code::ClusterAuthorizationFailed => "not authorized by the cluster".to_owned(),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            format!("topic \"{topic}\" is gone")
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            "larger than the topic takes".to_owned()
        }
        code => describe(code),
    }
}

/// Why a client could not be made: its configuration or its certificates.
pub(super) fn client_cause(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, description, key, _) => format!("{key}: {description}"),
        KafkaError::ClientCreation(reason) => reason.clone(),
        error => error.to_string(),
    }
}

/// Why a broker cannot be used, from an error that librdkafka reported with `reason`, such as
/// `ssl://host:9093/bootstrap: SSL handshake failed: … (after 3ms in state SSL_HANDSHAKE)`.
pub(super) fn broker_cause(code: RDKafkaErrorCode, reason: &str) -> String {
    let (broker, reason) = split(reason);
    let cause = match code {
        RDKafkaErrorCode::Resolve => "the host name does not resolve".to_owned(),
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            authentication_cause(reason)
        }
        RDKafkaErrorCode::SSL => tls_cause(reason),
        _ => transport_cause(reason),
    };
    if broker.is_empty() {
        cause
    } else {
        format!("{broker}: {cause}")
    }
}

/// The broker's `host:port`, and the reason without what only librdkafka's authors need.
fn split(reason: &str) -> (&str, &str) {
    let reason = reason
        .rsplit_once(" (after ")
        .map_or(reason, |(reason, _)| reason);
    let Some((name, rest)) = reason.split_once(": ") else {
        return ("", reason);
    };
    let Some((address, _node)) = name.rsplit_once('/') else {
        return ("", reason);
    };
    let address = address
        .split_once("://")
        .map_or(address, |(_protocol, address)| address);
    (address, rest)
}

fn authentication_cause(reason: &str) -> String {
    let lower = reason.to_ascii_lowercase();
    if lower.contains("invalid credentials") || lower.contains("invalid username or password") {
        return "wrong username or password".to_owned();
    }
    if lower.contains("mechanism handshake failed") {
        let offered = reason.rsplit_once("broker's supported mechanisms: ");
        return match offered {
            Some((_, offered)) => {
                format!("SASL mechanism not accepted; the broker offers {offered}")
            }
            None => "SASL mechanism not accepted".to_owned(),
        };
    }
    reason
        .strip_prefix("SASL authentication error: ")
        .unwrap_or(reason)
        .to_owned()
}

fn tls_cause(reason: &str) -> String {
    let lower = reason.to_ascii_lowercase();
    if lower.contains("hostname mismatch") || lower.contains("ip address mismatch") {
        "TLS: the broker's certificate is for another host name".to_owned()
    } else if lower.contains("certificate has expired") {
        "TLS: the broker's certificate has expired".to_owned()
    } else if lower.contains("certificate verify failed") {
        "TLS: the broker's certificate is not signed by a trusted authority (see `ca_cert`)"
            .to_owned()
    } else if lower.contains("certificate required") || lower.contains("bad certificate") {
        "TLS: the broker demands a client certificate (see `client_cert`)".to_owned()
    } else if lower.contains("wrong version number") || lower.contains("might be plaintext") {
        "TLS: the broker does not speak TLS on this port".to_owned()
    } else {
        format!("TLS: {reason}")
    }
}

fn transport_cause(reason: &str) -> String {
    let lower = reason.to_ascii_lowercase();
    if lower.contains("connection refused") {
        "connection refused".to_owned()
    } else if lower.contains("connecting to a ssl listener") {
        "the broker closed the connection: does it expect TLS (`tls_enabled`)?".to_owned()
    } else if lower.contains("might require sasl") {
        "the broker closed the connection: does it expect SASL (`sasl_enabled`)?".to_owned()
    } else if lower.contains("connection setup timed out") {
        "no answer in time".to_owned()
    } else {
        reason.to_owned()
    }
}

/// librdkafka's own words for a code.
pub(super) fn describe(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    // `Display` is `Name (Origin: words)`.
    text.split_once(": ")
        .map_or(text.as_str(), |(_, words)| words.trim_end_matches(')'))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_have_the_words_people_search_for() {
        assert_eq!(
            Problem::MissingTopic("traces".to_owned()).to_string(),
            "kafka plugin: topic \"traces\" does not exist"
        );
        assert_eq!(
            Problem::Broker("connection refused".to_owned()).to_string(),
            "kafka plugin: failed to connect/authenticate with broker: connection refused"
        );
    }

    #[test]
    fn broker_causes_name_the_broker_and_leave_out_internals() {
        let cause = |code, reason| broker_cause(code, reason);
        assert_eq!(
            cause(
                RDKafkaErrorCode::BrokerTransportFailure,
                "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused \
                 (after 0ms in state CONNECT)"
            ),
            "127.0.0.1:1: connection refused"
        );
        assert_eq!(
            cause(
                RDKafkaErrorCode::Authentication,
                "sasl_ssl://localhost:9094/bootstrap: SASL authentication error: Authentication \
                 failed during authentication due to invalid credentials with SASL mechanism \
                 SCRAM-SHA-256 (after 7ms in state AUTH_REQ)"
            ),
            "localhost:9094: wrong username or password"
        );
        assert_eq!(
            cause(
                RDKafkaErrorCode::SSL,
                "ssl://localhost:9093/bootstrap: SSL handshake failed: error:0A000086:SSL \
                 routines::certificate verify failed: broker certificate could not be verified \
                 (after 4ms in state SSL_HANDSHAKE)"
            ),
            "localhost:9093: TLS: the broker's certificate is not signed by a trusted authority \
             (see `ca_cert`)"
        );
        assert_eq!(
            cause(RDKafkaErrorCode::Fail, "something new"),
            "something new"
        );
    }
}
