//! A backend that records the exact bytes it is sent and answers, or misbehaves, as scripted.
//!
//! It is written on bare TCP so that no HTTP library tidies what arrives. A request is recorded
//! before it is answered: whoever has the answer finds the request in `requests()`.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::{
    Framing, HEADERS_MAX, Headers, Wire, first_text, malformed, owned, values, within, within_or,
};

/// The longest wait for a request to arrive, and for the backend to start or stop.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a taken address is tried again.
const BIND_PERIOD: Duration = Duration::from_millis(10);
/// How many bytes of a chunked answer go into one chunk.
const CHUNK_BYTES: usize = 4096;

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    pub headers: Headers,
    /// The body without its chunk framing.
    pub body: Vec<u8>,
    pub framing: Framing,
    /// Which accepted connection carried it, from 0.
    pub connection: usize,
    /// The request line and the headers, with the closing blank line.
    pub raw_head: Vec<u8>,
}

impl Recorded {
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
        str::from_utf8(&self.body).expect("the recorded body is UTF-8")
    }

    fn from_head(raw_head: Vec<u8>, connection: usize) -> io::Result<Self> {
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut slots);
        head.parse(&raw_head)
            .map_err(|fault| malformed(&format!("a request head ({fault})")))?;
        let headers = owned(head.headers);
        Ok(Self {
            method: head.method.unwrap_or_default().to_owned(),
            target: head.path.unwrap_or_default().to_owned(),
            framing: Framing::of(&headers),
            headers,
            body: Vec::new(),
            connection,
            raw_head,
        })
    }

    fn says(&self, name: &str, word: &str) -> bool {
        values(&self.headers, name).any(|value| value.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// How an answer says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFraming {
    ContentLength,
    Chunked,
    /// By closing the connection.
    UntilClose,
}

/// An answer to send.
///
/// `Content-Length` or `Transfer-Encoding` among `headers` replaces the one that `framing` adds.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub framing: AnswerFraming,
    /// How long the head is kept back.
    pub delay: Option<Duration>,
    pub close_after: bool,
}

impl Default for Response {
    /// `200` with the body `ok`.
    fn default() -> Self {
        Self::new(200).body("ok")
    }
}

impl Response {
    /// An answer with an empty body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            framing: AnswerFraming::ContentLength,
            delay: None,
            close_after: false,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn framing(mut self, framing: AnswerFraming) -> Self {
        self.framing = framing;
        self
    }

    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Says `Connection: close` and closes.
    pub fn close_after(mut self) -> Self {
        self.close_after = true;
        self
    }

    fn closes(&self) -> bool {
        self.close_after || self.framing == AnswerFraming::UntilClose
    }

    fn to_bytes(&self, method: &str) -> Vec<u8> {
        let reason = StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Scripted");
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        let bodiless = matches!(self.status, 204 | 304);
        if !bodiless {
            bytes.extend(self.framing_header().into_bytes());
        }
        if self.closes() {
            bytes.extend(b"Connection: close\r\n");
        }
        bytes.extend(b"\r\n");
        if !bodiless && method != "HEAD" {
            self.extend_with_body(&mut bytes);
        }
        bytes
    }

    fn framing_header(&self) -> String {
        let given = |name: &str| {
            self.headers
                .iter()
                .any(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        if given("content-length") || given("transfer-encoding") {
            return String::new();
        }
        match self.framing {
            AnswerFraming::ContentLength => format!("Content-Length: {}\r\n", self.body.len()),
            AnswerFraming::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            AnswerFraming::UntilClose => String::new(),
        }
    }

    fn extend_with_body(&self, bytes: &mut Vec<u8>) {
        if self.framing != AnswerFraming::Chunked {
            bytes.extend(&self.body);
            return;
        }
        for chunk in self.body.chunks(CHUNK_BYTES) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
    }
}

/// A way not to answer as a backend should.
///
/// The request is read and recorded first, except where a variant says otherwise. Where an answer
/// is sent, it is the standing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehave {
    /// Closes instead of answering.
    CloseBeforeAnswer,
    /// Answers with keep-alive, then closes the idle connection.
    CloseAfterKeepAliveIdle,
    /// Answers with keep-alive, then closes when the next request begins, which is not recorded:
    /// the pooled connection turns out stale only in use.
    CloseOnReuse,
    /// Closes amid the answer's head.
    HalfHead,
    /// Declares 100 bytes of body, sends 10 and closes.
    HalfBody,
    /// Answers with bytes that are no HTTP, then closes.
    Garbage,
    /// Keeps the connection open and silent until the peer closes it.
    NeverAnswer,
    /// Answers with this status after the head, then closes; the recorded body is empty. What the
    /// peer still sends is thrown away, lest a reset overtake the answer.
    EarlyAnswer(u16),
    /// Sends `100` and `103` before the answer.
    Interim100And103,
}

#[derive(Clone, Debug)]
struct Act {
    response: Response,
    misbehave: Option<Misbehave>,
}

impl Act {
    fn respond(response: Response) -> Self {
        Self {
            response,
            misbehave: None,
        }
    }
}

struct Script {
    standing: Act,
    once: VecDeque<Act>,
}

impl Script {
    fn next(&mut self) -> Act {
        self.once
            .pop_front()
            .unwrap_or_else(|| self.standing.clone())
    }
}

struct State {
    script: Mutex<Script>,
    recorded: watch::Sender<Vec<Recorded>>,
    faults: Mutex<Vec<String>>,
    connections: AtomicUsize,
    held: watch::Sender<bool>,
    stopping: Notify,
}

/// An HTTP/1.1 backend on loopback. Dropping it closes its listener and its connections.
pub struct FakeBackend {
    addr: SocketAddr,
    state: Arc<State>,
    taken: AtomicUsize,
    accepting: JoinHandle<()>,
}

impl FakeBackend {
    /// Starts on a free port, answering `200` with `ok`.
    pub async fn start() -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts on the address of a backend that was stopped.
    pub async fn start_on(addr: SocketAddr) -> Self {
        let what = format!("{addr} to be free");
        Self::serve(within(WAIT_MAX, &what, bind(addr)).await)
    }

    fn serve(listener: TcpListener) -> Self {
        let addr = local_addr(listener.local_addr());
        let state = Arc::new(State {
            script: Mutex::new(Script {
                standing: Act::respond(Response::default()),
                once: VecDeque::new(),
            }),
            recorded: watch::Sender::new(Vec::new()),
            faults: Mutex::new(Vec::new()),
            connections: AtomicUsize::new(0),
            held: watch::Sender::new(false),
            stopping: Notify::new(),
        });
        Self {
            addr,
            taken: AtomicUsize::new(0),
            accepting: tokio::spawn(accept(listener, Arc::clone(&state))),
            state,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Answers every request thus from now on.
    pub fn respond_with(&self, response: Response) {
        lock(&self.state.script).standing = Act::respond(response);
    }

    /// Answers one request thus; those queued come before the standing answer.
    pub fn respond_once(&self, response: Response) {
        lock(&self.state.script)
            .once
            .push_back(Act::respond(response));
    }

    /// Treats every request thus, until the next `respond_with`.
    pub fn misbehave(&self, how: Misbehave) {
        lock(&self.state.script).standing.misbehave = Some(how);
    }

    /// Treats one request thus; queued in one row with `respond_once`.
    pub fn misbehave_once(&self, how: Misbehave) {
        let mut script = lock(&self.state.script);
        let act = Act {
            response: script.standing.response.clone(),
            misbehave: Some(how),
        };
        script.once.push_back(act);
    }

    /// Records requests but keeps their answers back until `release`.
    pub fn hold(&self) {
        self.state.held.send_replace(true);
    }

    pub fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// Every request recorded so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.recorded.borrow().clone()
    }

    pub fn count(&self) -> usize {
        self.state.recorded.borrow().len()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// What peers did wrong so far: malformed or unfinished requests, which are not recorded, and
    /// answers that could not be written.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.state.faults).clone()
    }

    /// Awaits the first request that no earlier `next` returned.
    ///
    /// # Panics
    ///
    /// When none comes within 10 s.
    pub async fn next(&self) -> Recorded {
        let index = self.taken.fetch_add(1, Ordering::SeqCst);
        let mut requests = self.wait_for(index + 1).await;
        requests.swap_remove(index)
    }

    /// Awaits `count` requests in all and returns every one recorded by then.
    ///
    /// # Panics
    ///
    /// When fewer come within 10 s.
    pub async fn wait_for(&self, count: usize) -> Vec<Recorded> {
        let mut recorded = self.state.recorded.subscribe();
        let enough = recorded.wait_for(|requests| requests.len() >= count);
        let late = || {
            format!(
                "the backend had {} of {count} requests after {WAIT_MAX:?}; faults: {:?}",
                self.count(),
                self.faults(),
            )
        };
        within_or(WAIT_MAX, enough, late)
            .await
            .expect("the backend keeps its sender")
            .clone()
    }

    /// Stops and waits until its listener and its connections are closed.
    pub async fn stop(mut self) {
        self.state.stopping.notify_one();
        within(WAIT_MAX, "the backend to stop", &mut self.accepting)
            .await
            .expect("the backend does not panic");
    }
}

impl Drop for FakeBackend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// An address that refuses connections and that no one else can take meanwhile: a socket that is
/// bound but does not listen.
pub struct Refusing {
    addr: SocketAddr,
    socket: TcpSocket,
}

/// Takes a free port on which connections are refused.
pub fn refuse() -> Refusing {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .expect("a free port");
    Refusing {
        addr: local_addr(socket.local_addr()),
        socket,
    }
}

impl Refusing {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Starts a backend on this address: the one that was down is up again.
    pub fn start(self) -> FakeBackend {
        // Only now, so that nobody else could take the port: a later `start_on` needs it.
        self.socket.set_reuseaddr(true).expect("a socket option");
        let listener = self.socket.listen(1024).expect("a bound socket listens");
        FakeBackend::serve(listener)
    }
}

fn local_addr(addr: io::Result<SocketAddr>) -> SocketAddr {
    addr.expect("a bound socket has an address")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no one panics with the lock")
}

/// Binds as soon as the address is free: a process that another test is just starting holds copies
/// of this one's sockets, closed ones too, until its `exec`.
async fn bind(addr: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => return listener,
            Err(fault) if fault.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(BIND_PERIOD).await;
            }
            Err(fault) => panic!("cannot bind {addr}: {fault}"),
        }
    }
}

/// Owns the connections: they end when this task does.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.expect("a listener accepts").0,
            () = state.stopping.notified() => break,
        };
        let number = state.connections.fetch_add(1, Ordering::SeqCst);
        let connection = Connection::new(stream, number, Arc::clone(&state));
        connections.spawn(connection.run());
    }
    connections.shutdown().await;
}

struct Connection {
    number: usize,
    wire: Wire<OwnedReadHalf>,
    out: OwnedWriteHalf,
    state: Arc<State>,
}

impl Connection {
    fn new(stream: TcpStream, number: usize, state: Arc<State>) -> Self {
        // The peer may be gone already; then the first read tells.
        let _ = stream.set_nodelay(true);
        let (read, out) = stream.into_split();
        Self {
            number,
            wire: Wire::new(read),
            out,
            state,
        }
    }

    async fn run(mut self) {
        if let Err(fault) = self.serve().await {
            let fault = format!("connection {}: {fault}", self.number);
            lock(&self.state.faults).push(fault);
        }
    }

    async fn serve(&mut self) -> io::Result<()> {
        while let Some(raw_head) = self.wire.head().await? {
            let request = Recorded::from_head(raw_head, self.number)?;
            if self.exchange(request).await?.is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn exchange(&mut self, mut request: Recorded) -> io::Result<ControlFlow<()>> {
        let act = lock(&self.state.script).next();
        if let Some(Misbehave::EarlyAnswer(status)) = act.misbehave {
            return self.answer_early(request, status).await;
        }
        if request.says("expect", "100-continue") {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        request.body = self.wire.body(&request.headers).await?;
        let asked_to_close = request.says("connection", "close");
        let method = request.method.clone();
        self.record(request).await;
        match act.misbehave {
            None => {}
            Some(Misbehave::Interim100And103) => self.write_interims().await?,
            Some(how) => {
                self.misbehave(how, &act.response, &method).await?;
                return Ok(ControlFlow::Break(()));
            }
        }
        self.respond(&act.response, &method).await?;
        Ok(if asked_to_close || act.response.closes() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// Records the request and waits while answers are held.
    async fn record(&self, request: Recorded) {
        self.state.recorded.send_modify(|all| all.push(request));
        let mut held = self.state.held.subscribe();
        held.wait_for(|held| !held)
            .await
            .expect("the backend keeps its sender");
    }

    async fn respond(&mut self, response: &Response, method: &str) -> io::Result<()> {
        if let Some(delay) = response.delay {
            tokio::time::sleep(delay).await;
        }
        self.write(&response.to_bytes(method)).await
    }

    /// Does what comes before the close.
    async fn misbehave(
        &mut self,
        how: Misbehave,
        response: &Response,
        method: &str,
    ) -> io::Result<()> {
        match how {
            Misbehave::CloseBeforeAnswer => Ok(()),
            Misbehave::CloseAfterKeepAliveIdle => self.respond(response, method).await,
            Misbehave::CloseOnReuse => {
                self.respond(response, method).await?;
                self.wire.fill().await.map(drop)
            }
            Misbehave::HalfHead => self.write(b"HTTP/1.1 200 OK\r\nContent-Le").await,
            Misbehave::HalfBody => {
                self.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
                    .await
            }
            Misbehave::Garbage => self.write(b"\x16\x03\x01 this is no HTTP\n\n").await,
            Misbehave::NeverAnswer => {
                self.discard().await;
                Ok(())
            }
            Misbehave::EarlyAnswer(_) | Misbehave::Interim100And103 => {
                unreachable!("{how:?} does not end a connection after the whole request")
            }
        }
    }

    async fn write_interims(&mut self) -> io::Result<()> {
        self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        self.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            .await
    }

    async fn answer_early(
        &mut self,
        request: Recorded,
        status: u16,
    ) -> io::Result<ControlFlow<()>> {
        let answer = Response::new(status).close_after();
        let method = request.method.clone();
        self.record(request).await;
        self.write(&answer.to_bytes(&method)).await?;
        self.out.shutdown().await?;
        self.discard().await;
        Ok(ControlFlow::Break(()))
    }

    /// Throws away what the peer sends until it closes; a reset is such a close.
    async fn discard(&mut self) {
        while matches!(self.wire.fill().await, Ok(length) if length > 0) {
            self.wire.pending.clear();
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes).await
    }
}
