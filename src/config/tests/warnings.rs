//! What is allowed and probably not meant.

use super::{problems, variables};
use crate::config::Config;
use crate::routing::Matcher;

/// The warnings of a configuration that is taken.
#[track_caller]
fn warnings(text: &str) -> Vec<String> {
    let config = Config::parse("t.yaml", text, &variables()).unwrap();
    config.warnings.iter().map(ToString::to_string).collect()
}

/// A configuration with one upstream, whose keys are given, and more.
fn upstream(upstream: &str, more: &str) -> String {
    format!(
        "upstreams:\n  a: {{ {upstream} }}\n\
         models: [{{ match: gpt-*, targets: [{{ upstream: a }}] }}]\n{more}"
    )
}

#[test]
fn a_configuration_without_doubts_has_no_warnings() {
    for text in [
        upstream(
            "base_url: https://api.openai.com, keys: ['${OPENAI_API_KEY}']",
            "",
        ),
        upstream("base_url: https://api.openai.com, keys: passthrough", ""),
        upstream("base_url: http://10.0.0.1:8000", ""),
        upstream(
            "base_url: http://vllm.internal:8000, keys: ['a$b', '$', '$1', '${OPENAI_API_KEY}']",
            "",
        ),
        upstream(
            "base_url: https://api.groq.com, dialect: { name: openai, headers: { Authorization: x } }",
            "",
        ),
        upstream(
            "base_url: https://r.openai.azure.com, dialect: { name: azure, headers: { api-key: x } }",
            "",
        ),
        upstream(
            "base_url: http://a",
            "server: { passthrough: a }\n\
             tenants: [{ id: t, keys: [k], models: [gpt-4o, gpt-*, g*, '*'], passthrough: off }, { id: u, keys: [l] }]",
        ),
    ] {
        assert_eq!(warnings(&text), [""; 0], "{text}");
    }
}

#[test]
fn an_operators_listener_that_other_networks_reach_is_warned_of() {
    let at = |address: &str| {
        upstream(
            "base_url: http://a",
            &format!("server: {{ admin: '{address}' }}"),
        )
    };
    for (address, reach) in [
        ("0.0.0.0:9464", "on every address of this machine"),
        ("[::]:9464", "on every address of this machine"),
        ("203.0.113.7:9464", "on a public address"),
        ("[2001:db8::1]:9464", "on a public address"),
        ("[::ffff:203.0.113.7]:9464", "on a public address"),
    ] {
        let found = warnings(&at(address));
        let expected = format!(
            "server.admin: the operator's listener is {reach} and asks for no key: it shows"
        );
        assert!(
            found.len() == 1 && found[0].contains(&expected),
            "{address}: {found:?}"
        );
    }
    for address in [
        "127.0.0.1:9464",
        "[::1]:9464",
        "10.1.2.3:9464",
        "192.168.1.2:9464",
        "100.64.0.1:9464",
        "[fd00::1]:9464",
        "[fe80::1]:9464",
        "off",
    ] {
        assert_eq!(warnings(&at(address)), [""; 0], "{address}");
    }
}

#[test]
fn a_key_that_looks_like_a_variable_is_warned_of_and_not_printed() {
    for (text, path) in [
        (
            upstream("base_url: http://a, keys: [ok, '$OPENAI_API_KEY']", ""),
            "2: warning: upstreams.a.keys[1]",
        ),
        (
            upstream(
                "base_url: http://a, dialect: { name: openai, headers: { x-key: $KEY } }",
                "",
            ),
            "2: warning: upstreams.a.dialect.headers.x-key",
        ),
        (
            upstream(
                "base_url: http://a",
                "tenants: [{ id: t, keys: ['x,$key_1'] }]",
            ),
            "4: warning: tenants[0].keys[0]",
        ),
    ] {
        let expected = format!(
            "t.yaml:{path}: it begins with `$` and has no braces, so it is used as it is written (write ${{NAME}} for the value of a variable)"
        );
        assert_eq!(warnings(&text), [expected], "{text}");
    }
}

#[test]
fn a_key_with_a_character_that_keys_do_not_have_is_warned_of_and_not_printed() {
    let comment = "remove the comment: a `#` begins none within quotes, or in a file of variables";
    let again = "copy the key again, from the page that shows it";
    let blank = "remove what is not part of the key, and separate several keys with commas";
    for (keys, told, hint) in [
        ("sk-a # mine", "character 6 of the key is a `#`", comment),
        ("sk-a b", "character 5 of the key is white space", blank),
        ("ok, sk\\ta", "character 3 of the key is white space", blank),
        ("sk-ключ", "character 4 of the key is not ASCII", again),
        ("sk-a\u{a0}b", "character 5 of the key is not ASCII", again),
        (
            "sk\\u0001a",
            "character 3 of the key is a control character",
            again,
        ),
    ] {
        let text = upstream(
            "base_url: http://a",
            &format!("tenants: [{{ id: t, keys: [\"{keys}\"] }}]"),
        );
        let expected = format!(
            "t.yaml:4: warning: tenants[0].keys[0]: {told}, which keys do not have ({hint})"
        );
        assert_eq!(warnings(&text), [expected], "{text}");
    }
    let text = upstream("base_url: http://a, keys: ['sk-a b', 'sk-a,sk#b']", "");
    assert_eq!(
        warnings(&text),
        [
            format!(
                "t.yaml:2: warning: upstreams.a.keys[0]: character 5 of the key is white space, which keys do not have ({blank})"
            ),
            format!(
                "t.yaml:2: warning: upstreams.a.keys[1]: character 3 of the key is a `#`, which keys do not have ({comment})"
            ),
        ]
    );
    // What no header can carry is a mistake, and needs no warning.
    let text = upstream("base_url: http://a, keys: [\"sk\\u0001a\"]", "");
    let told = problems(&text);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("upstreams.a.keys[0]: the key has characters that no header can carry")
    );
}

#[test]
fn a_public_provider_in_cleartext_or_without_a_key_is_warned_of() {
    assert_eq!(
        warnings(&upstream(
            "base_url: http://api.openai.com/v1, keys: [k]",
            ""
        )),
        [
            "t.yaml:2: warning: upstreams.a.base_url: http:// to api.openai.com sends prompts and keys unencrypted over the internet (write https://)"
        ]
    );
    assert_eq!(
        warnings(&upstream(
            "servers: [https://api.groq.com, http://API.Mistral.AI], keys: [k]",
            ""
        )),
        [
            "t.yaml:2: warning: upstreams.a.servers[1]: http:// to API.Mistral.AI sends prompts and keys unencrypted over the internet (write https://)"
        ]
    );
    for keys in [
        "",
        ", keys: []",
        ", dialect: { name: openai, headers: { x-team: a } }",
    ] {
        assert_eq!(
            warnings(&upstream(
                &format!("base_url: https://api.openai.com{keys}"),
                ""
            )),
            [
                "t.yaml:2: warning: upstreams.a: api.openai.com is asked without a key (add keys: [\"${NAME}\"], or keys: passthrough to send the client's own)"
            ]
        );
    }
}

#[test]
fn a_tenants_list_that_does_not_do_what_it_says_is_warned_of() {
    let text = upstream(
        "base_url: http://a",
        "server: { passthrough: a }\n\
         tenants:\n  - id: t\n    keys: [k]\n    models: [gpt-4o, claude-3, claude-*]\n",
    );
    assert_eq!(
        warnings(&text),
        [
            "t.yaml:6: warning: tenants[0]: `models` does not bind what passes through to `a` by server.passthrough: files, batches and the like may name any model (write passthrough: off here, or passthrough: a if that is meant)",
            "t.yaml:8: warning: tenants[0].models[1]: no rule under `models` serves `claude-3` (add a rule for it, or remove the name: the tenant gets 404)",
            "t.yaml:8: warning: tenants[0].models[2]: no rule under `models` serves `claude-*` (add a rule for it, or remove the name: the tenant gets 404)",
        ]
    );
}

#[test]
fn a_quota_that_does_not_count_what_passes_through_is_warned_of_unless_that_is_meant() {
    let of_tenant = |more: &str| {
        let text = upstream(
            "base_url: http://a",
            &format!(
                "server: {{ passthrough: a }}\ntenants:\n  - {{ id: t, keys: [k], quota: 5{more} }}\n"
            ),
        );
        warnings(&text)
    };
    let told = "t.yaml:6: warning: tenants[0]: `quota` does not count what passes through to `a` by server.passthrough: \
                batches and the like use tokens that are not read (write passthrough: off here, or passthrough: a if that \
                is meant)";
    assert_eq!(of_tenant(""), [told]);
    for meant in [", passthrough: a", ", passthrough: off", ", strict: true"] {
        assert_eq!(of_tenant(meant), [""; 0], "{meant}");
    }
}

#[test]
fn what_can_have_no_effect_in_a_rule_is_warned_of() {
    let of_rule = |more: &str, targets: &str| {
        let text = format!(
            "upstreams:\n  a: {{ base_url: http://a }}\n  b: {{ base_url: http://b, prefill: vllm }}\n\
             models:\n  - {{ match: m, targets: [{targets}]{more} }}\n"
        );
        let told = warnings(&text);
        told.iter()
            .map(|line| {
                line.split_once("match: ")
                    .map_or(line.as_str(), |(_, told)| told)
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    let two = "{ upstream: a }, { upstream: a, model: x }";
    for (more, targets, told) in [
        (
            ", hedge_after: 1s",
            "{ upstream: a }",
            "`hedge_after` has no effect",
        ),
        (
            ", choose: fastest",
            "{ upstream: a }",
            "`choose` has no effect",
        ),
        (
            ", choose: cheapest",
            two,
            "`choose: cheapest` has no effect",
        ),
        (
            ", on_cut: continue",
            two,
            "`on_cut: continue` has no effect",
        ),
        (
            ", on_cut: continue, commit: whole",
            two,
            "`on_cut: continue` has no effect with",
        ),
    ] {
        let found = of_rule(more, targets);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(told), "{found:?}");
    }
    let other = "{ upstream: a }, { upstream: b }";
    for more in [
        ", hedge_after: 1s",
        ", choose: fastest",
        ", on_cut: continue",
    ] {
        assert_eq!(of_rule(more, other), [""; 0], "{more}");
    }
}

#[test]
fn warnings_are_told_with_the_mistakes() {
    let text = upstream(
        "base_url: http://api.openai.com, keys: [k], http3: true",
        "",
    );
    assert_eq!(
        problems(&text),
        [
            "t.yaml:2: upstreams.a.http3: unknown key (did you mean `http2`?)",
            "t.yaml:2: warning: upstreams.a.base_url: http:// to api.openai.com sends prompts and keys unencrypted over the internet (write https://)",
        ]
    );
}

#[test]
fn a_star_at_the_end_is_a_prefix_wherever_names_are_matched() {
    for (written, expected) in [
        ("gpt-*", "gpt-"),
        ("'*'", ""),
        ("{ prefix: gpt- }", "gpt-"),
        ("{ prefix: gpt-* }", "gpt-"),
        ("{ prefix: '*' }", ""),
    ] {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: {written}, targets: [{{ upstream: a }}] }}]"
        );
        let config = Config::parse("t.yaml", &text, &variables()).unwrap();
        let matcher = &config.models[0].matcher.value;
        assert_eq!(*matcher, Matcher::Prefix(expected.to_owned()), "{written}");
    }
}
