//! Upstreams and their endpoints.

mod endpoints;

use http::Uri;
use http::uri::Authority;
use indexmap::IndexMap;

use super::Resolver;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::{Endpoint, Entry, Upstream, UpstreamLimits, UpstreamTimeouts, raw};

impl Resolver<'_> {
    pub(super) fn upstreams(
        &mut self,
        raw: IndexMap<String, raw::Upstream>,
    ) -> IndexMap<String, Upstream> {
        let at = Path::root().key("upstreams");
        raw.into_iter()
            .map(|(name, raw)| {
                let upstream = self.upstream(&at.key(&name), &raw);
                (name, upstream)
            })
            .collect()
    }

    fn upstream(&mut self, at: &Path, raw: &raw::Upstream) -> Upstream {
        let timeouts = at.key("timeouts");
        let balance = self.balance(at, raw);
        let ejection = self.ejection(&at.key("ejection"), &raw.ejection);
        let health = self.health(&at.key("health"), raw.health.as_ref());
        let retries = self.retries(&at.key("retries"), &raw.retries);
        let slow_start = raw.slow_start;
        let slow_start = slow_start.map(|time| self.positive(&at.key("slow_start"), time));
        let interval = self.positive(&at.key("resolve_interval"), raw.resolve_interval);
        let endpoints_at = at.key("endpoints");
        let endpoints = raw.endpoints.iter().enumerate();
        let endpoints: Vec<_> = endpoints
            .filter_map(|(index, raw)| self.entry(&endpoints_at.index(index), raw))
            .collect();
        let weightless = endpoints.iter().all(|(entry, _)| entry.weight == 0);
        if weightless && endpoints.len() == raw.endpoints.len() && !endpoints.is_empty() {
            let message = "must have a weight that is not 0";
            self.fault(Code::InvalidValue, &endpoints_at, message);
        }
        Upstream {
            endpoints: self.upstream_tls(at, raw, endpoints),
            timeouts: UpstreamTimeouts {
                connect: self.positive(&timeouts.key("connect"), raw.timeouts.connect),
                response: self.positive(&timeouts.key("response"), raw.timeouts.response),
                body: self.positive(&timeouts.key("body"), raw.timeouts.body),
                idle: self.positive(&timeouts.key("idle"), raw.timeouts.idle),
                tunnel: self.positive(&timeouts.key("tunnel"), raw.timeouts.tunnel),
            },
            upgrades: self.upgrades(&at.key("upgrades"), &raw.upgrades),
            max_requests: raw.max_requests,
            limits: UpstreamLimits {
                connections: raw.limits.connections,
                pending: raw.limits.pending,
            },
            balance,
            health,
            ejection,
            slow_start,
            retries,
            resolve_interval: interval,
        }
    }

    /// Says whether it is `https`.
    fn entry(&mut self, at: &Path, raw: &raw::upstream::Endpoint) -> Option<(Entry, bool)> {
        let (endpoint, weight) = match raw {
            raw::upstream::Endpoint::Url(url) => (self.endpoint(at, url), 1),
            raw::upstream::Endpoint::Keys(keys) => {
                let at = at.key("address");
                // What is missing was told already.
                if !self.is_present(&at) {
                    return None;
                }
                (self.endpoint(&at, &keys.address), keys.weight)
            }
        };
        let (endpoint, encrypted) = endpoint?;
        Some((Entry { endpoint, weight }, encrypted))
    }

    /// Messages do not quote the URL: it may have a password. Says whether it is `https`.
    fn endpoint(&mut self, at: &Path, url: &str) -> Option<(Endpoint, bool)> {
        let uri = url.parse::<Uri>().ok();
        let encrypted = match uri.as_ref().and_then(Uri::scheme_str) {
            Some("http") => Some(false),
            Some("https") => Some(true),
            _ => None,
        };
        let endpoint = uri
            .as_ref()
            .zip(encrypted)
            .and_then(|(uri, encrypted)| Some((endpoint(uri, encrypted)?, encrypted)));
        if endpoint.is_none() {
            self.fault(
                Code::InvalidValue,
                at,
                "must have the form `http://host:port` or `https://host:port`",
            );
        }
        endpoint
    }
}

/// What a URL without a path leads to.
pub(super) fn endpoint(uri: &Uri, encrypted: bool) -> Option<Endpoint> {
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let port = if encrypted { 443 } else { 80 };
    host_and_port(uri.authority()?, port).filter(|_| bare)
}

/// An unencrypted endpoint; `port` is that of an authority without one.
pub(super) fn host_and_port(authority: &Authority, port: u16) -> Option<Endpoint> {
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    // Nothing may stand before the host, such as a password, and nothing but a port behind it.
    let port = match authority.as_str().strip_prefix(authority.host())? {
        "" => port,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    (!host.is_empty() && port != 0).then(|| Endpoint::new(host.to_ascii_lowercase(), port))
}
