//! Presets of polls (`conf/polls/NAME.yaml`), laid under what a route says itself.
//!
//! `poll: {preset: NAME, with: {…}}` takes the preset's `poll`, `dedup` and `deliver`, with the values
//! of `with` in the place of `@{name}`; every key that the route has is kept, however deep. This is
//! done to the tree, before it is decoded: what is wrong with the whole is found where everything is,
//! and points to the preset's name, or to the value that was put into it.

use serde::Deserialize;

use super::decode::{self, Entries, Field, Tree};
use super::fault::Fault;
use super::yaml::{self, Key, Kind, Node, Span};

include!(concat!(env!("OUT_DIR"), "/polls.rs"));

/// Keys of which one takes the place of the others.
const ALTERNATIVES: [&[&str]; 4] = [
    &["interval", "cron", "long_poll"],
    &["id", "id_any", "id_hash"],
    &["list", "file"],
    &["json", "form", "raw"],
];
/// The keys of a route that a preset has something of.
const LAID: [&str; 3] = ["poll", "dedup", "deliver"];

/// A preset as people meet it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollPreset {
    /// Its name.
    pub name: &'static str,
    /// What it polls.
    pub summary: String,
    /// Where the provider describes that.
    pub documentation: String,
    /// What a route says under `with`: name, meaning, and whether it must.
    pub parameters: Vec<(String, String, bool)>,
    /// The file.
    pub text: &'static str,
}

/// The file of a preset, but for the trees that are laid under a route.
#[derive(Deserialize)]
struct File {
    summary: Field<String>,
    documentation: Field<String>,
    with: Option<Field<Entries<Parameter>>>,
    #[serde(rename = "poll")]
    _poll: Field<Tree>,
    #[serde(rename = "dedup")]
    _dedup: Option<Field<Tree>>,
    #[serde(rename = "deliver")]
    _deliver: Option<Field<Tree>>,
}

/// What a route says under `with`.
#[derive(Deserialize)]
struct Parameter {
    summary: Field<String>,
    default: Option<Field<Tree>>,
}

/// The names of all presets.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// A preset by its name.
///
/// # Errors
/// The faults of its file; a test of this project fails before that ships.
pub fn find(name: &str) -> Option<Result<PollPreset, Vec<Fault>>> {
    let (name, text) = FILES.iter().find(|(known, _)| *known == name)?;
    Some(read(name, text))
}

fn read(name: &'static str, text: &'static str) -> Result<PollPreset, Vec<Fault>> {
    let parsed = yaml::parse(text);
    let mut faults = parsed.faults;
    let Some(root) = parsed.root else {
        return Err(faults);
    };
    let (file, found, _) = decode::decode::<File>(&root, &|text| Ok(text.to_owned()));
    faults.extend(found);
    let file = file.filter(|_| faults.is_empty());
    let Some(file) = file else { return Err(faults) };
    let with = file.with.as_ref().and_then(|with| with.get());
    let parameters = with.into_iter().flat_map(Entries::iter);
    let parameter = |(key, field): &(Key, Field<Parameter>)| {
        let parameter = field.get()?;
        let summary = parameter.summary.get()?.clone();
        Some((key.name.clone(), summary, parameter.default.is_none()))
    };
    Ok(PollPreset {
        name,
        summary: file.summary.get().cloned().unwrap_or_default(),
        documentation: file.documentation.get().cloned().unwrap_or_default(),
        parameters: parameters.filter_map(parameter).collect(),
        text,
    })
}

/// Lays presets under the routes of a file that name one. Gives what is wrong with how they are named.
pub(super) fn lay_under(root: &mut Node) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(routes) = root.member_mut("routes")
        && let Kind::Mapping(routes) = &mut routes.kind
    {
        for (_, route) in routes {
            lay_under_route(route, &mut faults);
        }
    }
    faults
}

fn lay_under_route(route: &mut Node, faults: &mut Vec<Fault>) {
    let Some(poll) = route.member("poll") else {
        return;
    };
    let Some(preset) = poll.member("preset") else {
        if let Some(with) = poll.member("with") {
            let fault = Fault::new("`with` is for a `preset`, and there is none");
            faults.push(fault.at(with.span).help("take it away, or write `preset`"));
        }
        return;
    };
    let Kind::Scalar { text: name, .. } = &preset.kind else {
        return;
    };
    let Some((_, text)) = FILES.iter().find(|(known, _)| known == name) else {
        let known: Vec<_> = names().collect();
        let fault = Fault::new(format!("there is no preset `{name}` for polls"));
        faults.push(
            fault
                .at(preset.span)
                .help(format!("known are: {}", known.join(", "))),
        );
        return;
    };
    let Some(mut laid) = yaml::parse(text).root else {
        return;
    };
    laid.place_at(preset.span);
    let values = values(&laid, poll, preset.span, faults);
    laid.fill(&values);
    for key in LAID {
        let Some(under) = laid.take_member(key) else {
            continue;
        };
        match (key, route.member_mut(key)) {
            (
                "deliver",
                Some(Node {
                    kind: Kind::Sequence(entries),
                    ..
                }),
            ) => {
                for entry in entries {
                    merge(entry, under.clone());
                }
            }
            (_, Some(over)) => merge(over, under),
            // Where nothing is delivered, that is what is told.
            ("deliver", None) => {}
            (_, None) => route.put_member(key, under),
        }
    }
}

/// What stands for the names of a preset: what the route says, or the default.
fn values(laid: &Node, poll: &Node, at: Span, faults: &mut Vec<Fault>) -> Vec<(String, Node)> {
    let parameters: &[(Key, Node)] = laid.member("with").map_or(&[], Node::members);
    let given: &[(Key, Node)] = poll.member("with").map_or(&[], Node::members);
    let known: Vec<&str> = parameters.iter().map(|(key, _)| &*key.name).collect();
    for (key, _) in given {
        if !known.contains(&&*key.name) {
            let fault = Fault::new(format!("this preset has no `{}`", key.name)).at(key.span);
            faults.push(match known.is_empty() {
                true => fault.help("take it away"),
                false => fault.help(format!("it has: {}", known.join(", "))),
            });
        }
    }
    let mut values = Vec::new();
    for (key, parameter) in parameters {
        let of_route = given.iter().find(|(given, _)| given.name == key.name);
        let value = of_route.map(|(_, node)| node);
        match value.or(parameter.member("default")) {
            Some(value) => values.push((key.name.clone(), value.clone())),
            None => {
                let summary = parameter
                    .member("summary")
                    .map(Node::text)
                    .unwrap_or_default();
                let fault = Fault::new(format!("this preset needs `with.{}`", key.name));
                let help = format!("add `with: {{{}: …}}`: {summary}", key.name);
                faults.push(fault.at(at).help(help));
            }
        }
    }
    values
}

/// Lays a tree under another: what that has is kept, what it has not is added.
fn merge(over: &mut Node, under: Node) {
    if !matches!(under.kind, Kind::Mapping(_)) {
        return;
    }
    over.write_out(&under);
    let Kind::Mapping(members) = &mut over.kind else {
        return;
    };
    let Kind::Mapping(below) = under.kind else {
        return;
    };
    let kind_of = |members: &[(Key, Node)]| {
        let kind = members.iter().find(|(key, _)| key.name == "type");
        kind.map(|(_, node)| node.text().to_owned())
    };
    // Another type has other keys.
    if let (Some(above), Some(below)) = (kind_of(members), kind_of(&below))
        && above != below
    {
        return;
    }
    let named: Vec<String> = members.iter().map(|(key, _)| key.name.clone()).collect();
    let is_replaced = |name: &str| {
        let mut groups = ALTERNATIVES.iter().filter(|group| group.contains(&name));
        groups.any(|group| {
            named
                .iter()
                .any(|one| one != name && group.contains(&&**one))
        })
    };
    for (key, node) in below {
        match members.iter_mut().find(|(known, _)| known.name == key.name) {
            Some((_, over)) => merge(over, node),
            None if is_replaced(&key.name) => {}
            None => members.push((key, node)),
        }
    }
}

impl Node {
    fn members(&self) -> &[(Key, Node)] {
        match &self.kind {
            Kind::Mapping(members) => members,
            Kind::Scalar { .. } | Kind::Sequence(_) => &[],
        }
    }

    fn member(&self, name: &str) -> Option<&Node> {
        let mut members = self.members().iter();
        let found = members.find(|(key, _)| key.name == name && !key.refused);
        found.map(|(_, node)| node)
    }

    fn member_mut(&mut self, name: &str) -> Option<&mut Node> {
        let Kind::Mapping(members) = &mut self.kind else {
            return None;
        };
        let mut members = members.iter_mut();
        let found = members.find(|(key, _)| key.name == name && !key.refused);
        found.map(|(_, node)| node)
    }

    fn take_member(&mut self, name: &str) -> Option<Node> {
        let Kind::Mapping(members) = &mut self.kind else {
            return None;
        };
        let at = members.iter().position(|(key, _)| key.name == name)?;
        Some(members.remove(at).1)
    }

    fn put_member(&mut self, name: &str, node: Node) {
        if let Kind::Mapping(members) = &mut self.kind {
            let key = Key {
                name: name.to_owned(),
                span: node.span,
                refused: false,
            };
            members.push((key, node));
        }
    }

    /// The text of a scalar.
    fn text(&self) -> &str {
        match &self.kind {
            Kind::Scalar { text, .. } => text,
            Kind::Sequence(_) | Kind::Mapping(_) => "",
        }
    }

    /// A short form as the mapping that it stands for, to be laid over one.
    fn write_out(&mut self, under: &Node) {
        let Kind::Scalar { text, .. } = &self.kind else {
            return;
        };
        let short = [
            ("url", under.member("url")),
            ("select", under.member("select")),
        ];
        let key = short.into_iter().find(|(_, there)| there.is_some());
        if let Some((key, _)) = key.filter(|_| !text.is_empty()) {
            let span = self.span;
            let value = std::mem::replace(&mut self.kind, Kind::Mapping(Vec::new()));
            self.put_member(key, Node { span, kind: value });
        }
    }

    /// Says of everything in it that it stands at one place.
    fn place_at(&mut self, span: Span) {
        self.span = span;
        match &mut self.kind {
            Kind::Scalar { .. } => {}
            Kind::Sequence(items) => items.iter_mut().for_each(|item| item.place_at(span)),
            Kind::Mapping(members) => {
                for (key, node) in members {
                    key.span = span;
                    node.place_at(span);
                }
            }
        }
    }

    /// Puts values in the place of `@{name}`: a value as it is where nothing else stands there, the text
    /// of it within others.
    fn fill(&mut self, values: &[(String, Node)]) {
        match &mut self.kind {
            Kind::Sequence(items) => items.iter_mut().for_each(|item| item.fill(values)),
            Kind::Mapping(members) => members.iter_mut().for_each(|(_, node)| node.fill(values)),
            Kind::Scalar { text, .. } => {
                for (name, value) in values {
                    let mark = format!("@{{{name}}}");
                    if *text == mark {
                        *self = value.clone();
                        return;
                    }
                    if text.contains(&mark) {
                        *text = text.replace(&mark, value.text());
                        // What the route says is easier to find than the preset's name.
                        self.span = self.span.max(value.span);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(text: &str) -> Node {
        yaml::parse(text).root.unwrap()
    }

    fn json_of(node: &Node) -> Value {
        match &node.kind {
            Kind::Scalar { text, plain } => match text.parse::<i64>() {
                Ok(number) if *plain => json!(number),
                _ => json!(text),
            },
            Kind::Sequence(items) => items.iter().map(json_of).collect(),
            Kind::Mapping(members) => {
                let members = members.iter();
                Value::Object(
                    members
                        .map(|(key, node)| (key.name.clone(), json_of(node)))
                        .collect(),
                )
            }
        }
    }

    #[test]
    fn what_a_route_says_is_kept_and_the_rest_is_added() {
        let check = |over: &str, under: &str, expected: Value| {
            let mut over = node(over);
            merge(&mut over, node(under));
            assert_eq!(json_of(&over), expected);
        };
        check("{a: 1}", "{a: 2, b: 3}", json!({"a": 1, "b": 3}));
        check(
            "{a: {x: 1}}",
            "{a: {x: 2, y: 3}}",
            json!({"a": {"x": 1, "y": 3}}),
        );
        check("{a: [1]}", "{a: [2, 3]}", json!({"a": [1]}));
        check("{a: 1}", "{a: {x: 2}}", json!({"a": 1}));
        check(
            "{r: u}",
            "{r: {url: v, m: 1}}",
            json!({"r": {"url": "u", "m": 1}}),
        );
        check(
            "{i: p}",
            "{i: {select: q, id: x}}",
            json!({"i": {"select": "p", "id": "x"}}),
        );
        check(
            "{cron: x}",
            "{interval: 5, jitter: 6}",
            json!({"cron": "x", "jitter": 6}),
        );
        check(
            "{auth: {type: basic, username: u}}",
            "{auth: {type: bearer, token: t}}",
            json!({"auth": {"type": "basic", "username": "u"}}),
        );
        check(
            "{auth: {username: u}}",
            "{auth: {type: basic}}",
            json!({"auth": {"username": "u", "type": "basic"}}),
        );
    }

    #[test]
    fn values_take_the_places_of_their_names() {
        let mut tree = node("{url: 'https://x/@{token}/y', list: '@{types}', other: '@{no}'}");
        let values = [
            ("token".to_owned(), node("'${{ secret.bot }}'")),
            ("types".to_owned(), node("[a, b]")),
        ];
        tree.fill(&values);
        let expected = json!({"url": "https://x/${{ secret.bot }}/y", "list": ["a", "b"],
                              "other": "@{no}"});
        assert_eq!(json_of(&tree), expected);
    }

    #[test]
    fn every_preset_can_be_read_and_uses_what_it_asks_for() {
        for (name, text) in FILES {
            let preset = read(name, text).unwrap();
            assert!(preset.documentation.starts_with("https://"), "{name}");
            for (parameter, _, _) in preset.parameters {
                assert!(
                    text.contains(&format!("@{{{parameter}}}")),
                    "{name}: {parameter}"
                );
            }
        }
        assert!(names().count() >= 5);
    }
}
