//! Texts whose expressions are kept.

use serde::Deserialize;

use super::super::*;
use crate::config::fault::Report;
use crate::config::yaml;

#[derive(Debug, Deserialize)]
struct File {
    request: Option<Field<TemplateOr<Request>>>,
    key: Option<Field<SecretTemplate>>,
}

#[derive(Debug, Deserialize)]
struct Request {
    url: Field<Template>,
}

fn read(source: &str) -> (Option<File>, Report) {
    let mut report = Report::new("hookgate.yaml", source);
    let root = yaml::parse(source).root.expect("YAML");
    let expand = |text: &str| -> Result<String, String> { panic!("`{text}` was evaluated") };
    let (file, faults, hidden) = decode(&root, &expand);
    report.add(faults);
    report.hide(hidden);
    (file, report)
}

#[test]
fn a_template_stands_for_a_whole_mapping() {
    let check = |written: &str, expected: &str| {
        let (file, report) = read(&format!("request: {written}\n"));
        assert!(report.is_empty(), "{report}");
        let request = file.and_then(|file| file.request?.into_inner());
        let url = match request {
            Some(TemplateOr::Text(url)) => Some(url),
            Some(TemplateOr::Full(request)) => request.url.into_inner(),
            None => None,
        };
        assert_eq!(url, Some(Template(expected.to_owned())), "{written}");
    };
    let url = "https://example.com/${{ partition }}";
    check(url, url);
    check(&format!("{{url: '{url}'}}"), url);
}

#[test]
fn neither_a_list_nor_nothing_is_a_template() {
    let check = |written: &str, expected: &str| {
        let (_, report) = read(&format!("request: {written}\n"));
        let messages: Vec<_> = report.faults().iter().map(|fault| &fault.message).collect();
        assert_eq!(messages, [expected], "{written}");
    };
    check("", "`request` has no value");
    check(
        "[a]",
        "`request`: expected a mapping with the key `url`, found a list",
    );
    check("{}", "missing key `url` in `request`");
}

#[test]
fn a_secret_is_hidden_whatever_its_key() {
    let check = |written: &str, shown: &str| {
        let (file, report) = read(&format!("{{key: {written}, kee: 1}}\n"));
        let told = format!("{report}{file:?}");
        assert!(told.contains(shown) && !told.contains("canary"), "{told}");
    };
    check("canary", "{key: ***, kee: ***}");
    check("'canary'", "{key: ***, kee: ***}");
    check("[canary]", "{key: [***], kee: ***}");
    check("{canary: canary}", "{key: {***: ***}, kee: ***}");
    check(
        "'${{ secret.key }}'",
        "{key: '${{ secret.key }}', kee: ***}",
    );
}
