//! The times of feeds, which are written in many ways.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::TimeZone;

/// The longest time that is looked at, in bytes.
const TIME_BYTES_MAX: usize = 64;

/// RFC 2822, whose day of the week is often wrong.
static PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);

/// A time in RFC 3339. A day alone begins at midnight UTC; a time without a zone is none, because
/// which moment is meant cannot be known.
pub(super) fn time(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > TIME_BYTES_MAX {
        return None;
    }
    let parsed: Option<Timestamp> = text.parse().ok();
    let moment = parsed.or_else(|| day(text)).or_else(|| spoken(text))?;
    Some(moment.to_string())
}

fn day(text: &str) -> Option<Timestamp> {
    // Read as a date, a time without a zone would be cut to its day.
    if text.len() != "2026-01-15".len() {
        return None;
    }
    let date: Date = text.parse().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// RFC 2822 as people write it: `Thurs, January 15 2026 9:00:00 UTC`.
fn spoken(text: &str) -> Option<Timestamp> {
    let text = text.split_once(',').map_or(text, |(_, after)| after);
    let mut words: Vec<_> = text.split_whitespace().map(plain).collect();
    if let [first, second, ..] = words.as_mut_slice()
        && first.starts_with(|letter: char| letter.is_alphabetic())
    {
        std::mem::swap(first, second);
    }
    PARSER.parse_timestamp(words.join(" ")).ok()
}

fn plain(word: &str) -> Cow<'_, str> {
    let is_long = word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    match word {
        "UTC" | "Z" => "+0000".into(),
        _ if is_long => word.get(..3).unwrap_or(word).into(),
        _ if word.find(':') == Some(1) => format!("0{word}").into(),
        _ => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_of_feeds() {
        let check = |text: &str, expected: &str| {
            assert_eq!(time(text).as_deref(), Some(expected), "{text}");
        };
        check("2005-07-31T12:29:29Z", "2005-07-31T12:29:29Z");
        check(" 2005-07-31T12:29:29.25+02:00\n", "2005-07-31T10:29:29.25Z");
        check("2005-07-31T12:29:29+0200", "2005-07-31T10:29:29Z");
        check("2005-07-31 12:29:29Z", "2005-07-31T12:29:29Z");
        check("2005-07-31", "2005-07-31T00:00:00Z");
        check("Sat, 07 Sep 2002 00:00:01 GMT", "2002-09-07T00:00:01Z");
        check("Sun, 7 Sep 2002 00:00:01 +0200", "2002-09-06T22:00:01Z");
        check("7 Sep 2002 00:00 EST", "2002-09-07T05:00:00Z");
        check("Thurs, 13 July 2011 07:38:00 UTC", "2011-07-13T07:38:00Z");
        check("Tue, 15 Nov 2022 20:15:04 Z", "2022-11-15T20:15:04Z");
        check("Fri, Oct 7 2022 10:15:00 -0400", "2022-10-07T14:15:00Z");
        check("24 Sep 2013 1:27 PDT", "2013-09-24T08:27:00Z");
        check("mer, 16 nov 2022 00:38:15 +0100", "2022-11-15T23:38:15Z");
        check("Wed, 22 Jan 2020 10:58:02 -0000", "2020-01-22T10:58:02Z");
        check("Mon, 01 Jan 0001 00:00:00 UTC", "0001-01-01T00:00:00Z");
        check("Sat, 07 Sep 02 00:00:01 GMT", "2002-09-07T00:00:01Z");
    }

    #[test]
    fn what_is_no_moment_is_absent() {
        for text in [
            "",
            "soon",
            "2005",
            "2005-13-01",
            "2005-07-31T12:29:29",
            "2005-07-31 12:29",
            "Sat, 07 Sep 2002",
            "-0001",
            "99999-01-01T00:00:00Z",
            ",",
            "é, 1",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
        assert_eq!(time(&"1 ".repeat(TIME_BYTES_MAX)), None);
    }
}
