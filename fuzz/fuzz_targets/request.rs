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
    let range = read.slot.range.start as usize..read.slot.range.end as usize;
    let (before, after) = (&body[..range.start], &body[range.end..]);
    if !range.is_empty() {
        let model: Option<String> = serde_json::from_slice(&body[range]).expect("a name, or null");
        assert_eq!(model.as_deref(), read.model.as_deref());
    }
    // A tree has no place for every number that JSON can write.
    if let Ok(tree) = serde_json::from_slice::<Value>(body) {
        assert_eq!(tree["model"].as_str(), read.model.as_deref());
        assert_eq!(tree["stream"] == true, read.streaming.is_requested);
        assert_eq!(tree["store"] == true, read.store);
    }

    let other = "an\"other\u{e9}\n";
    let rewritten = [before, &read.slot.filled(rewritten_model(other)), after].concat();
    let again = peek(&rewritten).expect("as good as before");
    assert_eq!(again.model.as_deref(), Some(other));
    assert_eq!(again.streaming.is_requested, read.streaming.is_requested);
    assert_eq!(again.store, read.store);
    assert_eq!(again.affinity, read.affinity);
});
