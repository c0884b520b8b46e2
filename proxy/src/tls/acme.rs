//! Certificates by ACME (RFC 8555): what is asked for, and what a listener shows of it.
//!
//! A [`tls::Server`](super::Server) has what it [`Shown`]s, and a [`Keeper`] fills it: it reads what an
//! earlier run left on the disk, orders what is missing or about to expire ([`order`]), and writes it
//! down ([`state`]). Handshakes only read.

mod directory;
mod keeper;
mod order;
mod state;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::client::Client;
use crate::config::Secret;
pub use keeper::{Keeper, Status};

/// The protocol of the TLS-ALPN-01 challenge (RFC 8737).
pub const ALPN: &[u8] = b"acme-tls/1";

/// Where HTTP-01 asks (RFC 8555, section 8.3).
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

/// What a listener has certificates of.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub issuer: Arc<Issuer>,
    /// DNS names in lower case, at least one; each has a certificate of its own.
    pub domains: Vec<String>,
    pub challenge: Challenge,
    /// How long before it expires a certificate is renewed; `None`: when a third of its time is left.
    pub renew_before: Option<Duration>,
}

/// Who issues, and to whom.
#[derive(Debug, PartialEq)]
pub struct Issuer {
    /// URL of the directory, of `https`.
    pub directory: String,
    /// URLs, as `mailto:`.
    pub contact: Vec<String>,
    /// What the directory is spoken to by.
    pub client: Arc<Client>,
    pub external_account: Option<ExternalAccount>,
}

/// An account elsewhere that the one at the directory is bound to.
#[derive(Debug, PartialEq)]
pub struct ExternalAccount {
    pub key_id: String,
    /// As it is given out: base64url.
    pub hmac_key: Secret,
}

/// How it is shown that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    Http01,
    TlsAlpn01,
}

type Keys = HashMap<String, Arc<CertifiedKey>>;

/// What a listener shows, by name.
#[derive(Default)]
pub struct Shown {
    certificates: ArcSwap<Keys>,
    /// To who asks by [`ALPN`].
    challenges: ArcSwap<Keys>,
}

impl Shown {
    pub fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.certificates.load().get(name).cloned()
    }

    fn show(&self, name: &str, key: &Arc<CertifiedKey>) {
        change(&self.certificates, |keys| {
            keys.insert(name.to_owned(), Arc::clone(key));
        });
    }

    /// Answers a challenge as another does that has the same name.
    fn join(&self, name: &str, other: &Self) {
        if let Some(key) = other.challenges.load().get(name) {
            self.challenge(name, Some(key));
        }
    }

    fn challenge(&self, name: &str, key: Option<&Arc<CertifiedKey>>) {
        change(&self.challenges, |keys| match key {
            Some(key) => drop(keys.insert(name.to_owned(), Arc::clone(key))),
            None => drop(keys.remove(name)),
        });
    }
}

fn change(keys: &ArcSwap<Keys>, change: impl Fn(&mut Keys)) {
    keys.rcu(|keys| {
        let mut keys = Keys::clone(keys);
        change(&mut keys);
        keys
    });
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = self.certificates.load();
        f.debug_set().entries(certificates.keys()).finish()
    }
}

/// Shows challenges, and nothing else.
#[derive(Debug)]
pub(super) struct Challenges(pub(super) Arc<Shown>);

impl ResolvesServerCert for Challenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        self.0.challenges.load().get(&name).cloned()
    }
}

/// Whether a client comes for a challenge: it offers that protocol and no other (RFC 8737, section 4).
pub(super) fn is_challenge(hello: &ClientHello<'_>) -> bool {
    let offered = hello.alpn();
    offered.is_some_and(|mut offered| offered.next() == Some(ALPN) && offered.next().is_none())
}

/// What is answered to HTTP-01, by token.
#[derive(Debug, Default)]
pub struct Answers(ArcSwap<HashMap<String, String>>);

impl Answers {
    /// What a directory asks for at this path just now.
    pub fn get(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(WELL_KNOWN)?;
        self.0.load().get(token).cloned()
    }

    fn set(&self, token: &str, answer: Option<&str>) {
        self.0.rcu(|answers| {
            let mut answers = HashMap::clone(answers);
            match answer {
                Some(answer) => drop(answers.insert(token.to_owned(), answer.to_owned())),
                None => drop(answers.remove(token)),
            }
            answers
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_at_its_path_alone_and_only_while_it_is_asked_for() {
        let answers = Answers::default();
        answers.set("token", Some("token.thumb"));
        let at = |path: &str| answers.get(path);
        assert_eq!(
            at("/.well-known/acme-challenge/token").as_deref(),
            Some("token.thumb")
        );
        for path in [
            "/token",
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/other",
            "/.well-known/acme-challenge/token/",
        ] {
            assert_eq!(at(path), None, "{path}");
        }
        answers.set("token", None);
        assert_eq!(at("/.well-known/acme-challenge/token"), None);
    }
}
