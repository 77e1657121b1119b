//! Which keys of a section or an entry differ.
//!
//! Owns the key of each field. Every field is named: one that is added does not compile before it has its key
//! here. What gives an entry its name is not compared. Does not handle which entries belong together (see
//! `sections`). Cannot fail.

use crate::config::{
    Allowances, Auth, Balance, Cache, ChatLog, Concurrency, Ledger, Listener, Located, Log,
    ModelRule, Price, RateLimits, Rates, Route, Server, Store, Tenant, Upstream, Validity,
    VectorCache, Webhook,
};

/// Keys that differ.
type Differing = Vec<&'static str>;

/// The keys of a struct's fields that differ. Those after `but` are not compared here.
macro_rules! differing {
    ($old:expr, $new:expr, $Struct:ident { $($field:ident => $key:literal,)* } but { $($other:ident),* }) => {{
        let $Struct { $($field,)* $($other: _,)* } = $old;
        let mut keys = Differing::new();
        $(
            if *$field != $new.$field {
                keys.push($key);
            }
        )*
        keys
    }};
}

/// The keys of `server`, with those of `server.log` one by one.
pub(super) fn of_server(old: &Server, new: &Server) -> Differing {
    let mut keys = differing!(old, new, Server {
        admin => "admin",
        admin_addresses => "admin_addresses",
        admin_token => "admin_token",
        admin_hosts => "admin_hosts",
        cors => "cors",
        trusted_proxies => "trusted_proxies",
        max_body_bytes => "max_body",
        node => "node",
        threads => "threads",
        shutdown_grace => "shutdown_grace",
        shutdown_notice => "shutdown_notice",
        upgrade_timeout => "upgrade_timeout",
        reload_on_change => "reload_on_change",
        reload_on_models => "reload_on_models",
        flood_guard => "flood_guard",
        retries => "retries",
        limits => "limits",
        drain => "drain",
        passthrough => "passthrough",
        strict => "strict",
        default_models => "default_models",
        models_ttl => "models_ttl",
        forms => "forms",
        http2 => "http2",
        websocket => "websocket",
    } but { listen, log, allowances });
    keys.extend(of_allowances(old.allowances, new.allowances));
    keys.extend(differing!(&old.log, &new.log, Log {
        level => "log.level",
        mask => "log.mask",
        access => "log.access",
        format => "log.format",
        statistics => "log.statistics",
        files => "log.files",
    } but {}));
    keys
}

/// The keys of a listener. Whether it speaks TLS at all is not one of them.
pub(super) fn of_listener(old: &Listener, new: &Listener) -> Differing {
    differing!(old, new, Listener { mode => "mode", proxy_protocol => "proxy_protocol", tls => "tls", auth => "auth", addresses => "addresses",
        hsts => "hsts",
        redirect => "redirect", } but { address })
}

pub(super) fn of_auth(old: &Auth, new: &Auth) -> Differing {
    differing!(old, new, Auth { jwt => "jwt", hmac => "hmac", } but {})
}

fn of_allowances(old: Allowances, new: Allowances) -> Differing {
    differing!(&old, &new, Allowances {
        ephemeral_keys => "allow_ephemeral_keys",
        administration => "allow_administration",
        usage_reports => "allow_usage_reports",
    } but {})
}

fn of_validity(old: Validity, new: Validity) -> Differing {
    differing!(&old, &new, Validity {
        is_enabled => "enabled",
        expires => "expires",
    } but {})
}

pub(super) fn of_upstream(old: &Upstream, new: &Upstream) -> Differing {
    let mut keys = differing!(old, new, Upstream {
        dialect => "dialect",
        keys => "keys",
        timeouts => "timeouts",
        http2 => "http2",
        tls => "tls",
        proxy => "proxy",
        health_check => "health_check",
        ejection => "ejection",
        resend_lost => "resend_lost",
        prefill => "prefill",
        include_usage => "include_usage",
        forward_headers => "forward_headers",
        hops => "hops",
    } but { name, servers, balance, max_concurrent });
    if old.servers != new.servers {
        let has_one = |upstream: &Upstream| upstream.servers.len() == 1;
        keys.push(match has_one(old) && has_one(new) {
            true => "base_url",
            false => "servers",
        });
    }
    match (old.balance, new.balance) {
        (before, now) if before == now => {}
        (Balance::Consistent(_), Balance::Consistent(_)) => keys.push("consistent_by"),
        _ => keys.push("balance"),
    }
    match (&old.max_concurrent, &new.max_concurrent) {
        (Some(before), Some(now)) => {
            let mut bounds = differing!(before, now, Concurrency {
                concurrent => "max_concurrent",
                queue => "queue",
                patience => "queue",
            } but {});
            bounds.dedup();
            keys.extend(bounds);
        }
        (None, None) => {}
        _ => keys.push("max_concurrent"),
    }
    keys
}

pub(super) fn of_rule(old: &ModelRule, new: &ModelRule) -> Differing {
    differing!(old, new, ModelRule {
        targets => "targets",
        choose => "choose",
        hedge_after => "hedge_after",
        fallback => "fallback",
        on => "on",
        keepalive_after => "keepalive_after",
        drops_malformed => "malformed_events",
        on_client_gone => "on_client_gone",
        limits => "limits",
        cache => "cache",
        coalesce => "coalesce",
        follows_conversations => "affinity",
        changes_model_at_once => "fallback_at",
        commits_whole => "commit",
        continues => "on_cut",
    } but { matcher })
}

pub(super) fn of_route(old: &Route, new: &Route) -> Differing {
    differing!(old, new, Route { upstream => "upstream", } but { prefix })
}

pub(super) fn of_tenant(old: &Tenant, new: &Tenant) -> Differing {
    let mut keys = differing!(old, new, Tenant {
        name => "name",
        auth => "auth",
        addresses => "addresses",
        labels => "labels",
        key_prefix => "key_prefix",
        keys => "keys",
        hmac => "hmac",
        mtls => "mtls",
        models => "models",
        passthrough => "passthrough",
        strict => "strict",
        caches => "cache",
        obeys_cache_control => "cache_control",
        limits => "limits",
        quota => "quota",
        webhook => "webhook",
        markup => "markup",
        prices => "prices",
    } but { id, validity, allowances });
    keys.extend(of_validity(old.validity, new.validity));
    keys.extend(of_allowances(old.allowances, new.allowances));
    keys
}

pub(super) fn of_limits(old: &RateLimits, new: &RateLimits) -> Differing {
    differing!(old, new, RateLimits {
        requests_per_second => "requests_per_second",
        requests_per_minute => "requests_per_minute",
        requests_per_hour => "requests_per_hour",
        requests_per_day => "requests_per_day",
        tokens_per_minute => "tokens_per_minute",
        tokens_per_day => "tokens_per_day",
        concurrent => "concurrent",
        stream_tokens_per_minute => "stream_tokens_per_minute",
        window => "window",
    } but {})
}

pub(super) fn of_price(old: &Price, new: &Price) -> Differing {
    let mut keys =
        differing!(old, new, Price { until => "until", } but { model, upstream, from, rates });
    keys.extend(differing!(&old.rates, &new.rates, Rates {
        input => "input",
        cached => "cached",
        cache_write => "cache_write",
        cache_write_1h => "cache_write_1h",
        output => "output",
        reasoning => "reasoning",
        input_audio => "input_audio",
        input_image => "input_image",
        output_audio => "output_audio",
        output_image => "output_image",
        audio_minute => "audio_minute",
        search => "search",
        request => "request",
    } but {}));
    keys
}

/// Whether the section is written makes no difference where its values are those that stand for it.
pub(super) fn of_ledger(old: &Ledger, new: &Ledger) -> Differing {
    differing!(old, new, Ledger {
        path => "path",
        postgres => "postgres",
        on_failure => "on_failure",
        archive => "archive",
        retention => "retention",
    } but { node, is_implied })
}

pub(super) fn of_store(old: &Located<Store>, new: &Located<Store>) -> Differing {
    differing!(&old.value, &new.value, Store {
        redis => "redis",
        topology => "cluster or sentinel",
        on_down => "on_down",
        nodes => "nodes",
    } but {})
}

pub(super) fn of_webhook(old: &Webhook, new: &Webhook) -> Differing {
    differing!(old, new, Webhook {
        url => "url",
        secret => "secret",
        events => "events",
        allow_private => "allow_private",
    } but {})
}

pub(super) fn of_cache(old: &Located<Cache>, new: &Located<Cache>) -> Differing {
    differing!(&old.value, &new.value, Cache {
        memory_bytes => "memory",
        ttl => "ttl",
        max_answer_bytes => "max_answer",
        price_ppm => "price",
        replay_tokens_per_second => "replay_tokens_per_second",
        redis => "redis",
        encryption_key => "encryption_key",
    } but {})
}

pub(super) fn of_vector_cache(old: &Located<VectorCache>, new: &Located<VectorCache>) -> Differing {
    differing!(&old.value, &new.value, VectorCache {
        is_enabled => "enabled",
        provider => "provider",
        url => "url",
        api_key => "api_key",
        memory_bytes => "memory",
        file => "file",
        embedding_model => "embedding_model",
        dimensions => "dimensions",
        threshold => "threshold",
        ttl => "ttl",
        max_turns => "max_turns",
        max_temperature => "max_temperature",
        timeout => "timeout",
    } but {})
}

pub(super) fn of_chat_log(old: &ChatLog, new: &ChatLog) -> Differing {
    differing!(old, new, ChatLog {
        path => "path",
        sample => "sample",
        max_line_bytes => "max_bytes",
        rotation => "rotate",
        retention => "retention",
        mask => "mask",
    } but {})
}
