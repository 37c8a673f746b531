//! A raw HTTP/1.1 client: what goes over the wire is what the test says, byte for byte.
//!
//! It never retries, follows or corrects. It listens while it sends, as an answer may come before
//! the request is whole.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;

use super::{
    Framing, HEADERS_MAX, Headers, Wire, cut_off, first_text, malformed, owned, values, within,
};

/// The longest wait for a connection, a write or a response, unless `with_limit` sets another.
pub const WAIT_MAX: Duration = Duration::from_secs(15);
/// The longest wait for the peer to close.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);

/// A request to send, over HTTP/1.1 by [`Client`] or over HTTP/2 by [`H2Client`].
///
/// Headers keep their order, case and duplicates. `Host` comes first unless given, the framing
/// header and `Expect` come last unless given.
///
/// [`H2Client`]: super::h2c::H2Client
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Headers,
    pub(super) body: Option<Vec<u8>>,
    /// The cut of a body whose length is not declared.
    pub(super) chunks: Option<Vec<usize>>,
    pub(super) trickle: Option<Trickle>,
    expects_continue: bool,
}

/// The pace of a body: a pause before each piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trickle {
    pub(super) piece_len: usize,
    pub(super) pause: Duration,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
            chunks: None,
            trickle: None,
            expects_continue: false,
        }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A `POST` with an empty body.
    pub fn post(target: &str) -> Self {
        Self::new("POST", target).body("")
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Sets the body, with its length declared.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Declares no length and cuts the body into chunks (over HTTP/2, DATA frames) of these sizes;
    /// what is left over makes a last one.
    pub fn chunked(mut self, sizes: &[usize]) -> Self {
        self.chunks = Some(sizes.to_vec());
        self
    }

    /// Writes the body, chunk framing included, in pieces of `piece_len` bytes with a pause before
    /// each; over HTTP/2, each chunk's DATA frame is cut so.
    pub fn trickle(mut self, piece_len: usize, pause: Duration) -> Self {
        assert!(piece_len > 0, "a piece has at least one byte");
        self.trickle = Some(Trickle { piece_len, pause });
        self
    }

    /// Sends `Expect: 100-continue` and keeps the body back until the `100`. HTTP/1.1 only.
    pub fn expect_continue(mut self) -> Self {
        self.expects_continue = true;
        self
    }

    /// The request as [`Client`] writes it.
    pub fn to_bytes(&self, host: &str) -> Vec<u8> {
        let mut bytes = self.head_bytes(host);
        bytes.extend(self.body_bytes());
        bytes
    }

    fn head_bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        if !self.has("host") {
            head.extend(format!("Host: {host}\r\n").into_bytes());
        }
        for (name, value) in &self.headers {
            head.extend(name.as_bytes());
            head.extend(b": ");
            head.extend(value);
            head.extend(b"\r\n");
        }
        head.extend(self.framing_header().into_bytes());
        if self.expects_continue && !self.has("expect") {
            head.extend(b"Expect: 100-continue\r\n");
        }
        head.extend(b"\r\n");
        head
    }

    fn framing_header(&self) -> String {
        if self.has("content-length") || self.has("transfer-encoding") {
            return String::new();
        }
        match (&self.chunks, &self.body) {
            (Some(_), _) => "Transfer-Encoding: chunked\r\n".to_owned(),
            (None, Some(body)) => format!("Content-Length: {}\r\n", body.len()),
            (None, None) => String::new(),
        }
    }

    fn body_bytes(&self) -> Vec<u8> {
        if self.chunks.is_none() {
            return self.body.clone().unwrap_or_default();
        }
        let mut bytes = Vec::new();
        for chunk in self.cut() {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    }

    /// The body cut by the chunk sizes, without empty pieces.
    pub(super) fn cut(&self) -> Vec<&[u8]> {
        let mut rest = self.body.as_deref().unwrap_or_default();
        let mut pieces = Vec::new();
        for size in self.chunks.iter().flatten() {
            let (piece, after) = rest.split_at(rest.len().min(*size));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    pub(super) fn has(&self, name: &str) -> bool {
        values(&self.headers, name).next().is_some()
    }
}

/// A response as it came, from [`Client`] or [`H2Client`].
///
/// [`H2Client`]: super::h2c::H2Client
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Empty over HTTP/2.
    pub reason: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// The 1xx statuses that came before; not told over HTTP/2.
    pub interim: Vec<u16>,
}

impl Response {
    /// The first header called `name`, whatever its case.
    ///
    /// # Panics
    ///
    /// When the value is not UTF-8; `headers_named` gives bytes.
    pub fn header(&self, name: &str) -> Option<&str> {
        first_text(&self.headers, name)
    }

    /// The values of every header called `name`, in wire order.
    pub fn headers_named(&self, name: &str) -> Vec<&[u8]> {
        values(&self.headers, name).collect()
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("the response body is UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|fault| panic!("the response is not JSON ({fault}): {self:?}"))
    }

    async fn read<R: AsyncRead + Unpin>(
        wire: &mut Wire<R>,
        method: &str,
        go_ahead: &Notify,
    ) -> io::Result<Self> {
        let mut interim = Vec::new();
        let mut response = loop {
            let response = Self::from_head(&wire.head().await?.ok_or_else(cut_off)?)?;
            match response.status {
                100 => go_ahead.notify_one(),
                102..=199 => {}
                _ => break response,
            }
            interim.push(response.status);
        };
        response.interim = interim;
        response.body = if method == "HEAD" || matches!(response.status, 101 | 204 | 304) {
            Vec::new()
        } else if Framing::of(&response.headers) == Framing::None {
            wire.rest().await?
        } else {
            wire.body(&response.headers).await?
        };
        Ok(response)
    }

    fn from_head(raw_head: &[u8]) -> io::Result<Self> {
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut slots);
        head.parse(raw_head)
            .map_err(|fault| malformed(&format!("a response head ({fault})")))?;
        Ok(Self {
            status: head.code.unwrap_or_default(),
            reason: head.reason.unwrap_or_default().to_owned(),
            headers: owned(head.headers),
            body: Vec::new(),
            interim: Vec::new(),
        })
    }
}

/// One connection, for as many requests as the peer keeps it.
pub struct Client {
    wire: Wire<Box<dyn AsyncRead + Send + Unpin>>,
    out: Box<dyn AsyncWrite + Send + Unpin>,
    host: String,
    limit: Duration,
    /// The methods that await a response: the answer to `HEAD` has no body.
    asked: VecDeque<String>,
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = within(WAIT_MAX, "a TCP connection", TcpStream::connect(addr)).await;
        let stream = stream.unwrap_or_else(|fault| panic!("cannot connect to {addr}: {fault}"));
        // Pieces are to leave as they are written.
        stream.set_nodelay(true).expect("a TCP option");
        let (read, write) = stream.into_split();
        Self::new(Box::new(read), Box::new(write), addr.to_string())
    }

    /// The same, where nobody may listen any more.
    pub async fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Self::new(Box::new(read), Box::new(write), addr.to_string()))
    }

    pub async fn connect_unix(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let stream = within(WAIT_MAX, "a unix connection", UnixStream::connect(path)).await;
        let stream =
            stream.unwrap_or_else(|fault| panic!("cannot connect to {}: {fault}", path.display()));
        let (read, write) = stream.into_split();
        Self::new(Box::new(read), Box::new(write), "localhost".to_owned())
    }

    /// Over what is connected already.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static, host: &str) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self::new(Box::new(read), Box::new(write), host.to_owned())
    }

    fn new(
        read: Box<dyn AsyncRead + Send + Unpin>,
        out: Box<dyn AsyncWrite + Send + Unpin>,
        host: String,
    ) -> Self {
        Self {
            wire: Wire::new(read),
            out,
            host,
            limit: WAIT_MAX,
            asked: VecDeque::new(),
        }
    }

    /// Sets the longest wait for one call.
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Writes bytes as they are. An error means that the peer closed.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(
            self.limit,
            "the peer to take bytes",
            self.out.write_all(bytes),
        )
        .await
    }

    /// Writes a whole request without reading, for pipelining. It waits for no `100`.
    pub async fn send(&mut self, request: &Request) -> io::Result<()> {
        self.asked.push_back(request.method.clone());
        let write = write(&mut self.out, request, &self.host, None);
        within(self.limit, "the peer to take a request", write).await
    }

    /// Reads the response to the oldest unanswered request.
    ///
    /// # Panics
    ///
    /// When no whole response comes.
    pub async fn read_response(&mut self) -> Response {
        self.try_read_response()
            .await
            .unwrap_or_else(|fault| panic!("no response: {fault}"))
    }

    /// Reads the response to the oldest unanswered request; fails when the peer closes instead.
    pub async fn try_read_response(&mut self) -> io::Result<Response> {
        let method = self.asked.pop_front().unwrap_or_default();
        let go_ahead = Notify::new();
        let response = Response::read(&mut self.wire, &method, &go_ahead);
        within(self.limit, "a response", response).await
    }

    /// Sends a request and reads its response.
    ///
    /// # Panics
    ///
    /// When no whole response comes.
    pub async fn request(&mut self, request: &Request) -> Response {
        self.try_request(request).await.unwrap_or_else(|fault| {
            panic!(
                "no response to {} {}: {fault}",
                request.method, request.target
            )
        })
    }

    /// Sends a request and reads its response; fails when the peer closes instead.
    ///
    /// When the response is whole before the request is, the rest of the request is not sent and the
    /// connection is of no further use.
    pub async fn try_request(&mut self, request: &Request) -> io::Result<Response> {
        assert!(
            self.asked.is_empty(),
            "read the responses to earlier requests first"
        );
        let go_ahead = Notify::new();
        let exchange = async {
            let write = write(&mut self.out, request, &self.host, Some(&go_ahead));
            let response = Response::read(&mut self.wire, &request.method, &go_ahead);
            tokio::pin!(response);
            tokio::select! {
                biased;
                response = &mut response => response,
                // A failed write is no verdict yet: the answer may have come before the close.
                _ = write => response.await,
            }
        };
        within(self.limit, "a request and its response", exchange).await
    }

    /// Closes the sending side.
    pub async fn close_write(&mut self) -> io::Result<()> {
        within(self.limit, "half a close", self.out.shutdown()).await
    }

    /// Whether the peer closes, or has closed, within 5 s without sending more.
    pub async fn is_closed(&mut self) -> bool {
        let read = tokio::time::timeout(CLOSE_WAIT_MAX, self.wire.fill()).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }
}

/// Sends one request on a connection of its own.
pub async fn send(addr: SocketAddr, request: &Request) -> Response {
    Client::connect(addr).await.request(request).await
}

async fn write<W: AsyncWrite + Unpin>(
    out: &mut W,
    request: &Request,
    host: &str,
    go_ahead: Option<&Notify>,
) -> io::Result<()> {
    out.write_all(&request.head_bytes(host)).await?;
    if let Some(go_ahead) = go_ahead
        && request.expects_continue
    {
        go_ahead.notified().await;
    }
    let body = request.body_bytes();
    let Some(Trickle { piece_len, pause }) = request.trickle else {
        return out.write_all(&body).await;
    };
    for piece in body.chunks(piece_len) {
        tokio::time::sleep(pause).await;
        out.write_all(piece).await?;
    }
    Ok(())
}
