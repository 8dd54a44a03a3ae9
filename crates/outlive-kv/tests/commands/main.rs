//! The commands, by type: each line a command and the reply that Redis gives.

mod hashes;
mod keys;
mod lists;
mod server;
mod sets;
mod strings;
mod zsets;

use outlive_kv::{Kv, request};
use outlive_pair::{Moment, Service};

/// A service at a moment that the test moves.
pub(crate) struct Session {
    kv: Kv,
    now_ms: u64,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            kv: Kv::default(),
            now_ms: 1_000_000,
        }
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// Carries a command out as a member would, and shows the reply as `redis-cli` does, on one line.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        let words: Vec<&str> = command
            .split(' ')
            .map(|word| if word == "''" { "" } else { word })
            .collect();
        let (request, at) = (request::encode(&words), Moment { unix_ms: self.now_ms });
        let reply = match self.kv.is_read_only(&request) {
            true => self.kv.query(&request, at),
            false => self.kv.apply(&request, at),
        };
        let mut reply = std::str::from_utf8(&reply)
            .expect("these tests use text")
            .split("\r\n");
        show(&mut reply)
    }

    pub(crate) fn check(&mut self, script: &[(&str, &str)]) {
        for (command, expected) in script {
            assert_eq!(self.ask(command), *expected, "{command}");
        }
    }
}

/// Checks one script on an empty service.
pub(crate) fn check(script: &[(&str, &str)]) {
    Session::new().check(script);
}

fn show<'a>(lines: &mut impl Iterator<Item = &'a str>) -> String {
    let line = lines.next().expect("a reply has a line");
    let (kind, text) = line.split_at(1);
    match (kind, text) {
        ("$" | "*", "-1") => "nil".into(),
        ("$", _) => format!("{:?}", lines.next().expect("a bulk string has content")),
        ("*", count) => {
            let count: usize = count.parse().expect("a length");
            let items: Vec<_> = (0..count).map(|_| show(lines)).collect();
            format!("[{}]", items.join(" "))
        }
        _ => text.into(),
    }
}

pub(crate) const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
pub(crate) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub(crate) const SYNTAX: &str = "ERR syntax error";
