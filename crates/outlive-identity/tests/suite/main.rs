//! Mutual TLS from both sides, over loopback.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bounds;
mod folder;
mod handshakes;
mod requests;
mod rotation;
mod support;
