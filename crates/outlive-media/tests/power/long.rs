//! The campaign that runs until so many crash states were seen; `cargo xtask crash-states`.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::campaign::{Campaign, Failure, LONG, random_steps};
use crate::{catalogs, checkpoints, whole_scenario};

const DEFAULT_STATES: u64 = 1_000_000;
const DEFAULT_SEED: u64 = 1;
const REPORT_EVERY: Duration = Duration::from_secs(20);

/// Explores one seed: two of three are checkpoint regions, one is a catalog.
fn explore(campaign: &mut Campaign, seed: u64) -> Result<(), Failure> {
    match seed % 6 {
        0 => checkpoints(campaign, LONG, seed, &whole_scenario(), None),
        1 | 2 => catalogs(campaign, LONG, seed, &random_steps(seed, false)),
        _ => checkpoints(campaign, LONG, seed, &random_steps(seed, true), None),
    }
}

/// What all threads found together.
#[derive(Default)]
struct Total {
    states: HashSet<u64>,
    cuts: u64,
    recoveries: u64,
    takeovers: u64,
    seeds: u64,
    failures: Vec<String>,
}

fn number(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else {
        return default;
    };
    text.parse()
        .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
}

#[test]
#[ignore = "minutes to hours: cargo xtask crash-states"]
fn long_campaign() {
    let first = number("OUTLIVE_CRASH_SEED", DEFAULT_SEED);
    let wanted = number("OUTLIVE_CRASH_STATES", DEFAULT_STATES);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    // One seed that is replayed needs no company.
    let threads = if wanted == 1 { 1 } else { cores };
    println!("seeds from {first} on, {wanted} distinct crash states, {threads} threads");
    let began = Instant::now();
    let (next, total) = (AtomicU64::new(first), Mutex::new(Total::default()));
    let reported = Mutex::new(began);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let mut campaign = Campaign::default();
                    let outcome = explore(&mut campaign, seed);
                    let mut total = total.lock().expect("no thread panics with it");
                    total.add(&campaign);
                    if let Err(failure) = outcome {
                        total.failures.push(format!(
                            "seed {seed}: {failure}\n  replay: cargo xtask crash-states --seed {seed} --states 1"
                        ));
                    }
                    if total.states.len() as u64 >= wanted || !total.failures.is_empty() {
                        return;
                    }
                    let mut reported = reported.lock().expect("no thread panics with it");
                    if reported.elapsed() > REPORT_EVERY {
                        *reported = Instant::now();
                        println!("{:.0} s: {total}", began.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    let total = total.into_inner().expect("no thread panicked with it");
    println!("{:.0} s: {total}", began.elapsed().as_secs_f64());
    assert!(total.failures.is_empty(), "{}", total.failures.join("\n"));
}

impl Total {
    fn add(&mut self, campaign: &Campaign) {
        self.states.extend(&campaign.states);
        self.cuts += campaign.cuts;
        self.recoveries += campaign.recoveries;
        self.takeovers += campaign.takeovers;
        self.seeds += 1;
    }
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} distinct crash states of {} cuts in {} seeds, {} recoveries, {} takeovers cut again",
            self.states.len(),
            self.cuts,
            self.seeds,
            self.recoveries,
            self.takeovers
        )
    }
}
