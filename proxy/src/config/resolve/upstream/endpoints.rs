//! How an endpoint is chosen, checked, left out and tried again.

use http::{HeaderName, HeaderValue, StatusCode};

use super::super::Resolver;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::{Balance, Ejection, HashBy, Health, HttpCheck, Probe, Retries, raw};

impl Resolver<'_> {
    pub(super) fn balance(&mut self, at: &Path, raw: &raw::upstream::Upstream) -> Balance {
        let hashes = matches!(raw.balance, raw::upstream::Balance::ConsistentHash);
        if raw.hash_by.is_some() && !hashes && !self.is_judged(&at.key("balance")) {
            let message = "has an effect with `balance: consistent_hash` only";
            self.fault(Code::Conflict, &at.key("hash_by"), message);
        }
        match raw.balance {
            raw::upstream::Balance::RoundRobin => Balance::RoundRobin,
            raw::upstream::Balance::LeastRequests => Balance::LeastRequests,
            raw::upstream::Balance::Random => Balance::Random,
            raw::upstream::Balance::ConsistentHash => {
                Balance::ConsistentHash(self.hash_by(&at.key("hash_by"), raw.hash_by.as_ref()))
            }
        }
    }

    fn hash_by(&mut self, at: &Path, raw: Option<&raw::upstream::HashBy>) -> HashBy {
        let Some(raw) = raw else {
            return HashBy::ClientAddress;
        };
        match (&raw.header, &raw.cookie) {
            (None, None) => HashBy::ClientAddress,
            (None, Some(cookie)) => HashBy::Cookie(cookie.clone()),
            (Some(header), other) => {
                if other.is_some() {
                    self.fault(
                        Code::Conflict,
                        &at.key("cookie"),
                        "`header` is given already",
                    );
                }
                match HeaderName::from_bytes(header.as_bytes()) {
                    Ok(name) => HashBy::Header(name),
                    Err(_) => {
                        let at = at.key("header");
                        self.fault(Code::InvalidValue, &at, "must be the name of a field");
                        HashBy::ClientAddress
                    }
                }
            }
        }
    }

    pub(super) fn ejection(&mut self, at: &Path, raw: &raw::upstream::Ejection) -> Ejection {
        let time = self.positive(&at.key("time"), raw.time);
        let max_time = raw.max_time.0;
        if max_time < time {
            let message = "must not be shorter than `time`";
            self.fault(Code::Conflict, &at.key("max_time"), message);
        }
        Ejection {
            enabled: raw.enabled,
            failures: raw.failures,
            statuses: self.statuses(&at.key("statuses"), &raw.statuses, 400),
            time,
            max_time,
            max_percent: raw.max_percent,
        }
    }

    pub(super) fn health(
        &mut self,
        at: &Path,
        raw: Option<&raw::upstream::Health>,
    ) -> Option<Health> {
        let raw = raw?;
        let interval = self.positive(&at.key("interval"), raw.interval);
        let timeout = self.positive(&at.key("timeout"), raw.timeout);
        let expected = self.statuses(&at.key("expected"), &raw.expected, 100);
        let host = raw.host.as_ref().and_then(|host| {
            let value = HeaderValue::from_str(host).ok();
            if value.is_none() {
                let message = "must be a host name, with a port where it has one";
                self.fault(Code::InvalidValue, &at.key("host"), message);
            }
            value
        });
        let http = raw.path.as_ref().and_then(|path| {
            let parsed = path.parse().ok();
            if parsed.is_none() {
                let message = "must be a path, with a query where it has one";
                self.fault(Code::InvalidValue, &at.key("path"), message);
            }
            Some(HttpCheck {
                path: parsed?,
                host,
                expected,
            })
        });
        if raw.path.is_none() && !self.is_judged(&at.key("path")) {
            for key in ["host", "expected"] {
                if self.is_present(&at.key(key)) {
                    let message = "has an effect with a `path` only";
                    self.fault(Code::Conflict, &at.key(key), message);
                }
            }
        }
        if raw.path.is_some() && raw.grpc.is_some() {
            let message = "`path` says already how endpoints are asked";
            self.fault(Code::Conflict, &at.key("grpc"), message);
        }
        let probe = match (http, &raw.grpc) {
            (Some(http), _) => Probe::Http(http),
            (None, Some(service)) => Probe::Grpc(service.clone()),
            (None, None) => Probe::Connect,
        };
        Some(Health {
            probe,
            interval,
            timeout,
            healthy: raw.healthy,
            unhealthy: raw.unhealthy,
        })
    }

    pub(super) fn retries(&mut self, at: &Path, raw: &raw::upstream::Retries) -> Retries {
        Retries {
            attempts: raw.attempts,
            budget_percent: raw.budget_percent,
            statuses: self.statuses(&at.key("statuses"), &raw.statuses, 400),
        }
    }

    /// Statuses from `least` to 599.
    fn statuses(&mut self, at: &Path, raw: &[u16], least: u16) -> Vec<StatusCode> {
        let mut statuses = Vec::new();
        for (index, code) in raw.iter().enumerate() {
            match StatusCode::from_u16(*code) {
                Ok(status) if (least..600).contains(code) => statuses.push(status),
                _ => {
                    let message = format!("must be a status from {least} to 599");
                    self.fault(Code::InvalidValue, &at.index(index), message);
                }
            }
        }
        statuses
    }
}
