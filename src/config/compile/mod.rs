//! Raw types → runtime types, through the runtime types' own constructors; collects every fault.

mod backend;
mod deliver;
mod feed;
mod inbox;
mod limits;
mod poll;
mod provider;
mod route;
mod scheme;
mod scheme_key;
mod server;
mod store;
mod tests;
mod tls;
mod verify;

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::decode::Field;
use super::fault::Fault;
use super::raw::File;
use super::units::Period;
use super::yaml::Span;
use super::{AdminSettings, Config, LogSettings, ServerSettings, Surroundings};
use crate::delivery::Backend;
use crate::expr::scoped::Engine;
use crate::feed::Feed;
use crate::ingress::Gate;
use crate::ingress::Route;
use crate::ingress::rate_limit::Limiters;
use crate::ingress::router::Router;
use crate::ingress::source_addr::TrustedProxies;
use crate::poll::Source;
use crate::secret::Secret;
use crate::signature::Presets;

pub use provider::{CompiledProvider, CompiledVector, compile_provider};
pub use server::ADMIN_LISTEN;

/// Two names are taken for a slip of the pen when they are at least this alike (Jaro-Winkler).
const ALIKE: f64 = 0.75;

/// How the name of a header is written.
const HEADER_SHAPE: &str = "a name is made of letters, digits and `-`, like X-Request-Id";

/// What compiling found wrong, and the places that a report must not show.
#[derive(Default)]
pub struct Findings {
    /// Every fault.
    pub faults: Vec<Fault>,
    /// Places that hold secrets.
    pub hidden: Vec<Span>,
}

/// Compiles a file; gives no configuration when something essential is missing.
pub fn compile(
    file: &File,
    surroundings: Surroundings<'_>,
    engine: &Engine,
) -> (Option<Config>, Findings) {
    let mut compiler = Compiler::new(surroundings, engine);
    let config = compiler.file(file);
    (
        config,
        Findings {
            faults: compiler.faults,
            hidden: compiler.hidden,
        },
    )
}

/// What every element is compiled with.
struct Compiler<'a> {
    presets: &'a Presets,
    base: &'a Path,
    limiters: &'a Limiters,
    /// What compiles expressions that are evaluated later.
    engine: &'a Engine,
    faults: Vec<Fault>,
    hidden: Vec<Span>,
    /// Every backend that is named; `None` where it has faults of its own.
    backends: HashMap<String, Option<Arc<Backend>>>,
    /// Whether the file's `backends` could be read; otherwise no name of one is called unknown.
    backends_known: bool,
    /// Every feed that is named, in the order of the file; `None` where it has faults of its own.
    feeds: Vec<(String, Option<Arc<Feed>>)>,
    /// The feeds of providers that routes name.
    published: Vec<Arc<Feed>>,
    /// Whether the file's `feeds` could be read; otherwise no name of one is called unknown.
    feeds_known: bool,
    /// Whether a listener asks clients for certificates.
    certificates_asked: bool,
    /// Whether there is a store.
    has_store: bool,
    /// Every secret of the file.
    secrets: Vec<Secret>,
    /// Sources whose parts have no fault.
    sources: Vec<Arc<Source>>,
    /// The methods that each route answers to, to say which of them two routes share.
    methods: HashMap<String, Vec<String>>,
}

impl<'a> Compiler<'a> {
    fn new(surroundings: Surroundings<'a>, engine: &'a Engine) -> Self {
        let Surroundings {
            base,
            presets,
            limiters,
        } = surroundings;
        Self {
            presets,
            base,
            limiters,
            engine,
            faults: Vec::new(),
            hidden: Vec::new(),
            backends: HashMap::new(),
            backends_known: false,
            has_store: false,
            feeds: Vec::new(),
            published: Vec::new(),
            feeds_known: false,
            certificates_asked: false,
            secrets: Vec::new(),
            sources: Vec::new(),
            methods: HashMap::new(),
        }
    }
}

impl Compiler<'_> {
    fn file(&mut self, file: &File) -> Option<Config> {
        self.has_store = file.store.is_some();
        let server = self.server(value(&file.server));
        let proxies = self.trusted_proxies(value(&file.server));
        let admin = self.admin(value(&file.admin), &server.listen);
        self.all_backends(file);
        self.all_feeds(file);
        let routes = self.all_routes(file, proxies);
        // What is hidden is known when all secrets are.
        let log = self.log(value(&file.log));
        let tests = self.route_tests(file);
        let (routes, gate) = routes?;
        let store = self.store(file, &routes);
        self.namespaces(file, &routes);
        let mut backends: Vec<_> = self.backends.values().flatten().cloned().collect();
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Config {
            server,
            admin,
            log,
            store,
            backends,
            feeds: self.feeds_in_use(),
            routes,
            sources: std::mem::take(&mut self.sources),
            gate,
            tests,
            sha256: String::new(),
        })
    }

    fn all_backends(&mut self, file: &File) {
        self.backends_known = file.backends.get().is_some();
        for (key, field) in file.backends.get().into_iter().flatten() {
            self.name(&key.name, key.span, "backend");
            let backend = self.backend(&key.name, field);
            self.backends
                .insert(key.name.clone(), backend.map(Arc::new));
        }
    }

    fn all_routes(
        &mut self,
        file: &File,
        proxies: TrustedProxies,
    ) -> Option<(Vec<Arc<Route>>, Gate)> {
        let entries = file.routes.get()?;
        if entries.is_empty() {
            let message = "there are no routes: every request would be refused";
            let help = "write `NAME: {webhook: {path: …}, deliver: {to: …}}` below it";
            self.fault_with_help(file.routes.span, message, help);
        }
        let mut routes = Vec::new();
        let mut router = Router::default();
        for (key, field) in entries {
            self.name(&key.name, key.span, "route");
            if let Some(route) = self.route(&key.name, field, &mut router) {
                routes.push(route);
            }
        }
        Some((routes, Gate::new(router, proxies)))
    }

    fn fault(&mut self, span: Span, message: impl Into<String>) {
        self.faults.push(Fault::new(message).at(span));
    }

    fn fault_with_help(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.faults.push(Fault::new(message).at(span).help(help));
    }

    /// Records an error at a place; `None` for `?`.
    fn try_at<T, E: Display>(&mut self, span: Span, result: Result<T, E>) -> Option<T> {
        result
            .map_err(|error| self.fault(span, error.to_string()))
            .ok()
    }

    fn name(&mut self, name: &str, span: Span, what: &str) {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
            let help = "use up to 64 letters, digits, `-`, `_` and `.`; names become metric labels";
            self.fault_with_help(span, format!("`{name}` cannot name a {what}"), help);
        }
    }

    /// A name that should be one of `known`, or a fault with the nearest of them.
    fn unknown<'k>(
        &mut self,
        span: Span,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'k str>,
    ) {
        let known: Vec<_> = known.collect();
        self.fault_with_help(
            span,
            format!("there is no {what} `{name}`"),
            near(name, &known),
        );
    }

    fn no_provider(&mut self, span: Span, name: &str) {
        let known: Vec<_> = self.presets.names().collect();
        let mut help = near(name, &known);
        if !help.ends_with('?') {
            help += "; `hookgate providers` lists them";
        }
        self.fault_with_help(span, format!("there is no provider `{name}`"), help);
    }

    fn ranges<'f>(&mut self, fields: impl IntoIterator<Item = &'f Field<String>>) -> Vec<IpNet> {
        let mut ranges = Vec::new();
        for field in fields {
            let Some(text) = field.get() else { continue };
            match range(text) {
                Some(range) => ranges.push(range),
                None => {
                    let help =
                        "write an address (192.0.2.7, 2001:db8::1) or a range (192.0.2.0/24)";
                    let message =
                        format!("`{text}` is neither an address nor a range of addresses");
                    self.fault_with_help(field.span, message, help);
                }
            }
        }
        ranges
    }

    /// A period, or its default. Zero is a fault: it would end what it limits before it begins.
    fn period(&mut self, field: &Option<Field<Period>>, default: Duration) -> Duration {
        let Some(field) = field else { return default };
        let Some(period) = field.get() else {
            return default;
        };
        if period.as_duration().is_zero() {
            let default = humantime::format_duration(default);
            let help = format!("leave the key out for the default, {default}");
            self.fault_with_help(field.span, "this time must be longer than zero", help);
        }
        period.as_duration()
    }
}

/// The value of an optional field that has one.
fn value<T>(field: &Option<Field<T>>) -> Option<&T> {
    field.as_ref()?.get()
}

/// How many names a help lists.
const LISTED_MAX: usize = 32;

/// The nearest of `known` as a hint, or all of them.
pub fn near(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&name.to_lowercase(), candidate),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None if known.is_empty() => "there are none yet".to_owned(),
        None if known.len() > LISTED_MAX => {
            format!(
                "none of the {} that are known is written like it",
                known.len()
            )
        }
        None => format!("known are: {}", known.join(", ")),
    }
}

fn range(text: &str) -> Option<IpNet> {
    let range: IpNet = text
        .parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Some(range.trunc())
}
