//! Many seeds, several at a time.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use super::subject::{Broken, Report};
use super::worker::Runs;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(10);

/// Which seeds, and how.
pub(super) struct Fleet {
    pub(super) seeds: Range<u64>,
    pub(super) jobs: usize,
    /// Goes on after a failure.
    pub(super) keep_going: bool,
    /// Every so manieth seed is run twice, and must give the same digest.
    pub(super) twice_every: u64,
    pub(super) runs: Runs,
}

/// What the seeds came to.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tally {
    pub(super) seeds: u64,
    /// Seeds that were run twice.
    pub(super) twice: u64,
    pub(super) failures: BTreeMap<u64, Broken>,
    pub(super) virtual_ms: u64,
    pub(super) switches: u64,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) real_ms: u64,
    /// The campaign was stopped before its end.
    pub(super) interrupted: bool,
}

impl Tally {
    fn add(&mut self, seed: u64, report: Report) {
        self.seeds += 1;
        self.virtual_ms += report.virtual_ms;
        self.switches += report.switches;
        for (name, count) in report.counters {
            *self.counters.entry(name).or_default() += count;
        }
        if let Some(broken) = report.broken {
            self.failures.insert(seed, broken);
        }
    }

    pub(super) fn seeds_per_second(&self) -> f64 {
        self.seeds as f64 * 1000.0 / self.real_ms.max(1) as f64
    }
}

impl Fleet {
    /// Runs the seeds until the first failure, their end, or `stop`.
    pub(super) fn run(&self, stop: &AtomicBool) -> io::Result<Tally> {
        let next = AtomicU64::new(self.seeds.start);
        let enough = AtomicBool::new(false);
        let begun = Instant::now();
        let mut tally = Tally::default();
        let mut told = begun;
        let processors = processors();
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for job in 0..self.jobs {
                let sender = sender.clone();
                let (next, enough) = (&next, &enough);
                let processor = processors.get(job % processors.len().max(1)).copied();
                scope.spawn(move || {
                    stay_on(processor);
                    while !enough.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.seeds.end || sender.send((seed, self.one(seed))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            for (seed, ran) in receiver {
                if stop.load(Ordering::Relaxed) {
                    // The runs in progress were interrupted along with us.
                    break;
                }
                let (report, twice) = ran.inspect_err(|_| enough.store(true, Ordering::Relaxed))?;
                tally.twice += u64::from(twice);
                tally.add(seed, report);
                if !tally.failures.is_empty() && !self.keep_going {
                    enough.store(true, Ordering::Relaxed);
                }
                tally.real_ms = super::subject::ms(begun.elapsed());
                if told.elapsed() >= PROGRESS {
                    told = Instant::now();
                    self.tell(&tally);
                }
            }
            Ok::<(), io::Error>(())
        })?;
        tally.interrupted = stop.load(Ordering::Relaxed);
        Ok(tally)
    }

    fn one(&self, seed: u64) -> io::Result<(Report, bool)> {
        const OWN: Option<&()> = None;
        let report = self.runs.run(seed, OWN)?;
        let twice = self.twice_every > 0 && seed.is_multiple_of(self.twice_every);
        if !twice {
            return Ok((report, false));
        }
        let again = self.runs.run(seed, OWN)?;
        if again.digest == report.digest {
            return Ok((report, true));
        }
        let text = format!(
            "digest {:016x} at first, {:016x} when run again",
            report.digest, again.digest
        );
        let broken = report
            .broken
            .clone()
            .or(Some(Broken::new("not deterministic", text)));
        Ok((Report { broken, ..report }, true))
    }

    fn tell(&self, tally: &Tally) {
        eprintln!(
            "{} of {} seeds, {:.1} a second, {} failed",
            tally.seeds,
            self.seeds.end - self.seeds.start,
            tally.seeds_per_second(),
            tally.failures.len()
        );
    }
}

/// The processors that this process may use.
fn processors() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU)
        .filter(|processor| set.is_set(*processor))
        .collect()
}

/// Keeps the calling thread and the processes that it starts on one processor, where that is allowed: a run has one turn, so it has no use for two.
fn stay_on(processor: Option<usize>) {
    if let Some(processor) = processor {
        let mut set = CpuSet::new();
        set.set(processor);
        let _ = sched_setaffinity(None, &set);
    }
}
