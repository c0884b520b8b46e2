//! 2 — TLS at listeners: which certificate is shown, who may come in, and the handshake.
//!
//! [`Server`] is made while the configuration is checked, so that nothing about certificates can
//! fail later. Handshakes run on the worker that accepted the connection.

pub mod acme;
pub mod certificate;
pub mod client;
mod distinguished_name;
mod names;
mod peer;
mod tickets;

use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use crate::config::Secret;
use certificate::{Identity, Problem};
use names::ByName;
pub use peer::{AlternativeNames, Certificate, Peer};
use tickets::Tickets;

/// What a listener's TLS is made of: PEM texts, and what they are for.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The first is the default. At least one, or `acme`.
    pub certificates: Vec<Pem>,
    pub acme: Option<acme::Spec>,
    pub client_auth: Option<ClientAuth>,
    /// In order of preference.
    pub alpn: Vec<Alpn>,
    /// Without TLS 1.2.
    pub only_1_3: bool,
}

/// PEM texts of a certificate chain, the leaf first, and of the leaf's private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pem {
    pub chain: String,
    pub key: Secret,
}

/// Who may come in.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientAuth {
    /// Else a client may come without a certificate; one that it shows must be right all the same.
    pub required: bool,
    /// PEM text of the authorities.
    pub ca: String,
    /// PEM text of revocation lists.
    pub crl: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    Http1,
    Http2,
}

impl Alpn {
    pub fn id(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// What of a [`Spec`] cannot be used.
#[derive(Debug)]
pub enum Fault {
    Certificate(usize, Problem),
    Ca(String),
    Crl(String),
}

/// A listener's TLS, ready to accept.
pub struct Server {
    spec: Spec,
    config: Arc<ServerConfig>,
    identities: Vec<Identity>,
    tickets: Option<Arc<Tickets>>,
    /// Certificates by ACME.
    shown: Arc<acme::Shown>,
    /// For who comes for a challenge, where any may come.
    challenge: Option<Arc<ServerConfig>>,
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("not within the handshake's time")]
    Timeout,
    #[error("connection ended: {0}")]
    Closed(#[source] io::Error),
    #[error("client showed no certificate")]
    NoClientCertificate,
    #[error("client's certificate is not accepted: {0}")]
    ClientCertificate(#[source] rustls::Error),
    #[error("client does not accept: {0}")]
    Alert(#[source] rustls::Error),
    #[error("{0}")]
    Protocol(#[source] rustls::Error),
}

impl Failure {
    pub const REASONS: [&'static str; 6] = [
        "timeout",
        "closed",
        "no_client_certificate",
        "client_certificate",
        "alert",
        "protocol",
    ];

    /// Into [`Failure::REASONS`].
    pub fn index(&self) -> usize {
        match self {
            Self::Timeout => 0,
            Self::Closed(_) => 1,
            Self::NoClientCertificate => 2,
            Self::ClientCertificate(_) => 3,
            Self::Alert(_) => 4,
            Self::Protocol(_) => 5,
        }
    }

    fn of(error: io::Error) -> Self {
        use rustls::Error;
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
        match cause {
            None => Self::Closed(error),
            Some(Error::NoCertificatesPresented) => Self::NoClientCertificate,
            Some(cause @ (Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_))) => {
                Self::ClientCertificate(cause.clone())
            }
            Some(cause @ Error::AlertReceived(_)) => Self::Alert(cause.clone()),
            Some(cause) => Self::Protocol(cause.clone()),
        }
    }
}

/// The one provider of cryptography.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

static FROM_1_3: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
static FROM_1_2: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

/// Versions as rustls names them.
pub fn versions(only_1_3: bool) -> &'static [&'static SupportedProtocolVersion] {
    if only_1_3 { &FROM_1_3 } else { &FROM_1_2 }
}

/// Authorities of a PEM text.
pub fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificate::chain(pem)? {
        roots
            .add(certificate)
            .map_err(|error| format!("holds a certificate that is no authority's: {error}"))?;
    }
    Ok(roots)
}

impl Server {
    /// Checks and builds; every fault at once.
    ///
    /// # Panics
    ///
    /// Never: the provider has suites for both versions of TLS.
    pub fn new(spec: Spec) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut identities = Vec::new();
        for (index, pem) in spec.certificates.iter().enumerate() {
            match Identity::new(&pem.chain, pem.key.expose()) {
                Ok(identity) => identities.push(identity),
                Err(problem) => faults.push(Fault::Certificate(index, problem)),
            }
        }
        let verifier = match &spec.client_auth {
            None => Ok(WebPkiClientVerifier::no_client_auth()),
            Some(auth) => verifier(auth),
        };
        let verifier = match verifier {
            Ok(verifier) if faults.is_empty() => verifier,
            Ok(_) => return Err(faults),
            Err(fault) => {
                faults.push(fault);
                return Err(faults);
            }
        };
        let shown = Arc::new(acme::Shown::default());
        let acme = spec.acme.as_ref().map(|acme| (Arc::clone(&shown), acme));
        let challenge = spec.acme.as_ref().and_then(|acme| challenge(acme, &shown));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(spec.only_1_3))
            .expect("the provider has suites for both versions")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(ByName::new(&identities, acme)));
        config.alpn_protocols = spec.alpn.iter().map(|alpn| alpn.id().to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let tickets = Tickets::new().ok().map(Arc::new);
        if let Some(tickets) = &tickets {
            config.ticketer = Arc::clone(tickets) as _;
        }
        Ok(Self {
            spec,
            config: Arc::new(config),
            identities,
            tickets,
            shown,
            challenge,
        })
    }

    /// What it has certificates of by ACME, and where they are to be put.
    pub fn acme(&self) -> Option<(&acme::Spec, &Arc<acme::Shown>)> {
        Some((self.spec.acme.as_ref()?, &self.shown))
    }

    /// Whether nobody comes in without a certificate.
    pub fn requires_certificate(&self) -> bool {
        self.spec
            .client_auth
            .as_ref()
            .is_some_and(|auth| auth.required)
    }

    /// The certificates, in the order of the configuration.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// The handshake, which has to end within `limit`; `None` where it was all that was wanted.
    pub async fn accept(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> Result<Option<TlsStream<TcpStream>>, Failure> {
        let accepting = async {
            match &self.challenge {
                None => {
                    let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
                    acceptor.accept(stream).await.map(Some)
                }
                Some(challenge) => self.accept_either(challenge, stream).await,
            }
        };
        match tokio::time::timeout(limit, accepting).await {
            Ok(Ok(Some(stream))) if has_outlived(stream.get_ref().1) => {
                // So that one with another certificate by now begins anew, and is not refused for this one.
                if let Some(tickets) = &self.tickets {
                    tickets.renew();
                }
                let expired = rustls::CertificateError::Expired.into();
                Err(Failure::ClientCertificate(expired))
            }
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Failure::of(error)),
            Err(_) => Err(Failure::Timeout),
        }
    }

    /// Who comes for a challenge shows no certificate, and is shown none of ours.
    async fn accept_either(
        &self,
        challenge: &Arc<ServerConfig>,
        stream: TcpStream,
    ) -> io::Result<Option<TlsStream<TcpStream>>> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        if acme::is_challenge(&start.client_hello()) {
            let mut stream = start.into_stream(Arc::clone(challenge)).await?;
            // Who has seen the proof may be gone already.
            let _ = stream.shutdown().await;
            return Ok(None);
        }
        let stream = start.into_stream(Arc::clone(&self.config)).await?;
        Ok(Some(stream))
    }
}

/// Whether a session that was resumed began with a certificate that has expired since: of what a ticket
/// holds, nothing is checked again, and each resumption gives a new ticket.
fn has_outlived(session: &ServerConnection) -> bool {
    session.handshake_kind() == Some(HandshakeKind::Resumed)
        && session
            .peer_certificates()
            .and_then(certificate::expires)
            .is_some_and(|expires| expires < certificate::seconds(SystemTime::now()))
}

/// What challenges are shown by.
fn challenge(spec: &acme::Spec, shown: &Arc<acme::Shown>) -> Option<Arc<ServerConfig>> {
    if spec.challenge != acme::Challenge::TlsAlpn01 {
        return None;
    }
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(false))
        .expect("the provider has suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(acme::Challenges(Arc::clone(shown))));
    config.alpn_protocols = vec![acme::ALPN.to_vec()];
    Some(Arc::new(config))
}

fn verifier(
    auth: &ClientAuth,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Fault> {
    let roots = roots(&auth.ca).map_err(Fault::Ca)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    if let Some(crl) = &auth.crl {
        let lists = certificate::revocations(crl).map_err(Fault::Crl)?;
        // Of authorities without a list nothing is known to be revoked.
        builder = builder
            .with_crls(lists)
            .allow_unknown_revocation_status()
            .only_check_end_entity_revocation();
    }
    if !auth.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| match auth.crl {
        Some(_) => Fault::Crl(format!("cannot be used: {error}")),
        None => Fault::Ca(format!("cannot be used: {error}")),
    })
}

/// By what it was made of: made anew of the same, it is the same.
impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.spec).finish()
    }
}
