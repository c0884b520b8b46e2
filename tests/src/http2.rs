//! Clients of HTTP/2: one by the crate `h2`, which controls streams and windows, and one that
//! writes frames as it likes; and an upstream of HTTP/2.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};

/// Runs a test's asynchronous part.
///
/// # Panics
///
/// When there is no runtime.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(Duration::from_mins(1), future)
            .await
            .expect("it ends within a minute")
    })
}

/// A response with its body and trailers.
#[derive(Debug)]
pub struct Answer {
    pub head: Response<()>,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection that is kept.
pub struct Client {
    pub sender: SendRequest<Bytes>,
    /// Ends with the connection.
    pub connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    /// By prior knowledge.
    ///
    /// # Panics
    ///
    /// When there is no connection.
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &h2::client::Builder::new()).await
    }

    /// As [`Client::open`], with settings of its own.
    ///
    /// # Panics
    ///
    /// When there is no connection.
    pub async fn open_with(address: SocketAddr, builder: &h2::client::Builder) -> Self {
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("connect");
        Self::over(stream, builder).await
    }

    /// Over any connection.
    ///
    /// # Panics
    ///
    /// When HTTP/2 does not begin.
    pub async fn over<S>(stream: S, builder: &h2::client::Builder) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = builder.handshake(stream).await.expect("HTTP/2");
        Self {
            sender,
            connection: tokio::task::spawn_local(connection),
        }
    }

    /// Sends a request without a body, and reads the response.
    ///
    /// # Errors
    ///
    /// When the stream or the connection broke off.
    pub async fn send(&self, request: Request<()>) -> Result<Answer, h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, _) = sender.send_request(request, true)?;
        receive(response.await?).await
    }

    /// `GET` of a path of `http://test`.
    ///
    /// # Errors
    ///
    /// As [`Client::send`].
    ///
    /// # Panics
    ///
    /// When the path is none.
    pub async fn get(&self, path: &str) -> Result<Answer, h2::Error> {
        let request = Request::get(format!("http://test{path}"));
        self.send(request.body(()).expect("a request")).await
    }
}

/// The rest of a response.
///
/// # Errors
///
/// When the stream broke off.
pub async fn receive(response: Response<h2::RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    Ok(Answer {
        head: Response::from_parts(head, ()),
        body,
        trailers: stream.trailers().await?,
    })
}

/// What HTTP/2 begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames, and flags of theirs (RFC 9113, section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One frame.
///
/// # Panics
///
/// When the payload is too long for one.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len())
        .expect("a length")
        .to_be_bytes();
    let mut frame = len[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of `GET` of a path of `http://test`, as HPACK has it without a table of its own.
///
/// # Panics
///
/// When the path is long.
pub fn get_block_of(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04];
    block.push(u8::try_from(path.len()).expect("a short one"));
    block.extend(path.as_bytes());
    block.extend([0x01, 4]);
    block.extend(b"test");
    block
}

/// A connection on which any frames are written.
pub struct Raw(pub TcpStream);

impl Raw {
    /// With preface and empty settings.
    ///
    /// # Panics
    ///
    /// When nobody listens.
    pub fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        stream
            .set_write_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        stream.write_all(PREFACE).expect("send");
        stream.write_all(&frame(4, 0, 0, &[])).expect("send");
        Self(stream)
    }

    /// The next frame: its kind, flags, stream and payload; `None` at the connection's end.
    pub fn read(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        self.0.read_exact(&mut payload).ok()?;
        Some((kind, flags, u32::from_be_bytes(stream), payload))
    }
}

/// A request as an upstream of HTTP/2 saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

/// What an upstream of HTTP/2 answers.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub head: Response<()>,
    pub body: &'static [u8],
    pub trailers: Option<HeaderMap>,
    /// Says GOAWAY behind it.
    pub leave: bool,
    /// Refuses the request's stream instead.
    pub refuse: bool,
}

/// A running upstream of HTTP/2; its thread ends with the process.
#[derive(Clone)]
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;

impl Upstream {
    /// Answers as the handler does; with TLS where there is a configuration of it.
    ///
    /// # Panics
    ///
    /// When there is no port.
    pub fn new(
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let upstream = Self {
            address: listener.local_addr().expect("an address"),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let this = upstream.clone();
        let handler: Arc<Handler> = Arc::new(handler);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, this.accept(listener, tls, handler));
        });
        upstream
    }

    /// Answers each request with `hello`.
    pub fn hello() -> Self {
        Self::new(None, |_| Reply {
            body: b"hello",
            ..Reply::default()
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As an entry of `endpoints`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    ///
    /// # Panics
    ///
    /// When a handler panicked.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("lock").clone()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    async fn accept(
        self,
        listener: std::net::TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: Arc<Handler>,
    ) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        while let Ok((stream, _)) = listener.accept().await {
            let (this, handler, tls) = (self.clone(), Arc::clone(&handler), tls.clone());
            tokio::task::spawn_local(async move {
                match tls {
                    None => this.serve(stream, handler).await,
                    Some(tls) => {
                        let accepted = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await;
                        if let Ok(stream) = accepted {
                            this.serve(stream, handler).await;
                        }
                    }
                }
            });
        }
    }

    async fn serve(
        self,
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
        handler: Arc<Handler>,
    ) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let Ok(mut connection) = h2::server::handshake(stream).await else {
            return;
        };
        let (leave, mut leaving) = tokio::sync::mpsc::unbounded_channel();
        loop {
            tokio::select! {
                _ = leaving.recv() => connection.graceful_shutdown(),
                accepted = connection.accept() => {
                    let Some(Ok((request, respond))) = accepted else { return };
                    let (this, handler, leave) = (self.clone(), Arc::clone(&handler), leave.clone());
                    tokio::task::spawn_local(async move {
                        // A stream that breaks off is the client's affair.
                        let _ = this.answer(request, respond, &*handler, leave).await;
                    });
                }
            }
        }
    }

    async fn answer(
        self,
        request: Request<h2::RecvStream>,
        mut respond: h2::server::SendResponse<Bytes>,
        handler: &Handler,
        leave: tokio::sync::mpsc::UnboundedSender<()>,
    ) -> Result<(), h2::Error> {
        let (head, mut stream) = request.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = stream.data().await {
            let piece = piece?;
            stream.flow_control().release_capacity(piece.len())?;
            body.extend_from_slice(&piece);
        }
        let seen = Seen {
            method: head.method.to_string(),
            uri: head.uri.to_string(),
            headers: head.headers,
            body,
            trailers: stream.trailers().await?,
        };
        self.seen.lock().expect("lock").push(seen.clone());
        let reply = handler(&seen);
        if reply.refuse {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            return Ok(());
        }
        let ends = reply.body.is_empty() && reply.trailers.is_none();
        let mut stream = respond.send_response(reply.head, ends)?;
        if !ends {
            stream.send_data(Bytes::from_static(reply.body), reply.trailers.is_none())?;
        }
        if let Some(trailers) = reply.trailers {
            stream.send_trailers(trailers)?;
        }
        if reply.leave {
            let _ = leave.send(());
        }
        Ok(())
    }
}
