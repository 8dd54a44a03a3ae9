//! The long campaign of the simulated whole system: `docs/testing.md` says what it does.

use std::process::ExitCode;

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
        let arguments = if arguments.is_empty() { &["--help"] } else { arguments };
        Self {
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            bugs,
        }
    }

    /// Runs it, in a release build, and returns the simulation's exit code. Nothing of ours is printed between, so that its report can be read by
    /// programs.
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let mut command = cargo(&["run", "--release", "--locked", "--quiet"]);
        command.args(["--package", "outlive-simulation", "--bin", "outlive-simulation"]);
        if self.bugs {
            command.args(["--features", "deliberate-bugs"]);
        }
        command.arg("--").args(&self.arguments);
        let status = command.status().map_err(|source| Failure::Start {
            command: "cargo run --package outlive-simulation".to_owned(),
            source,
        })?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
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
