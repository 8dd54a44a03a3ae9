//! The long campaign of the simulated whole system: `docs/testing.md` says what it does.

use std::os::unix::process::CommandExt;

use crate::step::{Failure, cargo};

/// What the simulation is asked for, in its own words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Simulate {
    arguments: Vec<String>,
    /// Built with the deliberate bugs, as they are asked for.
    bugs: bool,
}

impl Simulate {
    /// Takes the simulation's own arguments; without any, it says which there are.
    pub(crate) fn parse(arguments: &[&str]) -> Self {
        let named = |argument: &&str| *argument == "--bug" || argument.starts_with("--bug=");
        let bugs = arguments.first() == Some(&"teeth") || arguments.iter().any(named);
        let arguments = if arguments.is_empty() {
            &["--help"]
        } else {
            arguments
        };
        Self {
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            bugs,
        }
    }

    /// Becomes it, in a build that is as fast as a release and checks more: its exit code and its signals are the simulation's own, and nothing of ours stands in its report. Returns only
    /// when that could not be.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut command = cargo(&["run", "--profile", "campaign", "--locked", "--quiet"]);
        command.args(["--package", "outlive-simulation", "--bin", "outlive-simulation"]);
        if self.bugs {
            command.args(["--features", "deliberate-bugs"]);
        }
        command.arg("--").args(&self.arguments);
        Err(Failure::Start {
            source: command.exec(),
            command: "cargo run --package outlive-simulation".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliberate_bugs_are_built_in_only_when_they_are_asked_for() {
        for (line, bugs) in [
            ("campaign --seeds 1..100", false),
            ("run --seed 3", false),
            ("run --seed 3 --bug x", true),
            ("run --seed 3 --bug=x", true),
            ("teeth", true),
        ] {
            let arguments: Vec<&str> = line.split(' ').collect();
            let parsed = Simulate::parse(&arguments);
            assert_eq!(parsed.bugs, bugs, "{line}");
            assert_eq!(parsed.arguments, arguments);
        }
    }

    #[test]
    fn without_arguments_it_says_which_there_are() {
        assert_eq!(Simulate::parse(&[]).arguments, ["--help"]);
    }
}
