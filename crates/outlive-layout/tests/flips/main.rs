//! Every bit of a small region is flipped in turn, words, lines and sectors are lost or replaced, and lines become
//! unreadable. Whatever changes is found and named, or it is said here why it harms nobody; what is served is always a
//! state that was, byte for byte.

mod bits;
mod bursts;
mod damaged;
mod judge;
mod model;
#[path = "../region/mod.rs"]
mod region;
mod teeth;
mod unreadable;
