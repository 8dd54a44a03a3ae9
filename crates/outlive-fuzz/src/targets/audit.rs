//! Entries of the audit log, made of what strangers said: each is one line of JSON without control characters, and the log
//! stays within its bounds.

use std::path::PathBuf;
use std::sync::OnceLock;

use outlive_audit::{Act, Audit, AuditOptions, Entry};

use super::folder;
use super::frames::{Frames, framed};
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "audit",
    about: "entries of the audit log",
    run,
    seeds,
    allowance_bytes: 2 << 20,
};

/// Entries of one input.
const MAX_ENTRIES: usize = 16;
/// The longest line of one entry: five texts, each cut to 512 bytes, each byte of which may need an escape of six.
const MAX_LINE_BYTES: usize = 5 * 512 * 6 + 1024;

fn run(input: &[u8]) {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| folder::private("audit").join("audit.log"));
    folder::write(path, &[]);
    let audit = Audit::open(path, AuditOptions::default()).expect("it is ours");
    for frame in Frames(input).take(MAX_ENTRIES) {
        let Some((&act, texts)) = frame.split_first() else {
            continue;
        };
        let text = String::from_utf8_lossy(texts);
        let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
        let act = if act % 2 == 0 { Act::Open } else { Act::Fence };
        let entry = match act {
            Act::Open => Entry::done(act),
            _ => Entry::refused(act, first),
        };
        audit.record(
            &entry
                .by(first)
                .from(second)
                .region(first)
                .about(second)
                .because(&text),
        );
    }
    drop(audit);
    let lines = std::fs::read(path).expect("it was written");
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let (end, body) = line.split_last().expect("no line is empty");
        assert_eq!(*end, b'\n', "lines are whole");
        assert!(body.len() <= MAX_LINE_BYTES, "a line has {} bytes", body.len());
        let text = std::str::from_utf8(body).expect("text");
        assert!(
            !text.chars().any(char::is_control),
            "a control character would act on a terminal"
        );
        let entry: serde_json::Value = serde_json::from_str(text).expect("an object of JSON");
        assert!(entry.is_object());
    }
}

fn seeds() -> Vec<Seed> {
    let plain = framed(&[
        b"\x00alice 192.0.2.1".to_vec(),
        b"\x01mallory\x1b[2J\r\n{\"act\":\"open\"}".to_vec(),
    ]);
    let long = framed(&[[&[1][..], "\u{85}\u{9b}é".repeat(400).as_bytes()].concat()]);
    vec![("plain", plain), ("long", long)]
}
