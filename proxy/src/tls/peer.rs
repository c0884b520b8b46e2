//! What a handshake told of the connection and of who is at its other end: as attributes of the root
//! spans of its requests, and for plugins.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;
use rustls::server::ServerConnection;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::certificate::alternative_names;
use super::distinguished_name;
use crate::trace::Value;
use crate::trace::recorder::Template;

/// Most names of a certificate that are on a trace, and bytes of each text.
const MAX_NAMES: usize = 32;
const MAX_TEXT: usize = 1024;

/// See the module's documentation.
pub struct Peer {
    attributes: Template,
    certificate: Option<Arc<Certificate>>,
}

/// What the client's certificate says, all of it: a handshake's certificates have at most 64 KiB.
#[derive(Default)]
pub struct Certificate {
    /// By RFC 4514, as the issuer.
    pub subject: String,
    pub issuer: String,
    /// Of its DER, in upper-case hexadecimal.
    pub sha256: String,
    pub alternative_names: AlternativeNames,
}

/// Names beside the subject, by their kinds.
#[derive(Default)]
pub struct AlternativeNames {
    pub dns: Vec<String>,
    pub uri: Vec<String>,
    pub email: Vec<String>,
    pub ip: Vec<String>,
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
        let certificate = chain.first().map(|der| Arc::new(Certificate::of(der)));

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
                subject,
                issuer,
                sha256,
                alternative_names,
            } = &**certificate;
            attributes.push(("tls.client.hash.sha256", Value::Text(sha256)));
            if !subject.is_empty() {
                attributes.push(("tls.client.subject", Value::Text(bounded(subject))));
            }
            attributes.push(("tls.client.issuer", Value::Text(bounded(issuer))));
            let names = alternative_names.all().take(MAX_NAMES).map(bounded);
            let names = Value::List(names.collect());
            attributes.push(("tls.client.x509.alternative_names", names));
        }
        Self {
            attributes: Template::new(attributes),
            certificate,
        }
    }

    /// For root spans.
    pub fn attributes(&self) -> &Template {
        &self.attributes
    }

    /// What the client showed, and was verified.
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.certificate.as_ref()
    }
}

impl Certificate {
    fn of(der: &CertificateDer<'_>) -> Self {
        let sha256 = Sha256::digest(der);
        let mut this = Self {
            sha256: sha256.iter().map(|byte| format!("{byte:02X}")).collect(),
            ..Self::default()
        };
        // What webpki has verified is there to be read; if not, the digest still names it.
        if let Ok((_, certificate)) = X509Certificate::from_der(der) {
            this.subject = distinguished_name::text(certificate.subject());
            this.issuer = distinguished_name::text(certificate.issuer());
            this.alternative_names = AlternativeNames::of(&certificate);
        }
        this
    }
}

impl AlternativeNames {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut this = Self::default();
        for name in alternative_names(certificate) {
            match name {
                GeneralName::DNSName(text) => this.dns.push((*text).to_owned()),
                GeneralName::URI(text) => this.uri.push((*text).to_owned()),
                GeneralName::RFC822Name(text) => this.email.push((*text).to_owned()),
                GeneralName::IPAddress(bytes) => this.ip.extend(address(bytes)),
                _ => {}
            }
        }
        this
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        let kinds = [&self.dns, &self.uri, &self.email, &self.ip];
        kinds.into_iter().flatten().map(String::as_str)
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(bytes).to_string())
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
