//! TLS to upstreams: whom they are believed by, and what they are shown.

use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{ServerName, TrustAnchor};
use rustls::{CertificateError, ClientConfig, InvalidMessage, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{self, Identity, Problem};
use super::{Alpn, Pem, provider, roots, versions};

/// What TLS to an upstream is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// PEM text of the authorities; `None` is the [`System`]'s.
    pub ca: Option<String>,
    /// Asked for and checked instead of the endpoint's host.
    pub server_name: Option<String>,
    /// Shown to an upstream that asks who comes.
    pub identity: Option<Pem>,
    /// Offered, in order of preference.
    pub alpn: Vec<Alpn>,
    /// Without TLS 1.2.
    pub only_1_3: bool,
}

/// What of a [`Spec`] cannot be used.
#[derive(Debug)]
pub enum Fault {
    Ca(String),
    /// Nothing is configured, and the system has nothing.
    NoSystemRoots,
    ServerName,
    Identity(Problem),
}

/// TLS to an upstream, ready to connect.
pub struct Client {
    spec: Spec,
    /// The system's authorities, where it goes by them.
    system: Option<Arc<RootCertStore>>,
    /// With the sessions that may be resumed.
    config: ArcSwap<ClientConfig>,
    /// Offers HTTP/1.1 alone.
    http1: ArcSwap<ClientConfig>,
    /// When the first of the certificates expires that sessions began with, in seconds since 1970.
    sessions_expire: AtomicI64,
    server_name: Option<ServerName<'static>>,
}

/// The system's authorities as a configuration finds them: read when the first asks, for all of it.
#[derive(Default)]
pub struct System(OnceCell<Arc<RootCertStore>>);

impl System {
    fn roots(&self) -> Arc<RootCertStore> {
        let roots = self.0.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!("an authority of the system's does not read: {error}");
            }
            roots.add_parsable_certificates(found.certs);
            Arc::new(roots)
        });
        Arc::clone(roots)
    }
}

impl Client {
    /// Checks and builds; every fault at once.
    ///
    /// # Panics
    ///
    /// Never: the provider has suites for both versions of TLS.
    pub fn new(spec: Spec, system: &System) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let system = spec.ca.is_none().then(|| system.roots());
        let roots = match (&spec.ca, &system) {
            (Some(ca), _) => roots(ca).map(Arc::new).map_err(Fault::Ca),
            (None, Some(system)) if !system.is_empty() => Ok(Arc::clone(system)),
            (None, _) => Err(Fault::NoSystemRoots),
        };
        let verifier = roots.and_then(|roots| {
            WebPkiServerVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| Fault::Ca(format!("cannot be used: {error}")))
        });
        let server_name = match &spec.server_name {
            None => Ok(None),
            Some(name) => ServerName::try_from(name.clone())
                .map(Some)
                .map_err(|_| Fault::ServerName),
        };
        let identity = match &spec.identity {
            None => Ok(None),
            Some(pem) => Identity::new(&pem.chain, pem.key.expose())
                .map(Some)
                .map_err(Fault::Identity),
        };
        let (verifier, server_name, identity) = match (verifier, server_name, identity) {
            (Ok(verifier), Ok(server_name), Ok(identity)) => (verifier, server_name, identity),
            (verifier, server_name, identity) => {
                faults.extend(verifier.err());
                faults.extend(server_name.err());
                faults.extend(identity.err());
                return Err(faults);
            }
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(spec.only_1_3))
            .expect("the provider has suites for both versions")
            .with_webpki_verifier(verifier);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(identity.key),
            )),
        };
        let mut http1 = config.clone();
        http1.alpn_protocols = vec![Alpn::Http1.id().to_vec()];
        config.alpn_protocols = spec.alpn.iter().map(|alpn| alpn.id().to_vec()).collect();
        Ok(Self {
            spec,
            system,
            config: ArcSwap::from_pointee(config),
            http1: ArcSwap::from_pointee(http1),
            sessions_expire: AtomicI64::new(i64::MAX),
            server_name,
        })
    }

    /// Those of the system, where it goes by them.
    fn anchors(&self) -> Option<&[TrustAnchor<'static>]> {
        self.system.as_deref().map(|system| &*system.roots)
    }

    /// The handshake with an endpoint of this host; with `http1` for that version alone.
    pub async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
        http1: bool,
    ) -> io::Result<TlsStream<TcpStream>> {
        let now = certificate::seconds(SystemTime::now());
        if self.sessions_expire.load(Relaxed) < now {
            self.forget_sessions();
        }
        let config = if http1 { &self.http1 } else { &self.config };
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
        };
        let connector = TlsConnector::from(config.load_full());
        let stream = connector.connect(name, stream).await.map_err(in_words)?;
        let shown = stream.get_ref().1.peer_certificates();
        if let Some(expires) = shown.and_then(certificate::expires) {
            self.sessions_expire.fetch_min(expires, Relaxed);
        }
        Ok(stream)
    }

    /// Nothing that a resumed session began with is checked again: once a certificate has expired, each
    /// upstream has to show one anew.
    fn forget_sessions(&self) {
        self.sessions_expire.store(i64::MAX, Relaxed);
        for config in [&self.config, &self.http1] {
            let mut anew = ClientConfig::clone(&config.load());
            anew.resumption = Resumption::default();
            config.store(Arc::new(anew));
        }
    }
}

/// What nobody finds out by the words of rustls: the way out stands in these. The error itself stays within,
/// where others have words for it.
fn in_words(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
    let found = match cause {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            Handshake::Authority
        }
        Some(cause @ rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            Handshake::NoTls(cause.clone())
        }
        _ => return error,
    };
    io::Error::new(error.kind(), found)
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
enum Handshake {
    /// As `openssl req -x509` makes them.
    #[error(
        "its certificate is marked as an authority's, which no server may show: make it with \
         `-addext basicConstraints=critical,CA:FALSE`"
    )]
    Authority,
    #[error("what answers there does not speak TLS: is it `http`, or on another port?")]
    NoTls(#[source] rustls::Error),
}

/// By what it was made of: made anew of the same, it is the same.
impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec && self.anchors() == other.anchors()
    }
}

impl Eq for Client {}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.spec).finish()
    }
}
