//! Which certificate is shown: by the name that the client asks for, among several for a name by
//! what the client can verify, and where none is for it, the default.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

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
}

impl ByName {
    pub(super) fn new(identities: &[Identity]) -> Self {
        let mut this = Self {
            all: Vec::new(),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
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

    fn find(&self, name: &str) -> Option<&Keys> {
        let name = name.to_ascii_lowercase();
        self.exact.get(&name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }

    fn choose(&self, name: Option<&str>, known: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let keys = name.and_then(|name| self.find(name)).unwrap_or(&self.all);
        let usable = keys
            .iter()
            .find(|key| key.key.choose_scheme(known).is_some());
        usable.or(keys.first()).cloned()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}
