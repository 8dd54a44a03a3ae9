//! Why a command failed: an exit code that scripts act on and one line that people read.

use std::error::Error as StdError;
use std::io;

use outlive_identity::IdentityError;

use crate::exit::Exit;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One line, without a final stop; empty where nothing is to be said.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: one_line(&message.into()),
        }
    }

    /// Wrong usage that clap cannot see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Whoever read our output has gone: nothing is left to be done and nothing to be said.
    fn output_closed() -> Self {
        Self {
            exit: Exit::Success,
            message: String::new(),
        }
    }

    /// Our standard output could not be written.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::output_closed()
        } else {
            Self::new(Exit::Failure, format!("cannot write the output: {error}"))
        }
    }

    /// A file could not be read or written.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &io::Error) -> Self {
        Self::new(
            Exit::Failure,
            format!("cannot {what} {}: {error}", path.display()),
        )
    }

    /// An address could not be listened at; `option` is how another one is named.
    pub(crate) fn listening(
        what: &str,
        address: std::net::SocketAddr,
        error: &io::Error,
        option: &str,
    ) -> Self {
        let failure = Self::new(
            Exit::Failure,
            format!("cannot listen for {what} on {address}: {error}"),
        );
        match error.kind() {
            io::ErrorKind::AddrInUse => failure.and(&format!(
                "another process listens there: end it, or name another address with {option}"
            )),
            io::ErrorKind::AddrNotAvailable => failure.and(&format!(
                "this host has no such address: name one that it has with {option}"
            )),
            _ => failure,
        }
    }

    /// Any other error, with its whole chain of causes.
    pub(crate) fn from_error(exit: Exit, error: &dyn StdError) -> Self {
        Self::new(exit, chain(error))
    }

    /// Says more, behind what is said already.
    #[must_use]
    pub(crate) fn and(mut self, more: &str) -> Self {
        if !self.message.is_empty() {
            self.message.push_str("; ");
        }
        self.message.push_str(&one_line(more));
        self
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::from_error(Exit::NoAccess, &error)
    }
}

impl From<outlive::Error> for Failure {
    fn from(error: outlive::Error) -> Self {
        use outlive::Error;
        let exit = match &error {
            Error::NoSuchRegion { .. } | Error::NoSuchPair { .. } => Exit::NoSuchRegion,
            Error::RegionExists { .. } => Exit::Exists,
            Error::JournalFull { .. } | Error::TooLarge { .. } => Exit::Full,
            Error::NoSpace { .. } => Exit::NoSpace,
            Error::Owned { .. } | Error::LostRace { .. } => Exit::Owned,
            Error::Fenced { .. } => Exit::Fenced,
            Error::NoAccess { .. } | Error::Context { .. } => Exit::NoAccess,
            Error::Unreachable { .. } => Exit::Unreachable,
            Error::Corrupt { .. } | Error::Lost { .. } => Exit::Corrupt,
            Error::MediaFailed { .. } | Error::Unreadable { .. } => Exit::MediaFailed,
            Error::NoSuchSet { .. } => Exit::NoSuchSet,
            Error::Invalid { .. }
            | Error::Range { .. }
            | Error::NotCheckpoint { .. }
            | Error::Level { .. } => Exit::Usage,
            _ => Exit::Failure,
        };
        let failure = Self::from_error(exit, &error);
        match &error {
            Error::Context { .. } => failure.and("start `outlive serve`, or name the file with --context"),
            Error::Unreachable { reason, .. } if !failure.message.contains(reason) => failure.and(reason),
            _ => failure,
        }
    }
}

/// The error and its causes, joined, each said once.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

fn one_line(text: &str) -> String {
    // What others sent may stand in it: nothing of theirs is to drive a terminal.
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let text: String = text.chars().map(plain).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_that_others_sent_drives_a_terminal() {
        let failure = Failure::usage("owned by \u{1b}]52;c;eA==\u{7}a\u{9b}2J\nb");
        assert_eq!(failure.message, "owned by ]52;c;eA== a 2J b");
    }

    #[test]
    fn each_class_of_error_has_its_code_and_stays_on_one_line() {
        let region = || "orders".to_owned();
        let cases = [
            (
                outlive::Error::NoSuchRegion { region: region() },
                Exit::NoSuchRegion,
            ),
            (
                outlive::Error::JournalFull {
                    region: region(),
                    needed: 9,
                    free: 1,
                },
                Exit::Full,
            ),
            (
                outlive::Error::Fenced {
                    region: region(),
                    generation: 4,
                },
                Exit::Fenced,
            ),
            (
                outlive::Error::NoAccess {
                    reason: "not\nyou".to_owned(),
                    missing: None,
                },
                Exit::NoAccess,
            ),
            (
                outlive::Error::Corrupt {
                    region: region(),
                    sequence: 7,
                    offset: 4096,
                },
                Exit::Corrupt,
            ),
        ];
        for (error, exit) in cases {
            let failure = Failure::from(error);
            assert_eq!(failure.exit, exit, "{failure:?}");
            assert!(!failure.message.contains('\n'), "{failure:?}");
        }
    }

    #[test]
    fn unreachable_says_for_how_long_it_was_tried_and_why() {
        let error = outlive::Error::Unreachable {
            what: "the manager",
            address: "127.0.0.1:7780".to_owned(),
            tried: Duration::from_secs(5),
            reason: "connection refused".to_owned(),
        };
        let message = Failure::from(error).message;
        assert!(
            message.contains("5.0 s") && message.contains("connection refused"),
            "{message}"
        );
    }

    #[test]
    fn causes_are_said_once_each() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read the catalog")]
        struct Outer(#[source] io::Error);
        let failure = Failure::from_error(Exit::Failure, &Outer(io::Error::other("disk on fire")));
        assert_eq!(failure.message, "cannot read the catalog: disk on fire");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::output(&closed).exit, Exit::Success);
        assert_eq!(Failure::output(&io::Error::other("full")).exit, Exit::Failure);
    }
}
