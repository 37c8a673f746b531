//! Other people's servers as child processes, for the gateway to poll, and a tap on the way to them.
//!
//! The servers are started by `tests/sdk`. What they answer is their own; nothing here knows what it
//! means.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream,
    Lines,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::{JoinHandle, JoinSet};

use super::{HEADERS_MAX, Wire, malformed, owned, values, within};

/// The longest wait for a server to listen or to say something.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How many bytes are carried at once.
const PIECE_BYTES: usize = 16 * 1024;

/// A server on loopback. It ends when it is dropped, and with the process of the test.
pub struct Upstream {
    addr: SocketAddr,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Upstream {
    /// Kinto with everything in memory and these settings besides (`kinto.backoff=1`).
    pub async fn kinto(settings: &[&str]) -> Self {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python"));
        command
            .arg("tests/sdk/python/kinto_server.py")
            .args(settings);
        Self::start(command).await
    }

    /// `PouchDB`'s server with its databases in memory.
    pub async fn pouchdb() -> Self {
        let mut command = Command::new("node");
        command.arg("tests/sdk/node/pouchdb-server.mjs");
        Self::start(command).await
    }

    async fn start(mut command: Command) -> Self {
        let spawned = command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = spawned
            .unwrap_or_else(|fault| panic!("{command:?}: {fault}; run `make test-deps` first"));
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let said = said(&mut lines).await;
        let port = said.get("port").and_then(Value::as_u64);
        let port = port.and_then(|port| u16::try_from(port).ok());
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], port.expect("a port"))),
            stdin,
            lines,
            _child: child,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Says a word to the server and waits until it says it back.
    ///
    /// # Panics
    ///
    /// When it says something else, or nothing within 30 s.
    pub async fn tell(&mut self, word: &str) {
        let line = format!("{word}\n");
        let told = self.stdin.write_all(line.as_bytes()).await;
        told.expect("the server reads what it is told");
        assert_eq!(said(&mut self.lines).await, word);
    }
}

async fn said(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = within(WAIT_MAX, "a server to say something", lines.next_line()).await;
    let line = line.expect("stdout can be read");
    let line = line.expect("the server runs; if not, run `make test-deps` first");
    serde_json::from_str(&line).unwrap_or_else(|fault| panic!("{line:?} is no JSON: {fault}"))
}

/// A request that went through a tap.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When its head was whole.
    pub at: Instant,
    /// Path and query as sent.
    pub target: String,
    /// Whether it asks for what is new only.
    pub is_conditional: bool,
    /// Of the answer, when that is whole.
    pub status: Option<u16>,
}

impl Asked {
    /// The first parameter of this name in the query, as it was sent.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// Carries every byte to a server and back, and notes what is asked. Dropping it closes it.
pub struct Tap {
    addr: SocketAddr,
    notes: Arc<Notes>,
    accepting: JoinHandle<()>,
}

type Notes = Mutex<Vec<Asked>>;

impl Tap {
    /// A tap on the way to this server.
    pub async fn on(upstream: &Upstream) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let notes = Arc::<Notes>::default();
        Self {
            addr: listener
                .local_addr()
                .expect("a bound socket has an address"),
            accepting: tokio::spawn(accept(listener, upstream.addr, Arc::clone(&notes))),
            notes,
        }
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.notes).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(notes: &Notes) -> std::sync::MutexGuard<'_, Vec<Asked>> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, server: SocketAddr, notes: Arc<Notes>) {
    let mut carried = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let notes = Arc::clone(&notes);
        carried.spawn(async move {
            // Whoever is at fault finds out by himself: the connection is closed.
            let _ = carry(client, server, &notes).await;
        });
        while carried.try_join_next().is_some() {}
    }
}

/// Carries until one side closes: a gateway that was killed takes its request along.
async fn carry(client: TcpStream, server: SocketAddr, notes: &Notes) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (asked, questions) = tokio::io::duplex(PIECE_BYTES);
    let (answered, answers) = tokio::io::duplex(PIECE_BYTES);
    let noted = async {
        // What cannot be read is carried all the same.
        let _ = note(questions, answers, notes).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = pump(from_client, to_server, asked) => ended,
        ended = pump(from_server, to_client, answered) => ended,
        () = noted => Ok(()),
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut copy: DuplexStream,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        let (bytes, _) = piece.split_at(length);
        to.write_all(bytes).await?;
        let _ = copy.write_all(bytes).await;
    }
}

async fn note(questions: DuplexStream, answers: DuplexStream, notes: &Notes) -> io::Result<()> {
    let (mut questions, mut answers) = (Wire::new(questions), Wire::new(answers));
    while let Some(head) = questions.head().await? {
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut slots);
        request
            .parse(&head)
            .map_err(|_| malformed("a request head"))?;
        let headers = owned(request.headers);
        let asked = Asked {
            at: Instant::now(),
            target: request.path.unwrap_or_default().to_owned(),
            is_conditional: values(&headers, "if-none-match").next().is_some(),
            status: None,
        };
        let index = {
            let mut notes = lock(notes);
            notes.push(asked);
            notes.len() - 1
        };
        questions.body(&headers).await?;
        let status = answer(&mut answers).await?;
        if let Some(asked) = lock(notes).get_mut(index) {
            asked.status = Some(status);
        }
    }
    Ok(())
}

/// Reads a whole answer; its status.
async fn answer(answers: &mut Wire<DuplexStream>) -> io::Result<u16> {
    let head = answers.head().await?.unwrap_or_default();
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut slots);
    response
        .parse(&head)
        .map_err(|_| malformed("an answer's head"))?;
    let status = response.code.unwrap_or_default();
    let headers = owned(response.headers);
    if status != 304 {
        answers.body(&headers).await?;
    }
    Ok(status)
}
