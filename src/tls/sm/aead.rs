//! SM4 in Galois/Counter Mode, for the records of TLS 1.3.
//!
//! Owns the adapter from the crates `sm4` and `aes-gcm` to rustls: the nonce, the additional data and the type of each
//! record are as RFC 8446 has them (5.2, 5.3). Keys are wiped when they are dropped. Does not handle the number of
//! records that a key may encrypt (see `CipherSuiteCommon::confidentiality_limit` in the parent). A record that cannot
//! be decrypted is an error, and ends the connection.

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U12;
use aes_gcm::{AesGcm, KeyInit};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    Nonce, OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};
use sm4::Sm4;

/// Bytes of a key.
const KEY_BYTES: usize = 16;
/// Bytes of a tag.
const TAG_BYTES: usize = 16;

type Gcm = AesGcm<Sm4, U12>;

pub(super) struct Sm4Gcm;

/// One direction of a connection, from one change of keys to the next.
struct Records {
    /// `None` where the key does not have 16 bytes, which rustls rules out: then no record passes.
    cipher: Option<Gcm>,
    iv: Iv,
}

impl Records {
    fn new(key: &AeadKey, iv: Iv) -> Box<Self> {
        Box::new(Self {
            cipher: Gcm::new_from_slice(key.as_ref()).ok(),
            iv,
        })
    }
}

impl Tls13AeadAlgorithm for Sm4Gcm {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Records::new(&key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Records::new(&key, iv)
    }

    fn key_len(&self) -> usize {
        KEY_BYTES
    }

    fn extract_keys(
        &self,
        _key: AeadKey,
        _iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        // They would be for the kernel's TLS, which does not have this suite in rustls.
        Err(UnsupportedOperationError)
    }
}

impl MessageEncrypter for Records {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let cipher = self.cipher.as_ref().ok_or(Error::EncryptError)?;
        let length = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&[message.typ.into()]);
        let nonce = Nonce::new(&self.iv, number).0;
        let tag = cipher
            .encrypt_inout_detached(
                &nonce.into(),
                &make_tls13_aad(length),
                payload.as_mut().into(),
            )
            .map_err(|_| Error::EncryptError)?;
        payload.extend_from_slice(&tag);
        Ok(OutboundOpaqueMessage::new(
            ContentType::ApplicationData,
            // Every encrypted record of TLS 1.3 names this version (RFC 8446, 5.2).
            ProtocolVersion::TLSv1_2,
            payload,
        ))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        // The text, the type, the tag.
        payload_len + 1 + TAG_BYTES
    }
}

impl MessageDecrypter for Records {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let cipher = self.cipher.as_ref().ok_or(Error::DecryptError)?;
        let length = message.payload.len();
        let nonce = Nonce::new(&self.iv, number).0;
        let (text, tag) = message
            .payload
            .split_last_chunk_mut::<TAG_BYTES>()
            .ok_or(Error::DecryptError)?;
        let tag = *tag;
        cipher
            .decrypt_inout_detached(
                &nonce.into(),
                &make_tls13_aad(length),
                text.into(),
                &tag.into(),
            )
            .map_err(|_| Error::DecryptError)?;
        message.payload.truncate(length - TAG_BYTES);
        message.into_tls13_unpadded_message()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sm4_gcm_has_the_values_of_rfc_8998() {
        // RFC 8998, A.1.
        let cipher =
            Gcm::new_from_slice(&hex::decode("0123456789abcdeffedcba9876543210").unwrap()).unwrap();
        let nonce: [u8; 12] = hex::decode("00001234567800000000abcd")
            .unwrap()
            .try_into()
            .unwrap();
        let aad = hex::decode("feedfacedeadbeeffeedfacedeadbeefabaddad2").unwrap();
        let text: Vec<u8> = (0xa..=0xf_u8)
            .chain([0xe, 0xa])
            .flat_map(|digit| [digit << 4 | digit; 8])
            .collect();
        let mut sealed = text.clone();
        let tag = cipher
            .encrypt_inout_detached(&nonce.into(), &aad, sealed.as_mut_slice().into())
            .unwrap();
        let expected = "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735\
                        d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d";
        assert_eq!(hex::encode(&sealed), expected);
        assert_eq!(hex::encode(tag), "83de3541e4c2b58177e065a9bf7b62ec");
        cipher
            .decrypt_inout_detached(&nonce.into(), &aad, sealed.as_mut_slice().into(), &tag)
            .unwrap();
        assert_eq!(sealed, text);
    }

    /// Both ends of one direction.
    fn ends() -> (Box<dyn MessageEncrypter>, Box<dyn MessageDecrypter>) {
        let (mut key, iv) = ([0; 32], [9; 12]);
        key[..16].copy_from_slice(&[7; 16]);
        let end = || Records {
            cipher: Gcm::new_from_slice(&key[..16]).ok(),
            iv: Iv::from(iv),
        };
        (Box::new(end()), Box::new(end()))
    }

    fn seal(end: &mut dyn MessageEncrypter, text: &[u8], number: u64) -> Vec<u8> {
        let plain = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_3,
            payload: text.into(),
        };
        let record = end.encrypt(plain, number).unwrap().encode();
        record[5..].to_vec()
    }

    fn open(
        end: &mut dyn MessageDecrypter,
        sealed: &mut [u8],
        number: u64,
    ) -> Result<Vec<u8>, Error> {
        let (typ, version) = (ContentType::ApplicationData, ProtocolVersion::TLSv1_2);
        let opened = end.decrypt(InboundOpaqueMessage::new(typ, version, sealed), number)?;
        Ok(opened.payload.to_vec())
    }

    #[test]
    fn a_record_is_opened_by_its_number_and_nothing_else() {
        let (mut sender, mut receiver) = ends();
        for length in [0, 1, 15, 16, 17, 16_384] {
            let text = vec![b'x'; length];
            let sealed = seal(&mut *sender, &text, 3);
            assert_eq!(sealed.len(), sender.encrypted_payload_len(length));
            assert_eq!(open(&mut *receiver, &mut sealed.clone(), 3).unwrap(), text);
            let wrong = open(&mut *receiver, &mut sealed.clone(), 4);
            assert_eq!(wrong, Err(Error::DecryptError), "another number");
            for at in [0, sealed.len() / 2, sealed.len() - 1] {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                let wrong = open(&mut *receiver, &mut changed, 3);
                assert_eq!(wrong, Err(Error::DecryptError), "byte {at} of {length}");
            }
        }
    }

    #[test]
    fn a_record_that_is_too_short_for_a_tag_is_an_error() {
        let (_, mut receiver) = ends();
        for length in 0..TAG_BYTES + 1 {
            let wrong = open(&mut *receiver, &mut vec![0; length], 0);
            assert_eq!(wrong, Err(Error::DecryptError), "{length} bytes");
        }
    }

    #[test]
    fn a_key_of_another_length_passes_nothing() {
        // 32 bytes: what an `AeadKey` has that no suite has cut.
        let key = || AeadKey::from([0; 32]);
        let mut sender = Sm4Gcm.encrypter(key(), Iv::from([0; 12]));
        let plain = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_3,
            payload: (&b"text"[..]).into(),
        };
        assert!(sender.encrypt(plain, 0).is_err());
        let mut receiver = Sm4Gcm.decrypter(key(), Iv::from([0; 12]));
        assert!(open(&mut *receiver, &mut [0; 40], 0).is_err());
        let keys = Sm4Gcm.extract_keys(key(), Iv::from([0; 12]));
        assert!(keys.is_err());
    }
}
