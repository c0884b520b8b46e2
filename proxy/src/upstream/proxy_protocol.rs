//! The PROXY protocol to upstreams: a connection begins with the addresses of the client that it is
//! for, before TLS, and is that client's alone from then on.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::config::ProxyProtocol;
use crate::listener::proxy_protocol::{Addresses, SIGNATURE};

/// A header of this version; one that names no client is of a connection that Weir makes for itself.
pub fn header(version: ProxyProtocol, client: Option<Addresses>) -> Vec<u8> {
    let client = client.map(of_one_family);
    match version {
        ProxyProtocol::V1 => version_1(client),
        ProxyProtocol::V2 => version_2(client),
    }
}

fn version_1(client: Option<Addresses>) -> Vec<u8> {
    let mut line = Vec::new();
    let written = match client {
        None => write!(line, "PROXY UNKNOWN\r\n"),
        Some(Addresses {
            source,
            destination,
        }) => write!(
            line,
            "PROXY TCP{} {} {} {} {}\r\n",
            if source.is_ipv4() { 4 } else { 6 },
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        ),
    };
    written.expect("a vector takes what it is given");
    line
}

fn version_2(client: Option<Addresses>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some(Addresses {
        source,
        destination,
    }) = client
    else {
        // LOCAL, of no family, and nothing behind it.
        header.extend([0x20, 0, 0, 0]);
        return header;
    };
    // PROXY, over TCP.
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([0x21, 0x11, 0, 12]);
            header.extend(from.octets());
            header.extend(to.octets());
        }
        (from, to) => {
            header.extend([0x21, 0x21, 0, 36]);
            header.extend(mapped(from));
            header.extend(mapped(to));
        }
    }
    header.extend(source.port().to_be_bytes());
    header.extend(destination.port().to_be_bytes());
    header
}

/// A header has one family for both addresses: an IPv4 address beside one of IPv6 is mapped into it.
fn of_one_family(addresses: Addresses) -> Addresses {
    let Addresses {
        source,
        destination,
    } = addresses;
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let (from, to) = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (from, to),
        _ => (mapped(from).into(), mapped(to).into()),
    };
    Addresses {
        source: SocketAddr::new(from, source.port()),
        destination: SocketAddr::new(to, destination.port()),
    }
}

fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::listener::proxy_protocol::read;

    fn client(source: &str, destination: &str) -> Addresses {
        Addresses {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    #[test]
    fn version_1_is_a_line() {
        for (source, destination, line) in [
            (
                "10.0.0.1:12345",
                "10.0.0.2:80",
                "PROXY TCP4 10.0.0.1 10.0.0.2 12345 80\r\n",
            ),
            ("[::1]:1", "[::2]:2", "PROXY TCP6 ::1 ::2 1 2\r\n"),
            // As a listener of both families has it.
            (
                "[::ffff:10.0.0.1]:1",
                "[::ffff:10.0.0.2]:2",
                "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
            ),
            (
                "10.0.0.1:0",
                "[::2]:2",
                "PROXY TCP6 ::ffff:10.0.0.1 ::2 0 2\r\n",
            ),
        ] {
            let header = header(ProxyProtocol::V1, Some(client(source, destination)));
            assert_eq!(String::from_utf8(header).unwrap(), line);
        }
        assert_eq!(header(ProxyProtocol::V1, None), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_is_binary() {
        let four = client("10.0.0.1:12345", "10.0.0.2:80");
        let four = header(ProxyProtocol::V2, Some(four));
        assert_eq!(
            four,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\x30\x39\0\x50"
        );
        let six = header(ProxyProtocol::V2, Some(client("[::1]:1", "10.0.0.2:2")));
        assert_eq!(six[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(six[31], 1);
        assert_eq!(six[42..48], [0xff, 0xff, 10, 0, 0, 2]);
        assert_eq!(six[48..], [0, 1, 0, 2]);
        assert_eq!(
            header(ProxyProtocol::V2, None),
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_a_listener_reads(
            source in any::<SocketAddr>(),
            destination in any::<SocketAddr>(),
        ) {
            let client = of_one_family(Addresses { source, destination });
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                for client in [Some(client), None] {
                    let header = header(version, client);
                    let mut rest = header.as_slice();
                    prop_assert_eq!(runtime.block_on(read(&mut rest)), Ok(client));
                    prop_assert!(rest.is_empty());
                }
            }
        }
    }
}
