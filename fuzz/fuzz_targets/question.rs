//! What a request asks is found in any bytes or not at all, its hash does not depend on how it is written, and any
//! text agrees with itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollgate::cache::meaning::agreement::agree;
use tollgate::openai::question::{Form, read};

fuzz_target!(|body: &[u8]| {
    for form in [Form::Chat, Form::Completion, Form::Response] {
        let Ok(question) = read(form, body) else {
            continue;
        };
        let text = question.text.as_ref();
        assert!(agree(text, text));
        let tree: Value = serde_json::from_slice(body).expect("it was read");
        let written = serde_json::to_vec(&tree).expect("it was read");
        let again = read(form, &written).expect("as good as before");
        assert_eq!(again.text, question.text);
        assert_eq!(again.turns, question.turns);
        // A number that is written and read once more may be its neighbour.
        if serde_json::from_slice::<Value>(&written).ok() == Some(tree) {
            assert_eq!(again.rest, question.rest);
        }
    }
});
