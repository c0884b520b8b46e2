//! Which certificate is shown: by the name that the client asks for, among several for a name by
//! what the client can verify, and where none is for it, the default. Of certificates for one name,
//! those of the configuration go before one by ACME.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::acme;
use super::certificate::Identity;

/// Certificates for one name, in the order of the configuration.
type Keys = Vec<Arc<CertifiedKey>>;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct ByName {
    all: Keys,
    exact: HashMap<String, Keys>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Keys>,
    acme: Option<Arc<acme::Shown>>,
    /// The first name that ACME has a certificate for.
    first: String,
}

impl ByName {
    pub(super) fn new(
        identities: &[Identity],
        acme: Option<(Arc<acme::Shown>, &acme::Spec)>,
    ) -> Self {
        let mut this = Self {
            all: Vec::new(),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            first: acme
                .as_ref()
                .and_then(|(_, spec)| spec.domains.first().cloned())
                .unwrap_or_default(),
            acme: acme.map(|(shown, _)| shown),
        };
        for Identity { key, names, .. } in identities {
            this.all.push(Arc::clone(key));
            for name in names {
                let keys = match name.strip_prefix("*.") {
                    Some(parent) => this.wildcard.entry(parent.to_owned()),
                    None => this.exact.entry(name.clone()),
                };
                keys.or_default().push(Arc::clone(key));
            }
        }
        this
    }

    fn issued(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.acme.as_ref()?.certificate(name)
    }

    fn choose(&self, name: Option<&str>, known: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = |keys: &Keys| {
            let usable = keys
                .iter()
                .find(|key| key.key.choose_scheme(known).is_some());
            usable.or(keys.first()).cloned()
        };
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            if let Some(keys) = self.exact.get(&name) {
                return usable(keys);
            }
            self.issued(&name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                usable(self.wildcard.get(parent)?)
            })
        });
        named
            .or_else(|| usable(&self.all))
            .or_else(|| self.issued(&self.first))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}
