//! The keys and models of the benchmark.
//!
//! Owns what client, gateway and upstream call each other. Cannot fail.

/// The key of the tenant, which clients send.
pub const TENANT_KEY: &str = "sk-tenant-0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f";
/// The provider's key, which tollgate sends in its place.
pub const PROVIDER_KEY: &str = "sk-provider-9f8e7d6c5b4a3f2e1d0c9b8a7f6e5d4c";
/// The model that clients ask for.
pub const MODEL: &str = "gpt-4o";
/// The model that tollgate asks for in its place.
pub const SENT_MODEL: &str = "gpt-4o-2024-11-20";
