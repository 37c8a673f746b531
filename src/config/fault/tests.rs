//! What a report shows, and what it must not.

use super::*;

const SOURCE: &str = "server: {listen: 0.0.0.0:8080}\n# Größe\ngröße: {ä: 'ö', secret: abcdefghij, port: x}\n\ttab: 1\r\nlast: z";

fn span_of(source: &str, text: &str) -> Span {
    let start = source.find(text).expect("the text is in the source");
    Span {
        start,
        end: start + text.len(),
    }
}

fn check(source: &str, marked: Span, hidden: &[&str], expected: &str) {
    let mut report = Report::new("f.yaml", source);
    report.add([Fault::new("wrong").at(marked)]);
    report.hide(hidden.iter().map(|text| span_of(source, text)));
    assert_eq!(
        report.to_string(),
        format!("{expected}\n\n1 fault in f.yaml")
    );
}

#[test]
fn a_caret_stands_under_the_marked_text() {
    check(
        SOURCE,
        span_of(SOURCE, "listen"),
        &[],
        "\
error: wrong
 --> f.yaml:1:10
  |
1 | server: {listen: 0.0.0.0:8080}
  |          ^^^^^^",
    );
    check(
        SOURCE,
        span_of(SOURCE, "'ö'"),
        &[],
        "\
error: wrong
 --> f.yaml:3:12
  |
3 | größe: {ä: 'ö', secret: abcdefghij, port: x}
  |            ^^^",
    );
    check(
        SOURCE,
        span_of(SOURCE, "1\r"),
        &[],
        "\
error: wrong
 --> f.yaml:4:7
  |
4 |     tab: 1
  |          ^",
    );
}

#[test]
fn a_mask_keeps_carets_and_columns_right() {
    check(
        SOURCE,
        span_of(SOURCE, "x}\n\t").start_only(1),
        &["abcdefghij"],
        "\
error: wrong
 --> f.yaml:3:43
  |
3 | größe: {ä: 'ö', secret: ***, port: x}
  |                                    ^",
    );
    check(
        SOURCE,
        span_of(SOURCE, "abcdefghij"),
        &["abcdefghij", "'ö'", "cdef"],
        "\
error: wrong
 --> f.yaml:3:25
  |
3 | größe: {ä: ***, secret: ***, port: x}
  |                         ^^^",
    );
    check(
        SOURCE,
        span_of(SOURCE, "fgh"),
        &["abcdefghij"],
        "\
error: wrong
 --> f.yaml:3:30
  |
3 | größe: {ä: 'ö', secret: ***, port: x}
  |                         ^^^",
    );
}

#[test]
fn only_the_first_line_of_a_value_is_shown() {
    let source = "a:\n  key: |\n    -----BEGIN\n    abc\nb: 1";
    let value = "|\n    -----BEGIN\n    abc";
    let expected = "\
error: wrong
 --> f.yaml:2:8
  |
2 |   key: |
  |        ^";
    check(source, span_of(source, value), &[], expected);
    let expected = expected.replace(": |\n", ": ***\n").replace('^', "^^^");
    check(source, span_of(source, value), &[value], &expected);
    check(
        source,
        span_of(source, "abc"),
        &[value],
        "error: wrong\n --> f.yaml:4:5\n  |\n4 |     ***\n  |     ^^^",
    );
}

#[test]
fn passwords_in_urls_are_always_masked() {
    let source = "url: \"postgres://me:pw@db/x\" # https://example.com/@me";
    check(
        source,
        span_of(source, "\"postgres://me:pw@db/x\""),
        &[],
        "\
error: wrong
 --> f.yaml:1:6
  |
1 | url: \"postgres://***@db/x\"
  |      ^^^^^^^^^^^^^^^^^^^^^",
    );
}

#[test]
fn comments_are_not_shown() {
    let shown = |source: &str, marked: Span, line: &str| {
        let mut report = Report::new("f.yaml", source);
        report.add([Fault::new("wrong").at(marked)]);
        let text = report.to_string();
        assert_eq!(text.lines().nth(3), Some(line), "{text}");
    };
    let source = "a: 'b # c' # d\ne: # f\n# g";
    shown(source, span_of(source, "'b # c'"), "1 | a: 'b # c'");
    shown(source, span_of(source, "a"), "1 | a: 'b");
    shown(source, span_of(source, "\n# g").start_only(0), "2 | e:");
    shown(source, span_of(source, "# g").start_only(0), "3 |");
}

#[test]
fn places_outside_the_text_are_no_problem() {
    for start in 0..SOURCE.len() + 3 {
        for end in [0, start, start + 1, start + 40, usize::MAX] {
            let mut report = Report::new("f.yaml", SOURCE);
            report.add([Fault::new("wrong").at(Span { start, end })]);
            report.hide([
                Span {
                    start: end,
                    end: start,
                },
                Span { start, end },
            ]);
            assert!(report.to_string().starts_with("error: wrong\n --> f.yaml:"));
        }
    }
}

#[test]
fn faults_stand_in_the_order_of_the_file() {
    let mut report = Report::new("f.yaml", "a: 1\nb: 2\n");
    report.add([
        Fault::new("no place"),
        Fault::new("second").at(Span { start: 5, end: 6 }),
    ]);
    report.add([Fault::new("first")
        .at(Span { start: 0, end: 1 })
        .help("write `c`")]);
    let expected = "\
error: first
 --> f.yaml:1:1
  |
1 | a: 1
  | ^
  |
  = help: write `c`

error: second
 --> f.yaml:2:1
  |
2 | b: 2
  | ^

error: no place
--> f.yaml

3 faults in f.yaml";
    assert_eq!(report.to_string(), expected);
    let positions: Vec<_> = report
        .faults()
        .iter()
        .map(|fault| report.position(fault))
        .collect();
    let at = |line, column| Some(Position { line, column });
    assert_eq!(positions, [at(1, 1), at(2, 1), None]);
}

#[test]
fn a_long_line_is_cut_around_the_caret() {
    let source = format!("a: [{}MARK{}]", "x, ".repeat(200), ", y".repeat(200));
    let mut report = Report::new("f.yaml", source.as_str());
    report.add([Fault::new("wrong").at(span_of(&source, "MARK"))]);
    let text = report.to_string();
    assert!(text.contains("f.yaml:1:605"), "{text}");
    assert!(text.contains("...") && text.contains("MARK"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 160),
        "{text}"
    );
}

#[test]
fn colours_change_nothing_but_colours() {
    let mut report = Report::new("f.yaml", SOURCE);
    report.add([Fault::new("wrong").at(span_of(SOURCE, "port"))]);
    report.hide([span_of(SOURCE, "abcdefghij")]);
    let coloured = report.coloured();
    assert!(
        coloured.contains("\u{1b}[") && coloured.contains("f.yaml:3:37"),
        "{coloured}"
    );
    assert!(!coloured.contains("abcdefghij"), "{coloured}");
}

impl Span {
    fn start_only(self, length: usize) -> Self {
        Self {
            end: self.start + length,
            ..self
        }
    }
}
