//! A configuration from a handful of environment variables, in the names that people already use.
//!
//! Owns those names. It writes the document that somebody would have written by hand and lets the
//! ordinary reader take it from there, so that there is one way in. Provider keys stay `${…}`
//! references and client keys become hashes: the document holds no secret.

use super::expand::Variables;
use crate::secret::Secret;

const OPENAI: &str = "https://api.openai.com/v1";

/// The configuration behind `tollgate run --demo`.
pub const DEMO: &str = r#"
server:
  listen: ["127.0.0.1:8080"]
upstreams:
  demo: { dialect: demo }
models:
  - { match: echo, targets: [{ upstream: demo }] }
  - { match: lorem, targets: [{ upstream: demo }] }
  - { match: embed, targets: [{ upstream: demo }] }
  - { match: { prefix: fault- }, targets: [{ upstream: demo }] }
tenants:
  - { id: demo, keys: [tollgate-demo-key] }
"#;

/// Writes the document that the environment amounts to.
///
/// # Errors
/// A message and a hint, when the environment names no provider or a variable is malformed.
pub fn document(variables: &Variables) -> Result<String, (String, String)> {
    let api_key = variables.get("OPENAI_API_KEY");
    let base_url = variables.get("OPENAI_BASE_URL");
    if api_key.is_none() && base_url.is_none() {
        return Err((
            "no configuration file was found, and neither OPENAI_API_KEY nor OPENAI_BASE_URL is set"
                .to_owned(),
            "write ./tollgate.yaml, name a file with -c, set OPENAI_API_KEY, or try `tollgate run --demo`"
                .to_owned(),
        ));
    }
    let port = match variables.get("PORT") {
        Some(text) => text.parse::<u16>().map_err(|_| {
            let message = format!("PORT is `{text}`, which is not a port");
            (message, "set it to a number from 0 to 65535".to_owned())
        })?,
        None => 8080,
    };
    let client_keys: Vec<String> = variables
        .get("FORWARD_KEY")
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|key| !key.is_empty())
        .map(|key| Secret::new(key.to_owned()).hash().to_hex())
        .map(|hex| format!("\"sha256:{hex}\""))
        .collect();
    let host = if client_keys.is_empty() {
        "127.0.0.1"
    } else {
        "0.0.0.0"
    };
    let keys = match api_key {
        Some(_) => "[\"${OPENAI_API_KEY}\"]",
        None => "[]",
    };
    let tenants = match client_keys.as_slice() {
        [] => String::new(),
        keys => format!(
            "tenants:\n  - {{ id: default, keys: [{}] }}\n",
            keys.join(", ")
        ),
    };
    Ok(format!(
        "server:\n  listen: [\"{host}:{port}\"]\n\
         upstreams:\n  openai:\n    base_url: \"${{OPENAI_BASE_URL:-{OPENAI}}}\"\n    keys: {keys}\n\
         models:\n  - match: \"*\"\n    targets: [{{ upstream: openai }}]\n\
         {tenants}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(entries: &[(&str, &str)]) -> Config {
        let variables: Variables = entries.iter().copied().collect();
        let text = document(&variables).unwrap();
        Config::parse("environment", &text, &variables).unwrap()
    }

    #[test]
    fn a_provider_key_alone_serves_this_machine() {
        let config = config(&[("OPENAI_API_KEY", "sk-1")]);
        let listener = config.server.listen.first().unwrap();
        assert_eq!(listener.address.value.to_string(), "127.0.0.1:8080");
        let upstream = config.upstreams.first().unwrap();
        assert_eq!(
            upstream.servers.first().unwrap().url.to_string(),
            "https://api.openai.com/v1"
        );
    }

    #[test]
    fn client_keys_open_the_gateway_to_the_network() {
        let config = config(&[
            ("OPENAI_API_KEY", "sk-1"),
            ("OPENAI_BASE_URL", "http://10.0.0.1:8000/v1"),
            ("FORWARD_KEY", "one, two"),
            ("PORT", "9000"),
        ]);
        let listener = config.server.listen.first().unwrap();
        assert_eq!(listener.address.value.to_string(), "0.0.0.0:9000");
        assert_eq!(config.tenants.first().unwrap().keys.len(), 2);
    }

    #[test]
    fn the_document_holds_no_secret() {
        let entries = [
            ("OPENAI_API_KEY", "sk-secret"),
            ("FORWARD_KEY", "fk-secret"),
        ];
        let text = document(&entries.into_iter().collect()).unwrap();
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn nothing_to_serve_and_a_bad_port_say_what_to_do() {
        let (message, hint) = document(&Variables::default()).unwrap_err();
        assert!(message.contains("OPENAI_API_KEY"));
        assert!(hint.contains("--demo"));
        let bad = [("OPENAI_API_KEY", "sk-1"), ("PORT", "http")];
        assert!(
            document(&bad.into_iter().collect())
                .unwrap_err()
                .0
                .contains("PORT")
        );
    }

    #[test]
    fn the_demo_is_a_valid_configuration() {
        Config::parse("demo", DEMO, &Variables::default()).unwrap();
    }
}
