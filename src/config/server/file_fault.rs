//! What is wrong with a file that the configuration names.
//!
//! Owns nothing but the three parts of a message to the operator. Cannot fail.

use crate::config::document::Place;
use crate::config::pem;

/// What is wrong with a file.
#[derive(Debug)]
pub struct Fault<'t> {
    /// Where the configuration names the file that has to be changed.
    pub place: &'t Place,
    /// What is wrong.
    pub message: String,
    /// What to change.
    pub hint: &'static str,
}

impl<'t> Fault<'t> {
    /// What is wrong with a file that is named here.
    pub fn of_file(place: &'t Place, fault: pem::Fault) -> Self {
        let pem::Fault { message, hint } = fault;
        Self {
            place,
            message,
            hint,
        }
    }
}
