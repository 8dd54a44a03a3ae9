//! One step of a verification: a heading, something that must hold, the time that it took.

use std::fmt;
use std::io;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// Why a step did not hold.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A command said no; it has printed why.
    #[error("`{command}` ended with {status}")]
    Command { command: String, status: ExitStatus },
    /// A command could not be started.
    #[error("cannot run `{command}`: {source}")]
    Start { command: String, source: io::Error },
    /// A check of our own found something; it has printed what.
    #[error("{count} finding(s), listed above, in step \"{check}\"")]
    Findings { check: &'static str, count: usize },
    /// The check itself could not be carried out.
    #[error("{what}: {why}")]
    Check { what: String, why: String },
}

impl Failure {
    /// The check could not be carried out, for this reason.
    pub(crate) fn check(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::Check {
            what: what.into(),
            why: why.to_string(),
        }
    }
}

/// What a step that may be impossible here came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was carried out and holds.
    Holds,
    /// It could not be carried out here, and why.
    Skipped(String),
}

/// Prints the heading, runs the step, prints how long it took.
pub(crate) fn run(heading: &str, step: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    run_if_possible(heading, || step().map(|()| Verdict::Holds))
}

/// The same for a step that says so when it is impossible here, which is no failure.
pub(crate) fn run_if_possible(
    heading: &str,
    step: impl FnOnce() -> Result<Verdict, Failure>,
) -> Result<(), Failure> {
    println!("\n=== {heading} ===");
    let started = Instant::now();
    let result = step();
    let verdict = match &result {
        Ok(Verdict::Holds) => "ok".to_owned(),
        Ok(Verdict::Skipped(why)) => format!("SKIPPED ({why})"),
        Err(_) => "FAILED".to_owned(),
    };
    println!("--- {heading}: {verdict} in {}", seconds(started.elapsed()));
    result.map(drop)
}

/// A cargo command at the workspace's root, free of what the surrounding `cargo run` set for this package.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    for (name, _) in std::env::vars_os() {
        let about_this_package = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_BIN_NAME"
        });
        if about_this_package {
            command.env_remove(&name);
        }
    }
    command.stdin(std::process::Stdio::null());
    command
}

/// Runs the command with its output shown.
pub(crate) fn shown(command: &mut Command) -> Result<(), Failure> {
    let name = describe(command);
    println!("$ {name}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Command {
            command: name,
            status,
        }),
        Err(source) => Err(Failure::Start {
            command: name,
            source,
        }),
    }
}

/// Runs the command and returns what it printed on its standard output.
pub(crate) fn captured(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let name = describe(command);
    command.stderr(std::process::Stdio::inherit());
    match command.output() {
        Ok(output) if output.status.success() => Ok(output.stdout),
        Ok(output) => Err(Failure::Command {
            command: name,
            status: output.status,
        }),
        Err(source) => Err(Failure::Start {
            command: name,
            source,
        }),
    }
}

/// The command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    std::iter::once("cargo".into())
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The workspace's root.
pub(crate) fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package lies one folder below the root")
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_names_itself() {
        let failure = shown(&mut cargo(&["no-such-subcommand-of-cargo"])).expect_err("cargo refuses it");
        assert!(
            failure
                .to_string()
                .starts_with("`cargo no-such-subcommand-of-cargo` ended with")
        );
    }

    #[test]
    fn a_step_passes_its_failure_on() {
        let result = run("a step", || {
            Err(Failure::Findings {
                check: "a step",
                count: 3,
            })
        });
        assert!(matches!(result, Err(Failure::Findings { count: 3, .. })));
    }

    #[test]
    fn what_is_impossible_here_is_no_failure() {
        let skipped = || Ok(Verdict::Skipped("no network".to_owned()));
        assert!(run_if_possible("a step", skipped).is_ok());
    }
}
