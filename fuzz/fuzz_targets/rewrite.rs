//! A stream is rewritten alike however it is cut; what is JSON stays JSON, and where nothing is to
//! be changed, no byte is.
#![no_main]

mod chunks;

use bytes::Bytes;
use chunks::{Sizes, chunks};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tollgate::openai::rewrite::{Rewrites, StreamRewriter};

fuzz_target!(|input: (Sizes, &[u8])| {
    let (sizes, bytes) = input;
    let both = Rewrites {
        model: Some("our\"s".to_owned()),
        prefix: Some("> \u{e9}\n".to_owned()),
    };
    let whole = stream(&both, [bytes]);
    assert_eq!(stream(&both, chunks(bytes, &sizes)), whole);
    assert_eq!(stream(&both, bytes.chunks(1)), whole);
    let nothing = Rewrites::default();
    assert_eq!(stream(&nothing, chunks(bytes, &sizes)), bytes);

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

fn stream<'b>(rewrites: &Rewrites, chunks: impl IntoIterator<Item = &'b [u8]>) -> Vec<u8> {
    let mut rewriter = StreamRewriter::new(rewrites.clone());
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend(rewriter.push(Bytes::copy_from_slice(chunk)));
    }
    out.extend(rewriter.finish());
    out
}
