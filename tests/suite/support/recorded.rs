//! What was recorded of providers: a stream each, and beside it the same answer as one.

use super::tools::root;

/// The recorded answers by name.
pub const RECORDED: [&str; 16] = [
    "azure_chat",
    "deepseek_reasoner",
    "gemini_tools",
    "groq_chat",
    "mistral_tools",
    "openai_audio",
    "openai_chat",
    "openai_completions",
    "openai_custom_tool",
    "openai_functions",
    "openai_n2_logprobs",
    "openai_refusal",
    "openai_responses",
    "openai_tools",
    "openrouter_reasoning_details",
    "xai_reasoning",
];

/// A recorded file: `.sse` is the stream, `.json` the one answer.
pub fn recorded(file: &str) -> String {
    std::fs::read_to_string(root().join("tests/recorded").join(file)).unwrap()
}

/// Where a recorded answer is asked for.
pub fn path(name: &str) -> &'static str {
    match name {
        "openai_completions" => "/v1/completions",
        "openai_responses" => "/v1/responses",
        _ => "/v1/chat/completions",
    }
}
