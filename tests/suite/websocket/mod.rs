//! WebSockets: opened on both sides with the key swapped, and then bytes pass both ways.

mod ends;
mod frames;
mod nginx;
mod opening;
mod refusals;
mod sdk;
