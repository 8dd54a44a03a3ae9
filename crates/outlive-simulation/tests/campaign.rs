//! Campaigns: what they find, how they say it, and how it is made small.
#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs the planted world's program, and returns its exit code and what it prints.
fn planted(arguments: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_planted"))
        .args(arguments.split_whitespace())
        .output()
        .expect("the program starts");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("it ends by itself"), printed + &said)
}

#[test]
fn seeds_without_a_bug_find_nothing_and_are_the_same_run_twice() {
    let (code, printed) = planted("campaign --seeds 1..41 --twice-every 4 --json");
    let report: Value = serde_json::from_str(&printed).expect("JSON and nothing else");
    let campaign = &report["campaign"];
    assert_eq!(code, 0, "{printed}");
    assert_eq!(
        (campaign["seeds"].as_u64(), campaign["twice"].as_u64()),
        (Some(40), Some(10))
    );
    assert_eq!(campaign["counters"]["counted"], 120, "{printed}");
}

#[test]
fn a_planted_race_is_found_and_replayed_by_its_seed() {
    let (code, printed) = planted("campaign --seeds 1..200 --bug race --shrink-runs 0 --json");
    assert_eq!(code, 1, "{printed}");
    let report: Value = serde_json::from_str(&printed).expect("JSON and nothing else");
    let failures = report["campaign"]["failures"]
        .as_object()
        .expect("failures by seed");
    let (seed, broken) = failures.iter().next().expect("the race is found");
    assert_eq!(broken["kind"], "lost update");
    let runs: Vec<_> = (0..2)
        .map(|_| planted(&format!("run --seed {seed} --bug race")))
        .collect();
    assert_eq!(runs[0], runs[1]);
    assert!(
        runs[0].0 == 1 && runs[0].1.contains("failed: lost update"),
        "{runs:?}"
    );
}

#[test]
fn shrinking_leaves_the_one_event_that_matters() {
    let (code, printed) = planted("campaign --seeds 7..8 --bug spike");
    assert_eq!(code, 1, "{printed}");
    assert!(
        printed.contains("cargo xtask simulate run --seed 7 --bug spike --plan '[[70,\"spike\"]]'"),
        "{printed}"
    );
    assert!(printed.contains("1 events are left"), "{printed}");
    let (code, printed) = planted("run --seed 7 --bug spike --plan [[70,\"spike\"]]");
    assert!(code == 1 && printed.contains("failed: spike"), "{printed}");
    let (code, _) = planted("run --seed 7 --bug spike --plan [[70,\"calm\"]]");
    assert_eq!(code, 0);
}

#[test]
fn teeth_name_what_was_not_caught() {
    let (code, printed) = planted("teeth --seeds 1..200 --bug race");
    assert_eq!(code, 0, "{printed}");
    let (code, printed) = planted("teeth --seeds 1..5 --bug never");
    assert!(
        code == 1 && printed.contains("not caught by 4 seeds"),
        "{printed}"
    );
}

#[test]
fn a_run_that_depends_on_more_than_its_seed_is_found() {
    let (code, printed) = planted("campaign --seeds 1..5 --twice-every 2 --bug chance --shrink-runs 0");
    assert!(
        code == 1 && printed.contains("failed: not deterministic"),
        "{printed}"
    );
}

#[test]
fn a_run_that_crashes_or_hangs_is_a_failure_of_its_seed() {
    let (code, printed) = planted("campaign --seeds 1..2 --bug abort --shrink-runs 0");
    assert!(code == 1 && printed.contains("seed 1 failed: crash"), "{printed}");
    let (code, printed) = planted("campaign --seeds 1..2 --bug hang --limit-s 1 --shrink-runs 0");
    assert!(
        code == 1 && printed.contains("seed 1 failed: real time limit"),
        "{printed}"
    );
}

#[test]
fn wrong_usage_is_said_and_ends_with_2() {
    for (wrong, said) in [
        ("campaign --seeds 5..5", "5..5 is not a range of seeds"),
        (
            "run --seed 1 --bug nothing",
            "there is no deliberate bug nothing: there are race, spike",
        ),
        ("run --seed 1 --plan {", "that is no plan"),
        ("run", "--seed"),
    ] {
        let (code, printed) = planted(wrong);
        assert!(code == 2 && printed.contains(said), "{wrong}: {code} {printed}");
    }
}

#[test]
fn an_interrupted_campaign_says_what_it_has_done() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_planted"))
        .args(["campaign", "--seeds", "1..100000000", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // The first progress line comes only after a while, so its runs are awaited instead.
    let task = format!("/proc/{}/task", child.id());
    while std::fs::read_dir(&task).map_or(0, Iterator::count) < 2 {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it can be told");
    let mut printed = String::new();
    let mut stdout = child.stdout.take().expect("its output");
    stdout.read_to_string(&mut printed).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{printed}");
    let report: Value = serde_json::from_str(&printed).expect("JSON and nothing else");
    assert_eq!(report["campaign"]["interrupted"], true);
}
