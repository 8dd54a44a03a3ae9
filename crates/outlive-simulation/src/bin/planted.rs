//! A tiny world with bugs planted in it, on which machine and campaigns are tested. Everything that the real one can be asked, it can be asked too.

use std::process::ExitCode;

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
fn main() -> ExitCode {
    eprintln!("error: the simulation needs Linux with glibc on x86_64 or aarch64");
    ExitCode::from(2)
}

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn main() -> ExitCode {
    outlive_simulation::campaign::main(&planted::Planted)
}

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod planted {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::thread;
    use std::time::{Duration, Instant};

    use outlive_simulation::campaign::{Report, Subject};
    use outlive_simulation::machine::{self, Options, Outcome};

    const THREADS: u64 = 3;
    const EVENTS: u64 = 24;

    /// Threads that count together, while this happens at these virtual milliseconds.
    pub(crate) struct Planted;

    type Plan = Vec<(u64, String)>;

    impl Subject for Planted {
        type Plan = Plan;

        fn draw(&self, seed: u64) -> Plan {
            let spike = seed % EVENTS;
            let what = |event| if event == spike { "spike" } else { "calm" };
            (0..EVENTS)
                .map(|event| (event * 10, what(event).to_owned()))
                .collect()
        }

        fn events(&self, plan: &Plan) -> usize {
            plan.len()
        }

        fn keep(&self, plan: &Plan, kept: &[bool]) -> Plan {
            let kept = plan.iter().zip(kept).filter(|(_, kept)| **kept);
            kept.map(|(event, _)| event.clone()).collect()
        }

        fn bugs(&self) -> Vec<(&'static str, &'static str)> {
            vec![
                ("race", "the count is read and written under two locks"),
                ("spike", "a spike is not survived"),
                ("never", "does nothing, and so cannot be caught"),
                ("chance", "the run depends on more than its seed"),
                ("abort", "the process is gone"),
                ("hang", "the run never ends"),
            ]
        }

        fn run(&self, seed: u64, plan: &Plan, bug: Option<&str>) -> Report {
            let bug = bug.unwrap_or_default().to_owned();
            let plan = plan.clone();
            if bug == "chance" {
                return Report {
                    digest: std::process::id().into(),
                    ..Report::default()
                };
            }
            let options = Options::new(seed).limit(Duration::from_secs(60));
            let outcome: Outcome<BTreeMap<String, u64>> = machine::run(options, move || world(&plan, &bug));
            Report::of(outcome)
        }
    }

    fn world(plan: &Plan, bug: &str) -> BTreeMap<String, u64> {
        let count = Arc::new(Mutex::new(0_u64));
        let race = bug == "race";
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let count = count.clone();
                thread::spawn(move || add(&count, race))
            })
            .collect();
        for (at_ms, what) in plan {
            thread::sleep(Duration::from_millis(*at_ms).saturating_sub(machine::now()));
            machine::trace(|| what.clone());
            match (bug, what.as_str()) {
                ("spike", "spike") => machine::fail("spike", "it was not survived"),
                ("abort", _) => std::process::abort(),
                ("hang", _) => loop {
                    std::hint::spin_loop();
                },
                _ => {}
            }
        }
        for thread in threads {
            if thread.join().is_err() {
                machine::fail("panic", "a thread is gone");
            }
        }
        let count = *lock(&count);
        if count != THREADS {
            machine::fail("lost update", &format!("{count} of {THREADS} are counted"));
        }
        BTreeMap::from([("counted".to_owned(), count)])
    }

    fn add(count: &Mutex<u64>, race: bool) {
        if race {
            let read = *lock(count);
            // What a debug line would cost: the turn may be lost here.
            let _ = Instant::now();
            *lock(count) = read + 1;
        } else {
            *lock(count) += 1;
        }
    }

    fn lock(count: &Mutex<u64>) -> MutexGuard<'_, u64> {
        count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
