//! Whether something holds: a tenant, or a key.
//!
//! Owns the keys `enabled` and `expires`. Does not handle what a caller is told (see `gateway::admit`). What
//! cannot be read is reported with its place.

use jiff::Timestamp;

use super::document::Section;

/// Whether and until when something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Whether it holds at all.
    pub is_enabled: bool,
    /// From when on it does not; `None` for never.
    pub expires: Option<Timestamp>,
}

impl Default for Validity {
    fn default() -> Self {
        Self {
            is_enabled: true,
            expires: None,
        }
    }
}

/// Why something does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// The operator has disabled it.
    Disabled,
    /// It has expired.
    Expired,
}

impl Lapse {
    /// As in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Expired => "expired",
        }
    }
}

impl Validity {
    /// Why it does not hold at this time; `None` where it does.
    pub fn lapse(&self, now: Timestamp) -> Option<Lapse> {
        if !self.is_enabled {
            return Some(Lapse::Disabled);
        }
        let is_over = self.expires.is_some_and(|expires| now >= expires);
        is_over.then_some(Lapse::Expired)
    }
}

/// Takes both keys from a section.
pub fn take(section: &mut Section<'_>) -> Validity {
    let enabled = section.take("enabled").and_then(|n| n.boolean());
    Validity {
        is_enabled: enabled.unwrap_or(true),
        expires: section.take("expires").and_then(|n| n.moment()),
    }
}
