//! A member as a pure state machine: time and events in, effects out.
//!
//! [`Node`] knows roles, requests and the replicated state, and nothing of sockets, clocks or
//! threads. Whoever drives it (the running [`Member`](crate::Member), or the simulation in this crate's tests)
//! carries out its [`Effect`]s in order and tells it what came of them as [`Event`]s:
//!
//! ```text
//!             opened                      suspected            took over
//! starting ───────────► primary   backup ───────────► taking over ───────────► primary
//!     │ owned              │  ▲      ▲  ▲                  │ lost the race
//!     └──────────────────────────────┘  └──────────────────┘
//!                          │ asked to hand over            failed: suspecting, tried again
//!                          ▼
//!                    handing over ──drained, closed──► backup
//! primary, handing over ──fenced──► backup        any ──asked to leave, crash loop, corruption──► stopped
//! ```
//!
//! Answers do not leave here: they go out with the effect that they must wait for, into
//! [`Output`](crate::output::Output), which holds them until then.

mod event;
mod node;
mod serve;
#[cfg(test)]
mod tests;

pub use event::{Ask, Call, Cause, Clock, Effect, Event, Fed, Journal};
pub use node::{Limits, Node};
