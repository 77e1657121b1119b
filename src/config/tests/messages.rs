//! What is said of mistakes: each message says what to change, and one mistake has one message.

use super::{problems, with};

/// Asserts on everything that is said of a configuration.
#[track_caller]
fn assert_said(text: &str, expected: &[&str]) {
    assert_eq!(problems(text), expected, "{text}");
}

/// A configuration with one rule, whose keys are given.
fn rule(rule: &str) -> String {
    format!("upstreams: {{ a: {{ base_url: http://a.example }} }}\nmodels:\n  - {{ {rule} }}\n")
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_star_stands_at_the_end_of_a_name_or_the_right_form_is_told() {
    for (written, expected) in [
        (
            "match: gpt-*-mini",
            "match: `gpt-*-mini`: a `*` stands only at the end (match: \"gpt-*\" for the names that begin with it)",
        ),
        (
            "match: '*gpt-4*'",
            "match: `*gpt-4*`: a `*` stands only at the end (match: { keyword: gpt-4 } for the names that contain it)",
        ),
        (
            "match: '*-mini'",
            "match: `*-mini`: a `*` stands only at the end (match: { keyword: -mini } for the names that contain it)",
        ),
        (
            "match: gpt-**",
            "match: `gpt-**`: a `*` stands only at the end (match: \"gpt-*\" for the names that begin with it)",
        ),
        (
            "match: '**'",
            "match: `**`: a `*` stands only at the end (match: \"*\" for any name)",
        ),
        (
            "match: { prefix: a*b }",
            "match.prefix: `a*b`: a `*` stands only at the end (prefix: a)",
        ),
        (
            "match: { prefix: '*b' }",
            "match.prefix: `*b`: a `*` stands only at the end (match: { keyword: b })",
        ),
        (
            "match: { keyword: gpt* }",
            "match.keyword: `gpt*`: a keyword has no `*`, it may stand anywhere in a name (keyword: gpt)",
        ),
        (
            "match: { keyword: '*' }",
            "match.keyword: `*`: a keyword has no `*`, it may stand anywhere in a name (match: \"*\" for any name)",
        ),
        (
            "match: m, fallback: ['gpt-*']",
            "fallback[0]: `gpt-*` does not name one model (a fallback is asked for by name: write one that the rule serves, as in gpt-4o)",
        ),
        (
            "match: m, fallback: [{ model: '*' }]",
            "fallback[0].model: `*` does not name one model (a fallback is asked for by name: write one that the rule serves, as in gpt-4o)",
        ),
    ] {
        let expected = format!("t.yaml:3: models[0].{expected}");
        assert_said(
            &rule(&format!("{written}, targets: [{{ upstream: a }}]")),
            &[&expected],
        );
    }
    assert_said(
        &rule("match: m, targets: [{ upstream: a, model: gpt-* }]"),
        &[
            "t.yaml:3: models[0].targets[0].model: `gpt-*` does not name one model (write one name, or leave `model` out to pass on what the client asked for)",
        ],
    );
    for (name, hint) in [
        (
            "a*b",
            "\"a*\" for the names that begin with it, or each name",
        ),
        (
            "a**",
            "\"a*\" for the names that begin with it, or each name",
        ),
        (
            "*b",
            "write each name, or the beginning of the names and a `*`",
        ),
        ("**", "leave `models` out to allow all"),
    ] {
        assert_said(
            &with(&format!(
                "tenants: [{{ id: t, keys: [k], models: ['{name}'] }}]"
            )),
            &[&format!(
                "t.yaml:3: tenants[0].models[0]: `{name}`: a `*` stands only at the end ({hint})"
            )],
        );
    }
}

#[test]
fn what_is_not_yaml_says_the_line_and_what_to_change() {
    for (text, expected) in [
        // The parser stops at the value before the tab in some of these.
        (
            "server:\n\tthreads: 1\n",
            "2: not valid YAML: a tab in the indentation (use spaces)",
        ),
        (
            "server:\n  threads: 1\n\tadmin: off\n",
            "3: not valid YAML: a tab in the indentation (use spaces)",
        ),
        (
            "server: 1\n\n# c\n \tadmin: off\n",
            "4: not valid YAML: a tab in the indentation (use spaces)",
        ),
        (
            "server:\n  listen:\n  \t- x\n",
            "3: not valid YAML: a tab in the indentation (use spaces)",
        ),
        (
            "keys: [${A}]\n",
            "1: not valid YAML: while parsing a flow sequence, expected ',' or ']' (close the bracket; within brackets, quote a value that has one of its own, as in [\"${NAME}\"])",
        ),
        (
            "match: *\n",
            "1: not valid YAML: while scanning an anchor or alias, did not find expected alphabetic or numeric character (quote a value that begins with * or &, as in \"*\")",
        ),
        (
            "match: *gpt*\n",
            "1: not valid YAML: while parsing node, found unknown anchor (quote a value that begins with * or &, as in \"*\")",
        ),
        (
            "server:{}\nmodels: []\n",
            "2: not valid YAML: mapping values are not allowed in this context (write a space after each colon, here and on the line above; indent the keys of one mapping alike; quote a value that has `: ` in it)",
        ),
        (
            "a:\n  b: 1\n c: 2\n",
            "3: not valid YAML: while parsing a block mapping, did not find expected key (indent the keys of one mapping alike; quote a value that begins with [ or {)",
        ),
        (
            "a: \"x\nb: 1\n",
            "1: not valid YAML: invalid indentation in quoted scalar (close the quote that is opened here)",
        ),
        (
            "a: @x\n",
            "1: not valid YAML: unexpected character: `@' (quote a value that begins with @, ` or %)",
        ),
        (
            "a: 1\na: 2\n",
            "2: not valid YAML: duplicated key in mapping (write each key once: put the values of both together, or remove one)",
        ),
        (
            "a: |x\n",
            "1: not valid YAML: while scanning a block scalar, did not find expected comment or line break (compare it with conf/tollgate.yaml)",
        ),
    ] {
        assert_said(text, &[&format!("t.yaml:{expected}")]);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_value_of_the_wrong_kind_has_one_message_that_says_how_to_write_it() {
    for (rest, expected) in [
        (
            "server: { listen: '127.0.0.1:8080' }",
            "server.listen: expected a list, found text (write it in brackets, as in listen: [\"127.0.0.1:8080\"])",
        ),
        (
            "server: { trusted_proxies: 10.0.0.0/8 }",
            "server.trusted_proxies: expected a list, found text (write it in brackets, as in trusted_proxies: [\"10.0.0.0/8\"])",
        ),
        (
            "server: { admin_hosts: sk-secret }",
            "server.admin_hosts: expected a list, found text (write it in brackets, as in admin_hosts: [...])",
        ),
        (
            "server: { limits: { header: 2KiB } }",
            "server.limits.header: must be from 4KiB to 1MiB",
        ),
        (
            "server: { limits: { header_memory: 1TiB } }",
            "server.limits.header_memory: must be from 1MiB to 64GiB",
        ),
        (
            "server: { listen: { address: '127.0.0.1:8080' } }",
            "server.listen: expected a list, found a mapping (begin each entry with `- `)",
        ),
        (
            "server: { listen: [] }",
            "server.listen: at least one address is needed (- address: 127.0.0.1:8080)",
        ),
        (
            "server: [threads]",
            "server: expected a mapping, found a list (write keys with values, without `- ` and [ ])",
        ),
        (
            "server: threads:1",
            "server: expected a mapping, found text (write keys with values, and a space after each colon)",
        ),
        (
            "server: { limits: 5 }",
            "server.limits: expected a mapping, found a number (write keys with values, and a space after each colon)",
        ),
        (
            "tenants: [{ id: 4.5, keys: [k] }]",
            "tenants[0].id: expected text, found a number (put it between quotes)",
        ),
        (
            "tenants: [{ id: [t], keys: [k] }]",
            "tenants[0].id: expected text, found a list (write one value; quote it if it has `: `, `[` or `{` in it)",
        ),
        (
            "tenants: [{ id: t, keys: secret-key }]",
            "tenants[0].keys: expected a list, found text (write it in brackets, as in keys: [...])",
        ),
        (
            "tenants: [{ id: t, keys: [k], models: [[m]] }]",
            "tenants[0].models[0]: expected text, found a list (write one value; quote it if it has `: `, `[` or `{` in it)",
        ),
        (
            "tenants: { id: t, keys: [k] }\nserver: { listen: ['0.0.0.0:1'] }",
            "tenants: expected a list, found a mapping (begin each entry with `- `)",
        ),
        (
            "chat_log: { path: a, mask: { keys: true } }",
            "chat_log.mask: expected a list, found a mapping (begin each entry with `- `)",
        ),
        (
            "chat_log: { path: '${NOT_SET_X}' }",
            "chat_log.path: the environment variable NOT_SET_X is not set (set it, put it into .env, name the file that has it with --env-file, or give a default: ${NOT_SET_X:-…})",
        ),
        (
            "routes: [{ prefix: /x }]",
            "routes[0]: `upstream` is missing (add `upstream: …`)",
        ),
    ] {
        assert_said(&with(rest), &[&format!("t.yaml:3: {expected}")]);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn one_mistake_of_an_upstream_has_one_message() {
    for (upstream, expected) in [
        (
            "http://a.example",
            "upstreams.a: expected a mapping, found text (write keys with values, and a space after each colon)",
        ),
        (
            "{ servers: [a.example] }",
            "upstreams.a.servers[0]: the URL must begin with http://, https:// or unix:/ (as in https://api.openai.com/v1)",
        ),
        (
            "{ servers: [{ url: http://a, weight: 0 }] }",
            "upstreams.a.servers: at least one server needs a weight above 0 (- { url: \"http://10.0.0.11:8000/v1\", weight: 1 })",
        ),
        (
            "{ base_url: http://a, servers: [http://b] }",
            "upstreams.a.servers: `base_url` and `servers` exclude each other (put the URL among the `servers`, or leave them out)",
        ),
        (
            "{ base_url: https://api.openai.com, api_key: sk-x }",
            "upstreams.a.api_key: unknown key (did you mean `keys`?)",
        ),
        (
            "{ url: http://a.example, base_url: http://a.example }",
            "upstreams.a.url: unknown key (did you mean `base_url`?)",
        ),
        (
            "{ servers: [{ url: http://a, base_url: http://a }] }",
            "upstreams.a.servers[0].base_url: unknown key (did you mean `url`?)",
        ),
        (
            "{ dialect: dmeo }",
            "upstreams.a.dialect: unknown dialect `dmeo` (one of: openai, azure, openai_compatible, demo)",
        ),
        (
            "{ dialect: { name: dmeo } }",
            "upstreams.a.dialect.name: unknown dialect `dmeo` (one of: openai, azure, openai_compatible, demo)",
        ),
        (
            "{ base_url: https://api.openai.com, keys: { a: b } }",
            "upstreams.a.keys: expected a list of keys, or the word passthrough (keys: [\"${OPENAI_API_KEY}\"])",
        ),
        (
            "{ base_url: https://api.openai.com, keys: ['${NOT_SET_X}'] }",
            "upstreams.a.keys[0]: the environment variable NOT_SET_X is not set (set it, put it into .env, name the file that has it with --env-file, or give a default: ${NOT_SET_X:-…})",
        ),
        (
            "{ base_url: https://api.openai.com, keys: '${NOT_SET_X}' }",
            "upstreams.a.keys: the environment variable NOT_SET_X is not set (set it, put it into .env, name the file that has it with --env-file, or give a default: ${NOT_SET_X:-…})",
        ),
        (
            "{ base_url: http://a, ejection: [off] }",
            "upstreams.a.ejection: expected a mapping, found a list (write keys with values, without `- ` and [ ])",
        ),
        (
            "{ base_url: http://a, ejection: '${NOT_SET_X}' }",
            "upstreams.a.ejection: the environment variable NOT_SET_X is not set (set it, put it into .env, name the file that has it with --env-file, or give a default: ${NOT_SET_X:-…})",
        ),
        (
            "{ base_url: http://a, ejection: { base: 1m } }",
            "upstreams.a.ejection: `longest` is shorter than `base` (raise `longest`, 10s unless it is written, or lower `base`)",
        ),
        (
            "{ base_url: http://a, balance: consistant, consistent_by: tenant }",
            "upstreams.a.balance: expected weighted, random, least_requests or consistent",
        ),
        (
            "{ base_url: http://a, consistent_by: tenant }",
            "upstreams.a.consistent_by: `consistent_by` has no effect (write balance: consistent beside it)",
        ),
        (
            "{ base_url: http://a, health_check: { path: /h, expect: [[200]] } }",
            "upstreams.a.health_check.expect[0]: expected text, found a list (write one value; quote it if it has `: `, `[` or `{` in it)",
        ),
    ] {
        let text = format!(
            "upstreams:\n  a: {upstream}\nmodels: [{{ match: m, targets: [{{ upstream: a }}] }}]"
        );
        assert_said(&text, &[&format!("t.yaml:2: {expected}")]);
    }
}

#[test]
fn one_mistake_of_a_rule_has_one_message() {
    for (written, expected) in [
        (
            "match: m, targets: { upstream: a }",
            "models[0].targets: expected a list, found a mapping (begin each entry with `- `)",
        ),
        (
            "match: m, targets: [{ upstream: a, weight: 0 }]",
            "models[0].targets: at least one target needs a weight above 0 (leave `weight` out for 1, or raise it)",
        ),
        (
            "match: [m], targets: [{ upstream: a }]",
            "models[0].match: expected text, found a list (write one value; quote it if it has `: `, `[` or `{` in it)",
        ),
        (
            "match: model, targets: [{ upstream: a }], fallback: [modle]",
            "models[0].fallback[0]: no rule serves the fallback `modle` (did you mean `model`?)",
        ),
        (
            "match: m, targets: [{ upstream: a }], fallback: [gpt-4o]",
            "models[0].fallback[0]: no rule serves the fallback `gpt-4o` (add a rule for it: match: gpt-4o, or match: \"*\" for any name)",
        ),
        (
            "match: m, targets: [{ upstream: a }], fallback: [m]",
            "models[0].fallback[0]: the fallback `m` is circular (remove it: it leads back to this rule)",
        ),
    ] {
        assert_said(&rule(written), &[&format!("t.yaml:3: {expected}")]);
    }
}

#[test]
fn nothing_is_said_of_names_that_may_stand_where_nothing_could_be_read() {
    assert_said(
        "models: [{ match: m, targets: [{ upstream: a }] }]",
        &["t.yaml:1: `upstreams` is missing (add `upstreams: …`)"],
    );
    assert_said(
        "upstreams: { a: { base_url: http://a } }\n\
         models:\n  - { match: m, targets: [{ upstream: a }], fallback: [n] }\n  - { match: { prefix: n, keyword: n }, targets: [{ upstream: a }] }\n\
         tenants: [{ id: t, keys: [k], models: [n] }]",
        &[
            "t.yaml:4: models[1].match: expected one of `prefix` and `keyword` (match: gpt-4o, match: { prefix: gpt- } or match: { keyword: gpt })",
        ],
    );
    assert_said(
        "upstreams: { a: { base_url: http://a } }\nmodels: [{ match: m, targets: [{ upstream: a }] }]\n\
         server: { listen: ['0.0.0.0:1'] }\ntenants: [{ id: a b, keys: [k] }]",
        &[
            "t.yaml:4: tenants[0].id: an id has up to 64 letters, digits, `-`, `_` and `.` (as in id: team-a)",
        ],
    );
}

#[test]
fn an_upstreams_name_has_the_form_of_a_tenants_id() {
    let long = "a".repeat(64);
    for (name, hint) in [
        ("my demo", "write `my-demo`, here and where it is named"),
        ("a\u{1}b", "write `a-b`, here and where it is named"),
        ("größe", "write `gr--e`, here and where it is named"),
        ("日本", "as in openai-eu"),
        (
            &format!("{long}b"),
            &format!("write `{long}`, here and where it is named"),
        ),
    ] {
        let quoted = serde_json::to_string(name).unwrap();
        let text = format!(
            "upstreams:\n  {quoted}: {{ base_url: http://a }}\n\
             models: [{{ match: m, targets: [{{ upstream: {quoted} }}] }}]"
        );
        // The target that refers to it is no further mistake.
        assert_said(
            &text,
            &[&format!(
                "t.yaml:2: upstreams.{name}: an upstream's name has up to 64 letters, digits, `-`, `_` and `.` ({hint})"
            )],
        );
    }
    let named = |name: &str| {
        format!(
            "upstreams: {{ {name}: {{ base_url: http://a }} }}\nmodels: [{{ match: m, targets: [{{ upstream: {name} }}] }}]"
        )
    };
    for name in ["my-demo", "openai.eu_1", &long] {
        assert_said(&named(name), &[]);
    }
}

#[test]
fn a_mistake_has_no_warning_that_only_follows_from_it() {
    let tenant = |server: &str, tenant: &str| {
        format!(
            "upstreams: {{ openai: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: openai }}] }}]\n\
             server: {{ passthrough: {server} }}\ntenants: [{{ id: t, keys: [k], models: [m]{tenant} }}]"
        )
    };
    assert_said(
        &tenant("opnai", ""),
        &["t.yaml:3: server.passthrough: no upstream is called `opnai` (did you mean `openai`?)"],
    );
    assert_said(
        &tenant("openai", ", pasthrough: off"),
        &["t.yaml:4: tenants[0].pasthrough: unknown key (did you mean `passthrough`?)"],
    );
    // A mistake in another entry, whose name only begins alike, changes nothing.
    let text = "upstreams:\n  a: { base_url: https://api.openai.com }\n  ab: { base_url: http://b, keyz: [] }\n\
        models: [{ match: m, targets: [{ upstream: a }] }]";
    assert_said(
        text,
        &[
            "t.yaml:2: warning: upstreams.a: api.openai.com is asked without a key (add keys: [\"${NAME}\"], or keys: passthrough to send the client's own)",
            "t.yaml:3: upstreams.ab.keyz: unknown key (did you mean `keys`?)",
        ],
    );
}
