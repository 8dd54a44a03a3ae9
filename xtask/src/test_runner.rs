//! The tests: through cargo-nextest where it is installed, else through `cargo test`, whose many
//! summaries are added up into one last line.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::step::{Failure, cargo, describe, shown};

/// Runs all tests; the last lines printed are the runner's summary.
pub(crate) fn run() -> Result<(), Failure> {
    if nextest_is_installed() {
        return shown(&mut cargo(&[
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ]));
    }
    let mut command = cargo(&["test", "--workspace", "--tests", "--locked", "--no-fail-fast"]);
    let name = describe(&command);
    println!("$ {name}");
    let start_failure = |source| Failure::Start {
        command: name.clone(),
        source,
    };
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(start_failure)?;
    let stdout = child.stdout.take().expect("its standard output was asked for");
    let mut total = Summary::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.map_err(start_failure)?;
        // A closed terminal must not stop the tests from being counted.
        let _ = writeln!(std::io::stdout(), "{line}");
        total.add(&line);
    }
    let status = child.wait().map_err(start_failure)?;
    println!("\n{total}");
    if status.success() {
        Ok(())
    } else {
        Err(Failure::Command {
            command: name,
            status,
        })
    }
}

fn nextest_is_installed() -> bool {
    let mut probe = cargo(&["nextest", "--version"]);
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Test counts added up over all test binaries.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Summary {
    /// Takes a line like `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; ...`; others count nothing.
    fn add(&mut self, line: &str) {
        let Some(counts) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.1.split(';') {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) = (
                words.next().and_then(|word| word.parse::<u64>().ok()),
                words.next(),
            ) else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, ", {} ignored", self.ignored)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_add_up() {
        let mut total = Summary::default();
        for line in [
            "running 4 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.10s",
            "test result: nonsense",
        ] {
            total.add(line);
        }
        assert_eq!(
            total,
            Summary {
                passed: 8,
                failed: 2,
                ignored: 1
            }
        );
        assert_eq!(total.to_string(), "8 passed, 2 failed, 1 ignored");
    }
}
