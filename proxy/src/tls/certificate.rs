//! Certificates and keys from PEM: read, matched with each other, and looked into.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

/// A certificate chain with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    pub key: Arc<CertifiedKey>,
    /// DNS names it is for, in lower case; `*.` stands for one label.
    pub names: Vec<String>,
    /// Unix time in seconds.
    pub not_before: i64,
    pub not_after: i64,
}

/// What is wrong, and with which of the two.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    Chain(String),
    Key(String),
}

impl Identity {
    /// Reads PEM texts of a chain, its leaf first, and of the leaf's key.
    pub fn new(chain: &str, key: &str) -> Result<Self, Problem> {
        let chain = self::chain(chain).map_err(Problem::Chain)?;
        let (_, leaf) = X509Certificate::from_der(&chain[0])
            .map_err(|error| Problem::Chain(format!("certificate cannot be read: {error}")))?;
        let names = alternative_names(&leaf)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect();
        let (not_before, not_after) = (
            leaf.validity().not_before.timestamp(),
            leaf.validity().not_after.timestamp(),
        );
        let key = private_key(key).map_err(Problem::Key)?;
        let key = super::provider()
            .key_provider
            .load_private_key(key)
            .map_err(|_| Problem::Key("the kind of the private key is not supported".into()))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(Problem::Key("is not the key of the certificate".into()));
            }
            Err(error) => {
                return Err(Problem::Chain(format!(
                    "certificate cannot be used: {error}"
                )));
            }
        }
        Ok(Self {
            key: Arc::new(key),
            names,
            not_before,
            not_after,
        })
    }

    /// Says so where clients will not accept it at this time.
    pub fn complaint(&self, now: SystemTime) -> Option<&'static str> {
        let now = seconds(now);
        if now > self.not_after {
            Some("the certificate has expired")
        } else if now < self.not_before {
            Some("the certificate is not valid yet")
        } else {
            None
        }
    }
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// When the first of a chain expires, in seconds since 1970.
pub fn expires(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    Some(leaf.validity().not_after.timestamp())
}

/// The certificates of a PEM text, at least one.
pub fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("holds no certificate".into()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("is no valid PEM: {error}")),
    }
}

/// The revocation lists of a PEM text, at least one.
pub fn revocations(pem: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let lists: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).collect();
    match lists {
        Ok(lists) if lists.is_empty() => Err("holds no revocation list".into()),
        Ok(lists) => Ok(lists),
        Err(error) => Err(format!("is no valid PEM: {error}")),
    }
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound if text.contains("ENCRYPTED PRIVATE KEY") => {
            "the private key is encrypted, and Weir asks for no passphrase".to_owned()
        }
        pem::Error::NoItemsFound => "holds no private key".to_owned(),
        // The text of other errors may quote the key.
        _ => "is no valid PEM".to_owned(),
    })
}

/// Names in the extension for them; the subject's common name is no host's.
pub(super) fn alternative_names<'c>(
    certificate: &'c X509Certificate<'_>,
) -> impl Iterator<Item = &'c GeneralName<'c>> {
    certificate
        .extensions()
        .iter()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        })
        .flatten()
}
