//! Real processes under chaos: `docs/testing.md` says what it does. The driver is a program of its own (`outlive-chaos`), which
//! reads its own options, so that this one stays small.

use std::process::ExitCode;

use crate::step::{Failure, cargo, describe, shown};

/// Builds the program under test and the driver, and runs the driver with these options. Its exit code is this command's.
pub(crate) fn run(options: &[&str]) -> Result<ExitCode, Failure> {
    let helping = options.iter().any(|option| ["--help", "-h"].contains(option));
    if !helping {
        shown(&mut build(options))?;
    }
    // Both wait for the driver when Ctrl-C comes: it cleans up.
    let mut driver = cargo(&driver(options));
    let status = driver.status().map_err(|source| Failure::Start {
        command: describe(&driver),
        source,
    })?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The `outlive` program, unless another one is named.
fn build(options: &[&str]) -> std::process::Command {
    let package = match options.contains(&"--program") {
        true => ["--package", "outlive-chaos"],
        false => ["--package", "outlive-cli"],
    };
    cargo(&[&["build", "--release", "--locked", "--bins"], &package[..]].concat())
}

fn driver<'a>(options: &[&'a str]) -> Vec<&'a str> {
    let run = [
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "outlive-chaos",
        "--",
    ];
    [&run[..], options].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_reaches_the_driver() {
        let command = driver(&["--minutes", "2", "--json"]);
        let given = command.iter().skip_while(|argument| **argument != "--").skip(1);
        assert_eq!(given.copied().collect::<Vec<_>>(), ["--minutes", "2", "--json"]);
    }

    #[test]
    fn the_program_under_test_is_built_unless_another_is_named() {
        assert!(describe(&build(&[])).ends_with("--package outlive-cli"));
        assert!(describe(&build(&["--program", "x"])).ends_with("--package outlive-chaos"));
    }
}
