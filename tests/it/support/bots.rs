//! Bots of well-known libraries, as child processes: `tests/sdk` says what they are told and say.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::within_or;

/// The longest wait for a bot to start, or for what it handles.
const WAIT_MAX: Duration = Duration::from_secs(40);

/// How a bot gets its updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Polling,
    Webhook,
}

/// A message that a bot has handled.
#[derive(Clone, Debug, PartialEq)]
pub struct Handled {
    pub id: Value,
    pub chat: i64,
    pub text: String,
}

/// A bot. Dropping it ends it.
pub struct Bot {
    pub library: &'static str,
    lines: Arc<watch::Sender<Vec<Value>>>,
    _child: Child,
    /// The bot lives until this is closed.
    _stdin: ChildStdin,
    _reader: JoinHandle<()>,
}

impl Bot {
    /// Starts a bot of a library; `env` is what it is told.
    ///
    /// # Panics
    ///
    /// When it has not begun within 40 s.
    pub async fn start(library: &'static str, mode: Mode, env: &[(&str, &str)]) -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let (program, script) = match library {
            "grammy" | "telegraf" | "vk-io" => ("node".to_owned(), "tests/sdk/node/bots.mjs"),
            _ => (
                format!("{root}/.venv-bots/bin/python"),
                "tests/sdk/python/bots.py",
            ),
        };
        let mode = match mode {
            Mode::Polling => "polling",
            Mode::Webhook => "webhook",
        };
        let mut child = Command::new(program)
            .args([script, library, mode])
            .current_dir(root)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|fault| panic!("{library}: {fault}; run `make test-deps` first"));
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let lines = Arc::new(watch::Sender::new(Vec::new()));
        let kept = lines.clone();
        let reader = tokio::spawn(async move {
            let mut read = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = read.next_line().await {
                let parsed = serde_json::from_str(&line).expect("a bot says JSON");
                kept.send_modify(|lines: &mut Vec<Value>| lines.push(parsed));
            }
        });
        let bot = Self {
            library,
            lines,
            _child: child,
            _stdin: stdin,
            _reader: reader,
        };
        bot.wait(|lines| !lines.is_empty()).await;
        bot
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        let port = self
            .lines
            .borrow()
            .first()
            .and_then(|line| line["listening"].as_u64());
        let port = port.and_then(|port| u16::try_from(port).ok());
        SocketAddr::from(([127, 0, 0, 1], port.expect("the bot listens")))
    }

    /// What it has handled so far.
    pub fn handled(&self) -> Vec<Handled> {
        let lines = self.lines.borrow();
        let lines = lines.iter().filter(|line| !line["text"].is_null());
        lines
            .map(|line| Handled {
                id: line["id"].clone(),
                chat: line["chat"].as_i64().expect("a chat"),
                text: line["text"].as_str().expect("a text").to_owned(),
            })
            .collect()
    }

    /// Awaits that it has handled so many different messages.
    ///
    /// # Panics
    ///
    /// When it has not within 40 s.
    pub async fn wait_for(&self, count: usize) -> Vec<Handled> {
        let distinct = |lines: &[Value]| {
            let mut ids: Vec<String> = lines
                .iter()
                .filter(|line| !line["text"].is_null())
                .map(|line| line["id"].to_string())
                .collect();
            ids.sort_unstable();
            ids.dedup();
            ids.len()
        };
        self.wait(|lines| distinct(lines) >= count).await;
        self.handled()
    }

    async fn wait(&self, is: impl Fn(&[Value]) -> bool) {
        let mut lines = self.lines.subscribe();
        let waited = lines.wait_for(|lines| is(lines));
        let late = || {
            format!(
                "{}: only {:?} after {WAIT_MAX:?}",
                self.library,
                self.handled().len()
            )
        };
        let _ = within_or(WAIT_MAX, waited, late)
            .await
            .expect("the sender lives");
    }
}
