//! The Redis that has plugins' values: its URL, how it is entered, and limits that are not its own.

use http::Uri;

use super::otlp_exporter::is_local;
use super::{Resolver, upstream};
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw::kv as keys;
use crate::config::{Endpoint, Redis, raw};

impl Resolver<'_> {
    /// `None` where values are in memory, or where there is no Redis to speak of.
    pub(super) fn kv(&mut self, raw: Option<keys::Kv>) -> Option<Redis> {
        let raw = raw?.redis;
        let at = Path::root().key("kv").key("redis");
        let timeout = self.positive(&at.key("timeout"), raw.timeout);
        let password_at = at.key("password");
        let password = raw.password.as_ref();
        let password = password.and_then(|password| self.secret(&password_at, password));
        if raw.username.is_some() && raw.password.is_none() && !self.is_judged(&password_at) {
            self.needs(&at.key("username"), &password_at);
        }
        let url_at = at.key("url");
        if !self.is_present(&url_at) {
            return None;
        }
        let Some((endpoint, encrypted, database)) = parse(&raw.url) else {
            let message = "must have the form `redis://host:port/database` or `rediss://…`";
            self.fault(Code::InvalidValue, &url_at, message);
            self.hint("user and password go under `username` and `password`");
            return None;
        };
        let tls_at = at.key("tls");
        let tls = if encrypted {
            // It speaks nothing that would be told from others in the handshake.
            Some(self.client(&tls_at, &raw.tls, Vec::new())?)
        } else {
            if self.is_present(&tls_at) {
                self.fault(Code::Conflict, &tls_at, "the URL is not `rediss`");
            }
            if password.is_some() && !is_local(&endpoint.host) {
                let message = "the password is sent unencrypted to another machine";
                self.fault(Code::PlainCredentials, &password_at, message);
                self.hint("use a `rediss` URL");
            }
            None
        };
        Some(Redis {
            endpoint: Endpoint { tls, ..endpoint },
            database,
            username: raw.username,
            password,
            prefix: raw.prefix,
            timeout,
        })
    }

    /// Nothing but Redis itself bounds what is kept there.
    pub(super) fn kv_limit(&mut self, at: &Path, raw: &raw::plugin::Limits) {
        let at = at.key("kv");
        if self.is_present(&Path::root().key("kv")) && self.is_present(&at) {
            let message = format!(
                "{} is of a store in memory, and `kv` has it in Redis",
                raw.kv
            );
            self.fault(Code::Conflict, &at, message);
            self.hint("leave it out; Redis' own `maxmemory` bounds what is kept there");
        }
    }
}

/// The endpoint, whether it is `rediss`, and the database. Messages do not quote the URL: it may have
/// a password.
fn parse(url: &str) -> Option<(Endpoint, bool, u32)> {
    let uri: Uri = url.parse().ok()?;
    let encrypted = match uri.scheme_str()? {
        "redis" => false,
        "rediss" => true,
        _ => return None,
    };
    if uri.query().is_some() || url.contains('#') {
        return None;
    }
    let database = match uri.path() {
        "" | "/" => 0,
        path => path.strip_prefix('/')?.parse().ok()?,
    };
    let endpoint = upstream::host_and_port(uri.authority()?, 6379)?;
    Some((endpoint, encrypted, database))
}
