//! What fuzzing one target came to.

use std::fmt;

use serde::Serialize;

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) target: String,
    /// How long it was fuzzed.
    pub(super) seconds: u64,
    /// Inputs that were run.
    pub(super) runs: u64,
    /// Edges of the code that were reached, and features of them.
    pub(super) coverage: u64,
    pub(super) features: u64,
    /// Inputs that the corpus has.
    pub(super) corpus: usize,
    /// The input that broke a promise.
    pub(super) found: Option<Found>,
}

/// An input that broke a promise.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) target: String,
    /// What was said.
    pub(super) why: String,
    /// Where the input is.
    pub(super) input: String,
    /// What replays it on the stable toolchain.
    pub(super) replay: String,
}

impl Outcome {
    /// Takes the figures from what libFuzzer prints: lines like `#4096 NEW cov: 120 ft: 300 corp: 9/120b ...`, and at the end
    /// `stat::number_of_executed_units: 4096`.
    pub(super) fn read(target: &str, seconds: u64, log: &str) -> Self {
        let mut outcome = Self {
            target: target.to_owned(),
            seconds,
            runs: 0,
            coverage: 0,
            features: 0,
            corpus: 0,
            found: None,
        };
        for line in log.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let Some(number) = words.first().and_then(|word| word.strip_prefix('#')) {
                outcome.runs = outcome.runs.max(number.parse().unwrap_or(0));
            }
            for pair in words.windows(2) {
                let number = pair[1].parse().unwrap_or(0);
                match pair[0] {
                    "cov:" => outcome.coverage = outcome.coverage.max(number),
                    "ft:" => outcome.features = outcome.features.max(number),
                    "stat::number_of_executed_units:" => outcome.runs = outcome.runs.max(number),
                    _ => {}
                }
            }
        }
        outcome
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.found.is_some() { "FOUND" } else { "ok" };
        write!(
            f,
            "{:<16} {verdict}: {} inputs in {} s, {} edges, {} features, corpus of {}",
            self.target, self.runs, self.seconds, self.coverage, self.features, self.corpus
        )
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}\ninput:  {}\nreplay: {}",
            self.target, self.why, self.input, self.replay
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_taken_from_the_log() {
        let log = "INFO: seed corpus\n#12\tINITED cov: 100 ft: 120 corp: 4/90b exec/s: 0\n\
                   #900\tNEW    cov: 133 ft: 200 corp: 9/120b lim: 4\nstat::number_of_executed_units: 1000\n";
        let outcome = Outcome::read("control", 5, log);
        assert_eq!(
            (outcome.runs, outcome.coverage, outcome.features),
            (1000, 133, 200)
        );
    }
}
