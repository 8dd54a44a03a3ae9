//! What a run did and found.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use serde::Serialize;

use crate::clients::Outcomes;

/// One thing that must hold.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What must hold.
    pub what: &'static str,
    /// Whether it does. What could not be decided does not.
    pub holds: bool,
    /// What was looked at, or what is wrong.
    pub details: String,
}

/// What a run did and found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The plan of faults is a function of it; what the processes make of it is not.
    pub seed: u64,
    /// How long faults were made.
    pub seconds: f64,
    /// How often each kind came.
    pub faults: BTreeMap<&'static str, u64>,
    /// Requests to the pair.
    pub requests: Outcomes,
    /// Commands of the checkpoint workload.
    pub checkpoints: Outcomes,
    /// Takeovers that the members told of.
    pub takeovers: u64,
    /// The longest time in which no client got any reply.
    pub longest_silence_ms: u64,
    /// Processes that ended by themselves and were started again, and how often.
    pub ended_by_themselves: BTreeMap<String, u64>,
    /// All that was checked.
    pub verdicts: Vec<Verdict>,
    /// Where logs and histories are, if they were kept.
    pub kept: Option<PathBuf>,
}

impl Report {
    /// Whether everything holds.
    pub fn holds(&self) -> bool {
        !self.verdicts.is_empty() && self.verdicts.iter().all(|verdict| verdict.holds)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.faults.values().sum();
        writeln!(f, "seed {}, {:.0} s, {faults} faults:", self.seed, self.seconds)?;
        let mut line = String::new();
        for (kind, count) in &self.faults {
            write!(
                line,
                "{}{kind} {count}",
                if line.is_empty() { "  " } else { ", " }
            )?;
            if line.len() > 100 {
                writeln!(f, "{line}")?;
                line.clear();
            }
        }
        if !line.is_empty() {
            writeln!(f, "{line}")?;
        }
        for (what, outcomes) in [("requests", self.requests), ("checkpoints", self.checkpoints)] {
            let Outcomes { ok, refused, unknown } = outcomes;
            writeln!(
                f,
                "{what}: {ok} acknowledged, {refused} refused, {unknown} unknown"
            )?;
        }
        writeln!(
            f,
            "{} takeovers, longest time without any reply {:.1} s",
            self.takeovers,
            f64::from(u32::try_from(self.longest_silence_ms).unwrap_or(u32::MAX)) / 1000.0
        )?;
        for (how, count) in &self.ended_by_themselves {
            writeln!(f, "started again {count} times after {how}")?;
        }
        for verdict in &self.verdicts {
            let holds = if verdict.holds { "ok    " } else { "FAILED" };
            writeln!(f, "{holds} {}: {}", verdict.what, verdict.details)?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "logs and histories are in {}", kept.display())?;
        }
        Ok(())
    }
}
