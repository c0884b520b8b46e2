//! What is wrong with a broker's certificate. librdkafka says only that it is not trusted; a
//! handshake of Weir's own, with the same authorities, tells why.

use std::time::Duration;

use rustls::CertificateError;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::errors::{
    DEMANDED, EXPIRED, NOT_ACCEPTED, NOT_YET, OTHER_NAME, UNKNOWN_AUTHORITY, UNTRUSTED,
};
use crate::config;
use crate::tls::client::{Client, Spec, System};

/// Longest wait for the handshake.
const PATIENCE: Duration = Duration::from_secs(3);

/// A cause of librdkafka's, such as `kafka.example:9093: TLS: …`; with the certificate's fault
/// where that is found.
pub(super) fn explain(cause: String, config: &config::Kafka) -> String {
    let has_own = config.tls.as_ref().is_some_and(|tls| tls.client.is_some());
    if let Some(head) = cause.strip_suffix(DEMANDED).filter(|_| has_own) {
        return format!("{head}{NOT_ACCEPTED}");
    }
    let head = cause.strip_suffix(UNTRUSTED);
    let fault = head
        .and_then(|head| head.strip_suffix(": TLS: "))
        .and_then(|broker| fault(broker, config));
    match (head, fault) {
        (Some(head), Some(fault)) => format!("{head}{fault}"),
        _ => cause,
    }
}

fn fault(broker: &str, config: &config::Kafka) -> Option<&'static str> {
    let ca = &config.tls.as_ref()?.ca_cert;
    let custom = &config.producer.custom_config;
    if custom.keys().any(|property| property.starts_with("ssl.")) {
        // What librdkafka goes by is not known here.
        return None;
    }
    let spec = Spec {
        ca: ca.as_ref().map(|pem| pem.expose().to_owned()),
        server_name: None,
        // A broker that wants to know who comes shows its own certificate first.
        identity: None,
        alpn: Vec::new(),
        only_1_3: false,
    };
    let client = Client::new(spec, &System::default()).ok()?;
    let (host, _port) = broker.rsplit_once(':')?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let handshake = async {
        let stream = TcpStream::connect(broker).await?;
        client.connect(host, stream, false).await
    };
    let shaken = runtime.block_on(async { timeout(PATIENCE, handshake).await });
    let error = shaken.ok()?.err()?;
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(fault) => said(fault),
        _ => None,
    }
}

fn said(fault: &CertificateError) -> Option<&'static str> {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Some(EXPIRED),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some(NOT_YET)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some(OTHER_NAME)
        }
        CertificateError::UnknownIssuer => Some(UNKNOWN_AUTHORITY),
        _ => None,
    }
}
