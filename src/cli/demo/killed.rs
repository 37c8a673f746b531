//! The part of the story in which the backend is down and the gateway is killed: a gateway in a
//! process of its own, so that it can be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, ensure};

/// How long a step of the story may take.
const STEP_TIME_MAX: Duration = Duration::from_secs(15);
/// The longest request that the toy reads.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// A gateway in a process of its own, which ends with the story.
pub(super) struct Process {
    child: Child,
    pub(super) address: String,
}

impl Process {
    /// Starts it and waits until it is ready.
    pub(super) fn start(file: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "-c"])
            .arg(file)
            .env("RUST_LOG", "off")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stderr.take().context("no standard error")?);
        let mut process = Self {
            child,
            address: String::new(),
        };
        for line in lines.lines() {
            let line = line?;
            if let Some((_, address)) = line.split_once("listening on ") {
                process.address = address.trim().to_owned();
            }
            if line.ends_with("ready") {
                return Ok(process);
            }
        }
        anyhow::bail!("the gateway did not start")
    }

    /// Ends it as a power cut would: SIGKILL, no word of farewell.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a backend was asked.
pub(super) struct Asked {
    pub(super) attempt: String,
    /// Whether a poll has found it.
    pub(super) is_found: bool,
    pub(super) body: String,
}

/// A backend that comes up late: it tells what it is asked, and says 200.
pub(super) fn come_up(address: SocketAddr) -> anyhow::Result<mpsc::Receiver<Asked>> {
    let listener = TcpListener::bind(address)?;
    let (tell, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(one) = answer(stream) else { continue };
            if tell.send(one).is_err() {
                return;
            }
        }
    });
    Ok(asked)
}

fn answer(mut stream: TcpStream) -> anyhow::Result<Asked> {
    stream.set_read_timeout(Some(STEP_TIME_MAX))?;
    let mut lines = BufReader::new(stream.try_clone()?.take(REQUEST_BYTES_MAX));
    let (mut length, mut attempt, mut is_found) = (0, String::new(), false);
    loop {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse()?,
            "hookgate-attempt" => value.clone_into(&mut attempt),
            "hookgate-source" => is_found = true,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok(Asked {
        attempt,
        is_found,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// The next so many that arrive.
pub(super) fn next(asked: &mpsc::Receiver<Asked>, count: usize) -> anyhow::Result<Vec<Asked>> {
    let mut all = Vec::new();
    for _ in 0..count {
        let one = asked.recv_timeout(STEP_TIME_MAX);
        all.push(one.context("an event did not arrive")?);
    }
    ensure!(
        asked.recv_timeout(Duration::from_millis(300)).is_err(),
        "an event arrived twice"
    );
    Ok(all)
}

/// An address at which nobody listens.
pub(super) fn unused_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A file with one route that queues for a backend, in order.
pub(super) fn configuration(backend: SocketAddr, secret: &str) -> String {
    format!(
        r#"
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: off}}
store: {{path: data}}
backends:
  toy:
    url: "http://{backend}"
    retry: {{backoff: {{base: 100ms, factor: 1, max: 200ms}}}}
    breaker: off
routes:
  github:
    webhook:
      path: /hooks/github
      verify: {{provider: github, secrets: ["{secret}"]}}
    deliver: {{to: toy, mode: queue, order_key: $.shop}}
"#
    )
}
