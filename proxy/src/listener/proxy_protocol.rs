//! 1 — The PROXY protocol, versions 1 and 2: whom a load balancer in front accepted a connection from.
//!
//! Its header comes before anything else, TLS too. It is believed of trusted peers only, must be whole
//! within a deadline, and is never longer than a bound.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

/// How long the header may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// What version 2 begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The shortest header there is: `PROXY UNKNOWN` and the end of its line.
const SHORTEST: usize = 15;

/// The longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;

/// Most bytes behind the fixed part of version 2: addresses, and what else a sender tells.
const LONGEST_REST: usize = 4096;

/// Both ends of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client's.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no PROXY protocol header, or one that is malformed")]
    Malformed,
    #[error("the PROXY protocol header did not come in time")]
    Timeout,
    #[error("closed within the PROXY protocol header")]
    Closed,
}

/// Reads a header, and not a byte more. `None` where it names no client: the peer spoke for itself.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<Addresses>, Error> {
    match tokio::time::timeout(DEADLINE, read_header(stream)).await {
        Ok(read) => read,
        Err(_) => Err(Error::Timeout),
    }
}

async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<Addresses>, Error> {
    let mut head = [0; SHORTEST];
    // What is no header at all is refused by its first byte, not waited for.
    fill(stream, &mut head[..1]).await?;
    if !matches!(head[0], b'P' | b'\r') {
        return Err(Error::Malformed);
    }
    fill(stream, &mut head[1..]).await?;
    if head.starts_with(&SIGNATURE) {
        let mut last = [0; 1];
        fill(stream, &mut last).await?;
        let fixed = [head[12], head[13], head[14], last[0]];
        let len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if len > LONGEST_REST {
            return Err(Error::Malformed);
        }
        let mut rest = vec![0; len];
        fill(stream, &mut rest).await?;
        return version_2(fixed[0], fixed[1], &rest);
    }
    if !head.starts_with(b"PROXY ") {
        return Err(Error::Malformed);
    }
    let mut line = head.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() == LONGEST_LINE {
            return Err(Error::Malformed);
        }
        let mut byte = [0];
        fill(stream, &mut byte).await?;
        line.push(byte[0]);
    }
    version_1(&line)
}

async fn fill<S: AsyncRead + Unpin>(stream: &mut S, into: &mut [u8]) -> Result<(), Error> {
    let read = stream.read_exact(into).await;
    read.map(|_| ()).map_err(|_| Error::Closed)
}

/// The line of version 1, with its end.
fn version_1(line: &[u8]) -> Result<Option<Addresses>, Error> {
    let line = line.strip_suffix(b"\r\n").ok_or(Error::Malformed)?;
    let line = str::from_utf8(line).map_err(|_| Error::Malformed)?;
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return Err(Error::Malformed);
    }
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let [source, target, port, target_port] = [(); 4].map(|()| words.next().unwrap_or_default());
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            Some("TCP4") => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Some("TCP6") => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let number = |text: &str| -> Option<u16> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let padded = text.len() > 1 && text.starts_with('0');
        (plain && !padded).then(|| text.parse().ok())?
    };
    match (
        address(source),
        address(target),
        number(port),
        number(target_port),
        words.next(),
    ) {
        (Some(ip), Some(target), Some(port), Some(target_port), None) => Ok(Some(Addresses {
            source: SocketAddr::new(ip, port),
            destination: SocketAddr::new(target, target_port),
        })),
        _ => Err(Error::Malformed),
    }
}

/// Version 2: its 13th and 14th byte, and what follows the length.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Result<Option<Addresses>, Error> {
    match command {
        // The peer speaks for itself, such as to see whether Weir is well.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(Error::Malformed),
    }
    let port = |at: usize| -> Option<u16> {
        let bytes = rest.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let four = |at: usize| Some(IpAddr::from(*rest.get(at..)?.first_chunk::<4>()?));
    let six = |at: usize| Some(IpAddr::from(*rest.get(at..)?.first_chunk::<16>()?));
    let (source, destination, ports) = match family {
        // Not of a kind that has an address.
        0x00 => return Ok(None),
        0x11 => (four(0), four(4), 8),
        0x21 => (six(0), six(16), 32),
        _ => return Err(Error::Malformed),
    };
    // Both addresses and both ports must be there.
    let address = |ip: Option<IpAddr>, at| Some(SocketAddr::new(ip?, port(at)?));
    match (address(source, ports), address(destination, ports + 2)) {
        (Some(source), Some(destination)) => Ok(Some(Addresses {
            source,
            destination,
        })),
        _ => Err(Error::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fuzz::{proxy_protocol, read_of};
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const FOUR: [u8; 12] = [10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0, 80];

    #[test]
    fn the_client_is_named_and_what_follows_is_left() {
        let mut six = [0; 36];
        six[15] = 1;
        six[32..34].copy_from_slice(&443_u16.to_be_bytes());
        let mut more = FOUR.to_vec();
        more.extend([0x03, 0, 4, 1, 2, 3, 4]);
        for (header, client) in [
            (
                b"PROXY TCP4 10.0.0.1 10.0.0.2 12345 80\r\n".to_vec(),
                Some(("10.0.0.1:12345", "10.0.0.2:80")),
            ),
            (
                b"PROXY TCP6 ::1 ::2 1 2\r\n".to_vec(),
                Some(("[::1]:1", "[::2]:2")),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:: ffff:: 1 2\r\n".to_vec(), None),
            (
                v2(0x21, 0x11, &FOUR),
                Some(("10.0.0.1:12345", "10.0.0.2:80")),
            ),
            (
                v2(0x21, 0x11, &more),
                Some(("10.0.0.1:12345", "10.0.0.2:80")),
            ),
            (v2(0x21, 0x21, &six), Some(("[::1]:443", "[::]:0"))),
            (v2(0x20, 0x11, &FOUR), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x20, 0x00, &[]), None),
        ] {
            let client = client.map(|(source, destination)| Addresses {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
            });
            assert_eq!(read_of(&header), (Ok(client), 0));
            let request = b"GET / HTTP/1.1\r\n";
            let both = [header.as_slice(), request].concat();
            assert_eq!(read_of(&both), (Ok(client), request.len()));
            for end in 0..header.len() {
                assert_eq!(read_of(&header[..end]).0, Err(Error::Closed), "{end}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = format!("PROXY TCP4 10.0.0.1 10.0.0.2 1 {}\r\n", "2".repeat(100));
        for header in [
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            b"PROXYTCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n".to_vec(),
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2 3\r\n".to_vec(),
            b"PROXY TCP4 10.0.0.1  10.0.0.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 10.0.0.1 10.0.0.2 01 2\r\n".to_vec(),
            b"PROXY TCP4 10.0.0.1 10.0.0.2 +1 2\r\n".to_vec(),
            b"PROXY TCP4 10.0.0.1 10.0.0.2 70000 2\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::2 1 2\r\n".to_vec(),
            b"PROXY TCP5 10.0.0.1 10.0.0.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2 \n".to_vec(),
            long.into_bytes(),
            v2(0x11, 0x11, &FOUR),
            v2(0x22, 0x11, &FOUR),
            v2(0x21, 0x31, &FOUR),
            v2(0x21, 0x12, &FOUR),
            v2(0x21, 0x11, &FOUR[..11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x11, &[0; LONGEST_REST + 1]),
        ] {
            let text = String::from_utf8_lossy(&header).into_owned();
            assert_eq!(read_of(&header).0, Err(Error::Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            proxy_protocol(&bytes);
            proxy_protocol(&[&SIGNATURE[..], &bytes].concat());
            proxy_protocol(&[&b"PROXY TCP4 "[..], &bytes].concat());
        }
    }
}
