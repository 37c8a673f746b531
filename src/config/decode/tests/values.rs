//! What values become.

use super::super::*;
use super::{Auth, Backend, Bearer, Deliver, Parse, Route, read};
use crate::config::units::Size;

/// The only backend of a file in which nothing is wrong.
fn backend(keys: &str) -> Backend {
    let (file, report) = read(&format!("backends: {{b: {{url: x, {keys}}}}}"));
    assert!(report.is_empty(), "{report}");
    let backends = file
        .and_then(|file| file.backends.into_inner())
        .expect("backends");
    let (_, backend) = backends.into_iter().next().expect("a backend");
    backend.into_inner().expect("no fault")
}

/// The only route of a file in which nothing is wrong.
fn route(keys: &str) -> Route {
    let (file, report) = read(&format!("backends: {{}}\nroutes: {{r: {{{keys}}}}}"));
    assert!(report.is_empty(), "{report}");
    let routes = file
        .and_then(|file| file.routes)
        .and_then(Field::into_inner)
        .expect("routes");
    let (_, route) = routes.into_iter().next().expect("a route");
    route.into_inner().expect("no fault")
}

fn value<T>(field: Option<Field<T>>) -> Option<T> {
    field.and_then(Field::into_inner)
}

#[test]
fn values_become_what_their_type_asks_for() {
    assert_eq!(value(backend("port: 8080").port), Some(8080));
    assert_eq!(value(backend("port: \"${{ env.PORT }}\"").port), Some(8080));
    assert_eq!(value(backend("keepalive: True").keepalive), Some(true));
    assert_eq!(value(backend("weight: -1.5e2").weight), Some(-150.0));
    assert_eq!(value(backend("weight: 3").weight), Some(3.0));
    assert_eq!(
        value(backend("body_max: 512").body_max).map(Size::as_u64),
        Some(512)
    );
    assert_eq!(value(backend("").port), None);
    for (text, expected) in [
        ("01234", "01234"),
        ("no", "no"),
        ("'~'", "~"),
        ("1.10", "1.10"),
    ] {
        let (file, _) = read(&format!("backends: {{b: {{url: {text}}}}}"));
        let backends = file.and_then(|file| file.backends.into_inner()).unwrap();
        let url = backends
            .get("b")
            .and_then(Field::get)
            .and_then(|b| b.url.get())
            .cloned();
        assert_eq!(url.as_deref(), Some(expected));
    }
}

#[test]
fn entries_keep_their_order_and_may_be_null() {
    let headers = value(backend("headers: {z: 1, A: ~, m: \"${{ x }}\"}").headers).unwrap();
    let found: Vec<_> = headers
        .iter()
        .map(|(key, field)| {
            (
                key.name.as_str(),
                field.get().cloned().flatten().map(|t| t.0),
            )
        })
        .collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        found,
        [("z", text("1")), ("A", None), ("m", text("${{ x }}"))]
    );
}

#[test]
fn one_value_stands_for_a_list_of_one() {
    let targets = |keys: &str| {
        let name = |field: Field<TextOr<Deliver>>| match field.into_inner() {
            Some(TextOr::Text(name)) => name,
            Some(TextOr::Full(deliver)) => deliver.to.into_inner().unwrap_or_default(),
            None => String::new(),
        };
        let list = route(keys).deliver.and_then(Field::into_inner).unwrap();
        list.into_iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(targets("deliver: a"), ["a"]);
    assert_eq!(targets("deliver: {to: a}"), ["a"]);
    assert_eq!(targets("deliver: [a, {to: b, mode: queue}]"), ["a", "b"]);
    assert_eq!(targets("deliver: []"), [""; 0]);
}

#[test]
fn enums_are_texts_or_mappings() {
    let parse = |text: &str| {
        let verify = route(&format!(
            "verify: {{provider: p, secrets: x, parse: {text}}}"
        ))
        .verify;
        verify
            .and_then(Field::into_inner)
            .and_then(|verify| value(verify.parse))
    };
    assert!(matches!(parse("plain"), Some(Parse::Plain)));
    assert!(matches!(parse("{plain: }"), Some(Parse::Plain)));
    assert!(
        matches!(parse("{prefix: 'v1='}"), Some(Parse::Prefix(p)) if p.get().unwrap() == "v1=")
    );
    let pairs = parse("{pairs: {separator: ',', key: v1}}");
    assert!(matches!(pairs, Some(Parse::Pairs { separator, key })
        if separator.get() == Some(&',') && key.get().unwrap() == "v1"));
    let auth = |text: &str| value(route(&format!("auth: {text}")).auth);
    assert!(
        matches!(auth("{username: u, type: basic}"), Some(Auth::Basic { username, .. })
        if username.get().unwrap() == "u")
    );
    assert!(
        matches!(auth("{type: bearer, token: t}"), Some(Auth::Bearer(Bearer { token }))
        if token.get().unwrap() == "t")
    );
    assert!(matches!(auth("{type: none}"), Some(Auth::None)));
}

#[test]
fn untyped_values_keep_what_they_are() {
    let sample = value(route("sample: {a: [1, -2, 1.5, true, ~, '3', 04, x], b: {}}").sample);
    let expected = serde_json::json!({"a": [1, -2, 1.5, true, null, "3", "04", "x"], "b": {}});
    assert_eq!(sample, Some(expected));
    let sample = value(route("sample: \"${{ env.PORT }}\"").sample);
    assert_eq!(sample, Some(serde_json::json!("8080")));
}

#[test]
fn the_schema_is_that_of_the_values() {
    let mut schema = schemars::schema_for!(Backend);
    forbid_null_members(&mut schema);
    let schema = schema.to_value();
    assert_eq!(schema["required"], serde_json::json!(["url"]));
    assert_eq!(
        schema["properties"]["url"],
        serde_json::json!({"type": "string"})
    );
    assert_eq!(
        schema["properties"]["keepalive"]["type"],
        serde_json::json!(["boolean"])
    );
    let header = &schema["properties"]["headers"]["additionalProperties"];
    assert_eq!(
        header["type"],
        serde_json::json!(["string", "number", "boolean", "null"])
    );
    assert_eq!(schema["$defs"]["Period"]["type"], "string");
    assert_eq!(
        schema["properties"]["timeout"]["anyOf"],
        serde_json::json!([{"$ref": "#/$defs/Timeout"}]),
    );
}

#[test]
fn a_field_outside_of_a_file_is_no_silent_nothing() {
    assert!(serde_json::from_str::<Backend>("{}").is_err());
    assert!(serde_json::from_str::<Field<u8>>("1").is_err());
}
