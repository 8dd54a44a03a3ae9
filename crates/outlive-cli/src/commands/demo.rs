//! `outlive demo`: kills primaries in the middle of their work and shows that nothing is lost.

use std::time::Duration;

use clap::Args;

use crate::demo::{DemoOptions, perform};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::invocation::Invocation;
use crate::quantity::parse_time;

/// Kill primaries in the middle of their work and show that nothing is lost
///
/// Starts a unit and its manager on a file in a temporary folder, a key-value pair as two processes, and clients
/// that send a mixed load through a Redis client. Kills the primary with SIGKILL at random moments, starts a new
/// backup each time, and checks after each takeover every acknowledged write and every reply. Ends with code 1 if
/// anything was lost or done twice.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How often the primary is killed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    kills: u32,
    /// How long the load runs, checks and restarts not counted
    #[arg(long, default_value = "12", value_parser = parse_time)]
    seconds: Duration,
    /// Clients that write at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=256))]
    clients: u64,
    /// Repeats the choices of an earlier run; default: a random one
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the folder with the medium and the logs, and say where it is
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let interrupt = Interrupt::catch()?;
        let options = DemoOptions {
            kills: self.kills,
            load_for: self.seconds,
            clients: self.clients,
            seed: match self.seed {
                Some(seed) => seed,
                None => random_seed()?,
            },
            keep: self.keep,
        };
        let report = perform(&options, &interrupt)?;
        invocation.output.result(&report.json(), || report.text())?;
        if report.tally.is_clean() {
            Ok(())
        } else {
            let (lost, duplicated) = (report.tally.lost, report.tally.duplicated);
            let message =
                format!("{lost} acknowledged writes were lost, {duplicated} requests were done twice");
            Err(Failure::new(Exit::Failure, message))
        }
    }
}

fn random_seed() -> Result<u64, Failure> {
    getrandom::u64()
        .map_err(|error| Failure::new(Exit::Failure, format!("no randomness for the seed: {error}")))
}
