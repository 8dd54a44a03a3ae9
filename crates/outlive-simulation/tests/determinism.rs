//! The same seed gives the same run, in whichever process; other seeds give others.
#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

use std::collections::{BTreeSet, HashMap};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use outlive_simulation::machine::{self, Options, Outcome, run, trace};

const PROGRAM: &str = "OUTLIVE_TEST_PROGRAM";
const SEED: &str = "OUTLIVE_TEST_SEED";

const PROGRAMS: [(&str, fn()); 5] = [
    ("threads", threads),
    ("maps", maps),
    ("one_runtime_thread", one_runtime_thread),
    ("several_runtime_threads", several_runtime_threads),
    ("processes", processes),
];

#[test]
fn the_same_seed_gives_the_same_run_in_two_processes() {
    for (name, _) in PROGRAMS {
        for seed in 1..=3 {
            assert_eq!(
                elsewhere(name, seed),
                elsewhere(name, seed),
                "{name}, seed {seed}"
            );
        }
    }
}

#[test]
fn every_seed_gives_another_run() {
    for (name, _) in PROGRAMS {
        let runs: BTreeSet<String> = (1..=4).map(|seed| elsewhere(name, seed)).collect();
        assert_eq!(runs.len(), 4, "{name}");
    }
}

/// Runs a program in a process of its own, and returns what it prints of the run.
fn elsewhere(name: &str, seed: u64) -> String {
    let output = Command::new(std::env::current_exe().expect("it works"))
        .args(["--exact", "--ignored", "--nocapture", "one_program"])
        .env(PROGRAM, name)
        .env(SEED, seed.to_string())
        .output()
        .expect("it works");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = printed.lines().find(|line| line.contains("digest"));
    report
        .unwrap_or_else(|| panic!("{name}, seed {seed}: {output:?}"))
        .to_owned()
}

/// What [`elsewhere`] runs.
#[test]
#[ignore = "only meaningful when started by the tests above"]
fn one_program() {
    let (Ok(name), Ok(seed)) = (std::env::var(PROGRAM), std::env::var(SEED)) else {
        return;
    };
    let (_, program) = PROGRAMS
        .into_iter()
        .find(|(program, _)| *program == name)
        .expect("it works");
    let Outcome {
        result,
        digest,
        elapsed,
        switches,
        ..
    } = run(Options::new(seed.parse().expect("it works")), program);
    println!("{result:?} digest {digest:016x} {elapsed:?} {switches} switches");
    result.expect("it works");
}

fn threads() {
    let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
    let (sender, receiver) = mpsc::sync_channel(2);
    for number in 0..5 {
        let (shared, sender) = (shared.clone(), sender.clone());
        thread::spawn(move || {
            for round in 0..20 {
                if round % 3 == 0 {
                    thread::sleep(Duration::from_micros(number));
                }
                shared.0.lock().expect("it works").push(number);
                shared.1.notify_one();
                sender.send(number).expect("it works");
                thread::yield_now();
            }
        });
    }
    drop(sender);
    let received: Vec<u64> = receiver.iter().collect();
    let order = shared.0.lock().expect("it works").clone();
    assert_eq!(received.len(), 100);
    trace(|| format!("{received:?} {order:?}"));
}

fn maps() {
    let map: HashMap<u64, u64> = (0..100).map(|key| (key, key)).collect();
    let order: Vec<u64> = map.into_keys().collect();
    trace(|| format!("{order:?}"));
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("it works");
    trace(|| format!("{bytes:?} {}", uuid::Uuid::new_v4()));
}

fn one_runtime_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("it works");
    runtime.block_on(tasks());
}

fn several_runtime_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("it works");
    runtime.block_on(tasks());
}

async fn tasks() {
    let begun = Instant::now();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    for number in 0..8_u64 {
        let sender = sender.clone();
        tokio::spawn(async move {
            for round in 0..10 {
                tokio::time::sleep(Duration::from_millis(number * round)).await;
                sender.send((number, round)).await.expect("it works");
            }
        });
    }
    drop(sender);
    let blocking = tokio::task::spawn_blocking(|| thread::sleep(Duration::from_secs(30)));
    let mut received = Vec::new();
    loop {
        tokio::select! {
            got = receiver.recv() => match got {
                Some(got) => received.push(got),
                None => break,
            },
            () = tokio::time::sleep(Duration::from_millis(1)) => received.push((99, 99)),
        }
    }
    blocking.await.expect("it works");
    assert!(begun.elapsed() >= Duration::from_secs(30));
    trace(|| format!("{received:?}"));
}

fn processes() {
    let count = Arc::new(AtomicU64::new(0));
    let started: Vec<_> = (0..3)
        .map(|number| {
            let count = count.clone();
            machine::start(&format!("process {number}"), move || {
                let threads: Vec<_> = (0..3)
                    .map(|_| {
                        let count = count.clone();
                        thread::spawn(move || {
                            for _ in 0..50 {
                                thread::sleep(Duration::from_millis(machine::below(20)));
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .for_each(|thread| thread.join().expect("it works"));
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(100));
    machine::kill(started[0]);
    machine::pause(started[1]);
    machine::wait(started[2]);
    machine::resume(started[1]);
    machine::wait(started[1]);
    trace(|| format!("{}", count.load(Ordering::Relaxed)));
}
