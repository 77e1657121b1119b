//! Quotas: how much a tenant may use in a period.
//!
//! Owns the keys of a `quota`. Does not handle how it is kept (see `limits`). What cannot be read is
//! reported with its place.

use jiff::tz::TimeZone;

/// How much may be used in a period; at least one of tokens and money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Tokens of input and output.
    pub tokens: Option<u64>,
    /// Money, in nano-dollars.
    pub nanos: Option<u64>,
    /// In which period.
    pub per: Period,
    /// Where the periods begin at midnight. UTC by default.
    pub timezone: TimeZone,
    /// Shares in percent at which a warning is given, in ascending order.
    pub warn_at: Vec<u8>,
}

/// The period of a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// A month of the calendar.
    #[default]
    Month,
    /// For ever.
    Total,
}
