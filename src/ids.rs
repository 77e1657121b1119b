//! Identifiers that we give out, and numbers at random.
//!
//! Owns their form. Does not handle what they name. Cannot fail.

use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What request ids of this node end with, once it is known, above [`MARK_BITS`]; 0 before.
static MARK: AtomicU32 = AtomicU32::new(0);
const MARK_BITS: u32 = 16;
const IS_KNOWN: u32 = 1 << MARK_BITS;

/// Marks the request ids of this process with its node: they end with [`mark_of`] its name.
pub fn mark(node: &str) {
    MARK.store(number_of(node) | IS_KNOWN, Ordering::Relaxed);
}

/// What the request ids of a node end with: four hexadecimal digits.
pub fn mark_of(node: &str) -> String {
    format!("{:04x}", number_of(node))
}

fn number_of(node: &str) -> u32 {
    let hash = Sha256::digest(node.as_bytes());
    let bytes = hash.iter().take(2);
    bytes.fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// A request id: `req_` and 32 hexadecimal digits that sort by time, and end with the mark of the node.
pub fn request_id() -> String {
    let mut id = String::with_capacity(36);
    id.push_str("req_");
    let mark = MARK.load(Ordering::Relaxed);
    let unique = Uuid::now_v7();
    let marked = match mark & IS_KNOWN {
        0 => unique,
        _ => {
            let above = unique.as_u128() >> MARK_BITS << MARK_BITS;
            Uuid::from_u128(above | u128::from(mark & (IS_KNOWN - 1)))
        }
    };
    id.push_str(marked.simple().encode_lower(&mut Uuid::encode_buffer()));
    id
}

/// How the id of a key begins that is made at run time.
const KEY: &str = "key_";
/// How the id of a key begins that a configuration file defines.
pub const FILE_KEY: &str = "file_";

/// The id of a key that is made now: `key_` and 32 hexadecimal digits that sort by time.
pub fn key_id() -> String {
    format!("{KEY}{}", Uuid::now_v7().simple())
}

/// The id of a key of the configuration file, by the first 64 bits of its hash.
pub fn file_key_id(head: u64) -> String {
    format!("{FILE_KEY}{head:016x}")
}

/// The number that a request id stands for; 0 for what is none of ours.
pub fn number(request_id: &str) -> u128 {
    let digits = request_id.strip_prefix("req_").unwrap_or_default();
    u128::from_str_radix(digits, 16).unwrap_or_default()
}

/// A number from 0 to below `bound`, which must be above 0; at random, and no secret.
pub fn random_below(bound: u64) -> u64 {
    fastrand::u64(..bound)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_distinct_and_of_one_form() {
        let (one, two) = (request_id(), request_id());
        assert_ne!(one, two);
        assert_eq!(one.len(), 36);
        assert!(one.starts_with("req_"));
        assert_eq!(format!("req_{:032x}", number(&one)), one);
        assert_eq!(number("x"), 0);
        mark("gateway-1");
        let marked: HashSet<String> = (0..1_000).map(|_| request_id()).collect();
        assert_eq!(marked.len(), 1_000);
        let mark = mark_of("gateway-1");
        assert!(
            marked
                .iter()
                .all(|id| id.len() == 36 && id.ends_with(&mark))
        );
        assert_ne!(mark, mark_of("gateway-2"));
    }
}
