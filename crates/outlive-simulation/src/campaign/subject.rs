//! What a campaign runs, and what it learns of each run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::machine::{Failure, Outcome};

/// A simulated world: what is run with a seed, and what may be left out of it.
pub trait Subject: Sync {
    /// The faults of a run, and how much is done in it. A part of a plan is a plan.
    type Plan: Clone + Serialize + DeserializeOwned;

    /// The plan that a seed draws.
    fn draw(&self, seed: u64) -> Self::Plan;

    /// How many events a plan has.
    fn events(&self, plan: &Self::Plan) -> usize;

    /// The plan with only these of its events.
    fn keep(&self, plan: &Self::Plan, kept: &[bool]) -> Self::Plan;

    /// The plan with less to do, where there can be less.
    fn shorter(&self, _plan: &Self::Plan) -> Option<Self::Plan> {
        None
    }

    /// Deliberate bugs that can be switched on, and what each does. Only in builds that are made for them.
    fn bugs(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// Runs it in this process, which runs nothing else.
    fn run(&self, seed: u64, plan: &Self::Plan, bug: Option<&str>) -> Report;
}

/// What one run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What it broke, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
    /// Of everything that happened; 0 where the run did not come to an end of its own.
    pub digest: u64,
    /// How long it lasted in the machine's time.
    pub virtual_ms: u64,
    /// How often another thread got the turn.
    pub switches: u64,
    /// What was done and found, by name; a campaign adds them up.
    pub counters: BTreeMap<String, u64>,
}

/// What a run broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Without anything that differs from run to run; shrinking keeps it.
    pub kind: String,
    /// What exactly happened.
    pub text: String,
}

impl Broken {
    pub(super) fn new(kind: &str, text: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            text: text.into(),
        }
    }
}

impl From<&Failure> for Broken {
    fn from(failure: &Failure) -> Self {
        Self::new(failure.kind(), failure.to_string())
    }
}

impl Report {
    /// The report of a run of the machine whose main thread returns the counters.
    pub fn of(outcome: Outcome<BTreeMap<String, u64>>) -> Self {
        let (broken, counters) = match outcome.result {
            Ok(counters) => (None, counters),
            Err(failure) => (Some(Broken::from(&failure)), BTreeMap::new()),
        };
        Self {
            broken,
            digest: outcome.digest,
            virtual_ms: ms(outcome.elapsed),
            switches: outcome.switches,
            counters,
        }
    }

    pub(super) fn kind(&self) -> Option<&str> {
        self.broken.as_ref().map(|broken| broken.kind.as_str())
    }
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
