//! Makes a connection to an endpoint: TCP, TLS where it is told so, and the version of HTTP that was agreed.

use std::io;
use std::rc::Rc;

use http::uri::Scheme;
use tokio::net::TcpStream;

use super::connection::socket::Socket;
use super::connection::{Connection, Http1, Http2};
use super::places::{Place, Usable};
use super::pool::Wanted;
use super::{Endpoint, Error};
use crate::config::Protocol;
use crate::tls::{Alpn, certificate};
use crate::transport::Stream;

/// Makes one, for as long as it takes.
pub(super) async fn connect(
    endpoint: &Endpoint,
    Wanted { alone, client }: Wanted,
    (place, usable): (Place, Usable),
) -> Result<Connection, Error> {
    let stream = endpoint.open(client).await.map_err(Error::Connect)?;
    let config = &endpoint.config;
    let (stream, speaks) = match &config.tls {
        None => (Stream::Plain(stream), None),
        Some(tls) => encrypted(tls, endpoint, stream, alone).await?,
    };
    let http2 = match config.protocol {
        Protocol::Http1 => false,
        _ if alone => false,
        Protocol::Auto => speaks == Some(Alpn::Http2),
        Protocol::Http2 if config.tls.is_some() && speaks != Some(Alpn::Http2) => {
            let error = io::Error::other("the upstream does not speak HTTP/2");
            return Err(Error::Tls(error));
        }
        Protocol::Http2 => true,
    };
    let socket = Socket::new(stream, place);
    if http2 {
        let scheme = if config.tls.is_some() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let connection = Http2::handshake(socket, scheme, client, usable).await?;
        return Ok(Connection::Http2(Rc::new(connection)));
    }
    let connection = Http1::handshake(socket, client, usable).await?;
    Ok(Connection::Http1(connection))
}

async fn encrypted(
    tls: &crate::tls::client::Client,
    endpoint: &Endpoint,
    stream: TcpStream,
    alone: bool,
) -> Result<(Stream, Option<Alpn>), Error> {
    let host = &endpoint.config.host;
    let stream = tls.connect(host, stream, alone).await.map_err(Error::Tls)?;
    let shown = stream.get_ref().1.peer_certificates();
    if let Some(expires) = shown.and_then(certificate::expires) {
        endpoint.note_certificate(expires);
    }
    let chosen = stream.get_ref().1.alpn_protocol();
    let chosen = [Alpn::Http1, Alpn::Http2]
        .into_iter()
        .find(|alpn| chosen == Some(alpn.id()));
    Ok((Stream::Tls(Box::new(stream.into())), chosen))
}
