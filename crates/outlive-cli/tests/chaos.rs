//! Real processes under faults for a few seconds: what `cargo xtask chaos` does at length. Proves U7, C1, P3, P4.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use outlive_chaos::{Lie, Options, Report, Workload, run};

/// Its plan kills members, unit and manager, stops some, cuts the network, fills the disk.
const SEED: u64 = 4;

#[test]
fn a_pair_under_faults_keeps_every_promise() {
    let mut options = Options::new(env!("CARGO_BIN_EXE_outlive"), SEED);
    options.time = Duration::from_secs(12);
    options.clients = 4;
    options.least_replies = 300;
    let report = perform(options);
    assert!(report.holds(), "{report}");
    // How many takeovers come of it is a matter of timing.
    assert!(report.faults.len() > 4, "{report}");
}

#[test]
fn a_client_that_is_told_the_past_is_caught() {
    let wrong = wrong_with(Lie::StaleRead);
    assert!(wrong.contains("no order explains"), "{wrong}");
}

#[test]
fn an_increment_that_is_done_twice_is_caught() {
    let wrong = wrong_with(Lie::DoubledIncrement);
    assert!(wrong.contains("no order explains"), "{wrong}");
}

#[test]
fn an_addition_that_is_acknowledged_and_lost_is_caught() {
    let wrong = wrong_with(Lie::LostAddition);
    assert!(
        wrong.contains("missing_meanwhile") && wrong.contains("lost: ["),
        "{wrong}"
    );
}

/// What is found wrong where nothing fails but a lie is told now and then.
fn wrong_with(lie: Lie) -> String {
    let mut options = Options::new(env!("CARGO_BIN_EXE_outlive"), SEED);
    options.time = Duration::from_secs(1);
    options.members = 2;
    options.network = false;
    options.disk = false;
    options.faults = Vec::new();
    options.least_replies = 300;
    options.workloads = vec![Workload::Registers, Workload::Counters, Workload::Sets];
    options.lie = Some(lie);
    options.keep_failures = false;
    let report = perform(options);
    assert!(!report.holds(), "{report}");
    report.to_string()
}

/// Without root: what can be done without.
fn perform(mut options: Options) -> Report {
    let interrupted = AtomicBool::new(false);
    match run(&options, &interrupted) {
        Err(error) if error.is_missing_something() => {
            eprintln!("SKIPPED: hosts of their own and a disk that can be filled: {error}");
            options.network = false;
            options.disk = false;
            run(&options, &interrupted).unwrap()
        }
        performed => performed.unwrap(),
    }
}
