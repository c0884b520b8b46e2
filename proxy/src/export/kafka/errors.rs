//! librdkafka's errors, in words a person understands, and what they mean for a message.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Why an exporter does not deliver. `Display` gives the words that people search for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("kafka plugin: topic \"{0}\" does not exist")]
    MissingTopic(String),
    #[error("kafka plugin: failed to connect/authenticate with broker: {0}")]
    Broker(String),
    #[error("kafka plugin: failed to write dead letters to {place}: {cause}")]
    DeadLetter { place: String, cause: String },
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
        // The last two are of a client that failed at another message.
        Code::PurgeQueue | Code::PurgeInflight | Code::Fatal | Code::GaplessGuarantee => {
            Verdict::Purged
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Verdict::TooLarge,
        Code::InvalidArgument
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidRequest
        | Code::InvalidTimestamp
        | Code::InvalidTopic
        | Code::PolicyViolation
        | Code::UnsupportedForMessageFormat => Verdict::Refused,
        // Among them what is no fault of the message's: an answer that cannot be read, a broker that
        // is too old, a key of the configuration that it does not take.
        _ => Verdict::Later,
    }
}

/// Said of a message that is larger than its topic takes, or than one may be.
pub(super) const TOO_LARGE: &str = "larger than the topic or producer.max_message_bytes allows";

/// Why a message was not written.
pub(super) fn write_cause(code: RDKafkaErrorCode, topic: &str) -> String {
    use RDKafkaErrorCode as Code;
    match code {
        Code::TopicAuthorizationFailed => format!("not authorized to write to topic \"{topic}\""),
        Code::ClusterAuthorizationFailed => "not authorized by the cluster".to_owned(),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            format!("topic \"{topic}\" is gone")
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => TOO_LARGE.to_owned(),
        code => describe(code),
    }
}

/// Why a client could not be made: its configuration or its certificates.
pub(super) fn client_cause(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, description, key, _) => format!("{key}: {description}"),
        KafkaError::ClientCreation(reason) => {
            own_certificate_cause(reason).map_or_else(|| reason.clone(), str::to_owned)
        }
        error => error.to_string(),
    }
}

/// What is wrong with the certificates and the key of the configuration.
fn own_certificate_cause(reason: &str) -> Option<&'static str> {
    Some(if reason.contains("key values mismatch") {
        "`client_key` is not the key of `client_cert`"
    } else if reason.contains("ssl.ca.pem") {
        "`ca_cert` has a certificate that cannot be read"
    } else if reason.contains("ssl.certificate.pem") {
        "`client_cert` has a certificate that cannot be read"
    } else if reason.contains("ssl.key.pem") {
        "`client_key` is a key that cannot be read"
    } else {
        return None;
    })
}

/// Why a broker cannot be used, from librdkafka's `reason`, such as
/// `ssl://host:9093/bootstrap: SSL handshake failed: … (after 3ms in state SSL_HANDSHAKE)`.
/// Its error codes say less, and differ between the ways by which one trouble is seen.
pub(super) fn broker_cause(reason: &str) -> String {
    let state = reason.rsplit_once(" in state ");
    let is_up = state.is_some_and(|(_, state)| state.starts_with("UP"));
    let (broker, reason) = split(reason);
    let cause = connection_cause(reason, is_up)
        .or_else(|| authentication_cause(reason))
        .or_else(|| tls_cause(reason))
        .unwrap_or_else(|| reason.to_owned());
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

/// `is_up`: the broker had been spoken with on this connection.
fn connection_cause(reason: &str, is_up: bool) -> Option<String> {
    let lower = reason.to_ascii_lowercase();
    let cause = if lower.contains("connection refused") {
        "connection refused"
    } else if lower.starts_with("failed to resolve") {
        "the host name does not resolve"
    } else if lower.contains("connection setup timed out")
        || lower.contains("apiversionrequest failed: local: timed out")
    {
        "no answer in time"
    } else if lower.contains("might require sasl") {
        // Said where a connection was closed as soon as something was asked.
        "the broker closed the connection: does it expect SASL (`sasl_enabled`)?"
    } else if !is_up && lower.contains("invalid response size") {
        // Its first bytes were taken for a length: `HTTP`, or an alert of TLS.
        "what answers there does not speak Kafka's protocol, or expects TLS (`tls_enabled`)"
    } else if is_up && is_hang_up(&lower) {
        "the broker closed the connection: it may have been stopped"
    } else if lower.starts_with("disconnected: connection closed by peer")
        || !lower.contains("ssl")
            && (lower.contains("connection reset by peer") || lower.contains("broken pipe"))
    {
        "the connection was closed before the broker answered: it may be starting, be behind a proxy \
         that does not reach it, or expect TLS (`tls_enabled`)"
    } else if lower.contains("connecting to a ssl listener") {
        "the broker closed the connection: does it expect TLS (`tls_enabled`)?"
    } else {
        return None;
    };
    Some(cause.to_owned())
}

/// Whether somebody at the other end closed the connection.
fn is_hang_up(lower: &str) -> bool {
    [
        "connection closed by peer",
        "connection reset by peer",
        "broken pipe",
        "disconnected",
    ]
    .iter()
    .any(|said| lower.contains(said))
}

fn authentication_cause(reason: &str) -> Option<String> {
    let lower = reason.to_ascii_lowercase();
    if lower.contains("invalid credentials") || lower.contains("invalid username or password") {
        return Some("wrong username or password".to_owned());
    }
    if lower.contains("mechanism handshake failed") {
        let offered = reason.rsplit_once("broker's supported mechanisms:");
        let offered = offered.map_or("none that are known", |(_, offered)| offered.trim());
        if offered.is_empty() {
            return Some("the broker asks for no SASL: set `sasl_enabled: false`".to_owned());
        }
        return Some(format!(
            "SASL mechanism not accepted; the broker offers {offered}"
        ));
    }
    Some(
        reason
            .strip_prefix("SASL authentication error: ")?
            .to_owned(),
    )
}

/// What librdkafka says of a certificate in which OpenSSL found any fault; `certificate` finds out
/// which.
pub(super) const UNTRUSTED: &str = "the broker's certificate is not trusted";
pub(super) const UNKNOWN_AUTHORITY: &str =
    "the broker's certificate is not signed by a known authority (see `ca_cert`)";
pub(super) const EXPIRED: &str = "the broker's certificate has expired";
pub(super) const NOT_YET: &str = "the broker's certificate is not valid yet";
pub(super) const OTHER_NAME: &str = "the broker's certificate is for another host name";

/// Said where a broker has none of a client it knows; `certificate` finds out whether it had another.
pub(super) const DEMANDED: &str = "the broker demands a client certificate (see `client_cert`)";
pub(super) const NOT_ACCEPTED: &str =
    "the broker does not accept the client certificate (see `client_cert`)";

fn tls_cause(reason: &str) -> Option<String> {
    if !reason.contains("SSL") {
        return None;
    }
    let lower = reason.to_ascii_lowercase();
    let cause = if lower.contains("hostname mismatch") || lower.contains("ip address mismatch") {
        OTHER_NAME
    } else if lower.contains("certificate has expired") {
        EXPIRED
    } else if lower.contains("certificate verify failed") {
        UNTRUSTED
    } else if ["required", "unknown", "expired", "revoked"]
        .map(|what| format!("alert certificate {what}"))
        .iter()
        .any(|alert| lower.contains(alert))
        || lower.contains("unknown ca")
        || lower.contains("bad certificate")
    {
        DEMANDED
    } else if lower.contains("wrong version number") || lower.contains("connection closed by peer")
    {
        "the broker closed the connection: does it speak TLS on this port?"
    } else {
        reason
    };
    Some(format!("TLS: {cause}"))
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
        assert_eq!(
            broker_cause(
                "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused \
                 (after 0ms in state CONNECT)"
            ),
            "127.0.0.1:1: connection refused"
        );
        assert_eq!(
            broker_cause(
                "sasl_ssl://localhost:9094/bootstrap: SASL authentication error: Authentication \
                 failed during authentication due to invalid credentials with SASL mechanism \
                 SCRAM-SHA-256 (after 7ms in state AUTH_REQ)"
            ),
            "localhost:9094: wrong username or password"
        );
        assert_eq!(
            broker_cause(
                "ssl://localhost:9093/bootstrap: SSL handshake failed: error:0A000086:SSL \
                 routines::certificate verify failed: broker certificate could not be verified \
                 (after 4ms in state SSL_HANDSHAKE)"
            ),
            "localhost:9093: TLS: the broker's certificate is not trusted"
        );
        assert_eq!(
            broker_cause(
                "127.0.0.1:8080/bootstrap: Receive failed: Invalid response size 1213486160 \
                 (0..100000000): increase receive.message.max.bytes (after 1ms in state \
                 APIVERSION_QUERY)"
            ),
            "127.0.0.1:8080: what answers there does not speak Kafka's protocol, or expects TLS \
             (`tls_enabled`)"
        );
        assert_eq!(
            broker_cause(
                "sasl_plaintext://localhost:9092/bootstrap: SASL SCRAM-SHA-256 mechanism handshake \
                 failed: Broker: Request not valid in current SASL state: broker's supported \
                 mechanisms:  (after 2ms in state AUTH_HANDSHAKE)"
            ),
            "localhost:9092: the broker asks for no SASL: set `sasl_enabled: false`"
        );
        assert_eq!(broker_cause("something new"), "something new");
    }

    #[test]
    fn a_connection_that_is_closed_is_not_always_for_want_of_tls() {
        assert_eq!(
            broker_cause(
                "127.0.0.1:9092/1: Disconnected: connection closed by peer: receive 0 after POLLIN \
                 (after 51342ms in state UP)"
            ),
            "127.0.0.1:9092: the broker closed the connection: it may have been stopped"
        );
        assert_eq!(
            broker_cause(
                "127.0.0.1:9092/bootstrap: Disconnected: connection closed by peer: receive 0 after \
                 POLLIN (after 1ms in state APIVERSION_QUERY)"
            ),
            "127.0.0.1:9092: the connection was closed before the broker answered: it may be \
             starting, be behind a proxy that does not reach it, or expect TLS (`tls_enabled`)"
        );
        assert_eq!(
            broker_cause("127.0.0.1:9092/1: Send failed: Broken pipe (after 2ms in state UP)"),
            "127.0.0.1:9092: the broker closed the connection: it may have been stopped"
        );
        assert_eq!(
            broker_cause(
                "localhost:9093/bootstrap: Disconnected while requesting ApiVersion: might be caused \
                 by incorrect security.protocol configuration (connecting to a SSL listener?) or \
                 broker version is < 0.10 (see api.version.request) (after 4ms in state \
                 APIVERSION_QUERY)"
            ),
            "localhost:9093: the broker closed the connection: does it expect TLS (`tls_enabled`)?"
        );
    }
}
