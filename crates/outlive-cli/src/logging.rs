//! What the libraries log goes to standard error, only if asked for.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging: errors of ours always; `-v` information, `-vv` details, `-vvv` everything. `RUST_LOG` overrules.
pub(crate) fn start(verbosity: u8) {
    let default = match verbosity {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder()
        .with_default_directive(default.into())
        .from_env_lossy();
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .try_init();
    debug_assert!(started.is_ok(), "logging is started once");
}
