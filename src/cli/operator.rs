//! How commands reach a gateway: its API, or the file of its store while it is down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use form_urlencoded::Serializer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{send, style};
use crate::admin::problem::Problem;
use crate::admin::{ADMIN_HEADER, BASE};
use crate::app::ListenAddress;
use crate::config::{self, Config};
use crate::delivery::backend::{Backend, Origin};
use crate::event::{Head, Headers};
use crate::outbound::Road;
use crate::store::embedded::Reading;

/// The longest that an answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Which gateway is meant.
#[derive(Args, Clone)]
pub(super) struct Where {
    /// The configuration file of the gateway; says where its admin listener and its store are
    #[arg(short, long, value_name = "FILE", required_unless_present = "url")]
    config: Option<PathBuf>,
    /// The admin listener, instead of what the file says (http://127.0.0.1:9464)
    #[arg(long)]
    url: Option<String>,
    /// One of admin.tokens
    #[arg(long, env = "HOOKGATE_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// A gateway that answers, or what it has left on disk.
pub(super) enum Gateway {
    Running(Client),
    Stopped(Box<Stopped>),
}

/// A store that nobody writes.
pub(super) struct Stopped {
    pub log: Reading,
    pub config: Config,
}

impl Where {
    /// The gateway, which must answer.
    pub(super) async fn running(&self) -> anyhow::Result<Client> {
        let client = self.client()?;
        client.reach().await?;
        Ok(client)
    }

    fn client(&self) -> anyhow::Result<Client> {
        Ok(Client {
            base: self.base()?,
            token: self.token.clone(),
        })
    }

    /// The gateway if it answers, else what it has left on disk.
    pub(super) async fn find(&self) -> anyhow::Result<Gateway> {
        let client = self.client()?;
        let Err(unreachable) = client.reach().await else {
            return Ok(Gateway::Running(client));
        };
        let Some(path) = self.config.as_deref().filter(|_| self.url.is_none()) else {
            return Err(unreachable);
        };
        let config = config::load(path)
            .with_context(|| format!("{unreachable:#}, and {} has faults", path.display()))?;
        let Some(store) = &config.store else {
            bail!("{unreachable:#}, and {} names no store", path.display());
        };
        let log = Reading::open(&store.folder, store.cipher.clone())?;
        style::note(format!(
            "the gateway does not answer; reading {}",
            store.folder.display()
        ));
        Ok(Gateway::Stopped(Box::new(Stopped { log, config })))
    }

    fn base(&self) -> anyhow::Result<String> {
        let otherwise = "the admin listener of this file is not a fixed address; name it with \
                         --url, or give the file one under `admin.listen`";
        admin_url(self.url.as_deref(), self.config.as_deref(), otherwise)
    }
}

/// Where the admin listener is: as it was said, or by the file. `otherwise` is what to do when the
/// file does not tell.
pub(super) fn admin_url(
    url: Option<&str>,
    config: Option<&Path>,
    otherwise: &'static str,
) -> anyhow::Result<String> {
    if let Some(url) = url {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    let path = config.context("say which gateway: -c FILE or --url URL")?;
    match config::admin_address(path)? {
        Some(ListenAddress::Tcp(address)) => Ok(format!("http://{address}")),
        Some(ListenAddress::Unix(_)) | None => bail!(otherwise),
    }
}

/// Asks the API of a gateway.
pub(super) struct Client {
    base: String,
    token: Option<String>,
}

impl Client {
    async fn reach(&self) -> anyhow::Result<()> {
        let origin = Origin::parse(&self.base)?;
        let address = (origin.authority.host.as_str(), origin.authority.port);
        let connected = tokio::time::timeout(TIMEOUT, tokio::net::TcpStream::connect(address));
        match connected.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => bail!("no gateway answers at {} ({error})", self.base),
            Err(_) => bail!("no gateway answers at {}", self.base),
        }
    }

    /// Asks for a document.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(String, String)],
    ) -> anyhow::Result<T> {
        self.ask("GET", &with_query(path, query), &Bytes::new())
            .await
    }

    /// Asks for something to be done.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = Bytes::from(serde_json::to_vec(body)?);
        self.ask("POST", path, &body).await
    }

    /// Puts a document in the place of another.
    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = Bytes::from(serde_json::to_vec(body)?);
        self.ask("PUT", path, &body).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        target: &str,
        body: &Bytes,
    ) -> anyhow::Result<T> {
        let road = self.road().await?;
        let (head, wire) = self.request(method, target, body);
        let answer = road.send(&head, &wire, body).await;
        let answer = answer.with_context(|| format!("no gateway answers at {}", self.base))?;
        let received = answer.receive(usize::MAX).await;
        let received = received.context("the answer broke off")?;
        if received.status >= 400 {
            bail!("{}", complaint(received.status, &received.body));
        }
        serde_json::from_slice(&received.body).context("the answer is not what this version knows")
    }

    /// Follows a stream, piece by piece, until it ends or `each` says that it is enough.
    pub(super) async fn follow(
        &self,
        path: &str,
        query: &[(String, String)],
        mut each: impl FnMut(&[u8]) -> Next,
    ) -> anyhow::Result<()> {
        let road = self.road().await?;
        let (head, wire) = self.request("GET", &with_query(path, query), &Bytes::new());
        let answer = road.send(&head, &wire, &Bytes::new()).await;
        let mut answer = answer.with_context(|| format!("no gateway answers at {}", self.base))?;
        let status = answer.head().map_or(0, |head| head.status.as_u16());
        if status >= 400 {
            let received = answer.receive(usize::MAX).await?;
            bail!("{}", complaint(status, &received.body));
        }
        while let Some(piece) = answer.piece().await.context("the stream broke off")? {
            if each(&piece) == Next::Stop {
                return Ok(());
            }
        }
        bail!("the gateway has ended the stream")
    }

    async fn road(&self) -> anyhow::Result<Road> {
        let backend = Backend::at(Origin::parse(&self.base)?, TIMEOUT);
        let road = Road::new(Arc::new(backend));
        road.refresh().await;
        Ok(road)
    }

    fn request(&self, method: &str, target: &str, body: &Bytes) -> (String, Bytes) {
        let mut headers = Headers::default();
        let host = self.base.split_once("://").map_or("", |(_, host)| host);
        headers.push("Host", host.to_owned());
        headers.push(ADMIN_HEADER, "1");
        headers.push("Content-Type", "application/json");
        headers.push("Content-Length", body.len().to_string());
        if let Some(token) = &self.token {
            headers.push("Authorization", format!("Bearer {token}"));
        }
        let head = Head {
            method: method.to_owned(),
            target: Bytes::from(format!("{BASE}{target}")),
            host: None,
            headers,
        };
        (head.method.clone(), send::written(&head))
    }
}

/// Whether a stream is followed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Stop,
}

fn with_query(path: &str, query: &[(String, String)]) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    let query = Serializer::new(String::new()).extend_pairs(query).finish();
    format!("{path}?{query}")
}

fn complaint(status: u16, body: &[u8]) -> String {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => problem.detail,
        Err(_) => format!(
            "the gateway answered {status}: {}",
            String::from_utf8_lossy(body).trim_end()
        ),
    }
}

/// Runs a command that waits for a gateway.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// A segment of a path.
pub(super) fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
