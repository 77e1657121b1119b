//! The service: what `make install` puts where, its units, and what they do under the real systemd.
//!
//! `installation` reads what is shipped and installed. `machine` runs systemd, `service` runs Tollgate under it. Does
//! not handle the protocol between the two in detail (see the tests of the process itself).

mod installation;
mod machine;
mod service;
