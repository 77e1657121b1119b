//! Errors of each provider, with their reason, next step, scope and status.

use super::*;

fn error(code: &str, kind: &str, message: &str) -> UpstreamError {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    UpstreamError {
        code: text(code),
        kind: text(kind),
        message: text(message),
        status: None,
    }
}

fn answer(status: u16, error: &UpstreamError) -> Reason {
    judge(&Evidence::Answer { status, error }).reason
}

fn event(error: &UpstreamError) -> Reason {
    judge(&Evidence::UnderSuccess(error)).reason
}

#[test]
fn reasons_are_all_listed_and_their_names_are_read_again() {
    assert_eq!(Reason::ALL.len(), Reason::BadRequest as usize + 1);
    assert!(Reason::ALL.len() <= 32);
    for (nth, reason) in Reason::ALL.iter().copied().enumerate() {
        assert_eq!(reason as usize, nth);
        assert_eq!(Reason::parse(reason.name()), Some(reason));
        let mut snake = String::new();
        for letter in format!("{reason:?}").chars() {
            if letter.is_ascii_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        assert_eq!(reason.to_string(), snake);
    }
    for other in ["", "RateLimited", "rate-limited", "rate_limited "] {
        assert_eq!(Reason::parse(other), None, "{other}");
    }
}

#[test]
fn what_a_connection_showed_has_a_verdict() {
    use Blame::{Server, Target};
    use NextStep::{Client, OtherTarget, SameTarget};
    for (evidence, reason, next_step, blame, free) in [
        (
            Evidence::Unreachable,
            Reason::Unreachable,
            OtherTarget,
            Server,
            true,
        ),
        (
            Evidence::ProxyUnreachable,
            Reason::ProxyUnreachable,
            OtherTarget,
            Server,
            true,
        ),
        (
            Evidence::ProxyRefused,
            Reason::ProxyRefused,
            OtherTarget,
            Server,
            true,
        ),
        (Evidence::Tls, Reason::Tls, OtherTarget, Server, true),
        (
            Evidence::NotSent,
            Reason::NotSent,
            OtherTarget,
            Server,
            true,
        ),
        (Evidence::Lost, Reason::Lost, Client, Server, false),
        (
            Evidence::InvalidResponse,
            Reason::InvalidResponse,
            OtherTarget,
            Target,
            false,
        ),
        (Evidence::Silent, Reason::Silent, OtherTarget, Server, false),
        (Evidence::Late, Reason::Late, Client, Server, false),
        (Evidence::Cut, Reason::Cut, SameTarget, Server, false),
        (Evidence::Empty, Reason::Empty, OtherTarget, Target, false),
    ] {
        let scope = Scope::Request;
        let expected = Verdict {
            reason,
            next_step,
            scope,
        };
        assert_eq!(judge(&evidence), expected);
        assert_eq!(
            (reason.blames(), reason.is_free()),
            (blame, free),
            "{reason}"
        );
    }
}

#[test]
fn an_answer_has_a_verdict() {
    use Blame::{Key, Nothing, Server, Target};
    use NextStep::{Client, OtherKey, OtherTarget, SameTarget};
    for (status, reason, next_step, blame) in [
        (429, Reason::RateLimited, OtherKey, Key),
        (402, Reason::OutOfCredit, OtherKey, Key),
        (401, Reason::KeyRefused, OtherKey, Key),
        (403, Reason::KeyRefused, OtherKey, Key),
        (503, Reason::Overloaded, OtherTarget, Server),
        (529, Reason::Overloaded, OtherTarget, Server),
        (500, Reason::ServerError, OtherTarget, Server),
        (502, Reason::ServerError, OtherTarget, Server),
        (504, Reason::ServerError, OtherTarget, Server),
        (520, Reason::ServerError, OtherTarget, Server),
        (524, Reason::ServerError, OtherTarget, Server),
        (599, Reason::ServerError, OtherTarget, Server),
        (404, Reason::BadRequest, Client, Nothing),
        (408, Reason::RequestTimeout, SameTarget, Server),
        (409, Reason::Conflict, SameTarget, Nothing),
        (400, Reason::BadRequest, Client, Nothing),
        (413, Reason::BadRequest, Client, Nothing),
        (418, Reason::BadRequest, Client, Nothing),
        (422, Reason::BadRequest, Client, Nothing),
        (302, Reason::InvalidResponse, OtherTarget, Target),
        (999, Reason::InvalidResponse, OtherTarget, Target),
    ] {
        let error = UpstreamError::default();
        let verdict = judge(&Evidence::Answer {
            status,
            error: &error,
        });
        assert_eq!(
            (verdict.reason, verdict.next_step),
            (reason, next_step),
            "{status}"
        );
        let is_of_key = verdict.scope != Scope::Request;
        assert_eq!(is_of_key, blame == Key, "{status}");
        assert_eq!(reason.blames(), blame, "{status}");
    }
}

#[test]
fn what_a_name_means_counts_under_any_status_and_in_a_stream() {
    for (names, reason) in [
        (
            "insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded project_spend_limit_exceeded organization_usage_limit_exceeded billing_hard_limit_reached billing_error billing_not_active insufficient_balance",
            Reason::OutOfCredit,
        ),
        (
            "rate_limit_exceeded slow_down rate_limit_error RESOURCE_EXHAUSTED RateLimitReached too_many_requests tokens ThrottlingException",
            Reason::RateLimited,
        ),
        (
            "invalid_api_key authentication_error account_deactivated permission_error PERMISSION_DENIED UNAUTHENTICATED InvalidApiKey",
            Reason::KeyRefused,
        ),
        (
            "unsupported_country_region_territory",
            Reason::RegionRefused,
        ),
        (
            "server_is_overloaded overloaded_error over_capacity engine_overloaded service_tier_capacity_exceeded NoCapacity",
            Reason::Overloaded,
        ),
        ("model_not_found DeploymentNotFound", Reason::ModelMissing),
        (
            "content_filter content_policy_violation ResponsibleAIPolicyViolation image_content_policy_violation contentFilter",
            Reason::ContentFilter,
        ),
        (
            "context_length_exceeded string_above_max_length exceed_context_size_error",
            Reason::ContextLength,
        ),
    ] {
        for name in names.split(' ') {
            for told in [
                error(name, "", "m"),
                error("", name, "m"),
                error("x", name, ""),
            ] {
                for status in [400, 401, 403, 404, 413, 429, 500, 503, 502] {
                    assert_eq!(answer(status, &told), reason, "{status} {told:?}");
                }
                assert_eq!(event(&told), reason, "{told:?}");
            }
        }
    }
}

#[test]
fn a_code_counts_before_a_class_and_money_before_both() {
    for (code, kind, reason) in [
        ("model_not_found", "permission_error", Reason::ModelMissing),
        (
            "unsupported_country_region_territory",
            "permission_error",
            Reason::RegionRefused,
        ),
        (
            "context_length_exceeded",
            "invalid_request_error",
            Reason::ContextLength,
        ),
        (
            "rate_limit_exceeded",
            "insufficient_quota",
            Reason::OutOfCredit,
        ),
        ("insufficient_quota", "requests", Reason::OutOfCredit),
        ("rate_limit_exceeded", "server_error", Reason::RateLimited),
    ] {
        let told = error(code, kind, "");
        assert_eq!(answer(403, &told), reason, "{told:?}");
        assert_eq!(event(&told), reason, "{told:?}");
    }
}

#[test]
fn a_message_counts_where_the_status_does_not_say_it() {
    for (status, message, reason) in [
        (
            404,
            "The model `x` does not exist or you do not have access to it.",
            Reason::ModelMissing,
        ),
        (404, "model: claude-x", Reason::ModelMissing),
        (
            404,
            "models/x is not found for API version v1beta",
            Reason::ModelMissing,
        ),
        (
            404,
            "The API deployment for this resource does not exist.",
            Reason::ModelMissing,
        ),
        (404, "Invalid URL (GET /v1/models/x)", Reason::BadRequest),
        (404, "No such File object: file-1", Reason::BadRequest),
        (400, "The model `x` does not exist", Reason::BadRequest),
        (
            400,
            "This model's maximum context length is 8192 tokens.",
            Reason::ContextLength,
        ),
        (
            400,
            "prompt is too long: 210000 tokens > 200000 maximum",
            Reason::ContextLength,
        ),
        (
            400,
            "The input token count (9) exceeds the maximum",
            Reason::ContextLength,
        ),
        (
            413,
            "prompt is too long: 9 tokens > 8 maximum",
            Reason::ContextLength,
        ),
        (413, "Request Entity Too Large", Reason::BadRequest),
        (
            400,
            "max_tokens is too large: 9. This model supports at most 8 completion tokens.",
            Reason::BadRequest,
        ),
        (
            400,
            "Your credit balance is too low to access the API.",
            Reason::OutOfCredit,
        ),
        (
            429,
            "You exceeded your current quota, please check your plan",
            Reason::OutOfCredit,
        ),
        (429, "Requests rate limit exceeded", Reason::RateLimited),
        (
            400,
            "API key not valid. Please pass a valid API key.",
            Reason::KeyRefused,
        ),
        (
            400,
            "User location is not supported for the API use.",
            Reason::RegionRefused,
        ),
        (
            403,
            "Country, region, or territory not supported",
            Reason::RegionRefused,
        ),
        (
            403,
            "Your chosen model requires moderation and your input was flagged",
            Reason::ContentFilter,
        ),
        (
            500,
            "This model's maximum context length is 8192 tokens.",
            Reason::ServerError,
        ),
    ] {
        let told = error("", "", message);
        assert_eq!(answer(status, &told), reason, "{status} {message}");
    }
    let limited = error("", "RESOURCE_EXHAUSTED", "You exceeded your current quota");
    assert_eq!(answer(429, &limited), Reason::RateLimited);
}

#[test]
fn what_a_message_quotes_costs_no_key_its_place() {
    for quoted in [
        "API key not valid",
        "insufficient balance",
        "insufficient_quota",
        "billing",
    ] {
        for status in [400, 404, 429, 500] {
            let told = error("", "", &format!("Invalid value: '{quoted}'"));
            let bare = error("", "", "");
            assert_eq!(
                answer(status, &told),
                answer(status, &bare),
                "{status} {quoted}"
            );
        }
    }
}

#[test]
fn a_refusal_concerns_the_whole_key_only_where_a_code_says_so() {
    use Scope::{Key, Model, Request};
    for (status, code, message, scope) in [
        (401, "invalid_api_key", "", Key),
        (401, "account_deactivated", "", Key),
        (429, "insufficient_quota", "", Key),
        (400, "billing_hard_limit_reached", "", Key),
        (
            403,
            "",
            "You exceeded your current quota, please check",
            Key,
        ),
        (
            400,
            "",
            "API key not valid. Please pass a valid API key.",
            Key,
        ),
        (429, "rate_limit_exceeded", "", Model),
        (401, "", "", Model),
        (402, "", "", Model),
        (402, "", "Pay for it.", Model),
        (
            403,
            "",
            "Your organization must be verified to use the model `gpt-image-1`.",
            Model,
        ),
        (
            403,
            "",
            "You have insufficient permissions. Missing scopes: model.request",
            Model,
        ),
        (
            403,
            "",
            "You are not allowed to sample from this model",
            Model,
        ),
        (403, "permission_denied", "", Model),
        (
            401,
            "",
            "Invalid value: 'invalid_api_key, API key not valid'",
            Model,
        ),
        (
            402,
            "",
            "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 4000.",
            Request,
        ),
        (403, "user_blocked", "", Request),
        (403, "", "Identifier blocked", Request),
        (400, "invalid_value", "", Request),
        (503, "insufficient_capacity", "", Request),
    ] {
        let told = error(code, "", message);
        let verdict = judge(&Evidence::Answer {
            status,
            error: &told,
        });
        assert_eq!(verdict.scope, scope, "{status} {told:?}");
    }
    for (status, reason, scope) in [
        (403, Reason::KeyRefused, Request),
        (401, Reason::KeyRefused, Model),
        (429, Reason::RateLimited, Model),
        (502, Reason::ServerError, Request),
    ] {
        let verdict = judge(&Evidence::Page { status });
        assert_eq!((verdict.reason, verdict.scope), (reason, scope), "{status}");
    }
}

#[test]
fn an_error_in_a_stream_is_judged_by_the_status_that_it_has_or_would_have_had() {
    for (code, kind, message, reason) in [
        ("", "", "", Reason::ServerError),
        ("", "", "overloaded?", Reason::ServerError),
        ("x", "y", "", Reason::ServerError),
        ("server_error", "", "", Reason::ServerError),
        ("", "api_error", "", Reason::ServerError),
        ("image_generation_server_error", "", "", Reason::ServerError),
        ("", "timeout_error", "", Reason::ServerError),
        ("", "UNAVAILABLE", "", Reason::Overloaded),
        ("", "service_unavailable_error", "", Reason::Overloaded),
        ("", "invalid_request_error", "", Reason::BadRequest),
        ("x", "invalid_request_error", "", Reason::BadRequest),
        ("invalid_prompt", "", "", Reason::BadRequest),
        ("unsupported_image_media_type", "", "", Reason::BadRequest),
        (
            "",
            "invalid_request_error",
            "This model's maximum context length is 8192 tokens.",
            Reason::ContextLength,
        ),
        ("", "not_found_error", "model: x", Reason::ModelMissing),
    ] {
        let told = error(code, kind, message);
        assert_eq!(event(&told), reason, "{told:?}");
    }
    for (status, reason) in [
        (429, Reason::RateLimited),
        (400, Reason::BadRequest),
        (401, Reason::KeyRefused),
        (503, Reason::Overloaded),
    ] {
        let told = UpstreamError {
            status: Some(status),
            ..error("", "server_error", "")
        };
        assert_eq!(event(&told), reason, "{status}");
    }
}

#[test]
fn each_code_of_a_failed_response_has_its_status_and_its_verdict() {
    use NextStep::{Client, OtherKey, OtherTarget};
    let mut seen = 0;
    for (codes, status, reason, next_step) in [
        ("rate_limit_exceeded", 429, Reason::RateLimited, OtherKey),
        ("server_error", 500, Reason::ServerError, OtherTarget),
        (
            "vector_store_timeout",
            504,
            Reason::ServerError,
            OtherTarget,
        ),
        (
            "bio_policy image_content_policy_violation misalignment_policy_violation",
            400,
            Reason::ContentFilter,
            Client,
        ),
        (
            "invalid_prompt data_residency_mismatch invalid_image invalid_image_format \
                 invalid_base64_image invalid_image_url image_too_large image_too_small \
                 image_parse_error invalid_image_mode image_file_too_large \
                 unsupported_image_media_type empty_image_file failed_to_download_image \
                 image_file_not_found",
            400,
            Reason::BadRequest,
            Client,
        ),
    ] {
        for code in codes.split_whitespace() {
            let row = response_codes::CODES.iter().find(|row| row.0 == code);
            assert_eq!(row, Some(&(code, status, reason)));
            let told = error(code, "", "m");
            let verdict = judge(&Evidence::UnderSuccess(&told));
            assert_eq!(
                (verdict.reason, verdict.next_step),
                (reason, next_step),
                "{code}"
            );
            assert_eq!(status_under_success(&told, reason), status, "{code}");
            seen += 1;
        }
    }
    assert_eq!(seen, response_codes::CODES.len());
}

#[test]
fn an_error_under_a_status_of_success_has_its_usual_status() {
    for (code, kind, message, status) in [
        ("", "", "", 502),
        ("x", "y", "", 502),
        ("", "server_error", "", 500),
        ("", "timeout_error", "", 504),
        ("", "overloaded_error", "", 503),
        ("insufficient_system_resource", "", "", 503),
        ("", "invalid_request_error", "", 400),
        ("invalid_value", "invalid_request_error", "", 400),
        ("model_not_found", "invalid_request_error", "", 404),
        ("", "not_found_error", "", 404),
        ("", "validation", "", 422),
        ("request_too_large", "", "", 413),
        ("context_length_exceeded", "invalid_request_error", "", 400),
        ("", "invalid_request_error", "prompt is too long", 400),
        ("content_filter", "server_error", "", 400),
        ("insufficient_quota", "insufficient_quota", "", 429),
        ("invalid_api_key", "invalid_request_error", "", 401),
        ("unsupported_country_region_territory", "", "", 403),
    ] {
        let told = error(code, kind, message);
        let reason = event(&told);
        assert_eq!(status_under_success(&told, reason), status, "{told:?}");
        let told = UpstreamError {
            status: Some(418),
            ..told
        };
        assert_eq!(status_under_success(&told, reason), 418);
    }
}

#[test]
fn a_name_that_is_too_long_is_none() {
    let long = error(&"insufficient_quota".repeat(4), "", "");
    assert_eq!(answer(400, &long), Reason::BadRequest);
}

#[test]
fn a_set_holds_what_it_is_made_of() {
    let set: Reasons = [Reason::RateLimited, Reason::BadRequest]
        .into_iter()
        .collect();
    let held = Reason::ALL.iter().filter(|reason| set.contains(**reason));
    assert!(held.eq(&[Reason::RateLimited, Reason::BadRequest]));
    let stays: Vec<_> = (Reason::ALL.iter().copied())
        .filter(|reason| !Reasons::moving_on().contains(*reason))
        .collect();
    assert_eq!(
        stays,
        [
            Reason::Lost,
            Reason::Late,
            Reason::ContentFilter,
            Reason::ContextLength,
            Reason::BadRequest,
        ]
    );
    assert!(
        !Reason::ALL
            .iter()
            .any(|reason| Reasons::default().contains(*reason))
    );
}
