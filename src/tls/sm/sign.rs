//! Signatures of the handshake with a private key of SM2.
//!
//! Owns reading such a key (PKCS#8 or SEC 1) and the signature `sm2sig_sm3` of the side that has it: with the
//! identifier `TLSv1.3+GM+Cipher+Suite`, in DER. The number that must not repeat is derived from key and message (RFC
//! 6979), so it does not depend on random numbers. The file's own copy of the key is wiped; the crate `sm2` cannot wipe
//! the one in use. Does not handle verification (see `verify`), nor reading files. A key of another kind is refused.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::KeyProvider;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use sm2::SecretKey;
use sm2::dsa::signature::Signer as _;
use sm2::dsa::{Signature, SigningKey as Sm2Key};
use sm2::pkcs8::{DecodePrivateKey, EncodePublicKey};

use super::{HANDSHAKE_ID, SCHEME};

/// Reads private keys of SM2.
#[derive(Debug)]
pub(super) struct Keys;

#[derive(Clone)]
struct PrivateKey {
    key: Arc<Sm2Key>,
    /// The public key, as a certificate has it.
    public: Arc<[u8]>,
}

/// Whether a private key is one of SM2.
pub fn is_key(key: &PrivateKeyDer<'_>) -> bool {
    read(key).is_some()
}

fn read(key: &PrivateKeyDer<'_>) -> Option<SecretKey> {
    match key {
        PrivateKeyDer::Pkcs8(key) => SecretKey::from_pkcs8_der(key.secret_pkcs8_der()).ok(),
        // It names its curve itself, or it could be of any.
        PrivateKeyDer::Sec1(key) => SecretKey::from_sec1_der(key.secret_sec1_der()).ok(),
        _ => None,
    }
}

impl KeyProvider for Keys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let unusable = || Error::General("the private key is not one of SM2".to_owned());
        let secret = read(&key).ok_or_else(unusable)?;
        let public = secret.public_key().to_public_key_der();
        let key = Sm2Key::new(HANDSHAKE_ID, &secret);
        Ok(Arc::new(PrivateKey {
            key: Arc::new(key.map_err(|_| unusable())?),
            public: public.map_err(|_| unusable())?.as_bytes().into(),
        }))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a private key of SM2")
    }
}

impl SigningKey for PrivateKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let offers = offered.contains(&SCHEME);
        offers.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(&*self.public))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        // rustls asks for it in TLS 1.2 alone. The nearest that its list has:
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signed: Result<Signature, _> = self.key.try_sign(message);
        let signed = signed.map_err(|_| Error::General("SM2 could not sign".to_owned()))?;
        Ok(signed.to_der().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}
