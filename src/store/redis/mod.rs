//! Redis and Valkey.
//!
//! `connection` makes a connection to one server, `servers` to what several of them are together: a Cluster, or the
//! master that Sentinels know. Does not handle what is asked. Fails with [`NotConnected`].

mod connection;
mod servers;

pub use connection::{Driver, NotConnected, connect};
pub use servers::{Connected, Servers};
