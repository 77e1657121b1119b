//! The canonical form, and reading it.

use super::*;

fn written(body: &str) -> Canonical {
    Canonical::of(body.as_bytes(), |name| name == "left_out").unwrap()
}

#[test]
fn equal_requests_have_one_form() {
    for (one, other) in [
        (
            r#"{"a":1,"b":[true,null]}"#,
            "{ \"b\" : [ true , null ],\n\"a\":1 }",
        ),
        (
            r#"{"m":[{"role":"user","content":"x"}]}"#,
            r#"{"m":[{"content":"x","role":"user"}]}"#,
        ),
        (r#"{"a":"\u4f60\u00e9\/"}"#, r#"{"a":"你é/"}"#),
        (r#"{"\u0061":1}"#, r#"{"a":1}"#),
        (r#"{"a":1}"#, r#"{"a":1.0}"#),
        (r#"{"a":0}"#, r#"{"a":-0.0}"#),
        (r#"{"a":0.7}"#, r#"{"a":7e-1}"#),
        (r#"{"a":0.1000000000000000055}"#, r#"{"a":0.1}"#),
        (
            r#"{"b":{"d":1,"c":[{"f":1,"e":2}]},"a":{}}"#,
            r#"{"a":{},"b":{"c":[{"e":2,"f":1}],"d":1}}"#,
        ),
        (r#"{"a":1,"left_out":5}"#, r#"{"left_out":[{}],"a":1}"#),
    ] {
        assert_eq!(written(one), written(other), "{one} {other}");
    }
}

#[test]
fn others_have_others() {
    for (one, other) in [
        (r#"{"a":1}"#, r#"{"a":"1"}"#),
        (r#"{"a":1}"#, r#"{"A":1}"#),
        (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
        (r#"{"a":[1,[2]]}"#, r#"{"a":[[1],2]}"#),
        (r#"{"a":null}"#, r"{}"),
        (r#"{"a":null}"#, r#"{"a":"null"}"#),
        (r#"{"a":{"left_out":1}}"#, r#"{"a":{}}"#),
        (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"a":"b\",\"c"}"#, r#"{"a":"b","c":""}"#),
        // The same float, and not the same number.
        (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#),
        (
            r#"{"a":18446744073709551615}"#,
            r#"{"a":18446744073709551614}"#,
        ),
        (r#"{"a":-9007199254740993}"#, r#"{"a":-9007199254740992}"#),
        (r#"{"a":"x "}"#, r#"{"a":"x"}"#),
    ] {
        assert_ne!(written(one), written(other), "{one} {other}");
    }
}

#[test]
fn deep_objects_keep_their_order_and_lose_their_white_space() {
    let nested = |inner: &str| {
        let (open, close) = ("[".repeat(20), "]".repeat(20));
        format!("{{\"a\":{open}{inner}{close}}}")
    };
    let compact = nested(r#"{"b":"x \" y","a":1}"#);
    assert_eq!(
        written(&compact),
        written(&nested("{ \"b\" : \"x \\\" y\",\n \"a\" :1}"))
    );
    assert_ne!(
        written(&compact),
        written(&nested(r#"{"a":1,"b":"x \" y"}"#))
    );
    assert_ne!(
        written(&compact),
        written(&nested(r#"{"b":"x \"y","a":1}"#))
    );
}

#[test]
fn a_value_has_the_hash_of_its_form() {
    let hashed = |json: &str| {
        let value: Box<RawValue> = serde_json::from_str(json).unwrap();
        hash(&value).unwrap()
    };
    let equal = [r#"{"a":1,"b":["x"]}"#, r#"{ "b": ["\u0078"], "a": 1.0 }"#];
    assert_eq!(hashed(equal[0]), hashed(equal[1]));
    for other in [
        "1",
        "\"1\"",
        "[1]",
        "null",
        r#"{"a":1,"a":1}"#,
        r#"{"a":1}"#,
    ] {
        assert_ne!(hashed(other), hashed(equal[0]), "{other}");
    }
    assert_ne!(hashed("1"), hashed("\"1\""));
}

#[test]
fn what_is_no_object_or_would_be_rounded_has_none() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for body in [
        "[]",
        "1",
        "",
        "{",
        "{\"a\":}",
        "{} x",
        r#"{"a":18446744073709551616}"#,
        r#"{"a":-1e30}"#,
        r#"{"a":1e400}"#,
        r#"{"a":"\ud800"}"#,
        &deep,
    ] {
        assert_eq!(
            Canonical::of(body.as_bytes(), |_| false),
            Err(NotCanonical),
            "{body}"
        );
    }
    assert_eq!(Canonical::of(b"{\"\xff\":1}", |_| false), Err(NotCanonical));
}

/// What is read of a form, as JSON again.
fn told(value: Value<'_>) -> String {
    let text = |bytes| format!("{:?}", str::from_utf8(bytes).unwrap());
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(content) => text(content),
        Value::List(items) => format!("[{}]", items.map(told).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let members = members.map(|(name, value)| format!("{}:{}", text(name), told(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}

#[test]
fn what_was_written_is_read() {
    for (body, read) in [
        ("{}", "{}"),
        (
            r#"{"b":[true,false,null,[],{}],"a":{"d":"x","c":-1.5},"left_out":{"a":1}}"#,
            r#"{"a":{"c":-1.5,"d":"x"},"b":[true,false,null,[],{}]}"#,
        ),
        (
            r#"{"a":"\u4f60","a":18446744073709551615}"#,
            r#"{"a":"你","a":18446744073709552000}"#,
        ),
    ] {
        assert_eq!(told(written(body).value()), read, "{body}");
    }
}

#[test]
fn what_is_empty_is_not_truthy() {
    for (value, is_truthy) in [
        ("null", false),
        ("false", false),
        ("true", true),
        ("0", false),
        ("0.5", true),
        ("\"\"", false),
        ("\"0\"", true),
        ("[]", false),
        ("[0]", true),
        ("{}", false),
        ("{\"a\":null}", true),
    ] {
        let form = written(&format!("{{\"a\":{value}}}"));
        let Value::Object(mut members) = form.value() else {
            unreachable!("{form:?}");
        };
        let (_, read) = members.next().unwrap();
        assert_eq!(read.is_truthy(), is_truthy, "{value}");
    }
}
