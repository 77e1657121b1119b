//! Changes to bodies, each field's edit by itself and in their order.

use super::*;

#[test]
fn a_bound_that_is_set_replaces_the_requests_and_a_default_stands_in_for_none() {
    let asked = |max_output| Demand {
        max_output,
        has_tools: true,
    };
    let bound = |value: u64| vec![("max_tokens".to_owned(), value.into())];
    let edits = Edits {
        default: bound(20),
        ..Edits::default()
    };
    assert_eq!(edits.demand(asked(None)), asked(Some(20)));
    assert_eq!(edits.demand(asked(Some(7))), asked(Some(7)));
    let edits = Edits {
        set: bound(100),
        ..edits
    };
    assert_eq!(edits.demand(asked(Some(7))), asked(Some(100)));
    assert_eq!(Edits::default().demand(asked(None)), asked(None));
}
use serde_json::json;

fn apply(edits: &Edits, body: &str) -> String {
    String::from_utf8(edits.apply(body.as_bytes()).unwrap()).unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn dropping(dropped: &[&str]) -> Edits {
    Edits {
        drop: names(dropped),
        ..Edits::default()
    }
}

fn renaming(renamed: &[(&str, &str)]) -> Edits {
    let owned = |&(from, to): &(&str, &str)| (from.to_owned(), to.to_owned());
    Edits {
        rename: renamed.iter().map(owned).collect(),
        ..Edits::default()
    }
}

fn setting(name: &str, value: serde_json::Value) -> Edits {
    Edits {
        set: vec![(name.to_owned(), value)],
        ..Edits::default()
    }
}

fn defaulting(name: &str, value: serde_json::Value) -> Edits {
    Edits {
        default: vec![(name.to_owned(), value)],
        ..Edits::default()
    }
}

fn stopping(words: &[&str]) -> Edits {
    Edits {
        stop: names(words),
        ..Edits::default()
    }
}

#[test]
fn what_is_not_touched_keeps_its_bytes() {
    let members = [
        r#""model" : "x""#,
        "\"a\"\t:\r\n1.0e400",
        r#""\u0062":12345678901234567890.10"#,
        r#""c":[ 1 , {"drop" :1,"drop":2} ]"#,
        r#""é":"\u00e9\ud83d\ude00 \ud800 é""#,
        r#""":null"#,
    ];
    let body = format!(" {{ {} \n}} ", members.join(" ,\n"));
    assert_eq!(apply(&dropping(&["drop"]), &body), body);
    assert_eq!(apply(&Edits::default(), &body), body);
}

#[test]
fn dropped_fields_are_left_out_each_time_they_occur() {
    for (body, expected) in [
        (r#"{"a":1,"b":2,"c":3}"#, r#"{"b":2}"#),
        (r#"{"a":1,"b":2,"\u0061":3}"#, r#"{"b":2}"#),
        (r#"{"a":1,"A":2}"#, r#"{"A":2}"#),
        (r#"{ "a" : 1 }"#, "{}"),
        ("{ }", "{ }"),
    ] {
        assert_eq!(apply(&dropping(&["a", "c"]), body), expected, "{body}");
    }
}

#[test]
fn a_renamed_field_keeps_its_place_and_all_but_its_name() {
    for (body, expected) in [
        (r#"{"a" : 1.0e400,"b":2}"#, r#"{"z" : 1.0e400,"b":2}"#),
        (r#"{"\u0061":1,"b":2,"a":3}"#, r#"{"z":1,"b":2,"z":3}"#),
        (r#"{"b":2}"#, r#"{"b":2}"#),
    ] {
        assert_eq!(apply(&renaming(&[("a", "z")]), body), expected, "{body}");
    }
    assert_eq!(
        apply(&renaming(&[("a", "\"")]), r#"{"a":1}"#),
        r#"{"\"":1}"#
    );
}

#[test]
fn a_field_that_has_the_new_name_wins_unless_it_is_null() {
    for (body, expected) in [
        (r#"{"a":1,"z":2}"#, r#"{"z":2}"#),
        (r#"{"z":2,"b":0,"a":1}"#, r#"{"z":2,"b":0}"#),
        (r#"{"z":null,"a":1}"#, r#"{"z":1}"#),
        (r#"{"z":null,"z":2,"a":1}"#, r#"{"z":null,"z":2}"#),
        (r#"{"z":null,"a":null}"#, r#"{"z":null}"#),
        (r#"{"z":null}"#, r#"{"z":null}"#),
    ] {
        assert_eq!(apply(&renaming(&[("a", "z")]), body), expected, "{body}");
    }
}

#[test]
fn renames_follow_one_another() {
    let body = r#"{"a":1,"b":2}"#;
    for (renamed, expected) in [
        ([("a", "z"), ("b", "z")], r#"{"z":1}"#),
        ([("b", "c"), ("a", "b")], r#"{"b":1,"c":2}"#),
        ([("a", "a"), ("x", "b")], body),
    ] {
        let fields = apply(&renaming(&renamed), body);
        let fields: serde_json::Value = serde_json::from_str(&fields).unwrap();
        assert_eq!(
            fields,
            serde_json::from_str::<serde_json::Value>(expected).unwrap()
        );
    }
}

#[test]
fn a_set_field_takes_the_place_of_all_of_its_name() {
    let edits = setting("t", json!({"x": [1, "é"]}));
    for (body, expected) in [
        ("{}", r#"{"t":{"x":[1,"é"]}}"#),
        (
            r#"{"t":1,"a":2,"\u0074":3}"#,
            r#"{"a":2,"t":{"x":[1,"é"]}}"#,
        ),
    ] {
        assert_eq!(apply(&edits, body), expected, "{body}");
    }
    assert_eq!(
        apply(&setting("t", json!(null)), r#"{"t":1}"#),
        r#"{"t":null}"#
    );
}

#[test]
fn a_default_is_for_what_the_client_did_not_say() {
    for (body, expected) in [
        (r#"{"a":1}"#, r#"{"a":1,"t":0.5}"#),
        (r#"{"t": null ,"a":1}"#, r#"{"a":1,"t":0.5}"#),
        (r#"{"t":false}"#, r#"{"t":false}"#),
        (r#"{"t":"null"}"#, r#"{"t":"null"}"#),
        (r#"{"t":1,"t":null}"#, r#"{"t":1,"t":null}"#),
    ] {
        assert_eq!(
            apply(&defaulting("t", json!(0.5)), body),
            expected,
            "{body}"
        );
    }
}

#[test]
fn our_stop_words_join_those_of_the_client() {
    for (body, expected) in [
        ("{}", r#"{"stop":["a","\n"]}"#),
        (r#"{"stop":null,"x":1}"#, r#"{"x":1,"stop":["a","\n"]}"#),
        (
            r#"{"stop" : "é","x":1}"#,
            r#"{"stop" : ["é","a","\n"],"x":1}"#,
        ),
        (r#"{"stop":""}"#, r#"{"stop":["","a","\n"]}"#),
        (r#"{"stop":"a"}"#, r#"{"stop":["a","\n"]}"#),
        (r#"{"stop":[]}"#, r#"{"stop":["a","\n"]}"#),
        (r#"{"stop":[ ]}"#, r#"{"stop":[ "a","\n"]}"#),
        (
            r#"{"stop":[ "b" ,"c" ]}"#,
            r#"{"stop":[ "b" ,"c" ,"a","\n"]}"#,
        ),
        (
            r#"{"stop":["\u0061","\u0062"]}"#,
            r#"{"stop":["\u0061","\u0062","\n"]}"#,
        ),
        (r#"{"stop":["\n", "a"]}"#, r#"{"stop":["\n", "a"]}"#),
        (
            r#"{"stop":[1.0e400,["a"]]}"#,
            r#"{"stop":[1.0e400,["a"],"a","\n"]}"#,
        ),
        (r#"{"stop":"\ud800"}"#, r#"{"stop":["\ud800","a","\n"]}"#),
        (
            r#"{"stop":"x","stop":[]}"#,
            r#"{"stop":["x","a","\n"],"stop":["a","\n"]}"#,
        ),
        (r#"{"stop":7}"#, r#"{"stop":7}"#),
        (r#"{"stop":{"a":1}}"#, r#"{"stop":{"a":1}}"#),
        (r#"{"stop":true}"#, r#"{"stop":true}"#),
    ] {
        assert_eq!(apply(&stopping(&["a", "\n"]), body), expected, "{body}");
    }
}

#[test]
fn changes_are_made_in_their_order() {
    let edits = Edits {
        drop: names(&["max_tokens", "b"]),
        rename: vec![("max_completion_tokens".into(), "max_tokens".into())],
        set: vec![("a".into(), json!(1)), ("b".into(), json!(2))],
        default: vec![
            ("max_completion_tokens".into(), json!(256)),
            ("a".into(), json!(0)),
        ],
        stop: names(&["end"]),
    };
    assert!(!edits.is_empty() && Edits::default().is_empty());
    for (body, expected) in [
        (
            r#"{"model":"x","max_tokens":9}"#,
            r#"{"model":"x","max_tokens":256,"a":1,"stop":["end"]}"#,
        ),
        (
            r#"{"stop":"s","max_completion_tokens":8,"model":"x","a":5}"#,
            r#"{"stop":["s","end"],"max_tokens":8,"model":"x","a":1}"#,
        ),
    ] {
        let out = edits.apply(body.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{body}");
    }
}

#[test]
fn what_is_no_object_fails() {
    let edits = dropping(&["a"]);
    let bodies: [&[u8]; 12] = [
        b"",
        b"null",
        b"[1]",
        br#""a""#,
        b"{",
        br#"{"a":1,}"#,
        br#"{"a":1} x"#,
        br#"{a:1}"#,
        br#"{1:1}"#,
        br#"{"\ud800":1}"#,
        b"{\"\xff\":1}",
        b"{\"a\":\"\xff\"}",
    ];
    for body in bodies {
        let result = edits.apply(body);
        assert!(result.is_err(), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn the_number_of_fields_is_bounded() {
    let body = |fields: usize| format!("{{{}}}", vec![r#""":0"#; fields].join(","));
    let most = body(MAX_FIELDS);
    assert_eq!(apply(&dropping(&["a"]), &most), most);
    let error = dropping(&["a"]).apply(body(MAX_FIELDS + 1).as_bytes());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("more than 4096 fields")
    );
}

#[test]
fn depth_costs_no_stack() {
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"a":{nested},"stop":{nested}}}"#);
    let inner = &nested[..nested.len() - 1];
    let expected = format!(r#"{{"a":{nested},"stop":{inner},"w"]}}"#);
    assert_eq!(apply(&stopping(&["w"]), &body), expected);
}

#[test]
fn every_byte_before_the_first_change_stays() {
    let body = " {\n\t\"model\" : \"m\" ,  \"tools\":[ ],\r\n \"stop\" : [ \"a\" ] , \"seed\": 1 ,\"x\" :{ }\n } \n";
    // Each edit, and the field at which it begins to change something; `end` for what is added.
    let cases = [
        (dropping(&["tools"]), "\"tools\""),
        (dropping(&["model"]), "\"model\""),
        (renaming(&[("seed", "random_seed")]), "\"seed\""),
        (setting("seed", json!(2)), "\"seed\""),
        (setting("new", json!(2)), "end"),
        (defaulting("new", json!(2)), "end"),
        (stopping(&["b"]), "[ \"a\""),
        (defaulting("seed", json!(2)), "nowhere"),
        (dropping(&["missing"]), "nowhere"),
        (renaming(&[("missing", "other")]), "nowhere"),
        (stopping(&["a"]), "nowhere"),
    ];
    for (edits, first) in cases {
        let edited = apply(&edits, body);
        let same = body.bytes().zip(edited.bytes()).take_while(|(a, b)| a == b);
        let same = same.count();
        let least = match first {
            "nowhere" => {
                assert_eq!(edited, body, "{edits:?}");
                continue;
            }
            "end" => body.find("{ }").unwrap() + "{ }".len(),
            // The separator before a field that goes may go with it.
            first => body[..body.find(first).unwrap()]
                .trim_end()
                .trim_end_matches(',')
                .trim_end()
                .len(),
        };
        assert!(same >= least, "{edits:?}: {same} of {least} in {edited}");
        serde_json::from_str::<serde_json::Value>(&edited).unwrap();
    }
    assert_eq!(apply(&dropping(&["a"]), " { \"a\" : 1 } "), " {}");
}
