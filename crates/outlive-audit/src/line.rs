//! An entry as it stands in the file.

use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};

use crate::Entry;

/// The longest text of one field. What is longer was made up by somebody hostile, and is cut.
const MAX_TEXT_BYTES: usize = 512;
/// RFC 3339 with microseconds, in UTC.
const TIME: EncodedConfig = Config::DEFAULT
    .set_time_precision(TimePrecision::Second {
        decimal_digits: std::num::NonZero::new(6),
    })
    .encode();

/// What is added to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Refusals of the same source that got no line.
    pub(crate) suppressed: u64,
    /// Lines that could not be written.
    pub(crate) lost: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    entry: &'a Entry,
    #[serde(skip_serializing_if = "is_zero")]
    suppressed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
}

/// The entry with texts that are not longer than anybody's who means well.
pub(crate) fn clipped(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    let texts = [
        &mut entry.identity,
        &mut entry.source,
        &mut entry.region,
        &mut entry.subject,
        &mut entry.reason,
    ];
    for text in texts.into_iter().flatten() {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    }
    entry
}

/// One line, its end included.
pub(crate) fn encode(entry: &Entry, at: SystemTime, left_out: LeftOut) -> Vec<u8> {
    let line = Line {
        time: rfc_3339(at),
        entry,
        suppressed: left_out.suppressed,
        lost: left_out.lost,
    };
    let text = serde_json::to_string(&line).expect("names and numbers can be written as JSON");
    let mut line = without_controls(text);
    line.push('\n');
    line.into_bytes()
}

/// JSON escapes the control characters up to U+001F. Those behind act on a terminal as well that shows the log (U+009B begins
/// a sequence as ESC [ does), so they are escaped too; they can stand in texts only.
fn without_controls(json: String) -> String {
    if !json.chars().any(char::is_control) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if c.is_control() {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn rfc_3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    at.format(&Iso8601::<TIME>)
        .expect("a clock shows a year of four digits")
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Act;

    #[test]
    fn a_line_is_one_object_with_its_time_first() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_020);
        let entry = Entry::refused(Act::Write, "read-only")
            .by("tenant\n\"x\"")
            .from("10.0.0.1:9")
            .region("r")
            .right("write")
            .range(u64::MAX, 2);
        let left_out = LeftOut {
            suppressed: 3,
            lost: 0,
        };
        let line = String::from_utf8(encode(&entry, at, left_out)).expect("text");
        assert_eq!(
            line,
            "{\"time\":\"2023-11-14T22:13:20.000020Z\",\"act\":\"write\",\"outcome\":\"refused\",\
             \"identity\":\"tenant\\n\\\"x\\\"\",\"source\":\"10.0.0.1:9\",\"region\":\"r\",\"right\":\"write\",\
             \"offset\":18446744073709551615,\"len\":2,\"reason\":\"read-only\",\"suppressed\":3}\n"
        );
    }

    #[test]
    fn no_control_character_stands_in_a_line_and_none_is_lost() {
        let text: String = (0..0xa0).filter_map(char::from_u32).collect();
        let line = encode(
            &Entry::refused(Act::Connect, &text),
            SystemTime::UNIX_EPOCH,
            LeftOut::default(),
        );
        let line = String::from_utf8(line).expect("text");
        assert_eq!(line.find(char::is_control), Some(line.len() - 1), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(read["reason"], text);
    }

    #[test]
    fn a_line_is_bounded_whatever_somebody_calls_himself() {
        let huge = "ä\u{1}".repeat(1 << 20);
        let entry = Entry::refused(Act::Connect, &huge)
            .by(&huge)
            .from(&huge)
            .region(&huge)
            .about(&huge);
        let line = encode(&clipped(&entry), SystemTime::UNIX_EPOCH, LeftOut::default());
        // Six bytes of JSON for one that has to be escaped.
        assert!(line.len() < 5 * 6 * MAX_TEXT_BYTES + 512, "{} bytes", line.len());
        serde_json::from_slice::<serde_json::Value>(&line).expect("JSON");
    }
}
