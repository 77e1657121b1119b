//! The variables that hold one value each: addresses, counts, words.
//!
//! Owns what each may look like, and its default. Does not handle lists of keys and URLs (see `environment`).
//! What cannot be read is reported under the name of its variable, and the default is used.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::{ADMIN, LOG_FOLDER, PORT, Reader, STREAMS, WORKERS, lower};
use crate::config::models::Streams;
use crate::config::quick_start::Admin;
use crate::config::{MAX_THREADS, Server};

impl Reader<'_> {
    pub(super) fn admin(&mut self) -> Option<Admin> {
        let text = self.variables.get(ADMIN)?.trim();
        let address = text.parse().or_else(|_| {
            let port = text.parse();
            port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        });
        match (lower(text).as_str(), address) {
            ("off" | "false", _) => Some(Admin::Off),
            (_, Ok(address)) => Some(Admin::At(address)),
            (_, Err(_)) => {
                let message = format!("`{text}` is neither an address with a port nor `off`");
                let hint = "as in 127.0.0.1:9465, or 9465 for that port of this machine";
                self.report(ADMIN, message, hint);
                None
            }
        }
    }

    pub(super) fn port(&mut self, admin: Option<Admin>) -> u16 {
        const DEFAULT: u16 = 8080;
        let Some(text) = self.variables.get(PORT) else {
            return DEFAULT;
        };
        let Ok(port) = text.trim().parse() else {
            let message = format!("`{text}` is not a port");
            self.report(PORT, message, "set it to a number from 0 to 65535");
            return DEFAULT;
        };
        let admin = match admin {
            None => Server::default().admin.map(|address| address.value),
            Some(Admin::Off) => None,
            Some(Admin::At(address)) => Some(address),
        };
        // Port 0 asks the system for any free port, so two of them differ.
        if port != 0 && admin.is_some_and(|address| address.port() == port) {
            let message = format!("{port} is the port of the operator's listener");
            let hint = "choose another port, or set ADMIN to another address or to `off`";
            self.report(PORT, message, hint);
        }
        port
    }

    pub(super) fn threads(&mut self) -> Option<usize> {
        let text = self.variables.get(WORKERS)?.trim();
        let threads = text.parse().ok();
        let threads = threads.filter(|threads| *threads <= usize::from(MAX_THREADS));
        if threads.is_none() {
            let message = format!("`{text}` is not a number of threads");
            let hint =
                format!("set it to a number from 1 to {MAX_THREADS}, or to 0 for one per core");
            self.report(WORKERS, message, &hint);
        }
        threads
    }

    pub(super) fn streams(&mut self) -> Streams {
        let Some(text) = self.variables.get(STREAMS) else {
            return Streams::AsAsked;
        };
        Streams::from_name(&lower(text)).unwrap_or_else(|| {
            let message = format!("`{text}` is none of always, never and as_asked");
            let hint = "whether providers are asked for streams, whatever the client wants";
            self.report(STREAMS, message, hint);
            Streams::AsAsked
        })
    }

    /// The folder of the log files. Other relays take a file's path there, too, which the message tells.
    pub(super) fn log_folder(&mut self) -> Option<String> {
        let text = self.variables.get(LOG_FOLDER)?.trim();
        let path = Path::new(text);
        if text.is_empty() || path.is_file() {
            let message = format!("`{text}` is not a folder");
            let hint = "name a folder: info.log and error.log are written there";
            self.report(LOG_FOLDER, message, hint);
            return None;
        }
        Some(text.to_owned())
    }

    /// What a variable says that turns something on or off, if it is set.
    pub(super) fn flag(&mut self, name: &'static str) -> Option<bool> {
        let text = self.variables.get(name)?;
        match lower(text).as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => {
                let message = format!("`{text}` is neither true nor false");
                self.report(name, message, "set it to true or to false");
                None
            }
        }
    }
}
