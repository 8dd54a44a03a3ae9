//! The command line: what every command shares, and the list of commands.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::commands;
use crate::exit::Exit;
use crate::quantity::parse_time;

const EXAMPLES: &str = "\
Examples:
  outlive serve                                       unit and manager on this machine
  outlive region create orders --size 64MiB           a region for checkpoints
  tar c state | outlive save orders                   a snapshot replaces the one before
  echo change | outlive append orders                 an update after it
  outlive load orders | tar x                         the newest snapshot
  outlive load orders --updates --lines               the updates after it
  outlive watch orders                                sets as they arrive
  outlive demo                                        kill primaries, lose nothing";

/// Keeps what every command takes apart from what is the command's own.
const EVERY_COMMAND: &str = "For every command";

/// Lets the state of a process outlive the process.
#[derive(Debug, Parser)]
#[command(
    name = "outlive",
    version,
    about,
    long_about = "Lets the state of a process outlive the process: checkpoints in a persistent memory unit on the network.\n\n\
                  A primary saves snapshots and appends updates; a backup reads them and, when the primary dies, takes over with \
                  nothing lost. `outlive serve` runs a unit and its manager; every other command finds it through the context file \
                  that serve writes.",
    after_long_help = format!("{EXAMPLES}\n\n{}\n\nEvery failure is one line on standard error; with --json it is one object:\n  \
        {{\"error\":{{\"code\":\"no_such_region\",\"exit_code\":3,\"message\":\"...\"}}}}", Exit::help()),
    after_help = EXAMPLES,
    infer_subcommands = false,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Shared {
    /// One JSON value per line instead of text
    #[arg(long, global = true, help_heading = EVERY_COMMAND)]
    pub(crate) json: bool,
    /// Context file: where the manager is, and the credentials
    #[arg(long, global = true, help_heading = EVERY_COMMAND, env = "OUTLIVE_CONTEXT", value_name = "FILE")]
    pub(crate) context: Option<PathBuf>,
    /// For how long to try again while manager or unit cannot be reached
    #[arg(long, global = true, help_heading = EVERY_COMMAND, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub(crate) retry_for: Duration,
    /// Log to standard error; more often says more
    #[arg(short, long, global = true, help_heading = EVERY_COMMAND, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a persistent memory unit and its manager
    Serve(commands::serve::Serve),
    /// Run a persistent memory unit whose manager is another process
    Unit(commands::unit::UnitCommand),
    /// Run the manager of a unit that is another process
    Manager(commands::manager::ManagerCommand),
    /// Say who one is; list, issue, admit and revoke identities
    Access(commands::access::Access),
    /// Create, list, show, resize and delete regions
    Region(commands::region::Region),
    /// Save a snapshot: it replaces what the region held
    Save(commands::save::Save),
    /// Append an update to what the region holds
    Append(commands::append::Append),
    /// Load sets to standard output
    Load(commands::load::Load),
    /// List every set of a region
    Log(commands::log::Log),
    /// Print sets as they arrive
    Watch(commands::watch::Watch),
    /// Clear a region's sets
    Clear(commands::clear::Clear),
    /// Take a region over from its primary: fence it, read what was unread
    Takeover(commands::takeover::Takeover),
    /// Ask a pair's primary to hand over to its backup
    Switchover(commands::switchover::Switchover),
    /// Show units, regions and pairs
    Status(commands::status::Status),
    /// Check a closed medium
    Fsck(commands::fsck::Fsck),
    /// Verify what regions hold while they are in use
    Scrub(commands::scrub::Scrub),
    /// Run one member of a key-value pair that speaks the Redis protocol
    Kv(commands::kv::Kv),
    /// Kill primaries in the middle of their work and show that nothing is lost
    Demo(commands::demo::Demo),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_documents_every_exit_code() {
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains(&Exit::help()));
    }

    #[test]
    fn shared_options_may_stand_behind_the_command() {
        let arguments =
            Arguments::try_parse_from(["outlive", "status", "--json", "--retry-for", "250ms", "-vv"])
                .unwrap();
        assert!(arguments.shared.json);
        assert_eq!(arguments.shared.verbose, 2);
        assert_eq!(arguments.shared.retry_for, Duration::from_millis(250));
    }
}
