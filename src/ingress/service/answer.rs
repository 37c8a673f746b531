//! Writes answers, and ends exchanges without destroying them on their way.

use std::time::Duration;

use bytes::Bytes;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// How many unread bytes of a refused body are read to save the connection.
pub(super) const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// How long unread bytes of a refused body are waited for.
pub(super) const LINGER_TIME_MAX: Duration = Duration::from_secs(2);

/// The connection to the sender cannot carry an answer any more.
pub(super) struct Cut;

/// Whether an answer was written.
pub(super) type Written = Result<(), Cut>;

/// The backend's header without what was for its connection to us; framed anew for the sender.
pub(super) fn relayed_header(header: &ResponseHeader, session: &ServerSession) -> ResponseHeader {
    let mut relayed = header.clone();
    let nominated: Vec<String> = header
        .headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    ] {
        relayed.remove_header(name);
    }
    let framing = |name: &str| name == "content-length" || name == "transfer-encoding";
    for name in nominated.iter().filter(|name| !framing(name)) {
        relayed.remove_header(name.as_str());
    }
    relayed.remove_header("transfer-encoding");
    let bodyless = matches!(header.status.as_u16(), 204 | 304);
    let known = relayed.headers.contains_key(http::header::CONTENT_LENGTH);
    let http11 =
        session.as_http1().is_some() && session.req_header().version == http::Version::HTTP_11;
    if !known && !bodyless && http11 && session.req_header().method != http::Method::HEAD {
        let _ = relayed.insert_header(http::header::TRANSFER_ENCODING, "chunked");
    }
    relayed.set_version(http::Version::HTTP_11);
    relayed
}

/// Writes an answer of our own.
pub(super) async fn write(
    session: &mut ServerSession,
    status: u16,
    headers: &[(impl AsRef<str>, impl AsRef<[u8]>)],
    body: Bytes,
) -> Written {
    let mut header = ResponseHeader::build(status, Some(headers.len() + 1)).map_err(|_| Cut)?;
    if !matches!(status, 204 | 304) {
        header
            .insert_header("Content-Length", body.len().to_string())
            .map_err(|_| Cut)?;
    }
    for (name, value) in headers {
        header
            .append_header(name.as_ref().to_owned(), value.as_ref())
            .map_err(|_| Cut)?;
    }
    session
        .write_response_header(Box::new(header))
        .await
        .map_err(|_| Cut)?;
    session
        .write_response_body(body, true)
        .await
        .map_err(|_| Cut)
}

/// Ends an exchange, and gives the session back if it can be used again.
pub(super) async fn end(mut session: ServerSession, written: Written) -> Option<ServerSession> {
    match written {
        Ok(()) => linger(session).await,
        Err(Cut) => {
            session.shutdown().await;
            None
        }
    }
}

/// Ends a connection that carried no request, with an answer of one line. What the sender still
/// sends is read within limits: closing a socket with unread bytes can destroy the answer.
pub(super) async fn end_with(mut stream: Stream, status: u16, write_time_max: Duration) {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let answer =
        format!("HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let write = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        stream.shutdown().await
    };
    if !matches!(timeout(write_time_max, write).await, Ok(Ok(()))) {
        return;
    }
    let mut rest = stream.take(LINGER_BYTES_MAX as u64);
    let mut sink = tokio::io::sink();
    let _ = timeout(LINGER_TIME_MAX, tokio::io::copy(&mut rest, &mut sink)).await;
}

/// Ends a connection that nothing is owed to; over TLS, with the word that this is its end.
pub(super) async fn close(mut stream: Stream, write_time_max: Duration) {
    let _ = timeout(write_time_max, stream.shutdown()).await;
}

/// Ends an exchange: what is left of the body is read within limits, since closing a socket with
/// unread bytes can destroy the answer on its way. Gives the session back if it can be used again.
async fn linger(mut session: ServerSession) -> Option<ServerSession> {
    session.finish_body().await.ok()?;
    let mut left = LINGER_BYTES_MAX;
    let read_rest = async {
        while !session.is_body_done() {
            match session.read_request_body().await {
                Ok(Some(piece)) if piece.len() <= left => left -= piece.len(),
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => return false,
            }
        }
        true
    };
    if timeout(LINGER_TIME_MAX, read_rest).await.unwrap_or(false) {
        return Some(session);
    }
    session.shutdown().await;
    None
}
