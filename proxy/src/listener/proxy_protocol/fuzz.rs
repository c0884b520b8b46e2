//! What must hold of headers, whatever their bytes.

use std::net::IpAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::{Addresses, Error, LONGEST_REST, SIGNATURE, read_header};
use crate::config::ProxyProtocol;
use crate::upstream::proxy_protocol::header;

/// Reads a header, and what Weir writes of it for an upstream.
///
/// # Panics
///
/// Where more is read than a header may have, or than this one has; and where an upstream is told of other
/// addresses.
pub fn proxy_protocol(bytes: &[u8]) {
    let (read, left) = read_of(bytes);
    let taken = &bytes[..bytes.len() - left];
    assert!(taken.len() <= SIGNATURE.len() + 4 + LONGEST_REST);
    let Ok(client) = read else {
        return;
    };
    assert_eq!(read_of(taken), (Ok(client), 0));
    let (cut, _) = read_of(&taken[..taken.len() - 1]);
    assert_eq!(cut, Err(Error::Closed));
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let written = header(version, client);
        let (again, left) = read_of(&written);
        assert_eq!(left, 0);
        let again = again.expect("what Weir writes can be read");
        assert_eq!(again.map(plain), client.map(plain));
        assert_eq!(header(version, again), written);
    }
}

/// What is read of these bytes, and how many they leave.
pub(super) fn read_of(bytes: &[u8]) -> (Result<Option<Addresses>, Error>, usize) {
    let mut rest = bytes;
    let read = {
        let reading = pin!(read_header(&mut rest));
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(read) = reading.poll(&mut context) else {
            panic!("it waits, though all is there");
        };
        read
    };
    (read, rest.len())
}

/// Without the families, of which a header has one.
fn plain(addresses: Addresses) -> [(IpAddr, u16); 2] {
    let Addresses {
        source,
        destination,
    } = addresses;
    [source, destination].map(|address| (address.ip().to_canonical(), address.port()))
}
