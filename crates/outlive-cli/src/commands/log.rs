//! `outlive log`: every set of a region and whether it verifies.

use clap::Args;
use outlive::{Finding, SetInfo};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::output::{json_line, table, time};
use crate::views;

/// List every set of a region
///
/// Every set that is still kept, the snapshots first written included: kind, generation, sequence, bytes, time,
/// and whether its seal verifies. Ends with the code for corruption where a committed set does not.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The region
    name: String,
}

impl Log {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let sets = invocation.session()?.backup(&self.name)?.log()?;
        if invocation.output.is_json() {
            sets.iter().try_for_each(|set| json_line(&views::set_info(set)))?;
        }
        invocation.output.note(|| text(&sets))?;
        let corrupt = |set: &&SetInfo| matches!(set.finding, Finding::Corrupt { .. });
        match sets.iter().find(corrupt) {
            None => Ok(()),
            Some(set) => {
                let message = format!("region {}: set {} is corrupt", self.name, set.sequence);
                Err(Failure::new(Exit::Corrupt, message))
            }
        }
    }
}

fn text(sets: &[SetInfo]) -> String {
    if sets.is_empty() {
        return "no sets".to_owned();
    }
    table(
        ["sequence", "kind", "generation", "bytes", "time", "seal"],
        sets.iter().map(|set| {
            let finding = match &set.finding {
                Finding::Corrupt { offset } => format!("corrupt at offset {offset}"),
                other => views::finding(other).to_owned(),
            };
            [
                set.sequence.to_string(),
                set.kind.to_string(),
                set.generation.to_string(),
                set.bytes.to_string(),
                time(set.unix_ms),
                finding,
            ]
        }),
    )
}
