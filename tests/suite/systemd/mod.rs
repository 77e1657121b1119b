//! The service: what `make install` puts where, its units, and what they do under the real systemd.
//!
//! `installation` reads what is shipped and installed. `machine` runs systemd, `service` installs Tollgate in it;
//! `running` and `replacing` have the tests of both. Does not handle the protocol between the two in detail (see
//! `operation`).

mod installation;
mod machine;
mod replacing;
mod running;
mod service;
