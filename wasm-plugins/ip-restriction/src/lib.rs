//! Lets clients in by their address, and answers the others with 403.
//!
//! ```yaml
//! plugins:
//!   office:
//!     module: builtin:ip-restriction
//!     config:
//!       allow: ["192.0.2.0/24", "2001:db8::/32"]   # only these; default: all
//!       deny: ["192.0.2.66"]                       # but never these; default: none
//!       status: 403                                # the default
//! ```
//!
//! The address is the client's as Weir sees it. An IPv4 address within IPv6 (`::ffff:192.0.2.1`) is
//! taken as the IPv4 address. The span has `ip_restriction.result`: `allowed`, `denied` (by `deny`) or
//! `unlisted` (not in `allow`).

use std::net::{IpAddr, Ipv6Addr};

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::{HeaderValue, Response as Answer, StatusCode, header};
use weir_sdk::{Action, Error, Interests, Plugin, Request, span};

/// The configuration of `ip-restriction`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses and networks, such as `192.0.2.0/24`, that are let in. Default: all.
    #[serde(default)]
    allow: Vec<String>,
    /// Addresses and networks that are not, whatever `allow` says. Default: none.
    #[serde(default)]
    deny: Vec<String>,
    /// The status of the answer, from 400 to 499. Default: 403.
    #[serde(default = "forbidden")]
    #[schemars(range(min = 400, max = 499))]
    status: u16,
}

fn forbidden() -> u16 {
    403
}

/// The plugin.
pub struct IpRestriction {
    allow: Vec<Network>,
    deny: Vec<Network>,
    status: StatusCode,
}

/// Addresses that begin with the same bits; IPv4 is mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Network {
    address: u128,
    mask: u128,
}

impl Plugin for IpRestriction {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        if config.allow.is_empty() && config.deny.is_empty() {
            return Err("allow, deny: at least one of them is needed".into());
        }
        if !(400..500).contains(&config.status) {
            return Err(format!("status: {} is not from 400 to 499", config.status).into());
        }
        Ok(Self {
            allow: networks("allow", &config.allow)?,
            deny: networks("deny", &config.deny)?,
            status: StatusCode::from_u16(config.status)?,
        })
    }

    fn interests(&self) -> Interests {
        Interests::none().on_request()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let address = bits(request.client_address());
        let is_in = |networks: &[Network]| {
            let mut networks = networks.iter();
            networks.any(|network| address & network.mask == network.address)
        };
        let result = if is_in(&self.deny) {
            "denied"
        } else if self.allow.is_empty() || is_in(&self.allow) {
            "allowed"
        } else {
            "unlisted"
        };
        span::set_attribute("ip_restriction.result", result);
        if result == "allowed" {
            Action::Continue
        } else {
            Action::Respond(self.refusal())
        }
    }
}

weir_sdk::export!(IpRestriction);

impl IpRestriction {
    fn refusal(&self) -> Answer<Vec<u8>> {
        let title = self.status.canonical_reason().unwrap_or("Refused");
        let status = self.status.as_u16();
        let detail = "this address is not let in";
        let problem = format!(r#"{{"title":"{title}","status":{status},"detail":"{detail}"}}"#);
        let mut answer = Answer::new(problem.into_bytes());
        *answer.status_mut() = self.status;
        let json = HeaderValue::from_static("application/problem+json");
        answer.headers_mut().insert(header::CONTENT_TYPE, json);
        answer
    }
}

fn networks(key: &str, texts: &[String]) -> Result<Vec<Network>, String> {
    let networks = texts.iter().enumerate().map(|(index, text)| {
        Network::new(text).map_err(|error| format!("{key}[{index}]: {text:?} {error}"))
    });
    networks.collect()
}

impl Network {
    fn new(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| "is no address or network, such as `192.0.2.0/24`")?;
        let (most, mapped) = match address {
            IpAddr::V4(_) => (32, 96),
            IpAddr::V6(_) => (128, 0),
        };
        let prefix: u32 = match prefix {
            None => most,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= most)
                .ok_or_else(|| format!("has a prefix that is not from 0 to {most}"))?,
        };
        let mask = u128::MAX.checked_shl(128 - prefix - mapped).unwrap_or(0);
        let address = bits(address);
        if address & !mask != 0 {
            let first = Ipv6Addr::from(address & mask);
            let first = first.to_ipv4_mapped().map_or(IpAddr::V6(first), IpAddr::V4);
            return Err(format!(
                "has bits behind its prefix; write `{first}/{prefix}`"
            ));
        }
        Ok(Self { address, mask })
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests;
