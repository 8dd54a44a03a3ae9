//! How commands that write open a region.

use clap::{Args, ValueEnum};
use outlive::{Level, OpenOptions};

/// How durable a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LevelName {
    /// Survives the clients and, on file media, the unit's process
    Placed,
    /// Survives loss of power
    Persistent,
}

impl From<LevelName> for Level {
    fn from(name: LevelName) -> Self {
        match name {
            LevelName::Placed => Self::Placed,
            LevelName::Persistent => Self::Persistent,
        }
    }
}

/// Options of every command that writes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Opening {
    /// Level of the commit; default: the strongest that the unit's medium offers
    #[arg(long, value_enum)]
    level: Option<LevelName>,
    /// Take the region over from a primary that is alive; it is fenced
    #[arg(long)]
    take_over: bool,
    /// Go on past committed sets that are damaged
    #[arg(long)]
    accept_loss: bool,
    /// What others are told about the owner
    #[arg(long, value_name = "LABEL")]
    owner: Option<String>,
}

impl Opening {
    pub(crate) fn options(&self) -> OpenOptions {
        let label = || format!("outlive process {}", std::process::id());
        OpenOptions {
            take_over: self.take_over,
            accept_loss: self.accept_loss,
            owner: self.owner.clone().unwrap_or_else(label),
            level: self.level.map(Level::from),
            ..OpenOptions::default()
        }
    }
}
