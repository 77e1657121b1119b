//! Which hosts are the public APIs of providers.
//!
//! Owns the list, which serves warnings alone: a host that is missing from it costs a warning,
//! nothing else. Does not handle how a provider is spoken to: `openai::dialect` does. Cannot fail.

/// Domains under which providers serve their API to the public over https, with keys. None under which
/// clouds let their customers serve.
const DOMAINS: [&str; 34] = [
    "ai21.com",
    "anthropic.com",
    "baseten.co",
    "cerebras.ai",
    "cohere.ai",
    "cohere.com",
    "dashscope-intl.aliyuncs.com",
    "dashscope.aliyuncs.com",
    "deepinfra.com",
    "deepseek.com",
    "fireworks.ai",
    "googleapis.com",
    "groq.com",
    "huggingface.co",
    "hyperbolic.xyz",
    "inference.ai.azure.com",
    "lepton.run",
    "minimax.io",
    "mistral.ai",
    "moonshot.ai",
    "moonshot.cn",
    "nebius.com",
    "novita.ai",
    "openai.azure.com",
    "openai.com",
    "openrouter.ai",
    "perplexity.ai",
    "qianfan.baidubce.com",
    "replicate.com",
    "sambanova.ai",
    "siliconflow.cn",
    "together.xyz",
    "volces.com",
    "x.ai",
];

/// Whether a host is one of a provider's.
pub fn serves(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    DOMAINS.iter().any(|domain| {
        host.strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_counts_with_all_below_it_and_nothing_else() {
        for (host, is_one) in [
            ("api.openai.com", true),
            ("API.OpenAI.com.", true),
            ("my-resource.openai.azure.com", true),
            ("openai.com", true),
            ("notopenai.com", false),
            ("openai.com.example", false),
            ("api.x.ai", true),
            ("apix.ai", false),
            ("10.0.0.11", false),
            ("vllm", false),
        ] {
            assert_eq!(serves(host), is_one, "{host}");
        }
    }
}
