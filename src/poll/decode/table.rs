//! Tables in which values are separated by commas (RFC 4180), with names in the first line.

use serde_json::Value;

use super::{DecodeError, VALUES_MAX};

/// A mapping of texts for each row after the first.
///
/// # Errors
/// [`DecodeError::Table`] when a row has more or fewer values than there are names.
pub fn rows(text: &str) -> Result<Vec<Value>, DecodeError> {
    let mut table = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let broken = |error: csv::Error| DecodeError::Table {
        line: error.position().map_or(1, csv::Position::line),
    };
    let names = table.headers().map_err(broken)?.clone();
    let mut rows = Vec::new();
    for record in table.records() {
        let record = record.map_err(broken)?;
        let pairs = names.iter().zip(&record);
        let pairs = pairs.map(|(name, value)| (name.to_owned(), Value::from(value)));
        rows.push(Value::Object(pairs.collect()));
        if rows.len().saturating_mul(names.len()) > VALUES_MAX {
            return Err(DecodeError::TooManyValues);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_have_the_names_of_the_first_line() {
        let text = "id, text\r\n1,\"a, \"\"b\"\"\nc\"\r\n2,\r\n";
        let expected = [
            json!({"id": "1", "text": "a, \"b\"\nc"}),
            json!({"id": "2", "text": ""}),
        ];
        assert_eq!(rows(text).unwrap(), expected);
        assert_eq!(rows("id,text\n").unwrap(), Vec::<Value>::new());
    }

    #[test]
    fn a_row_of_another_length_is_none() {
        let check = |text: &str, line: u64| {
            assert_eq!(rows(text), Err(DecodeError::Table { line }), "{text}");
        };
        check("id,text\n1,a\n2\n", 3);
        check("id,text\n1,a,b\n", 2);
    }
}
