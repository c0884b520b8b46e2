//! Whom Weir believes about clients, and what it tells upstreams of them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Who clients are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clients {
    /// Peers that are believed about the clients behind them.
    pub trusted: Vec<Network>,
    pub forwarded: Forwarded,
}

/// Which fields tell upstreams of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Standard,
    Both,
    /// None; those of untrusted peers are removed all the same.
    Off,
}

/// How a listener's connections are shared out over workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerBalance {
    /// As the kernel does, by a hash of addresses and ports.
    #[default]
    Kernel,
    /// So that workers have equally many.
    Exact,
}

/// What becomes of requests' fields with `_` in their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// They are taken out.
    #[default]
    Drop,
    /// The request is answered with 400.
    Refuse,
    Pass,
}

/// Where a line for each response goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    pub format: AccessLogFormat,
    /// `None` is standard output.
    pub path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    Json,
    Text,
}

/// An address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Bits past `bits` are zero.
    address: u128,
    bits: u32,
    is_ipv4: bool,
}

impl Clients {
    pub fn trusts(&self, ip: IpAddr) -> bool {
        !self.trusted.is_empty() && {
            let ip = ip.to_canonical();
            self.trusted.iter().any(|network| network.contains(ip))
        }
    }
}

impl Forwarded {
    pub fn has_x_forwarded(self) -> bool {
        matches!(self, Self::XForwarded | Self::Both)
    }

    pub fn has_standard(self) -> bool {
        matches!(self, Self::Standard | Self::Both)
    }
}

impl Network {
    fn contains(&self, ip: IpAddr) -> bool {
        let (bits, is_ipv4) = wide(ip);
        is_ipv4 == self.is_ipv4 && bits & mask(self.bits) == self.address
    }
}

/// The address at the upper end of 128 bits.
fn wide(ip: IpAddr) -> (u128, bool) {
    match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, true),
        IpAddr::V6(ip) => (ip.to_bits(), false),
    }
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

impl FromStr for Network {
    type Err = &'static str;

    /// `10.0.0.0/8`, or one address.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "must be an address or a network, such as `10.0.0.0/8`";
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| form)?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let plain = |bits: &str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            None => most,
            Some(bits) if plain(bits) => bits.parse().map_err(|_| form)?,
            Some(_) => return Err(form),
        };
        if bits > most {
            return Err(form);
        }
        let (address, is_ipv4) = wide(ip);
        if address & mask(bits) != address {
            return Err("has bits set past its length");
        }
        Ok(Self {
            address,
            bits,
            is_ipv4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_with_its_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.1.2.3/32", "::ffff:10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("::/0", "::1", "8.8.8.8"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("192.168.0.128/25", "192.168.0.255", "192.168.0.127"),
        ] {
            let clients = Clients {
                trusted: vec![network.parse().unwrap()],
                ..Clients::default()
            };
            assert!(clients.trusts(inside.parse().unwrap()), "{network}");
            assert!(!clients.trusts(outside.parse().unwrap()), "{network}");
        }
        assert!(!Clients::default().trusts("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "a",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
