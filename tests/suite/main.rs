//! Tollgate, through its real binary: script the upstream, act as the client, assert on what both
//! saw. One crate, so that it links once; each module is one promise of the gateway.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    missing_docs,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests prepare files, and wait for processes"
)]

mod support;

mod admin_usage;
mod bodies;
mod broken_responses;
mod callers;
mod chats;
mod chats_recorded;
mod cluster;
mod command_line;
mod configurations;
mod converted;
mod curl;
mod demo;
mod deploy;
mod dialects;
mod dialects_errors;
mod documents;
mod echoes;
mod edge;
mod errors;
mod examples;
mod exchange;
mod failover;
mod forms;
mod forms_large;
mod forms_refused;
mod framing;
mod headers;
mod health_command;
mod held_memory;
mod http2_bounds;
mod labels;
mod leases;
mod ledger;
mod ledger_postgres;
mod ledger_reports;
mod limits;
mod log_files;
mod logs;
mod managed;
mod manners;
mod manners_streamed;
mod memory_returned;
mod metrics;
mod models;
mod monitoring;
mod never_pausing;
mod nginx;
mod no_model;
mod operation;
mod privileges;
mod proxy_protocol;
mod reuse;
mod routes;
mod sdk;
mod shedding;
mod shutdown;
mod slowhttp;
mod slowness;
mod streams;
mod strict;
mod systemd;
mod terminal_event;
mod timeouts;
mod tls;
mod tls_choice;
mod tls_sm;
mod tunnel;
mod tunnel_models;
mod unix_sockets;
mod upstream_connections;
mod upstream_failures;
mod usage;
mod webhook_receiver;
mod webhooks;
mod websocket;
