//! The wordings of errors for a request that is too long for the model.
//!
//! Owns these wordings, as data, and skipping what a message quotes of a request. Does not handle codes and
//! classes of the same meaning (see `error_patterns`). Never fails: an unknown wording is not found.

/// What is in such a message: small letters, `#` for a number. They come from the engines' code, and
/// from public reports of these errors.
#[rustfmt::skip]
const WORDINGS: &[&str] = &[
    // OpenAI, Azure, DeepSeek, OpenRouter, vLLM.
    "maximum context length is # tokens",
    "exceeds the context window of this model",
    "input tokens exceed the configured limit of # tokens",
    // Groq, Cerebras.
    "please reduce the length of the messages or completion",
    // Anthropic; Fireworks, with "model maximum context length: #".
    "prompt is too long: #",
    "input length and `max_tokens` exceed context limit: #",
    "input length and max_tokens exceed context limit: #",
    // Bedrock.
    "input is too long for requested model",
    // Gemini, Vertex.
    "input token count (#) exceeds the maximum",
    "input token count is # but model only supports up to #",
    // xAI.
    "maximum prompt length is # but the request contains # tokens",
    // Mistral.
    "too large for model with # maximum context length",
    // Cohere.
    "too many tokens: total number of tokens",
    "too many tokens: size limit exceeded by # tokens",
    // Moonshot.
    "your request exceeded model token limit: #",
    // MiniMax.
    "context window exceeds limit",
    // Qwen.
    "range of input length should be [#, #]",
    // Zhipu.
    "prompt exceeds max length",
    // GitHub Copilot.
    "prompt token count of # exceeds the limit of #",
    // LiteLLM.
    "litellm.contextwindowexceedederror",
    // vLLM.
    "is longer than the maximum model length of #",
    "is too long to fit into the model (context length #)",
    "input length (#) exceeds model's maximum context length (#)",
    "the model's context length is only #",
    "exceeds the max_model_len #",
    // SGLang.
    "the input (# tokens) is longer than the model's context length (# tokens)",
    "requested token count exceeds the model's maximum context length of # tokens",
    "input length (# tokens) exceeds the maximum allowed length (# tokens)",
    // llama.cpp, its Python server.
    "exceeds the available context size",
    "requested tokens (#) exceed context window of #",
    "requested tokens exceed context window of #",
    // TGI, Together.
    "`inputs` tokens + `max_new_tokens` must be <= #",
    "`inputs` must have less than # tokens",
    // TensorRT-LLM.
    "prompt length (#) exceeds maximum input length (#)",
    "prompt length (#) exceeds maximum sequence length (#)",
    "should not exceed max_num_tokens (#)",
    // Ollama.
    "input length exceeds the context length",
    "input length exceeds maximum context length",
    "prompt too long; exceeded context length",
    "prompt too long; exceeded max context length",
    // LM Studio.
    "tokens to keep from the initial prompt is greater than the context length",
    "trying to keep the first # tokens when context the overflows",
    "context size has been exceeded",
    "reached context length of # tokens with model",
];

/// What stands about a quotation, at its two ends.
#[rustfmt::skip]
const QUOTES: [(char, char); 5] = [
    ('"', '"'), ('\'', '\''), ('`', '`'), ('\u{201c}', '\u{201d}'), ('\u{2018}', '\u{2019}'),
];

/// Whether a message, in small letters, has such a wording outside quotations of several words, which may
/// be the client's text.
pub(super) fn is_told_in(message: &str) -> bool {
    let message = numbers_replaced(&quotations_removed(message));
    WORDINGS.iter().any(|wording| message.contains(wording))
}

/// A message without its quotations of several words. A quotation begins at a quote behind no letter
/// and ends at the next before none: `model's` has no quote. One that does not end goes on to the end.
fn quotations_removed(message: &str) -> String {
    let mut left = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        let opens = !left.ends_with(char::is_alphanumeric);
        let quote = QUOTES.iter().find(|(open, _)| opens && *open == first);
        let behind = rest.get(first.len_utf8()..).unwrap_or_default();
        let Some((_, close)) = quote else {
            left.push(first);
            rest = behind;
            continue;
        };
        let end = end_of_quotation(behind, *close);
        let quoted = behind.get(..end).unwrap_or(behind);
        let is_one_word = !quoted.contains(char::is_whitespace);
        let after = behind.get(end..).unwrap_or_default();
        let after = after.strip_prefix(*close).unwrap_or(after);
        if is_one_word {
            left.push(first);
            left.push_str(quoted);
            left.push(*close);
        }
        rest = after;
    }
    left
}

/// Where a quotation ends that a text begins in.
fn end_of_quotation(text: &str, close: char) -> usize {
    let mut ends = text.match_indices(close).map(|(at, _)| at);
    let is_end = |at: &usize| {
        let after = text.get(at + close.len_utf8()..).unwrap_or_default();
        !after.starts_with(char::is_alphanumeric)
    };
    ends.find(is_end).unwrap_or(text.len())
}

/// A message with `#` for each number: `4,096`, `5115.0`, `[1, 30720]` are numbers and what is between.
fn numbers_replaced(message: &str) -> String {
    let mut left = String::with_capacity(message.len());
    let mut letters = message.chars().peekable();
    while let Some(letter) = letters.next() {
        if !letter.is_ascii_digit() {
            left.push(letter);
            continue;
        }
        left.push('#');
        loop {
            let mut ahead = letters.clone();
            let within = match ahead.next() {
                Some(next) if next.is_ascii_digit() => 1,
                Some('.' | ',' | '_') if ahead.next().is_some_and(|n| n.is_ascii_digit()) => 2,
                _ => break,
            };
            letters.nth(within - 1);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_told(message: &str) -> bool {
        is_told_in(&message.to_ascii_lowercase())
    }

    #[test]
    fn what_engines_and_providers_say_of_a_request_that_is_too_long_is_known() {
        for message in [
            // OpenAI, Azure, DeepSeek.
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens. Please reduce the length of the messages.",
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 372000 tokens.",
            // OpenRouter.
            "This endpoint's maximum context length is 128000 tokens. However, you requested about 140000 tokens",
            // Groq, Cerebras.
            "Please reduce the length of the messages or completion.",
            "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
            // Anthropic, Bedrock.
            "prompt is too long: 213462 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens` and try again",
            "Input is too long for requested model.",
            // Gemini, Vertex.
            "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
            "Unable to submit request because the input token count is 1100000 but model only supports up to 1048576.",
            // xAI.
            "This model's maximum prompt length is 131072 but the request contains 136973 tokens.",
            // Mistral.
            "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            // Cohere.
            "too many tokens: total number of tokens (prompt and prediction) cannot exceed 2048 - received 6354. Try using a shorter prompt or a smaller max_tokens value.",
            "too many tokens: size limit exceeded by 7021 tokens. Try using shorter or fewer inputs.",
            // Fireworks.
            "The prompt is too long: 40177, model maximum context length: 32767",
            // Moonshot, MiniMax, Qwen, Zhipu, Copilot, LiteLLM.
            "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)",
            "invalid params, context window exceeds limit (2013)",
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 204800]",
            "Prompt exceeds max length",
            "prompt token count of 70000 exceeds the limit of 64000",
            "litellm.ContextWindowExceededError: litellm.BadRequestError: too long",
            // vLLM.
            "The decoder prompt (length 70012) is longer than the maximum model length of 32768. Make sure that `max_model_len` is no smaller than the number of text tokens.",
            "[address=0.0.0.0:37591, pid=324770] The decoder prompt (length 17772) is longer than the maximum model length of 16384.",
            "Prompt length of 5016 is longer than the maximum model length of 4096",
            "The prompt (total length 5000) is too long to fit into the model (context length 4096). Make sure that `max_model_len` is no smaller.",
            "Input length (5000) exceeds model's maximum context length (4096).",
            "You passed 5000 input tokens and requested 1 output tokens. However, the model's context length is only 4096 tokens, resulting in a maximum input length of 4095 tokens.",
            "You passed 15873 input tokens and requested 512 output tokens. However, the model's context length is only 16384, resulting in a maximum input length of 15872.",
            "The engine prompt length 1759 exceeds the max_model_len 1024. Please reduce prompt.",
            "This model's maximum context length is 128000 tokens. However, you requested 65535 output tokens and your prompt contains at least 62466 input tokens",
            "'max_tokens' or 'max_completion_tokens' is too large: 2000. This model's maximum context length is 4096 tokens and your request has 2104 input tokens (2000 > 4096 - 2104).",
            // SGLang.
            "The input (41000 tokens) is longer than the model's context length (32768 tokens).",
            "Requested token count exceeds the model's maximum context length of 40960 tokens. You requested a total of 50000 tokens",
            "Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).",
            // llama.cpp.
            "the request exceeds the available context size, try increasing it",
            "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
            "Requested tokens (5000) exceed context window of 4096",
            "Requested tokens exceed context window of 512",
            // TGI, Together.
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 32768. Given: 40000 `inputs` tokens and 512 `max_new_tokens`",
            "Input validation error: `inputs` must have less than 1024 tokens. Given: 1872",
            // TensorRT-LLM.
            "Prompt length (200) exceeds maximum input length (1)",
            "Cannot process new request: Prompt length (5056) exceeds maximum sequence length (2048)",
            "The sum of prompt length (5115.0), query length (0) should not exceed max_num_tokens (4096)",
            // Ollama.
            "the input length exceeds the context length",
            "input length exceeds maximum context length",
            "prompt too long; exceeded max context length by 4 tokens",
            // LM Studio.
            "The number of tokens to keep from the initial prompt is greater than the context length.",
            "Trying to keep the first 15857 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens",
            "Context size has been exceeded.",
            "Reached context length of 4096 tokens with model (arch: qwen3vlmoe) that does not currently support mid-generation context overflow.",
        ] {
            assert!(is_told(message), "{message}");
        }
    }

    #[test]
    fn each_wording_is_written_as_it_is_looked_for() {
        for wording in WORDINGS {
            let written = wording.replace('#', "4,096");
            assert!(is_told_in(&written), "{wording}");
        }
    }

    #[test]
    fn what_is_quoted_of_a_request_and_what_is_of_another_limit_is_not_taken_for_it() {
        for message in [
            "Invalid value: 'prompt is too long: 210000 tokens > 200000 maximum'",
            "Invalid value: 'this model's maximum context length is 8192 tokens.'. Supported values are: 'low'.",
            r#"Unknown role "the request exceeds the available context size""#,
            "Unknown role \u{201c}prompt exceeds max length\u{201d}",
            "Unknown role `Input is too long for requested model` in messages[0]",
            "[{'type': 'literal_error', 'input': 'context size has been exceeded', 'loc': 1}]",
            "Invalid value: 'context size has been exceeded",
            "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.",
            "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for this model",
            "`max_new_tokens` must be strictly positive",
            "Tool argument validation failed: input length exceeds 1000 characters",
            "Maximum output tokens reached: too many tokens",
            "Rate limit exceeded: too many tokens per minute",
            "Read the documentation on the context window.",
            "",
        ] {
            assert!(!is_told(message), "{message}");
        }
    }

    #[test]
    fn a_message_of_any_form_is_read_in_one_pass() {
        let quotes = "'\" `".repeat(2000);
        let digits = "1,".repeat(4000);
        for message in [quotes, digits, "'".repeat(8000), "\u{201c}é".repeat(2000)] {
            assert!(!is_told(&message));
        }
    }
}
