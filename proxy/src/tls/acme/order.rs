//! One order: an account, the proof that the name is ours, the certificate.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeHandle, ChallengeType, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::directory::Http;
use super::state::{self, Folder};
use super::{Answers, Challenge, Issuer, Shown};
use crate::tls::certificate::Identity;

/// How long a directory may take to look, and then to issue.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .timeout(Duration::from_mins(1));

/// The longest that an order may take in all.
const LONGEST: Duration = Duration::from_mins(4);

/// What an order came to nothing by.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Acme(#[from] instant_acme::Error),
    #[error("the directory offers no challenge {0}")]
    NoChallenge(&'static str),
    #[error("{0}")]
    Refused(String),
    #[error("the directory refused the order")]
    NoReason,
    #[error("a challenge cannot be answered: {0}")]
    Challenge(String),
    #[error("what the directory issued cannot be used: {0}")]
    Unusable(String),
    #[error("took longer than {} seconds", LONGEST.as_secs())]
    Timeout,
}

impl Error {
    /// Whether the directory does not know the account, as one that was set up anew.
    pub(super) fn is_of_the_account(&self) -> bool {
        let Self::Acme(instant_acme::Error::Api(problem)) = self else {
            return false;
        };
        let kind = problem.r#type.as_deref();
        kind == Some("urn:ietf:params:acme:error:accountDoesNotExist")
    }
}

/// What was issued.
pub(super) struct Issued {
    pub(super) identity: Identity,
    /// PEM.
    pub(super) key: String,
    pub(super) chain: String,
}

/// The account that an earlier order left, or a new one.
pub(super) async fn account(issuer: &Issuer, folder: &Folder) -> Result<Account, Error> {
    let builder = Account::builder_with_http(Box::new(Http(Arc::clone(&issuer.client))));
    let contact: Vec<&str> = issuer.contact.iter().map(String::as_str).collect();
    if let Some(known) = folder.account() {
        let changed = known.contact != issuer.contact;
        let kept = changed.then(|| serde_json::to_value(&known.credentials));
        let account = builder.from_credentials(known.credentials).await?;
        if let Some(credentials) = kept {
            account.update_contacts(&contact).await?;
            let credentials = credentials.and_then(serde_json::from_value);
            keep(
                folder,
                issuer,
                credentials.map_err(instant_acme::Error::from)?,
            );
        }
        return Ok(account);
    }
    let external = issuer.external_account.as_ref().map(|external| {
        let key = external.hmac_key.expose();
        // What is none was refused with the configuration.
        let key = BASE64_URL_SAFE_NO_PAD.decode(key.trim_end_matches('='));
        ExternalAccountKey::new(external.key_id.clone(), &key.unwrap_or_default())
    });
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let created = builder.create(&new, issuer.directory.clone(), external.as_ref());
    let (account, credentials) = created.await?;
    keep(folder, issuer, credentials);
    Ok(account)
}

fn keep(folder: &Folder, issuer: &Issuer, credentials: instant_acme::AccountCredentials) {
    let contact = issuer.contact.clone();
    let account = state::Account {
        contact,
        credentials,
    };
    if let Err(error) = folder.keep_account(&account) {
        tracing::warn!(%error, "cannot keep an ACME account");
    }
}

/// Where challenges are answered.
pub(super) struct Stage<'s> {
    pub(super) challenge: Challenge,
    pub(super) answers: &'s Answers,
    /// The listeners that show this name, as of now.
    pub(super) shown: &'s (dyn Fn() -> Vec<Arc<Shown>> + Sync),
}

/// Orders a certificate for one name.
pub(super) async fn certificate(
    account: &Account,
    domain: &str,
    stage: &Stage<'_>,
) -> Result<Issued, Error> {
    let ordering = tokio::time::timeout(LONGEST, order(account, domain, stage));
    ordering.await.unwrap_or(Err(Error::Timeout))
}

async fn order(account: &Account, domain: &str, stage: &Stage<'_>) -> Result<Issued, Error> {
    let identifiers = [Identifier::Dns(domain.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    // They are taken away again when this ends, whatever it comes to.
    let mut answered = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let (kind, name) = match stage.challenge {
            Challenge::Http01 => (ChallengeType::Http01, "http-01"),
            Challenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        };
        let mut challenge = authorization
            .challenge(kind)
            .ok_or(Error::NoChallenge(name))?;
        answered.push(answer(&challenge, domain, stage)?);
        challenge.set_ready().await?;
    }
    match order.poll_ready(&PATIENCE).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(refusal(&mut order).await.unwrap_or(Error::NoReason)),
        Err(error) => return Err(refusal(&mut order).await.unwrap_or(error.into())),
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&PATIENCE).await?;
    let identity = state::identity(&chain, &key, domain).map_err(Error::Unusable)?;
    Ok(Issued {
        identity,
        key,
        chain,
    })
}

/// Which challenge failed, and why, where one did.
async fn refusal(order: &mut Order) -> Option<Error> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let mut errors = state.challenges.iter().filter_map(|one| one.error.as_ref());
        if let Some(problem) = errors.next() {
            let detail = problem.detail.as_deref().unwrap_or("no reason is given");
            return Some(Error::Refused(format!("the challenge failed: {detail}")));
        }
    }
    None
}

/// An answer to a challenge, which is there until it is dropped.
struct Answered<'s> {
    stage: &'s Stage<'s>,
    /// A token or a name, by the challenge.
    place: String,
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        match self.stage.challenge {
            Challenge::Http01 => self.stage.answers.set(&self.place, None),
            Challenge::TlsAlpn01 => {
                for shown in (self.stage.shown)() {
                    shown.challenge(&self.place, None);
                }
            }
        }
    }
}

fn answer<'s>(
    challenge: &ChallengeHandle<'_>,
    domain: &str,
    stage: &'s Stage<'s>,
) -> Result<Answered<'s>, Error> {
    let authorization = challenge.key_authorization();
    let place = match stage.challenge {
        Challenge::Http01 => {
            let answer = authorization.as_str();
            stage.answers.set(&challenge.token, Some(answer));
            challenge.token.clone()
        }
        Challenge::TlsAlpn01 => {
            let digest = authorization.digest();
            let key = proof(domain, digest.as_ref()).map_err(Error::Challenge)?;
            for shown in (stage.shown)() {
                shown.challenge(domain, Some(&key));
            }
            domain.to_owned()
        }
    };
    Ok(Answered { stage, place })
}

/// The certificate that answers TLS-ALPN-01 (RFC 8737, section 3).
fn proof(domain: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let make = || {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([domain.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        Ok((params.self_signed(&key)?, key))
    };
    let (certificate, key) = make().map_err(|error: rcgen::Error| error.to_string())?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = crate::tls::provider().key_provider.load_private_key(key);
    let key = key.map_err(|error| error.to_string())?;
    let chain = vec![certificate.der().clone()];
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}
