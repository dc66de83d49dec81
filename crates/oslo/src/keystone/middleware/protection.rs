//! What keeps those who reach memcached from reading tokens there, or from putting some there.
//!
//! The form is keystonemiddleware's, so that services in Python can share the cache: three keys of 128 bits are derived
//! from the secret and the token; one names the entry, one signs it, one encrypts it.

use aes::Aes128;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha384};

/// Characters of a signature.
const SIGNATURE: usize = 64;

/// Bytes of each key, and of what an encryption begins with.
const BLOCK: usize = 16;

/// How entries are protected: `memcache_security_strategy`.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Protection {
    /// Not at all. Names of entries do not tell the token even so.
    #[default]
    None,
    /// Signed with a secret.
    Mac(String),
    /// Signed and encrypted with a secret.
    Encrypt(String),
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Mac(_) => "Mac(***)",
            Self::Encrypt(_) => "Encrypt(***)",
        })
    }
}

/// How the entry of one token is named and protected.
pub(super) struct Envelope {
    /// The key in memcached.
    pub key: String,
    keys: Option<Keys>,
}

struct Keys {
    sign: [u8; BLOCK],
    encrypt: Option<[u8; BLOCK]>,
}

impl Protection {
    /// For one token.
    pub(super) fn envelope(&self, token: &str) -> Envelope {
        let (secret, strategy) = match self {
            Self::None => {
                use std::fmt::Write as _;
                let mut key = "tokens/".to_owned();
                for byte in Sha256::digest(token.as_bytes()) {
                    let _ = write!(key, "{byte:02x}");
                }
                return Envelope { key, keys: None };
            }
            Self::Mac(secret) => (secret, "MAC"),
            Self::Encrypt(secret) => (secret, "ENCRYPT"),
        };
        let derived = sign(secret.as_bytes(), &[token.as_bytes(), strategy.as_bytes()]);
        let part = |number: usize| {
            let mut key = [0; BLOCK];
            key.copy_from_slice(&derived[number * BLOCK..(number + 1) * BLOCK]);
            key
        };
        let encrypt = matches!(self, Self::Encrypt(_)).then(|| part(2));
        // Python's name of a byte string, as it came to be there.
        let key = format!("tokens/b'{}'", STANDARD.encode(part(0)));
        Envelope { key, keys: Some(Keys { sign: part(1), encrypt }) }
    }
}

impl Envelope {
    /// What is stored for a text.
    pub(super) fn close(&self, text: &[u8]) -> Vec<u8> {
        let Some(keys) = &self.keys else { return text.to_vec() };
        let content = match &keys.encrypt {
            Some(key) => {
                let start: [u8; BLOCK] = rand::random();
                let mut content = start.to_vec();
                let cipher = cbc::Encryptor::<Aes128>::new(key.into(), &start.into());
                content.extend(cipher.encrypt_padded_vec::<Pkcs7>(text));
                content
            }
            None => text.to_vec(),
        };
        let content = STANDARD.encode(content);
        let mut stored = STANDARD.encode(sign(&keys.sign, &[content.as_bytes()])).into_bytes();
        stored.extend(content.as_bytes());
        stored
    }

    /// The text of what is stored; `None` if it is not ours.
    pub(super) fn open(&self, stored: Vec<u8>) -> Option<Vec<u8>> {
        let Some(keys) = &self.keys else { return Some(stored) };
        let (signature, content) = stored.split_at_checked(SIGNATURE)?;
        let signature = STANDARD.decode(signature).ok()?;
        let mut mac = Hmac::<Sha384>::new_from_slice(&keys.sign).ok()?;
        mac.update(content);
        mac.verify_slice(&signature).ok()?;
        let content = STANDARD.decode(content).ok()?;
        let Some(key) = &keys.encrypt else { return Some(content) };
        let (start, content) = content.split_at_checked(BLOCK)?;
        let start: [u8; BLOCK] = start.try_into().ok()?;
        let cipher = cbc::Decryptor::<Aes128>::new(key.into(), &start.into());
        cipher.decrypt_padded_vec::<Pkcs7>(content).ok()
    }
}

fn sign(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha384>::new_from_slice(key) else { return vec![0; 3 * BLOCK] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = br#"{"token": {}}"#;

    #[test]
    fn entries_are_those_of_services_in_python() {
        let plain = Protection::None.envelope("tok");
        assert_eq!(plain.key, "tokens/1a7674eb4ee78df7e1ac439a93c3fa8e3c945784d4dec9fd8e3011738b2f1d62");
        let mac = Protection::Mac("sekrit".into()).envelope("tok");
        assert_eq!(mac.key, "tokens/b'D4V5Ni9VI2incC0hbMO/Cw=='");
        let stored = "hwHS2Q2aqxNmkJQkUgU0rVb7may/NqzfYQHw+Y5Mw8tTTvn0CL02BIkmxTOpiEDFeyJ0b2tlbiI6IHt9fQ==";
        assert_eq!(String::from_utf8(mac.close(TEXT)).unwrap(), stored);
        let encrypted = Protection::Encrypt("sekrit".into()).envelope("tok");
        assert_eq!(encrypted.key, "tokens/b'Eh1gAbyjAElThDiovEW+bQ=='");
        let stored = "mhQpt/7r2ZcaITZZolvbHtSIDivxByViRgdE+rbK2BgGWtp9NiJS6IsM2udWAJ2d+48IFlhQXqqmWKDnQU5FoZW3KSNChl7TK1O22LfhqPc=";
        assert_eq!(encrypted.open(stored.into()).as_deref(), Some(TEXT));
    }

    #[test]
    fn what_is_closed_opens_and_what_was_changed_does_not() {
        for protection in [Protection::Mac("s".into()), Protection::Encrypt("s".into())] {
            let envelope = protection.envelope("tok");
            let stored = envelope.close(TEXT);
            assert_eq!(envelope.open(stored.clone()).as_deref(), Some(TEXT));
            for i in 0..stored.len() {
                let mut changed = stored.clone();
                changed[i] ^= 1;
                assert_eq!(envelope.open(changed), None, "{i}");
            }
            assert_eq!(envelope.open(stored[..40].to_vec()), None);
            assert_eq!(protection.envelope("other").open(stored), None);
            assert!(!format!("{protection:?}").contains("\"s\""));
        }
    }
}
