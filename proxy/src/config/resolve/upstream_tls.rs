//! TLS to upstreams: PEM texts and files become what is connected with.

use std::sync::Arc;
use std::time::SystemTime;

use super::Resolver;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw;
use crate::config::raw::upstream_tls as keys;
use crate::config::{Entry, Protocol, ProxyProtocol};
use crate::tls::certificate::{Identity, Problem};
use crate::tls::client::{Client, Fault, Spec};
use crate::tls::{Alpn, Pem};

impl Resolver<'_> {
    pub(super) fn protocol(raw: keys::Protocol) -> Protocol {
        match raw {
            keys::Protocol::Auto => Protocol::Auto,
            keys::Protocol::H1 => Protocol::Http1,
            keys::Protocol::H2 => Protocol::Http2,
        }
    }

    /// HTTP and TLS are not switched to: what then passes would be requests that nobody looks at.
    pub(super) fn upgrades(&mut self, at: &Path, raw: &[String]) -> Vec<String> {
        let mut protocols = Vec::new();
        for (index, protocol) in raw.iter().enumerate() {
            let protocol = protocol.to_ascii_lowercase();
            let name = protocol.split('/').next().unwrap_or_default();
            let token = |c: char| c.is_ascii_alphanumeric() || "-._+/".contains(c);
            if matches!(name, "h2c" | "h2" | "http" | "tls") {
                let message = "requests behind such an upgrade would go round Weir";
                self.fault(Code::InvalidValue, &at.index(index), message);
            } else if name.is_empty() || !protocol.chars().all(token) {
                let message = "must be the name of a protocol, such as `websocket`";
                self.fault(Code::InvalidValue, &at.index(index), message);
            }
            protocols.push(protocol);
        }
        protocols
    }

    /// Gives `https` endpoints, which are marked, what they connect with. What is wrong with it is
    /// told once.
    pub(super) fn upstream_tls(
        &mut self,
        at: &Path,
        raw: &raw::upstream::Upstream,
        mut endpoints: Vec<(Entry, bool)>,
    ) -> Vec<Entry> {
        let protocol = Self::protocol(raw.protocol);
        let encrypted = endpoints.iter().any(|(_, encrypted)| *encrypted);
        let at = at.key("tls");
        let tls = if encrypted {
            self.client(&at, &raw.tls, Self::alpn(protocol))
        } else {
            if self.is_present(&at) && !endpoints.is_empty() {
                let message = "no endpoint of this upstream is `https`";
                self.fault(Code::Conflict, &at, message);
            }
            None
        };
        for (Entry { endpoint, .. }, encrypted) in &mut endpoints {
            endpoint.tls = tls.clone().filter(|_| *encrypted);
            endpoint.protocol = protocol;
            endpoint.proxy_protocol = raw.proxy_protocol.map(|version| match version {
                raw::upstream::ProxyProtocol::V1 => ProxyProtocol::V1,
                raw::upstream::ProxyProtocol::V2 => ProxyProtocol::V2,
            });
        }
        endpoints.into_iter().map(|(entry, _)| entry).collect()
    }

    /// What is offered in the handshake.
    pub(super) fn alpn(protocol: Protocol) -> Vec<Alpn> {
        match protocol {
            Protocol::Auto => vec![Alpn::Http2, Alpn::Http1],
            Protocol::Http1 => vec![Alpn::Http1],
            Protocol::Http2 => vec![Alpn::Http2],
        }
    }

    /// What an encrypted endpoint is connected with; `None` where something of it is at fault.
    pub(super) fn client(
        &mut self,
        at: &Path,
        raw: &keys::Tls,
        alpn: Vec<Alpn>,
    ) -> Option<Arc<Client>> {
        let (cert_at, key_at) = (at.key("client_cert"), at.key("client_key"));
        match (&raw.client_cert, &raw.client_key) {
            (Some(_), None) => self.needs(&cert_at, &key_at),
            (None, Some(_)) => self.needs(&key_at, &cert_at),
            _ => {}
        }
        let faults = self.faults.len();
        let mut pem = |at: &Path, value: &Option<raw::SecretVar>| {
            let value = value.as_ref()?;
            self.pem(at, value)
        };
        let ca = pem(&at.key("ca"), &raw.ca);
        let chain = pem(&cert_at, &raw.client_cert);
        let key = pem(&key_at, &raw.client_key);
        let readable = self.faults.len() == faults;
        let identity = chain.zip(key).map(|(chain, key)| Pem {
            chain: chain.expose().to_owned(),
            key,
        });
        let shown = identity
            .as_ref()
            .and_then(|pem| Identity::new(&pem.chain, pem.key.expose()).ok());
        if let Some(complaint) = shown.and_then(|shown| shown.complaint(SystemTime::now())) {
            self.fault(Code::Certificate, &cert_at, complaint);
        }
        let spec = Spec {
            ca: ca.map(|ca| ca.expose().to_owned()),
            server_name: raw.server_name.clone(),
            identity,
            alpn,
            only_1_3: raw.min_version == raw::tls::Version::V1_3,
        };
        let client = match Client::new(spec, &self.system) {
            Ok(client) => client,
            Err(faults) => {
                for fault in faults {
                    let (at, message) = match fault {
                        Fault::Ca(message) => (at.key("ca"), message),
                        Fault::NoSystemRoots if raw.ca.is_some() => continue,
                        Fault::NoSystemRoots => {
                            let message = "is missing, and the system has no authorities";
                            (at.key("ca"), message.to_owned())
                        }
                        Fault::ServerName => {
                            let message = "must be a DNS name or an IP address";
                            (at.key("server_name"), message.to_owned())
                        }
                        Fault::Identity(Problem::Chain(message)) => (cert_at.clone(), message),
                        Fault::Identity(Problem::Key(message)) => (key_at.clone(), message),
                    };
                    self.fault(Code::File, &at, message);
                }
                return None;
            }
        };
        readable.then(|| Arc::new(client))
    }
}
