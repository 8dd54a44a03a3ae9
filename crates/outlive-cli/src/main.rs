//! The `outlive` command.

mod arguments;
mod audit_log;
mod commands;
mod confirm;
mod data_tls;
mod demo;
mod exit;
mod failure;
mod files;
mod fsck;
mod input;
mod interrupt;
mod invocation;
mod logging;
mod opening;
mod output;
mod progress;
mod quantity;
mod server;
mod service;
mod usage;
mod views;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::usage::Unparsed;

// Cargo unites features: built along with the simulation and its mistakes, the command would have them, too.
const _: () = assert!(
    !outlive::CAN_MAKE_MISTAKES,
    "the feature `deliberate-bugs` is for the simulation alone: build it by `cargo xtask simulate`"
);

fn main() -> ExitCode {
    let line: Vec<OsString> = std::env::args_os().collect();
    let arguments = match usage::parse(&line) {
        Ok(arguments) => arguments,
        Err(Unparsed::Shown(help)) => help.exit(),
        Err(Unparsed::Wrong { failure, json }) => {
            report(&failure, json);
            return failure.exit.into();
        }
    };
    logging::start(arguments.shared.verbose);
    outgrow_limits_alive();
    let invocation = Invocation::new(&arguments.shared);
    match commands::run(&arguments.command, &invocation) {
        Ok(()) => Exit::Success.into(),
        Err(failure) => {
            report(&failure, arguments.shared.json);
            failure.exit.into()
        }
    }
}

/// A write beyond the limit on a file's length (`ulimit -f`) is an error of that write, as on a full disk, and not the end of
/// the process: the system's signal for it is taken, and nothing done about it.
fn outgrow_limits_alive() {
    // Where it cannot be taken, things are as the system has them.
    let taken = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    debug_assert!(taken.is_ok(), "this signal may be taken");
}

/// One line on standard error; nobody is left to be told if that is closed.
fn report(failure: &Failure, json: bool) {
    use std::io::Write;
    if failure.message.is_empty() {
        return;
    }
    let line = if json {
        serde_json::json!({"error": {
            "code": failure.exit.name(),
            "exit_code": failure.exit.code(),
            "message": failure.message,
        }})
        .to_string()
    } else {
        format!("outlive: {}", failure.message)
    };
    let _ = writeln!(std::io::stderr(), "{line}");
}
