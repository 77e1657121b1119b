//! JSON Web Tokens: their form, the keys of their issuers, and their signatures.
//!
//! `algorithm` has the algorithms that are known, `json` reads JSON without duplicate names, `token` takes a token
//! apart and verifies its signature, `claims` reads what it says, and `keys` the keys that verify it. Does not handle
//! which issuer is trusted with what (see `auth::jwt`), nor where keys come from (see `auth::jwt::fetch`). Fails with
//! what is wrong with a token or a key; nothing of either is in it.

mod algorithm;
mod claims;
mod json;
mod keys;
mod token;

pub use algorithm::{Algorithm, Family};
pub use claims::Claims;
pub use keys::{KeyFault, KeySet, MAX_SET_BYTES};
pub use token::{MAX_TOKEN_BYTES, Malformed, Token, Unverified, is_token};
