//! The whole system keeps its promises under the first seeds' faults, and a seed gives the same run again.

#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

use std::process::{Command, Output};

/// Few enough for every check; `cargo xtask simulate campaign` runs as many as it is told to.
const SEEDS: &str = "1..61";

fn simulation(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlive-simulation"));
    command.args(arguments).output().expect("the simulation runs")
}

fn text(output: &Output) -> String {
    let bytes = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn nothing_is_lost_whatever_the_seed_does() {
    let output = simulation(&["campaign", "--seeds", SEEDS]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in ["8", "9"] {
        let [first, second] = [(); 2].map(|()| simulation(&["run", "--seed", seed]));
        assert!(first.status.success(), "{}", text(&first));
        assert!(text(&first).contains("digest"), "{}", text(&first));
        assert_eq!(first.stdout, second.stdout);
    }
}
