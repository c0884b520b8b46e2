//! ACME of listeners: what is asked of which directory, and whether it can be.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Uri;

use super::Resolver;
use crate::config::Protocol;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw::acme as keys;
use crate::config::raw::upstream_tls::Tls;
use crate::tls::acme::{Challenge, ExternalAccount, Issuer, Spec};

impl Resolver<'_> {
    /// `None` where something of it is at fault.
    pub(super) fn acme(&mut self, at: &Path, raw: &keys::Acme) -> Option<Spec> {
        let before = self.faults.len();
        let data_dir = Path::root().key("data_dir");
        if !self.is_present(&data_dir) {
            self.needs(at, &data_dir);
        }
        if !raw.terms_of_service_agreed {
            let at = at.key("terms_of_service_agreed");
            if self.is_present(&at) {
                let message = "must be true: no directory issues without it";
                self.fault(Code::InvalidValue, &at, message);
            }
        }
        let domains = raw.domains.iter().map(|name| name.to_ascii_lowercase());
        let domains: Vec<String> = domains.collect();
        for (index, domain) in domains.iter().enumerate() {
            self.domain(&at.key("domains").index(index), domain);
        }
        let directory = raw.directory.parse::<Uri>().ok();
        if !directory.is_some_and(|url| url.scheme_str() == Some("https") && url.host().is_some()) {
            let message = "must be a URL that begins with `https://`";
            self.fault(Code::InvalidValue, &at.key("directory"), message);
        }
        for (index, contact) in raw.contact.iter().enumerate() {
            let sane = |c: char| c.is_ascii_graphic() && !",?\"<>".contains(c);
            let address = contact.split_once('@');
            if !contact.chars().all(sane)
                || !address.is_some_and(|(user, host)| !user.is_empty() && host.contains('.'))
            {
                let message = "must be a mail address, such as `ops@example.com`";
                self.fault(Code::InvalidValue, &at.key("contact").index(index), message);
            }
        }
        let renew_before = raw.renew_before.map(|before| {
            let at = at.key("renew_before");
            self.positive(&at, before)
        });
        let external_account = raw.external_account.as_ref().map(|external| {
            let at = at.key("external_account");
            self.external_account(&at, external)
        });
        let tls = Tls {
            ca: raw.ca.clone(),
            ..Tls::default()
        };
        let client = self.client(at, &tls, Self::alpn(Protocol::Http1))?;
        (self.faults.len() == before).then_some(())?;
        Some(Spec {
            issuer: Arc::new(Issuer {
                directory: raw.directory.clone(),
                contact: raw
                    .contact
                    .iter()
                    .map(|to| format!("mailto:{to}"))
                    .collect(),
                client,
                external_account: external_account.flatten(),
            }),
            domains,
            challenge: match raw.challenge {
                keys::Challenge::Http01 => Challenge::Http01,
                keys::Challenge::TlsAlpn01 => Challenge::TlsAlpn01,
            },
            renew_before,
        })
    }

    /// It becomes the name of a file, too.
    fn domain(&mut self, at: &Path, domain: &str) {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        if domain.contains('*') {
            let message = "no challenge that Weir answers proves a name with `*`";
            self.fault(Code::InvalidValue, at, message);
            self.hint("name each host, or give a certificate under `certificates`");
        } else if domain.len() > 253
            || !domain.split('.').all(label)
            || domain.parse::<std::net::IpAddr>().is_ok()
        {
            let message = "must be a DNS name, in punycode where it is not ASCII";
            self.fault(Code::InvalidValue, at, message);
        }
    }

    fn external_account(
        &mut self,
        at: &Path,
        raw: &keys::ExternalAccount,
    ) -> Option<ExternalAccount> {
        let key_at = at.key("hmac_key");
        if !self.is_present(&key_at) {
            return None;
        }
        let hmac_key = self.secret(&key_at, &raw.hmac_key)?;
        let text = hmac_key.expose().trim_end_matches('=');
        if text.is_empty() || BASE64_URL_SAFE_NO_PAD.decode(text).is_err() {
            self.fault(Code::InvalidValue, &key_at, "must be a key in base64url");
            return None;
        }
        Some(ExternalAccount {
            key_id: raw.key_id.clone(),
            hmac_key,
        })
    }
}
