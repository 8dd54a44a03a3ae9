//! Known vulnerabilities of what we depend on, where `cargo audit` or `cargo deny` and a local copy of the
//! advisory database are at hand. Nothing is downloaded here: a check that needs a network would make every
//! other step depend on it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::step::{Failure, Verdict, cargo, shown};

/// A tool that can check, and where it keeps its copy of the database below cargo's home.
struct Tool {
    name: &'static str,
    database: &'static str,
    /// How it is asked to check with what is there.
    arguments: fn(&Path) -> Vec<OsString>,
}

const TOOLS: [Tool; 2] = [
    Tool {
        name: "audit",
        database: "advisory-db",
        arguments: |database| {
            let mut arguments: Vec<OsString> =
                ["audit", "--no-fetch", "--stale", "--db"].map(Into::into).into();
            arguments.push(database.into());
            arguments
        },
    },
    Tool {
        name: "deny",
        database: "advisory-dbs",
        arguments: |_| {
            ["deny", "--offline", "check", "--disable-fetch", "advisories"]
                .map(Into::into)
                .into()
        },
    },
];

/// Asks the first tool that can answer; skipped, with the reason, where none can.
pub(crate) fn check() -> Result<Verdict, Failure> {
    let home = home();
    let mut missing = Vec::new();
    for tool in TOOLS {
        match tool.database_below(home.as_deref()) {
            Err(why) => missing.push(why),
            Ok(database) => {
                shown(cargo(&[]).args((tool.arguments)(&database)))?;
                return Ok(Verdict::Holds);
            }
        }
    }
    Ok(Verdict::Skipped(missing.join("; ")))
}

impl Tool {
    /// Its database, if tool and database are there.
    fn database_below(&self, home: Option<&Path>) -> Result<PathBuf, String> {
        let mut probe = cargo(&[self.name, "--version"]);
        probe.stdout(Stdio::null()).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            return Err(format!("cargo-{} is not installed", self.name));
        }
        let home = home.ok_or("neither CARGO_HOME nor HOME is set")?;
        let database = home.join(self.database);
        let filled = std::fs::read_dir(&database).is_ok_and(|mut entries| entries.next().is_some());
        if filled {
            Ok(database)
        } else {
            Err(format!(
                "cargo-{} has no advisory database in {}",
                self.name,
                database.display()
            ))
        }
    }
}

fn home() -> Option<PathBuf> {
    let user = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESENT: Tool = Tool {
        // Verifying needs this one anyway.
        name: "fmt",
        database: "advisory-db",
        arguments: |_| Vec::new(),
    };

    #[test]
    fn what_is_missing_is_named() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let why = |tool: &Tool| tool.database_below(Some(home.path())).expect_err("not there");
        let absent = Tool {
            name: "no-such-tool",
            ..PRESENT
        };
        assert_eq!(why(&absent), "cargo-no-such-tool is not installed");
        assert!(
            why(&PRESENT).contains("no advisory database in"),
            "{}",
            why(&PRESENT)
        );
        let database = home.path().join(PRESENT.database);
        std::fs::create_dir_all(database.join("crates")).expect("a folder");
        assert_eq!(PRESENT.database_below(Some(home.path())), Ok(database));
    }
}
