//! Identifiers that we give out, and numbers at random.
//!
//! Owns their form. Does not handle what they name. Cannot fail.

use uuid::Uuid;

/// A request id: `req_` and 32 hexadecimal digits that sort by time.
pub fn request_id() -> String {
    let mut id = String::with_capacity(36);
    id.push_str("req_");
    id.push_str(
        Uuid::now_v7()
            .simple()
            .encode_lower(&mut Uuid::encode_buffer()),
    );
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
    use super::*;

    #[test]
    fn ids_are_distinct_and_of_one_form() {
        let (one, two) = (request_id(), request_id());
        assert_ne!(one, two);
        assert_eq!(one.len(), 36);
        assert!(one.starts_with("req_"));
        assert_eq!(format!("req_{:032x}", number(&one)), one);
        assert_eq!(number("x"), 0);
    }
}
