//! What a process was told to read its configuration from, so that it can read it again.
//!
//! Owns the source, the file of variables, and what the command line says against both. Each reading takes the
//! environment's files anew. Does not handle when that happens (see `server::reload`). Fails with every mistake at
//! once.

use std::path::PathBuf;

use super::problem::{Problem, Problems, Severity};
use super::{Config, Overrides, Source, Variables};

/// Where a configuration comes from, whole.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file, or what stands in for one.
    pub source: Source,
    /// A file of variables.
    pub env_file: Option<PathBuf>,
    /// What the command line says.
    pub overrides: Overrides,
}

impl Origin {
    /// Reads the configuration as it stands now.
    ///
    /// # Errors
    /// Every mistake in it, and in the files of variables.
    pub fn load(&self) -> Result<Config, Problems> {
        let variables = Variables::read(self.env_file.as_deref()).map_err(|message| {
            Problems(vec![Problem {
                severity: Severity::Error,
                source: "variables".to_owned(),
                line: None,
                path: String::new(),
                message,
                hint: None,
            }])
        })?;
        let mut config = Config::load(&self.source, &variables)?;
        self.overrides.apply(&mut config);
        if self.source == Source::Demo {
            // A gateway that runs on this machine has the default port: the demo starts beside it.
            let admin = config.server.admin.as_mut();
            admin.into_iter().for_each(|admin| admin.value.set_port(0));
        }
        Ok(config)
    }
}
