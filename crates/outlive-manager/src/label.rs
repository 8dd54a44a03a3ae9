//! Text that somebody chose and others are shown: where an owner or a pair's member can be reached.

use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

use crate::limits;

/// Refuses what is too long, and what a terminal would act on instead of showing: an owner could make whoever looks at the
/// status believe, or run, something else.
///
/// # Errors
/// `INVALID`.
pub(crate) fn check(what: &str, text: &str) -> Result<(), ControlError> {
    let most = limits::OWNER_BYTES;
    let message = if text.len() > most {
        format!("{what} has at most {most} bytes, not {}", text.len())
    } else if text.chars().any(is_hidden) {
        format!("{what} is one line of visible text: {text:?} is not")
    } else {
        return Ok(());
    };
    Err(ControlError::new(ErrorCode::Invalid, message))
}

/// Control characters, and those that change how the text around them is read.
fn is_hidden(character: char) -> bool {
    let reorders =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || reorders || character == '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_seen_is_taken() {
        for good in [
            "",
            "127.0.0.1:6379",
            "Büro 3, Schrank 12 (links)",
            &"x".repeat(limits::OWNER_BYTES),
        ] {
            assert_eq!(check("a label", good), Ok(()));
        }
        for bad in [
            "\u{1b}[2J",
            "a\nb",
            "a\0",
            "a\u{9b}1m",
            "a\u{202e}b",
            "a\u{200b}",
            &"x".repeat(limits::OWNER_BYTES + 1),
        ] {
            let error = check("a label", bad).unwrap_err();
            assert_eq!(error.code, ErrorCode::Invalid);
            assert!(!error.message.contains('\u{1b}'), "{}", error.message);
        }
    }
}
