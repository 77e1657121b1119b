//! A chat that goes on in another stream after its own broke.
//!
//! Owns the wire of that: `prefill` has how each kind of upstream is asked to continue a message, `request` what it
//! is asked, `said` what the client has got so far, and `splice` how the second stream becomes the rest of the first.
//! Does not handle when that is done, or which upstream is asked (see `gateway::exchange::continuing`). What cannot
//! be continued gives `None`.

mod prefill;
mod request;
mod said;
mod splice;

pub use prefill::{Prefill, Repeats};
pub use request::{can_be_continued, continued};
pub use said::Said;
pub use splice::{Rest, Splicer};
