//! TLS of listeners: PEM texts and files become what a listener accepts with.

use std::sync::Arc;
use std::time::SystemTime;

use super::Resolver;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw::tls as keys;
use crate::tls::certificate::Problem;
use crate::tls::{Alpn, ClientAuth, Fault, Pem, Server, Spec};

impl Resolver<'_> {
    /// `None` where something of it is at fault.
    pub(super) fn listener_tls(&mut self, at: &Path, raw: &keys::Tls) -> Option<Arc<Server>> {
        let certificates_at = at.key("certificates");
        let mut certificates = Vec::new();
        for (index, raw) in raw.certificates.iter().enumerate() {
            let at = certificates_at.index(index);
            let chain = self.pem_at(&at.key("cert"), &raw.cert);
            let key = self.pem_at(&at.key("key"), &raw.key);
            certificates.push(chain.zip(key));
        }
        let acme_at = at.key("acme");
        let acme = raw.acme.as_ref().map(|raw| self.acme(&acme_at, raw));
        let acme = match acme {
            None => None,
            Some(acme) => Some(acme?),
        };
        let auth_at = at.key("client_auth");
        let auth = raw
            .client_auth
            .as_ref()
            .map(|raw| self.client_auth(&auth_at, raw));
        // What could be read is judged all the same, with its own index.
        let readable: Vec<usize> = (0..certificates.len())
            .filter(|index| certificates[*index].is_some())
            .collect();
        let complete =
            readable.len() == certificates.len() && !(certificates.is_empty() && acme.is_none());
        let spec = Spec {
            certificates: certificates
                .into_iter()
                .flatten()
                .map(|(chain, key)| Pem {
                    chain: chain.expose().to_owned(),
                    key,
                })
                .collect(),
            acme,
            client_auth: match auth {
                None => None,
                Some(auth) => Some(auth?),
            },
            alpn: raw
                .alpn
                .iter()
                .map(|alpn| match alpn {
                    keys::Alpn::Http1 => Alpn::Http1,
                    keys::Alpn::Http2 => Alpn::Http2,
                })
                .collect(),
            only_1_3: raw.min_version == keys::Version::V1_3,
        };
        let certificate = |index: usize| certificates_at.index(readable[index]);
        let server = match Server::new(spec) {
            Ok(server) => server,
            Err(faults) => {
                for fault in faults {
                    let (at, message) = match fault {
                        Fault::Certificate(index, Problem::Chain(message)) => {
                            (certificate(index).key("cert"), message)
                        }
                        Fault::Certificate(index, Problem::Key(message)) => {
                            (certificate(index).key("key"), message)
                        }
                        Fault::Ca(message) => (auth_at.key("ca"), message),
                        Fault::Crl(message) => (auth_at.key("crl"), message),
                    };
                    self.fault(Code::File, &at, message);
                }
                return None;
            }
        };
        let now = SystemTime::now();
        for (index, identity) in server.identities().iter().enumerate() {
            let at = certificate(index).key("cert");
            if let Some(complaint) = identity.complaint(now) {
                self.fault(Code::Certificate, &at, complaint);
            }
            if index > 0 && identity.names.is_empty() {
                let message = "the certificate has no DNS name, so no client can ask for it";
                self.fault(Code::Certificate, &at, message);
            }
        }
        complete.then(|| Arc::new(server))
    }

    /// Of an address that speaks one protocol alone, for this reason.
    pub(super) fn tls_of_one(
        &mut self,
        at: &Path,
        mut raw: keys::Tls,
        only: keys::Alpn,
        reason: &str,
    ) -> Option<Arc<Server>> {
        if !raw.alpn.contains(&only) {
            self.fault(Code::Conflict, &at.key("alpn"), reason);
            let name = match only {
                keys::Alpn::Http1 => "http/1.1",
                keys::Alpn::Http2 => "h2",
            };
            self.hint(format!("leave it out, or have `{name}` in it"));
        }
        raw.alpn = vec![only];
        self.listener_tls(at, &raw)
    }

    fn client_auth(&mut self, at: &Path, raw: &keys::ClientAuth) -> Option<ClientAuth> {
        let ca = self.pem_at(&at.key("ca"), &raw.ca);
        let crl = raw.crl.as_ref().map(|crl| self.pem_at(&at.key("crl"), crl));
        Some(ClientAuth {
            required: raw.mode == keys::ClientAuthMode::Required,
            ca: ca?.expose().to_owned(),
            crl: match crl {
                None => None,
                Some(crl) => Some(crl?.expose().to_owned()),
            },
        })
    }

    /// PEM that must be there; silent where that it is missing was told before.
    fn pem_at(
        &mut self,
        at: &Path,
        value: &crate::config::raw::SecretVar,
    ) -> Option<crate::config::Secret> {
        if !self.is_present(at) {
            return None;
        }
        self.pem(at, value)
    }
}
