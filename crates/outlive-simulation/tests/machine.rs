//! The machine itself: virtual time, processes, failures.
#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use outlive_simulation::machine::{self, Failure, Options, run};

#[test]
fn an_hours_sleep_takes_no_time() {
    let begun = Instant::now();
    let outcome = run(Options::new(1).limit(Duration::from_secs(7200)), || {
        let begun = Instant::now();
        thread::sleep(Duration::from_secs(3600));
        begun.elapsed()
    });
    let slept = outcome.result.expect("it ends");
    assert!((3600..3601).contains(&slept.as_secs()), "{slept:?}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn threads_locks_conditions_and_channels_work() {
    let outcome = run(Options::new(2), || {
        let total = Arc::new((Mutex::new(0_u64), Condvar::new()));
        let (sender, receiver) = mpsc::channel();
        let threads: Vec<_> = (0..8_u64)
            .map(|number| {
                let (total, sender) = (total.clone(), sender.clone());
                thread::spawn(move || {
                    for round in 0..10 {
                        thread::sleep(Duration::from_millis(number * round % 7));
                        *total.0.lock().unwrap() += 1;
                        total.1.notify_all();
                        sender.send(number).unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let mut sum = total.0.lock().unwrap();
        while *sum < 80 {
            sum = total.1.wait(sum).unwrap();
        }
        drop(sum);
        for thread in threads {
            thread.join().unwrap();
        }
        receiver.iter().sum::<u64>()
    });
    assert_eq!(outcome.result, Ok(280));
    assert!(outcome.switches > 80, "{}", outcome.switches);
}

#[test]
fn a_killed_process_never_runs_again_and_a_paused_one_only_when_resumed() {
    let outcome = run(Options::new(3), || {
        let ticks = Arc::new(AtomicU64::new(0));
        let beats = ticks.clone();
        let process = machine::start("beating", move || {
            loop {
                thread::sleep(Duration::from_millis(10));
                beats.fetch_add(1, Ordering::Relaxed);
            }
        });
        thread::sleep(Duration::from_secs(1));
        let before = ticks.load(Ordering::Relaxed);
        machine::pause(process);
        thread::sleep(Duration::from_secs(10));
        let paused = ticks.load(Ordering::Relaxed);
        machine::resume(process);
        thread::sleep(Duration::from_secs(1));
        let resumed = ticks.load(Ordering::Relaxed);
        assert!(!machine::ended(process));
        machine::kill(process);
        machine::wait(process);
        thread::sleep(Duration::from_secs(10));
        (before, paused, resumed, ticks.load(Ordering::Relaxed))
    });
    let (before, paused, resumed, killed) = outcome.result.expect("it ends");
    assert!((90..=100).contains(&before), "{before}");
    assert_eq!(before, paused);
    assert!((180..=201).contains(&resumed), "{resumed}");
    assert_eq!(resumed, killed);
}

#[test]
fn a_process_ends_with_its_main_thread_and_all_its_threads() {
    let outcome = run(Options::new(4), || {
        let late = Arc::new(AtomicU64::new(0));
        let set = late.clone();
        let process = machine::start("short", move || {
            thread::spawn(move || {
                thread::sleep(Duration::from_secs(5));
                set.store(1, Ordering::Relaxed);
            });
            thread::sleep(Duration::from_secs(1));
        });
        machine::wait(process);
        let waited = machine::now();
        thread::sleep(Duration::from_secs(60));
        (waited.as_secs(), late.load(Ordering::Relaxed))
    });
    assert_eq!(outcome.result, Ok((1, 0)));
}

#[test]
fn clocks_run_apart_and_jump() {
    let outcome = run(Options::new(5), || {
        let (sender, receiver) = mpsc::channel();
        let process = machine::start("fast", move || {
            loop {
                let (begun, wall) = (Instant::now(), SystemTime::now());
                thread::sleep(Duration::from_secs(10));
                let walls = SystemTime::now()
                    .duration_since(wall)
                    .map(|passed| passed.as_secs());
                sender
                    .send((begun.elapsed().as_secs(), walls, machine::now().as_secs()))
                    .unwrap();
            }
        });
        machine::set_rate(process, 1_000_000);
        let first = receiver.recv().unwrap();
        machine::set_rate(process, 0);
        machine::set_wall_clock(process, -3_600_000);
        let second = receiver.recv().unwrap();
        machine::set_wall_clock(process, 3_600_000);
        let third = receiver.recv().unwrap();
        (first, second.0, second.1.is_err(), third.1)
    });
    let (first, second, backwards, third) = outcome.result.expect("it ends");
    assert_eq!((first.0, first.1.unwrap(), first.2), (10, 10, 5));
    assert_eq!((second, backwards), (10, true));
    assert!(third.as_ref().is_ok_and(|passed| *passed >= 7200), "{third:?}");
}

#[test]
fn a_panic_fails_the_run_with_its_text_and_thread() {
    let outcome = run(Options::new(6), || {
        machine::start("broken", || {
            let worker = thread::Builder::new().name("worker".into());
            let worker = worker.spawn(|| panic!("seven is {}", 7)).unwrap();
            worker.join().ok();
        });
        thread::sleep(Duration::from_secs(1));
    });
    let Err(Failure::Panicked {
        process,
        thread,
        message,
    }) = outcome.result
    else {
        panic!("{:?}", outcome.result);
    };
    assert_eq!((process.as_str(), thread.as_str()), ("broken", "worker"));
    assert!(message.starts_with("seven is 7"), "{message}");
}

#[test]
fn a_deadlock_names_who_waits() {
    let outcome = run(Options::new(7), || {
        let process = machine::start("deaf", || {
            let (_kept, receiver) = mpsc::channel::<()>();
            let _ = receiver.recv();
        });
        machine::wait(process);
    });
    let Err(Failure::Deadlock { threads }) = outcome.result else {
        panic!("{:?}", outcome.result);
    };
    assert_eq!(threads.len(), 2, "{threads:?}");
    assert!(
        threads[0]
            .1
            .contains("(main) in main: waits for the end of process deaf"),
        "{threads:?}"
    );
    assert!(
        threads[1].1.contains("(deaf) in deaf: waits for a lock"),
        "{threads:?}"
    );
}

#[test]
fn whoever_waits_for_ever_meets_the_limit() {
    let outcome = run(Options::new(8).limit(Duration::from_secs(60)), || {
        let until = Instant::now() + Duration::from_secs(3600);
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(500));
        }
    });
    assert_eq!(
        outcome.result.expect_err("it lasts too long").kind(),
        "time limit"
    );
    assert!(outcome.elapsed < Duration::from_secs(62), "{:?}", outcome.elapsed);
}

#[test]
fn who_spins_until_a_deadline_gets_there() {
    let outcome = run(Options::new(9), || {
        let until = Instant::now() + Duration::from_millis(1);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    });
    assert_eq!(outcome.result, Ok(()));
}

#[test]
fn what_is_shielded_is_finished_before_a_kill_or_a_pause_takes_effect() {
    let outcome = run(Options::new(10), || {
        let shared = Arc::new(Mutex::new(0));
        let (theirs, (sender, receiver)) = (shared.clone(), mpsc::channel());
        let process = machine::start("holder", move || {
            machine::uninterrupted(|| {
                let mut shared = theirs.lock().unwrap();
                sender.send(()).unwrap();
                thread::sleep(Duration::from_secs(1));
                *shared = 1;
            });
            *theirs.lock().unwrap() = 2;
        });
        receiver.recv().unwrap();
        machine::pause(process);
        machine::kill(process);
        // Would be a deadlock if the lock had died with its holder.
        let held = *shared.lock().unwrap();
        thread::sleep(Duration::from_secs(60));
        (held, *shared.lock().unwrap())
    });
    assert_eq!(outcome.result, Ok((1, 1)));
}

#[test]
fn a_wait_ends_for_nothing_now_and_then() {
    let outcome = run(Options::new(11), || {
        let (lock, condition) = (Mutex::new(()), Condvar::new());
        let mut held = lock.lock().unwrap();
        let mut early = 0;
        for _ in 0..2000 {
            let (again, result) = condition.wait_timeout(held, Duration::from_secs(1)).unwrap();
            held = again;
            early += u32::from(!result.timed_out());
        }
        early
    });
    let early = outcome.result.expect("it ends");
    assert!((2..100).contains(&early), "{early} of 2000");
}

#[test]
fn every_host_has_one_processor() {
    let outcome = run(Options::new(12), || {
        thread::available_parallelism().map_or(0, usize::from)
    });
    assert_eq!(outcome.result, Ok(1));
}
