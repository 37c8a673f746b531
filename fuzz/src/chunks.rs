//! Chunked bodies: what is taken does not depend on how it arrives, and another reader of chunks
//! finds the same ones in it.
//!
//! Input: a body, perhaps with something behind it, perhaps not whole.

use hookgate::ingress::chunks::ChunkWatch;
use httparse::{Status, parse_chunk_size};

pub fn check(data: &[u8]) {
    let whole = ChunkWatch::default().see(data);
    let mut watch = ChunkWatch::default();
    let piecewise = data.iter().try_for_each(|&byte| watch.see(&[byte]));
    assert_eq!(whole, piecewise, "it depends on how it arrives");
    if whole.is_ok() {
        walk(data);
    }
}

/// Goes from chunk to chunk as the other reader does, as far as the body goes.
fn walk(mut rest: &[u8]) {
    loop {
        let read = parse_chunk_size(rest).expect("a size that both can read");
        let Status::Complete((line, size)) = read else {
            return;
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        rest = &rest[line..];
        if size == 0 || rest.len() < size.saturating_add(2) {
            return;
        }
        assert_eq!(&rest[size..size + 2], b"\r\n", "a chunk ends elsewhere");
        rest = &rest[size + 2..];
    }
}
