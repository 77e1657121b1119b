//! What is read of a request is what any other reader finds in it, and another model's name changes
//! nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollgate::openai::request::{peek, rewritten_model};

fuzz_target!(|body: &[u8]| {
    let Ok(read) = peek(body) else {
        return;
    };
    let (before, after) = (
        &body[..read.model_range.start],
        &body[read.model_range.end..],
    );
    let model: String = serde_json::from_slice(&body[read.model_range.clone()]).expect("a string");
    assert_eq!(model, read.model);
    // A tree has no place for every number that JSON can write.
    if let Ok(tree) = serde_json::from_slice::<Value>(body) {
        assert_eq!(tree["model"], *read.model);
        assert_eq!(tree["stream"] == true, read.stream);
        assert_eq!(tree["store"] == true, read.store);
    }

    let other = "an\"other\u{e9}\n";
    let rewritten = [before, &rewritten_model(other), after].concat();
    let again = peek(&rewritten).expect("as good as before");
    assert_eq!(again.model, other);
    assert_eq!((again.stream, again.store), (read.stream, read.store));
    assert_eq!(again.affinity, read.affinity);
});
