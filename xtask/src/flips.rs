//! Every bit of a small region and of a small medium, one after the other: `docs/testing.md` says what must come of each.

use crate::step::{self, Failure, cargo, shown};

/// What is flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flips {
    /// Both.
    All,
    /// Only the region.
    Region,
    /// Only the medium.
    Medium,
}

impl Flips {
    /// Reads `--region` or `--medium`.
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        match arguments {
            [] => Ok(Self::All),
            ["--region"] => Ok(Self::Region),
            ["--medium"] => Ok(Self::Medium),
            [unknown, ..] => Err(format!("unknown option, or too many: {unknown}")),
        }
    }

    /// Runs it, in a release build.
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self != Self::Medium {
            every("every bit of a region", "outlive-layout", "flips")?;
        }
        if self != Self::Region {
            every("every bit of a medium", "outlive-cli", "medium_flips")?;
        }
        Ok(())
    }
}

fn every(what: &str, package: &str, test: &str) -> Result<(), Failure> {
    step::run(what, || {
        let mut command = cargo(&[
            "test",
            "--release",
            "--locked",
            "--package",
            package,
            "--test",
            test,
            "--",
            "--nocapture",
        ]);
        shown(command.env("OUTLIVE_FLIPS_EVERY", "1"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused_by_name() {
        assert_eq!(Flips::parse(&[]), Ok(Flips::All));
        assert_eq!(Flips::parse(&["--region"]), Ok(Flips::Region));
        assert_eq!(Flips::parse(&["--medium"]), Ok(Flips::Medium));
        for wrong in [&["--bits"][..], &["--region", "--medium"]] {
            assert!(Flips::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
