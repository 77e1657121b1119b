//! The hosts of providers, which are no gateways and are called over https with a key.
//!
//! Owns the list. A host that is not on it may be anything: a gateway, an engine, an unknown provider. Does
//! not handle how a provider is called (see `dialect`). Never fails.

/// Hosts, and whatever stands below them. A cloud's own domain is not here: anything may run there.
static HOSTS: [&str; 43] = [
    "ai21.com",
    "anthropic.com",
    "api.z.ai",
    "baseten.co",
    "cerebras.ai",
    "cognitiveservices.azure.com",
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
    "hunyuan.cloud.tencent.com",
    "hyperbolic.xyz",
    "inference.ai.azure.com",
    "integrate.api.nvidia.com",
    "lepton.run",
    "minimax.io",
    "minimaxi.com",
    "mistral.ai",
    "models.github.ai",
    "moonshot.ai",
    "moonshot.cn",
    "nebius.com",
    "novita.ai",
    "open.bigmodel.cn",
    "openai.azure.com",
    "openai.com",
    "openrouter.ai",
    "perplexity.ai",
    "qianfan.baidubce.com",
    "replicate.com",
    "sambanova.ai",
    "services.ai.azure.com",
    "siliconflow.cn",
    "siliconflow.com",
    "together.xyz",
    "volces.com",
    "x.ai",
];

/// Whether a host, without its port, is a provider's own.
pub fn is_provider(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    HOSTS.iter().any(|known| {
        let below = host.strip_suffix(known);
        below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_with_what_stands_below_it() {
        for host in [
            "api.openai.com",
            "eu.api.openai.com",
            "API.OpenAI.com.",
            "my-resource.openai.azure.com",
            "openrouter.ai",
        ] {
            assert!(is_provider(host), "{host}");
        }
        for host in [
            "127.0.0.1",
            "gateway.example.com",
            "myopenai.com",
            "openai.com.example.org",
            "vm.westeurope.cloudapp.azure.com",
            "com",
            "",
        ] {
            assert!(!is_provider(host), "{host}");
        }
    }
}
