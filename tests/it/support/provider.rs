//! A provider that is polled: HTTP/1.1 by hand, with answers from a function.
//!
//! A request is recorded before it is answered. The function may hold a request, as a long poll does:
//! then it is asked again until it has an answer.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hookgate::clock::{Clock, SystemClock};
use http::StatusCode;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::{HEADERS_MAX, Headers, Wire, first_text, malformed, owned, within_or};

/// The longest wait for a request.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a held request is looked at again.
const HOLD_PERIOD: Duration = Duration::from_millis(10);
/// How many bytes of a long body are sent at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A request that the provider got.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// The path, as sent.
    pub path: String,
    /// The parameters, decoded, in their order.
    pub query: Vec<(String, String)>,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// When it came, by the monotonic clock of the tests.
    pub at: Duration,
    /// How long it has been held.
    pub held: Duration,
}

impl Asked {
    /// The first header called `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        first_text(&self.headers, name)
    }

    /// The first parameter called `name`.
    pub fn param(&self, name: &str) -> Option<&str> {
        let mut named = self.query.iter().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// A parameter that is a number.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.param(name)?.parse().ok()
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A field of the body, which is a form.
    pub fn form(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(&self.body);
        let found = pairs.find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned())
    }

    fn from_head(raw_head: &[u8]) -> io::Result<Self> {
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut slots);
        head.parse(raw_head)
            .map_err(|fault| malformed(&format!("a request head ({fault})")))?;
        let target = head.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Self {
            method: head.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            headers: owned(head.headers),
            body: Vec::new(),
            at: SystemClock.monotonic(),
            held: Duration::ZERO,
        })
    }
}

/// What the provider sends as a body.
#[derive(Clone, Debug)]
enum Body {
    Whole(Vec<u8>),
    /// The same byte, so many times.
    Long(usize),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    is_held: bool,
}

impl Answer {
    /// An answer with an empty body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Whole(Vec::new()),
            is_held: false,
        }
    }

    /// `200` with JSON.
    pub fn json(value: &Value) -> Self {
        Self::new(200).with_json(value)
    }

    /// `200` with a body of some type.
    pub fn text(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(200)
            .header("Content-Type", content_type)
            .body(body)
    }

    /// No answer yet: the function is asked again.
    pub fn held() -> Self {
        Self {
            is_held: true,
            ..Self::new(200)
        }
    }

    /// `200` with so many bytes.
    pub fn long(bytes: usize) -> Self {
        Self {
            body: Body::Long(bytes),
            ..Self::text("application/json", "")
        }
    }

    pub fn with_json(self, value: &Value) -> Self {
        self.header("Content-Type", "application/json")
            .body(value.to_string())
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Whole(body.into());
        self
    }

    /// Packs the body, and says so.
    pub fn gzip(mut self) -> Self {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        match &self.body {
            Body::Whole(bytes) => io::Write::write_all(&mut packed, bytes),
            Body::Long(bytes) => io::copy(
                &mut io::Read::take(io::repeat(b' '), u64::try_from(*bytes).unwrap_or(u64::MAX)),
                &mut packed,
            )
            .map(drop),
        }
        .expect("memory takes bytes");
        self.body = Body::Whole(packed.finish().expect("memory takes bytes"));
        self.header("Content-Encoding", "gzip")
    }

    fn head(&self) -> String {
        let reason = StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Scripted");
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let length = match &self.body {
            Body::Whole(bytes) => bytes.len(),
            Body::Long(bytes) => *bytes,
        };
        if !matches!(self.status, 204 | 304) {
            head += &format!("Content-Length: {length}\r\n");
        }
        head + "\r\n"
    }
}

/// What answers requests.
pub type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

struct State {
    handler: Mutex<Arc<Handler>>,
    asked: watch::Sender<Vec<Asked>>,
}

/// A provider on loopback. Dropping it closes its listener and its connections.
pub struct Provider {
    addr: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Provider {
    /// Starts on a free port.
    pub async fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound socket");
        let state = Arc::new(State {
            handler: Mutex::new(Arc::new(handler)),
            asked: watch::Sender::new(Vec::new()),
        });
        Self {
            addr,
            accepting: tokio::spawn(accept(listener, Arc::clone(&state))),
            state,
        }
    }

    /// Answers otherwise from now on.
    pub fn answer_with(&self, handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) {
        *lock(&self.state.handler) = Arc::new(handler);
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.borrow().clone()
    }

    /// Every request so far to a path.
    pub fn asked_at(&self, path: &str) -> Vec<Asked> {
        let asked = self.asked().into_iter();
        asked.filter(|asked| asked.path == path).collect()
    }

    pub fn count(&self) -> usize {
        self.state.asked.borrow().len()
    }

    /// Awaits `count` requests in all.
    ///
    /// # Panics
    ///
    /// When fewer come within 10 s.
    pub async fn wait_for(&self, count: usize) -> Vec<Asked> {
        let mut asked = self.state.asked.subscribe();
        let enough = asked.wait_for(|asked| asked.len() >= count);
        let late = || {
            let count_now = self.count();
            format!("the provider had {count_now} of {count} requests after {WAIT_MAX:?}")
        };
        within_or(WAIT_MAX, enough, late)
            .await
            .expect("the provider keeps its sender")
            .clone()
    }

    /// Awaits so many requests more.
    pub async fn wait_for_more(&self, count: usize) -> Vec<Asked> {
        self.wait_for(self.count() + count).await
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What a provider has: rows that come, change and go while it is asked.
#[derive(Clone, Default)]
pub struct Rows(Arc<Mutex<Vec<Value>>>);

impl Rows {
    pub fn new(rows: impl IntoIterator<Item = Value>) -> Self {
        Self(Arc::new(Mutex::new(rows.into_iter().collect())))
    }

    pub fn all(&self) -> Vec<Value> {
        lock(&self.0).clone()
    }

    pub fn add(&self, row: Value) {
        lock(&self.0).push(row);
    }

    /// Puts a row before all others.
    pub fn add_first(&self, row: Value) {
        lock(&self.0).insert(0, row);
    }

    pub fn change(&self, change: impl FnOnce(&mut Vec<Value>)) {
        change(&mut lock(&self.0));
    }

    /// So many rows from a place on.
    pub fn page(&self, offset: usize, count: usize) -> Vec<Value> {
        let rows = lock(&self.0);
        rows.iter().skip(offset).take(count).cloned().collect()
    }

    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no one panics with the lock")
}

/// Owns the connections: they end when this task does.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let connection = Connection::new(stream, Arc::clone(&state));
        connections.spawn(connection.run());
    }
}

struct Connection {
    wire: Wire<OwnedReadHalf>,
    out: OwnedWriteHalf,
    state: Arc<State>,
}

impl Connection {
    fn new(stream: TcpStream, state: Arc<State>) -> Self {
        // The peer may be gone already; then the first read tells.
        let _ = stream.set_nodelay(true);
        let (read, out) = stream.into_split();
        Self {
            wire: Wire::new(read),
            out,
            state,
        }
    }

    /// Ends with the peer: one that was killed leaves in the middle.
    async fn run(mut self) {
        while let Ok(true) = self.exchange().await {}
    }

    async fn exchange(&mut self) -> io::Result<bool> {
        let Some(raw_head) = self.wire.head().await? else {
            return Ok(false);
        };
        let mut asked = Asked::from_head(&raw_head)?;
        asked.body = self.wire.body(&asked.headers).await?;
        self.state.asked.send_modify(|all| all.push(asked.clone()));
        let answer = loop {
            let handler = Arc::clone(&lock(&self.state.handler));
            let answer = handler(&asked);
            if !answer.is_held {
                break answer;
            }
            tokio::select! {
                () = tokio::time::sleep(HOLD_PERIOD) => asked.held += HOLD_PERIOD,
                _ = self.wire.fill() => return Ok(false),
            }
        };
        self.send(&answer).await?;
        Ok(true)
    }

    async fn send(&mut self, answer: &Answer) -> io::Result<()> {
        let mut bytes = answer.head().into_bytes();
        match &answer.body {
            Body::Whole(body) => {
                bytes.extend(body);
                self.out.write_all(&bytes).await
            }
            Body::Long(length) => {
                self.out.write_all(&bytes).await?;
                let piece = vec![b' '; PIECE_BYTES];
                for _ in 0..length.div_ceil(PIECE_BYTES) {
                    self.out.write_all(&piece).await?;
                }
                Ok(())
            }
        }
    }
}
