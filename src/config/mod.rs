//! From a YAML file to a compiled configuration, with every fault in one run.
//!
//! [`yaml`] reads the text into a tree with places; [`decode`] makes [`raw`] types of it and goes
//! on after a fault; [`compile`] builds the runtime types through their own constructors. Other
//! modules never see raw types, and stages never import this module.

pub mod compile;
pub mod decode;
pub mod fault;
pub mod polls;
pub mod presets;
pub mod raw;
pub mod route_test;
pub mod units;
pub mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::access::Token;
use crate::app::ListenAddress;
use crate::delivery::{Backend, Deliver, Mode};
use crate::expr::Expander;
use crate::expr::scoped::{Engine, Kind as LookupKind};
use crate::feed::Feed;
use crate::ingress::rate_limit::Limiters;
use crate::ingress::service::{ConnectionLimits, Listener};
use crate::ingress::{Gate, Route};
use crate::poll::Source;
use crate::redaction::Redaction;
use crate::request_log::HeaderChoice;
use crate::secret::SecretSource;
use crate::signature::Presets;
use crate::store::cipher::Cipher;
use crate::store::{ClassBytes, Retention};
pub use compile::near;
use fault::{Fault, Report};
use raw::server::LogFormat;
use route_test::RouteTest;
use yaml::{Kind, Node};

/// A compiled configuration, ready to run.
pub struct Config {
    /// Listeners and their limits.
    pub server: ServerSettings,
    /// The operator's listener.
    pub admin: AdminSettings,
    /// How requests are logged.
    pub log: LogSettings,
    /// Where events are kept; `None` = nowhere.
    pub store: Option<StoreSettings>,
    /// Every backend.
    pub backends: Vec<Arc<Backend>>,
    /// Every feed, in the order of the file.
    pub feeds: Vec<Arc<Feed>>,
    /// Every route, in the order of the file.
    pub routes: Vec<Arc<Route>>,
    /// Everything that is polled.
    pub sources: Vec<Arc<Source>>,
    /// All routes behind one door.
    pub gate: Gate,
    /// The tests that stand in the file.
    pub tests: Vec<RouteTest>,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Config {
    /// Every delivery of every route, by the route's name.
    pub fn plan(&self) -> Vec<(String, Vec<Arc<Deliver>>)> {
        let one = |route: &Arc<Route>| (route.name.clone(), route.deliver.clone());
        self.routes.iter().map(one).collect()
    }

    /// Routes and backends that events are queued for.
    pub fn deliveries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.routes.iter().flat_map(|route| {
            let queued = route.deliver.iter().filter(|one| one.mode != Mode::Proxy);
            queued.map(|one| (route.name.as_str(), one.backend.name.as_str()))
        })
    }

    /// The names of all routes.
    pub fn route_names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| route.name.as_str())
    }

    /// The names of all sources.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| &*source.name)
    }

    /// The names of all routes with an inbox.
    pub fn inbox_names(&self) -> impl Iterator<Item = &str> {
        let routes = self.routes.iter().filter(|route| route.inbox.is_some());
        routes.map(|route| route.name.as_str())
    }

    /// The names of all backends.
    pub fn backend_names(&self) -> impl Iterator<Item = &str> {
        self.backends.iter().map(|backend| backend.name.as_str())
    }
}

/// Listeners and their limits.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where webhooks are taken.
    pub listen: Vec<(ListenAddress, Listener)>,
    /// The limits of connections.
    pub limits: ConnectionLimits,
    /// How long requests in flight may take to finish at the end.
    pub drain: Duration,
    /// Worker threads; `None` = one for each core.
    pub threads: Option<usize>,
}

/// The operator's listener.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// Where it listens; `None` = nowhere.
    pub listen: Option<ListenAddress>,
    /// Who may ask its API; none = whoever is on this machine.
    pub tokens: Vec<Token>,
}

/// Where events are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The folder.
    pub folder: PathBuf,
    /// The most deliveries that may wait.
    pub depth_max: u64,
    /// The most bytes of its files.
    pub bytes_max: u64,
    /// Bytes of page cache.
    pub cache_bytes: u64,
    /// How long what has ended is remembered.
    pub keep: Keep,
    /// What heads and bodies are sealed with.
    pub cipher: Cipher,
}

/// How long what has ended is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Events that have arrived.
    pub delivered: Duration,
    /// Events that were given up.
    pub dead: Duration,
    /// Requests that were refused.
    pub refused: Duration,
    /// Attempts.
    pub attempts: Duration,
    /// How many bytes of each.
    pub bytes: ClassBytes,
}

impl Keep {
    /// What is to be forgotten at this moment.
    pub fn retention(&self, now: Timestamp, bytes_max: u64) -> Retention {
        let before = |keep| now.saturating_sub(keep).unwrap_or(Timestamp::MIN);
        Retention {
            delivered_before: before(self.delivered),
            dead_before: before(self.dead),
            refused_before: before(self.refused),
            attempts_before: before(self.attempts),
            // Before it is full, so that nothing that comes has to wait for room.
            bytes_max: Some(bytes_max / 20 * 19),
            class_bytes_max: self.bytes,
        }
    }
}

/// How requests are logged.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
    /// The headers it shows.
    pub headers: HeaderChoice,
    /// What of an event is never shown.
    pub redaction: Redaction,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The file has faults.
    #[error("{0}")]
    Faults(Box<Report>),
    /// The presets that are compiled in cannot be used.
    #[error("{0}")]
    Presets(String),
}

/// What a file is compiled with besides itself.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The folder that paths in the file are relative to.
    pub base: &'a Path,
    /// The providers that are known.
    pub presets: &'a Presets,
    /// The limiters of rules that are in use already.
    pub limiters: &'a Limiters,
}

/// A configuration file that can be read again and again; rules that do not change keep their
/// buckets.
pub struct ConfigFile {
    path: PathBuf,
    limiters: Limiters,
}

impl ConfigFile {
    /// Names the file; nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            limiters: Limiters::default(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and compiles the file, with secrets from the process's environment.
    ///
    /// # Errors
    /// [`LoadError`]; the report holds every fault of the file.
    pub fn load(&self) -> Result<Config, LoadError> {
        let path = &self.path;
        let text = std::fs::read_to_string(path).map_err(|reason| LoadError::Read {
            path: path.clone(),
            reason,
        })?;
        let presets = presets::builtin().map_err(LoadError::Presets)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let surroundings = Surroundings {
            base,
            presets,
            limiters: &self.limiters,
        };
        let config = parse(
            &path.display().to_string(),
            &text,
            surroundings,
            SecretSource::new,
        )
        .map_err(|report| LoadError::Faults(Box::new(report)))?;
        self.limiters.forget_unused();
        Ok(config)
    }
}

/// Reads and compiles a file once.
///
/// # Errors
/// [`LoadError`]; the report holds every fault of the file.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    ConfigFile::new(path).load()
}

/// Compiles a text; `secrets` makes the source of secrets when the text's `secrets_dir` is known.
///
/// # Errors
/// The report with every fault.
pub fn parse(
    name: &str,
    text: &str,
    surroundings: Surroundings<'_>,
    secrets: impl FnOnce(Option<PathBuf>) -> SecretSource,
) -> Result<Config, Report> {
    let mut report = Report::new(name, text);
    let parsed = yaml::parse(text);
    report.add(parsed.faults);
    report.hide(parsed.hidden);
    let Some(mut root) = parsed.root else {
        return Err(report);
    };
    report.add(polls::lay_under(&mut root));
    // Known before the expressions of the file are evaluated.
    let directory =
        text_at(&root, &["secrets_dir"]).map(|directory| surroundings.base.join(directory));
    let secrets = Arc::new(secrets(directory));
    let engine = engine(secrets.clone());
    let expander = match Expander::new(secrets) {
        Ok(expander) => expander,
        Err(reason) => {
            report.add([Fault::new(reason)]);
            return Err(report);
        }
    };
    let (file, faults, hidden) = decode::decode::<raw::File>(&root, &|text| expander.expand(text));
    report.add(faults);
    report.hide(hidden);
    let Some(file) = file else { return Err(report) };
    let (config, findings) = compile::compile(&file, surroundings, &engine);
    // Compiling knows values, not whether one of them came out of `${{ secret.NAME }}`.
    report.add(findings.faults.into_iter().map(|fault| Fault {
        message: expander.masked(&fault.message),
        hint: fault.hint.map(|hint| expander.masked(&hint)),
        ..fault
    }));
    report.hide(findings.hidden);
    match config {
        Some(config) if report.is_empty() => Ok(Config {
            sha256: hex::encode(Sha256::digest(text)),
            ..config
        }),
        _ => Err(report),
    }
}

/// What compiles the expressions that are evaluated while sources are polled.
fn engine(secrets: Arc<SecretSource>) -> Engine {
    Engine::new(Arc::new(move |kind, name| match kind {
        LookupKind::Variable => secrets
            .variable(name)
            .ok_or_else(|| format!("the environment variable {name} is not set")),
        LookupKind::Secret => secrets
            .secret(name)
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| error.to_string()),
    }))
}

/// The text under a path of keys, in a file that may be faulty elsewhere.
fn text_at<'n>(root: &'n Node, keys: &[&str]) -> Option<&'n str> {
    let node = keys.iter().try_fold(root, |node, key| {
        let Kind::Mapping(entries) = &node.kind else {
            return None;
        };
        let (_, value) = entries.iter().find(|(known, _)| known.name == *key)?;
        Some(value)
    })?;
    match &node.kind {
        Kind::Scalar { text, .. } => Some(text),
        Kind::Sequence(_) | Kind::Mapping(_) => None,
    }
}

/// Where the admin listener of a file is, even while the file is faulty; `None` when it is off or
/// has no fixed port.
///
/// # Errors
/// [`LoadError::Read`] when there is no file.
pub fn admin_address(path: &Path) -> Result<Option<ListenAddress>, LoadError> {
    let text = std::fs::read_to_string(path).map_err(|reason| LoadError::Read {
        path: path.to_owned(),
        reason,
    })?;
    let root = yaml::parse(&text).root;
    let written = root
        .as_ref()
        .and_then(|root| text_at(root, &["admin", "listen"]));
    let source = Arc::new(SecretSource::new(None));
    let expanded = written.map(|text| match Expander::new(source) {
        Ok(expander) => expander.expand(text).unwrap_or_else(|_| text.to_owned()),
        Err(_) => text.to_owned(),
    });
    Ok(match expanded.as_deref() {
        None => Some(ListenAddress::Tcp(compile::ADMIN_LISTEN.to_owned())),
        Some("off") => None,
        Some(text) if text.ends_with(":0") => None,
        Some(text) => Some(match text.strip_prefix("unix:") {
            Some(socket) => ListenAddress::Unix(path.with_file_name(socket)),
            None => ListenAddress::Tcp(text.to_owned()),
        }),
    })
}

/// The JSON Schema (draft 2020-12) of the file, for editors.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(raw::File);
    decode::forbid_null_members(&mut schema);
    decode::allow_expressions(&mut schema);
    schema.to_value()
}
