//! The project's own commands. `cargo verify` checks everything that must hold; it needs nothing
//! but the toolchain, reads no input, and stops at the first failure with exit code 1.

mod advisories;
mod attacks;
mod chaos;
mod crash_states;
mod dependencies;
mod flips;
mod fuzz;
mod links;
mod policy;
mod references;
mod requirements;
mod rows;
mod rules;
mod simulate;
mod sources;
mod step;
mod test_runner;
mod verify;

use std::process::ExitCode;

const HELP: &str = "\
The project's own commands.

Usage: cargo xtask <COMMAND>

Commands:
  verify        check everything: format, sources, dependencies, advisories, lints, documentation, tests
                (the same as `cargo verify`, and what CI runs)
  dependencies  only the dependency and licence check
  advisories    only the check against known vulnerabilities (skipped without a local database)
  crash-states [--seed N] [--states N]
                cut the power of simulated media at every event of seeded scenarios, until so many distinct
                crash states (1,000,000) were survived; `--seed N --states 1` replays a seed that failed
  flips [--region | --medium]
                flip every bit of a small region and of a small medium in turn: each is found and named, or harms nobody
  simulate [ARGUMENTS]
                run seeds of the simulated whole system: campaign, run, shrink, plan, teeth (`simulate --help`)
  chaos [--minutes N] [--seed N] [--faults LIST] [--clients N] [--workload LIST] [--json] [--keep]
                real processes under chaos: kill, stop, partition, delay and lose, fill the disk, and check what
                clients were told; `cargo xtask chaos --help` shows every option and its exit codes
  fuzz [--seconds N] [--jobs N] [--keep] [--list] [--json] [TARGET]...
                every decoder of bytes from outside under libFuzzer; `cargo xtask fuzz --help` shows every option
                and its exit codes
  sources       only the checks on our own sources and documents

Exit codes: 0 all holds, 1 something does not, 2 wrong usage
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["verify"] => verify::everything(),
        ["dependencies"] => verify::dependencies(),
        ["advisories"] => verify::advisories(),
        ["sources"] => verify::sources(),
        ["chaos", options @ ..] => match chaos::run(options) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        ["flips", options @ ..] => match flips::Flips::parse(options) {
            Ok(asked) => asked.run(),
            Err(wrong) => {
                eprintln!("error: {wrong}\n\n{HELP}");
                return ExitCode::from(2);
            }
        },
        ["crash-states", options @ ..] => match crash_states::CrashStates::parse(options) {
            Ok(asked) => asked.run(),
            Err(wrong) => {
                eprintln!("error: {wrong}\n\n{HELP}");
                return ExitCode::from(2);
            }
        },
        ["simulate", arguments @ ..] => simulate::Simulate::parse(arguments).run(),
        ["fuzz", "--help" | "-h"] => {
            print!("{}", fuzz::HELP);
            return ExitCode::SUCCESS;
        }
        ["fuzz", options @ ..] => match fuzz::Options::parse(options) {
            Ok(asked) => match fuzz::run(&asked) {
                Ok(code) => return code,
                Err(failure) => Err(failure),
            },
            Err(wrong) => {
                eprintln!("error: {wrong}\n\n{}", fuzz::HELP);
                return ExitCode::from(2);
            }
        },
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        [] => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
        [unknown, ..] => {
            eprintln!("error: unknown command or too many arguments: {unknown}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nfailed: {failure}");
            ExitCode::FAILURE
        }
    }
}
