//! What a handshake told of the connection and of who is at its other end, as attributes of the
//! root spans of its requests.

use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;
use rustls::server::ServerConnection;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::certificate::alternative_names;
use super::distinguished_name;
use crate::trace::Value;
use crate::trace::recorder::Template;

/// Most names of a certificate that are kept, and bytes of each text.
const MAX_NAMES: usize = 32;
const MAX_TEXT: usize = 1024;

/// See the module's documentation.
pub struct Peer {
    attributes: Template,
}

/// What the client's certificate says.
struct Certificate {
    sha256: String,
    subject: String,
    issuer: String,
    names: Vec<String>,
}

impl Peer {
    pub fn of(session: &ServerConnection) -> Self {
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        };
        let suite = session.negotiated_cipher_suite();
        let suite = suite.and_then(|suite| suite.suite().as_str());
        // rustls marks the suites of TLS 1.3; IANA does not.
        let suite = suite.map(|name| name.replacen("TLS13_", "TLS_", 1));
        let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        let chain = session.peer_certificates().unwrap_or_default();
        let certificate = chain.first().map(Certificate::of);

        let mut attributes = vec![
            ("tls.protocol.version", Value::Text(version)),
            ("tls.resumed", Value::Boolean(resumed)),
        ];
        let suite = suite.as_deref();
        attributes.extend(suite.map(|suite| ("tls.cipher", Value::Text(suite))));
        let name = session.server_name().map(bounded);
        attributes.extend(name.map(|name| ("tls.client.server_name", Value::Text(name))));
        if let Some(certificate) = &certificate {
            let Certificate {
                sha256,
                subject,
                issuer,
                names,
            } = certificate;
            attributes.push(("tls.client.hash.sha256", Value::Text(sha256)));
            if !subject.is_empty() {
                attributes.push(("tls.client.subject", Value::Text(subject)));
            }
            attributes.push(("tls.client.issuer", Value::Text(issuer)));
            let names = names.iter().map(String::as_str).collect();
            attributes.push(("tls.client.x509.alternative_names", Value::List(names)));
        }
        Self {
            attributes: Template::new(attributes),
        }
    }

    /// For root spans.
    pub fn attributes(&self) -> &Template {
        &self.attributes
    }
}

impl Certificate {
    fn of(der: &CertificateDer<'_>) -> Self {
        let sha256 = Sha256::digest(der);
        let mut this = Self {
            sha256: sha256.iter().map(|byte| format!("{byte:02X}")).collect(),
            subject: String::new(),
            issuer: String::new(),
            names: Vec::new(),
        };
        // What webpki has verified is there to be read; if not, the digest still names it.
        if let Ok((_, certificate)) = X509Certificate::from_der(der) {
            let text = distinguished_name::text;
            this.subject = bounded(&text(certificate.subject())).to_owned();
            this.issuer = bounded(&text(certificate.issuer())).to_owned();
            let names = alternative_names(&certificate).filter_map(text_of);
            this.names = names.take(MAX_NAMES).collect();
        }
        this
    }
}

fn text_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
            Some(bounded(text).to_owned())
        }
        GeneralName::IPAddress(bytes) => {
            if let Ok(bytes) = <[u8; 4]>::try_from(*bytes) {
                return Some(std::net::Ipv4Addr::from(bytes).to_string());
            }
            let bytes = <[u8; 16]>::try_from(*bytes).ok()?;
            Some(std::net::Ipv6Addr::from(bytes).to_string())
        }
        _ => None,
    }
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
