//! Why a collector cannot be reached, in words for whoever has to mend it.

use std::error::Error;
use std::io;

use rustls::{CertificateError, Error as Tls};

/// The innermost cause, which says most; TLS in words of its own.
pub(super) fn of(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    loop {
        if let Some(tls) = tls(innermost) {
            return format!("TLS: {}", said_of(tls));
        }
        match innermost.source() {
            Some(source) => innermost = source,
            None => break,
        }
    }
    let of_http2 = innermost.downcast_ref().and_then(h2::Error::get_io);
    match innermost.downcast_ref().or(of_http2) {
        Some(error) => of_io(error),
        None => said(innermost),
    }
}

fn of_io(error: &io::Error) -> String {
    let text = error.to_string();
    // HTTP/2 keeps no more of an error than its text.
    if let Some(name) = text.strip_prefix("received fatal alert: ") {
        return format!("TLS: {}", said_of_alert(name));
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the connection was closed before the collector answered".to_owned()
        }
        io::ErrorKind::UnexpectedEof => {
            "the connection was closed: does it speak TLS on this port?".to_owned()
        }
        _ => said(error),
    }
}

fn said(error: &dyn Error) -> String {
    let text = error.to_string();
    // The resolver's own words are of C.
    if text.starts_with("failed to lookup address") {
        return "the host name does not resolve".to_owned();
    }
    super::verdict::words(&text)
}

/// `io::Error` has what it wraps not as its source.
fn tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Tls> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    tls(inner)
}

fn said_of(error: &Tls) -> String {
    let said = match error {
        Tls::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            "the collector's certificate is not trusted: it is not signed by a known authority (see `tls.ca`)"
        }
        Tls::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the collector's certificate has expired",
        Tls::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "the collector's certificate is not valid yet",
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the collector's certificate is for another host name (see `tls.server_name`)",
        Tls::AlertReceived(alert) => return said_of_alert(&format!("{alert:?}")),
        Tls::InvalidMessage(_) => "the answer is not TLS: does it speak TLS on this port?",
        other => return other.to_string(),
    };
    said.to_owned()
}

/// By the name that rustls has for it.
fn said_of_alert(name: &str) -> String {
    let said = match name {
        "CertificateRequired" => {
            "the collector demands a client certificate (see `tls.client_cert`)"
        }
        "BadCertificate"
        | "UnknownCA"
        | "CertificateUnknown"
        | "CertificateExpired"
        | "UnsupportedCertificate"
        | "AccessDenied"
        | "DecryptError" => {
            "the collector does not accept the client certificate (see `tls.client_cert`)"
        }
        "NoApplicationProtocol" => "the collector does not speak HTTP/2, which gRPC needs",
        name => return format!("the collector refuses the handshake ({name})"),
    };
    said.to_owned()
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn tls_is_told_in_words_wherever_it_lies() {
        let unknown = Tls::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, unknown);
        let twice = io::Error::other(wrapped);
        assert!(of(&twice).starts_with("TLS: the collector's certificate is not trusted"));
        let demanded = Tls::AlertReceived(AlertDescription::CertificateRequired);
        let demanded = io::Error::other(demanded);
        let said = of(&demanded);
        assert!(said.contains("demands a client certificate"), "{said}");
        // As h2 passes it on.
        let text = Tls::AlertReceived(AlertDescription::CertificateRequired).to_string();
        assert_eq!(of(&io::Error::new(io::ErrorKind::InvalidData, text)), said);
    }

    #[test]
    fn what_the_system_says_is_told_in_words() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(of(&refused), "connection refused");
        let unknown = io::Error::other("failed to lookup address information: Name or service");
        assert_eq!(of(&unknown), "the host name does not resolve");
    }
}
