//! Long fuzzing: the targets of `outlive-fuzz` under libFuzzer. `docs/testing.md` says what they promise.
//!
//! It runs on the stable toolchain: what instruments the code are options of the compiler that every toolchain has. libFuzzer
//! itself is C++, so a C++ compiler is needed beside it; where there is none nothing is run, and the exit code says so.

mod build;
mod options;
mod outcome;
mod target;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

pub(crate) use self::options::{HELP, Options};
use self::outcome::{Found, Outcome};
use self::target::Fuzzed;
use crate::step::{Failure, root};

/// Nothing was run, for want of a tool.
const SKIPPED: u8 = 3;

/// Does what the options ask for.
///
/// # Errors
/// What could not be carried out.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let known = targets()?;
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains(name)) {
        eprintln!("error: there is no target {unknown}; `cargo xtask fuzz --list` shows them");
        return Ok(ExitCode::from(2));
    }
    if options.list {
        known.iter().for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(missing) = build::missing() {
        if options.json {
            println!("{}", serde_json::json!({ "skipped": missing }));
        }
        eprintln!("SKIPPED: {missing}");
        return Ok(ExitCode::from(SKIPPED));
    }
    let binary = build::binary()?;
    let chosen = if options.targets.is_empty() {
        known
    } else {
        options.targets.clone()
    };
    let waiting = Mutex::new(chosen.into_iter().collect::<VecDeque<_>>());
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while let Some(name) = waiting.lock().expect("no thread panics").pop_front() {
                    let outcome = Fuzzed::new(&binary, &name, options).run();
                    outcomes.lock().expect("no thread panics").push(outcome);
                }
            });
        }
    });
    let outcomes: Result<Vec<Outcome>, Failure> = outcomes
        .into_inner()
        .expect("no thread panics")
        .into_iter()
        .collect();
    Ok(report(&outcomes?, options))
}

/// The list of targets exists once, in `outlive-fuzz`, whose tests see to it that each has a folder here and no other folder is.
fn targets() -> Result<Vec<String>, Failure> {
    let corpus = root().join("fuzz/corpus");
    let failure = |error| Failure::check(corpus.display().to_string(), error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&corpus).map_err(failure)? {
        names.push(entry.map_err(failure)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn report(outcomes: &[Outcome], options: &Options) -> ExitCode {
    if options.json {
        let text = serde_json::to_string_pretty(outcomes).expect("names and numbers can be written as JSON");
        println!("{text}");
    }
    let found: Vec<&Found> = outcomes
        .iter()
        .filter_map(|outcome| outcome.found.as_ref())
        .collect();
    if found.is_empty() {
        return ExitCode::SUCCESS;
    }
    for found in &found {
        eprintln!("\n{found}");
    }
    eprintln!("\nfailed: {} target(s) broke a promise", found.len());
    ExitCode::FAILURE
}
