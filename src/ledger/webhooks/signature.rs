//! The signature of a message, as Standard Webhooks say: HMAC-SHA256, version `v1`.
//!
//! Owns which bytes of a secret are the key, and what is signed. Does not handle which headers have it (see
//! `sender`). Cannot fail: `config` has read the secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// How a secret begins whose rest is base64 of the key.
const ENCODED: &str = "whsec_";

/// The value of `webhook-signature`: `v1,` and the base64 of the HMAC of `id.timestamp.body`.
///
/// The key is what the base64 behind `whsec_` stands for. A secret of another form is the key itself, byte for
/// byte.
pub fn signature(secret: &Secret, id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let secret = secret.expose();
    let decoded = secret
        .strip_prefix(ENCODED)
        .and_then(|encoded| STANDARD.decode(encoded).ok());
    let key = decoded.as_deref().unwrap_or(secret.as_bytes());
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        // HMAC takes a key of any length. A receiver refuses this.
        return String::new();
    };
    mac.update(format!("{id}.{timestamp_s}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(secret: &str) -> String {
        let secret = Secret::new(secret.to_owned());
        let body = br#"{"test": 2432232314}"#;
        signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    }

    #[test]
    fn the_published_example_of_standard_webhooks_gives_its_signature() {
        assert_eq!(
            sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_without_the_prefix_is_the_key_itself() {
        // openssl dgst -sha256 -hmac MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw -binary | base64
        let plain = sign("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(plain, "v1,ELhqG0Ku1gwOc1f4jyKdp3SFGFLAOdJ9bvpWLciCakI=");
    }
}
