//! A stream is rewritten alike however it is cut; what is JSON stays JSON, and where nothing is to
//! be changed, no byte is.
#![no_main]

mod chunks;

use chunks::{Sizes, chunks};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tollgate::openai::changes::{Change, Changes};
use tollgate::openai::rewrite::{Rewriter, Rewrites};
use tollgate::openai::sse::Parser;

fuzz_target!(|input: (Sizes, &[u8])| {
    let (sizes, bytes) = input;
    let both = Rewrites {
        model: Some("our\"s".to_owned()),
        prefix: Some("> \u{e9}\n".to_owned()),
    };
    let whole = changes(&both, [bytes]);
    assert_eq!(changes(&both, chunks(bytes, &sizes)), whole);
    assert_eq!(changes(&both, bytes.chunks(1)), whole);
    let nothing = Rewrites::default();
    assert!(changes(&nothing, chunks(bytes, &sizes)).is_empty());

    assert_eq!(nothing.whole(bytes), None);
    if let Some(body) = both.whole(bytes) {
        assert!(serde_json::from_slice::<&RawValue>(&body).is_ok());
        // Our model stands there now.
        let again = Rewrites {
            prefix: None,
            ..both
        };
        assert_eq!(again.whole(&body), None);
    }
});

/// What is changed in a stream that comes in these chunks. Each change stands behind the one before.
fn changes<'b>(rewrites: &Rewrites, chunks: impl IntoIterator<Item = &'b [u8]>) -> Vec<Change> {
    let (mut rewriter, mut parser) = (Rewriter::new(rewrites), Parser::new());
    let mut changes = Changes::default();
    for chunk in chunks {
        parser.push(chunk, |event| rewriter.see(&event, &mut changes));
    }
    let changes: Vec<Change> = changes.into_iter().collect();
    assert!(changes.is_sorted_by(|one, next| one.range.end <= next.range.start));
    changes
}
