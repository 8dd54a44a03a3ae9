//! How a command ends: the exit codes, documented once, here.

use std::fmt;
use std::process::ExitCode;

/// How a command ended, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    Failure,
    Usage,
    NoSuchRegion,
    Exists,
    Full,
    NoSpace,
    Owned,
    Fenced,
    NoAccess,
    Unreachable,
    Corrupt,
    MediaFailed,
    Found,
    NotConfirmed,
    NoSuchSet,
    Interrupted,
}

impl Exit {
    /// Every way to end, in the order of the codes.
    pub(crate) const ALL: [Self; 17] = [
        Self::Success,
        Self::Failure,
        Self::Usage,
        Self::NoSuchRegion,
        Self::Exists,
        Self::Full,
        Self::NoSpace,
        Self::Owned,
        Self::Fenced,
        Self::NoAccess,
        Self::Unreachable,
        Self::Corrupt,
        Self::MediaFailed,
        Self::Found,
        Self::NotConfirmed,
        Self::NoSuchSet,
        Self::Interrupted,
    ];

    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NoSuchRegion => 3,
            Self::Exists => 4,
            Self::Full => 5,
            Self::NoSpace => 6,
            Self::Owned => 7,
            Self::Fenced => 8,
            Self::NoAccess => 9,
            Self::Unreachable => 10,
            Self::Corrupt => 11,
            Self::MediaFailed => 12,
            Self::Found => 13,
            Self::NotConfirmed => 14,
            Self::NoSuchSet => 15,
            Self::Interrupted => 130,
        }
    }

    /// The name that stands in `--json` errors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::NoSuchRegion => "no_such_region",
            Self::Exists => "exists",
            Self::Full => "full",
            Self::NoSpace => "no_space",
            Self::Owned => "owned",
            Self::Fenced => "fenced",
            Self::NoAccess => "no_access",
            Self::Unreachable => "unreachable",
            Self::Corrupt => "corrupt",
            Self::MediaFailed => "media_failed",
            Self::Found => "found",
            Self::NotConfirmed => "not_confirmed",
            Self::NoSuchSet => "no_such_set",
            Self::Interrupted => "interrupted",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done",
            Self::Failure => "failed; for demo: something acknowledged was lost, or done twice",
            Self::Usage => "wrong usage, or input that makes no sense",
            Self::NoSuchRegion => "no region (or pair) of that name",
            Self::Exists => "a region of that name exists already",
            Self::Full => "the region is full, or the set larger than the region takes",
            Self::NoSpace => "the unit has no room for the region",
            Self::Owned => "another primary owns the region and is alive (or won the race for it)",
            Self::Fenced => "fenced: another primary took over meanwhile",
            Self::NoAccess => {
                "the credentials do not allow it or cannot be used, or there is no context file"
            }
            Self::Unreachable => "manager or unit could not be reached within the time allowed",
            Self::Corrupt => "a committed set does not verify, or is lost",
            Self::MediaFailed => "the unit's medium failed, or is in use, or cannot be opened",
            Self::Found => "fsck or scrub found something wrong",
            Self::NotConfirmed => "not confirmed: nothing was changed",
            Self::NoSuchSet => "the region does not hold the set that was asked for",
            Self::Interrupted => "ended by Ctrl-C",
        }
    }

    /// The table for `outlive --help`.
    pub(crate) fn help() -> String {
        let lines = Self::ALL
            .iter()
            .map(|exit| format!("  {:>3}  {}", exit.code(), exit.meaning()));
        let table = lines.collect::<Vec<_>>().join("\n");
        format!("Exit codes:\n{table}")
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_distinct_and_all_are_documented() {
        let help = Exit::help();
        for (index, exit) in Exit::ALL.iter().enumerate() {
            assert!(help.contains(exit.meaning()), "{exit}");
            for other in &Exit::ALL[index + 1..] {
                assert!(exit.code() < other.code(), "{exit} and {other}");
                assert_ne!(exit.name(), other.name());
            }
        }
    }

    #[test]
    fn the_command_reference_shows_the_same_codes() {
        let reference = include_str!("../../../docs/cli.md");
        for exit in Exit::ALL {
            let row = format!("| {} | `{}` | {} |", exit.code(), exit.name(), exit.meaning());
            assert!(reference.contains(&row), "docs/cli.md lacks: {row}");
        }
    }
}
