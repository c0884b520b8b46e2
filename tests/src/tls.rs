//! An authority that makes certificates, and a client that speaks TLS by rustls.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use sha2::{Digest as _, Sha256};

/// A certificate authority of a test's own.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    pub cert: String,
    pub key: String,
}

/// When a certificate is right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Valid {
    Now,
    Expired,
    NotYet,
    /// From now on, for so many.
    Days(u64),
    Seconds(u64),
}

impl Default for Authority {
    fn default() -> Self {
        Self::new("Test Authority")
    }
}

impl Authority {
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// One that issues elsewhere, by its certificate: what is issued here, nobody believes.
    pub fn known(pem: String) -> Self {
        Self {
            pem,
            ..Self::default()
        }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these DNS names or addresses.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_valid(names, Valid::Now)
    }

    /// # Panics
    ///
    /// When a name is none.
    pub fn issue_valid(&self, names: &[&str], valid: Valid) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        let after = |seconds| {
            let since = UNIX_EPOCH.elapsed().expect("a clock after 1970");
            date_time_ymd(1970, 1, 1) + since + Duration::from_secs(seconds)
        };
        match valid {
            Valid::Now => {}
            Valid::Expired => {
                params.not_before = date_time_ymd(2000, 1, 1);
                params.not_after = date_time_ymd(2001, 1, 1);
            }
            Valid::NotYet => {
                params.not_before = date_time_ymd(2900, 1, 1);
                params.not_after = date_time_ymd(2901, 1, 1);
            }
            Valid::Days(days) => params.not_after = after(days * 24 * 60 * 60),
            Valid::Seconds(seconds) => params.not_after = after(seconds),
        }
        self.sign(params)
    }

    /// A client's certificate, with a common name and a URI.
    ///
    /// # Panics
    ///
    /// When the URI is none.
    pub fn issue_client(&self, name: &str, uri: &str) -> Identity {
        let mut params = CertificateParams::new(vec![format!("{name}.example")]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let uri = uri.try_into().expect("a URI");
        params.subject_alt_names.push(SanType::URI(uri));
        self.sign(params)
    }

    /// A certificate that says just this.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn sign(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Identity {
    /// Writes both into a folder, and gives their paths.
    ///
    /// # Panics
    ///
    /// When they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = (
            folder.join(format!("{name}.pem")),
            folder.join(format!("{name}.key")),
        );
        std::fs::write(&cert, &self.cert).expect("write the certificate");
        std::fs::write(&key, &self.key).expect("write the key");
        (cert, key)
    }

    /// The SHA-256 of its DER, in upper-case hexadecimal.
    pub fn sha256(&self) -> String {
        let digest = Sha256::digest(&self.chain()[0]);
        digest.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// As an item of `certificates`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "cert": self.cert, "key": self.key })
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert.as_bytes())
            .collect::<Result<_, _>>()
            .expect("PEM")
    }
}

impl Identity {
    /// A server that shows this, offers these protocols, and with `clients` demands a certificate of
    /// theirs.
    ///
    /// # Panics
    ///
    /// When a certificate is none.
    pub fn server(&self, alpn: &[&str], clients: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_slice(clients.pem.as_bytes()).expect("PEM");
                roots.add(root).expect("an authority");
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .expect("a verifier")
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain(), key)
            .expect("a certificate");
        config.alpn_protocols = alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// How a client comes.
#[derive(Clone)]
pub struct Dial<'d> {
    pub authority: &'d Authority,
    pub name: &'d str,
    pub alpn: &'d [&'d str],
    pub identity: Option<&'d Identity>,
    pub versions: &'static [&'static rustls::SupportedProtocolVersion],
}

impl<'d> Dial<'d> {
    /// Without a certificate of its own, without ALPN.
    pub fn to(authority: &'d Authority, name: &'d str) -> Self {
        Self {
            authority,
            name,
            alpn: &[],
            identity: None,
            versions: rustls::ALL_VERSIONS,
        }
    }

    /// The configuration of a client like this.
    ///
    /// # Panics
    ///
    /// When a certificate is none.
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).expect("PEM");
        roots.add(root).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
                builder
                    .with_client_auth_cert(identity.chain(), key)
                    .expect("a client's certificate")
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Connects; the error is rustls' or the socket's.
    ///
    /// # Errors
    ///
    /// When there is no handshake, or what follows it is an alert.
    ///
    /// # Panics
    ///
    /// When nobody listens.
    pub fn connect(&self, address: SocketAddr) -> std::io::Result<Connection> {
        self.connect_by(self.config(), address)
    }

    /// As [`Dial::connect`], with a configuration that is kept: to resume a session.
    ///
    /// # Errors
    ///
    /// As [`Dial::connect`].
    ///
    /// # Panics
    ///
    /// When nobody listens.
    pub fn connect_by(
        &self,
        config: Arc<ClientConfig>,
        address: SocketAddr,
    ) -> std::io::Result<Connection> {
        self.connect_over(config, TcpStream::connect(address).expect("connect"))
    }

    /// As [`Dial::connect_by`], over a connection on which something was said already.
    ///
    /// # Errors
    ///
    /// As [`Dial::connect`].
    ///
    /// # Panics
    ///
    /// When the name is none.
    pub fn connect_over(
        &self,
        config: Arc<ClientConfig>,
        stream: TcpStream,
    ) -> std::io::Result<Connection> {
        let name = ServerName::try_from(self.name.to_owned()).expect("a name");
        let session = ClientConnection::new(config, name).expect("a session");
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        let mut stream = StreamOwned::new(session, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Connection(stream))
    }
}

/// A connection after its handshake.
pub struct Connection(pub StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    /// The first DNS name of the certificate that was shown.
    ///
    /// # Panics
    ///
    /// When none was.
    pub fn certificate(&self) -> Vec<u8> {
        let chain = self.0.conn.peer_certificates().expect("a certificate");
        chain[0].to_vec()
    }

    pub fn alpn(&self) -> Option<&str> {
        std::str::from_utf8(self.0.conn.alpn_protocol()?).ok()
    }

    /// Sends a `GET` and reads the whole response, whose length must be stated.
    ///
    /// # Errors
    ///
    /// When the connection ends before.
    pub fn get(&mut self, target: &str) -> std::io::Result<String> {
        let request = format!("GET {target} HTTP/1.1\r\nhost: test\r\n\r\n");
        self.0.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        Ok(head + &String::from_utf8_lossy(&body))
    }
}

/// Whether a certificate is the one of an identity.
pub fn is(certificate: &[u8], identity: &Identity) -> bool {
    identity.chain()[0].as_ref() == certificate
}
