//! An HTTP/2 client, by prior knowledge.
//!
//! It takes the same [`Request`] as the HTTP/1.1 client: `Host` becomes `:authority`, `chunked`
//! leaves the length undeclared and cuts the DATA frames, `trickle` cuts and paces them.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::client::{Request, Response, WAIT_MAX};
use super::{first_text, within};

/// One connection; `request` may run any number of times at once, each on its own stream.
pub struct H2Client {
    streams: SendRequest<Bytes>,
    authority: String,
    driver: JoinHandle<()>,
}

impl H2Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::connect_after(addr, b"").await
    }

    /// Connects, and sends these bytes before the first of HTTP/2.
    pub async fn connect_after(addr: SocketAddr, before: &[u8]) -> Self {
        let stream = within(WAIT_MAX, "a TCP connection", TcpStream::connect(addr)).await;
        let mut stream = stream.unwrap_or_else(|fault| panic!("cannot connect to {addr}: {fault}"));
        stream.set_nodelay(true).expect("a TCP option");
        let sent = within(WAIT_MAX, "bytes before HTTP/2", stream.write_all(before));
        sent.await.expect("the peer takes them");
        Self::over(stream, &addr.to_string()).await
    }

    /// Over what is connected already.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        host: &str,
    ) -> Self {
        let handshake = within(
            WAIT_MAX,
            "an HTTP/2 handshake",
            h2::client::handshake(stream),
        );
        let (streams, connection) = handshake.await.expect("an HTTP/2 preface can be sent");
        // How the connection ended is told by each stream's error.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Self {
            streams,
            authority: host.to_owned(),
            driver,
        }
    }

    /// Sends a request on a new stream and reads its response.
    ///
    /// # Panics
    ///
    /// When no whole response comes.
    pub async fn request(&self, request: &Request) -> Response {
        self.try_request(request).await.unwrap_or_else(|fault| {
            panic!(
                "no HTTP/2 response to {} {}: {fault}",
                request.method, request.target
            )
        })
    }

    /// Sends a request on a new stream; fails when the stream or the connection is broken off.
    ///
    /// When the response's head comes before the request is whole, the rest is not sent.
    pub async fn try_request(&self, request: &Request) -> Result<Response, h2::Error> {
        let exchange = self.exchange(request);
        within(WAIT_MAX, "an HTTP/2 request and its response", exchange).await
    }

    async fn exchange(&self, request: &Request) -> Result<Response, h2::Error> {
        let mut streams = self.streams.clone().ready().await?;
        let (mut response, mut out) =
            streams.send_request(self.head(request), request.body.is_none())?;
        let head = tokio::select! {
            biased;
            head = &mut response => head?,
            // A refused write is no verdict yet: the answer may have come before the reset.
            _ = write(&mut out, request) => response.await?,
        };
        let (head, body) = head.into_parts();
        Ok(Response {
            status: head.status.as_u16(),
            reason: String::new(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                .collect(),
            body: read(body).await?,
            interim: Vec::new(),
        })
    }

    fn head(&self, request: &Request) -> http::Request<()> {
        let authority = first_text(&request.headers, "host").unwrap_or(&self.authority);
        let mut head = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("http://{authority}{}", request.target))
            .version(http::Version::HTTP_2);
        for (name, value) in &request.headers {
            if !name.eq_ignore_ascii_case("host") {
                head = head.header(name.as_str(), value.as_slice());
            }
        }
        let undeclared = request.chunks.is_some() || request.has("content-length");
        if let Some(body) = request.body.as_ref().filter(|_| !undeclared) {
            head = head.header("content-length", body.len());
        }
        head.body(()).expect("the test gives a valid head")
    }
}

impl Drop for H2Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn write(out: &mut SendStream<Bytes>, request: &Request) -> Result<(), h2::Error> {
    if request.body.is_none() {
        return Ok(());
    }
    for chunk in request.cut() {
        let piece_len = request.trickle.map_or(chunk.len(), |pace| pace.piece_len);
        for piece in chunk.chunks(piece_len) {
            if let Some(pace) = request.trickle {
                tokio::time::sleep(pace.pause).await;
            }
            out.send_data(Bytes::copy_from_slice(piece), false)?;
        }
    }
    out.send_data(Bytes::new(), true)
}

async fn read(mut incoming: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(piece) = incoming.data().await {
        let piece = piece?;
        incoming.flow_control().release_capacity(piece.len())?;
        body.extend(piece);
    }
    Ok(body)
}
