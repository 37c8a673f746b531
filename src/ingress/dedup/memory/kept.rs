//! An answer in as little memory as it takes: there may be a million of them, and few are ever asked for.

use bytes::Bytes;

use super::super::Recorded;

/// An answer in one piece: status, whether it has a body, each header as two texts with their lengths
/// before them, an end, the body.
pub(super) struct Kept(Box<[u8]>);

/// Stands for the end of the headers where a length would stand.
const END: u32 = u32::MAX;

impl Kept {
    /// Packs an answer.
    pub(super) fn new(answer: &Recorded) -> Self {
        let headers = answer.headers.iter();
        let texts = headers.map(|(name, value)| 8 + name.len() + value.len());
        let body = answer.body.as_ref().map_or(0, Bytes::len);
        let mut packed = Vec::with_capacity(7 + texts.sum::<usize>() + body);
        packed.extend_from_slice(&answer.status.to_le_bytes());
        packed.push(answer.body.is_some().into());
        for (name, value) in &answer.headers {
            for text in [name.as_bytes(), value] {
                // No head is as long as that.
                let length = u32::try_from(text.len()).unwrap_or(END - 1);
                packed.extend_from_slice(&length.to_le_bytes());
                packed.extend_from_slice(text);
            }
        }
        packed.extend_from_slice(&END.to_le_bytes());
        packed.extend_from_slice(answer.body.as_deref().unwrap_or_default());
        Self(packed.into())
    }

    /// How many bytes it takes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The answer.
    pub(super) fn recorded(&self) -> Recorded {
        let mut rest = &*self.0;
        let status = take(&mut rest).map_or(0, u16::from_le_bytes);
        let has_body = take(&mut rest) == Some([1]);
        let mut headers = Vec::new();
        while let Some(name) = text(&mut rest) {
            let Some(value) = text(&mut rest) else { break };
            let name = String::from_utf8_lossy(name).into_owned();
            headers.push((name, Bytes::copy_from_slice(value)));
        }
        Recorded {
            status,
            headers,
            body: has_body.then(|| Bytes::copy_from_slice(rest)),
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

/// The next text; `None` at the end.
fn text<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length);
    if length == END {
        *rest = after;
        return None;
    }
    let (text, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back_as_it_was() {
        let header = |name: &str, value: &[u8]| (name.to_owned(), Bytes::copy_from_slice(value));
        for headers in [vec![], vec![header("a", b""), header("X-B", b"\xff\x00")]] {
            for body in [
                None,
                Some(Bytes::new()),
                Some(Bytes::from_static(b"\xff\xff\xff\xff")),
            ] {
                let answer = Recorded {
                    status: 201,
                    headers: headers.clone(),
                    body,
                };
                assert_eq!(Kept::new(&answer).recorded(), answer);
            }
        }
    }
}
