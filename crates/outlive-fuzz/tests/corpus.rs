//! Replays what is committed for each target, today's seeds, and cheap mutations of both.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use outlive_fuzz::corpus::{self, MAX_INPUT_BYTES};
use outlive_fuzz::harness;
use outlive_fuzz::mutation::Mutator;
use outlive_fuzz::{Seed, TARGETS, Target, target};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Mutations of a target's inputs go on for so long, unless `OUTLIVE_FUZZ_SECONDS` says how long.
const MUTATING: Duration = Duration::from_millis(700);
/// And no further than this, so that a fast target is quick.
const MAX_MUTATIONS: u64 = 20_000;
/// Where mutations begin, unless `OUTLIVE_FUZZ_SEED` says it.
const SEED: u64 = 1;
/// All committed inputs together.
const MAX_CORPUS_BYTES: u64 = 2 << 20;

/// A test for each target; `every_target_has_a_test_and_a_corpus` compares the list.
macro_rules! replays {
    ($($name:ident),* $(,)?) => {
        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                replay(target(stringify!($name)).expect("a target of that name"));
            }
        )*
    };
}

replays!(
    operations,
    answers,
    greetings,
    connection,
    initiator,
    metadata,
    region_bytes,
    region_damage,
    catalog,
    medium,
    control,
    admin,
    batches,
    replica,
    resp_requests,
    resp_replies,
    kv_commands,
    kv_snapshot,
    certificates,
    settings,
    audit,
);

fn replay(target: &Target) {
    let _one_at_a_time = one_at_a_time();
    harness::prepare(target).expect("this binary counts");
    let mut inputs = Vec::new();
    let committed = corpus::inputs(target).expect("a target has a corpus");
    let seeds = (target.seeds)();
    let named = |(name, bytes): Seed| (format!("today's seed {name}"), bytes);
    for (name, input) in committed.into_iter().chain(seeds.into_iter().map(named)) {
        run(target, &name, &input);
        inputs.push(input);
    }
    let (mutating, most) = match asked("OUTLIVE_FUZZ_SECONDS") {
        Some(seconds) => (Duration::from_secs(seconds), u64::MAX),
        None => (MUTATING, MAX_MUTATIONS),
    };
    let seed = asked("OUTLIVE_FUZZ_SEED").unwrap_or(SEED);
    let (mut mutator, begun) = (Mutator::new(seed), Instant::now());
    let mut mutations = 0;
    while mutations < most && begun.elapsed() < mutating {
        run(target, &format!("mutation {mutations}"), &mutator.next(&inputs));
        mutations += 1;
    }
    println!("{}: {} inputs, {mutations} mutations", target.name, inputs.len());
}

/// A number that somebody asked for.
fn asked(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not {value}")),
    )
}

/// Runs one input; says which one it was, and keeps it, where it breaks a promise.
fn run(target: &Target, name: &str, input: &[u8]) {
    PANICS.store(0, Ordering::SeqCst);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| harness::run(target, input)));
    let panicked = PANICS.load(Ordering::SeqCst) > 0;
    let why = match outcome {
        Err(_) => "it panicked".into(),
        // Before what was allocated: where backtraces are asked for, that is the panic's.
        Ok(_) if panicked => "one of its threads panicked".into(),
        Ok(Err(excess)) => excess.to_string(),
        Ok(Ok(())) => return,
    };
    let kept = std::env::temp_dir().join(format!("outlive-fuzz-{}-{}", target.name, std::process::id()));
    fs::write(&kept, input).expect("the input can be kept");
    panic!(
        "{}, {name}: {why}\nthe input is kept in {}; add it to fuzz/corpus/{} once it is fixed",
        target.name,
        kept.display(),
        target.name
    );
}

/// Panics of any thread since an input began: threads of the product's that nobody joins would hide theirs.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// What is allocated is counted for the whole process, so its inputs run one after the other.
fn one_at_a_time() -> impl Drop {
    static TURN: Mutex<()> = Mutex::new(());
    static HOOK: Once = Once::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            print(info);
        }));
    });
    turn
}

#[test]
fn every_target_has_a_test_and_a_corpus_and_no_corpus_is_anybody_elses() {
    let mut targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    targets.sort_unstable();
    let mut replayed = REPLAYED.to_vec();
    replayed.sort_unstable();
    assert_eq!(replayed, targets, "each target has a test of its own here");

    let mut folders: Vec<String> = fs::read_dir(corpus::folder())
        .expect("the corpus")
        .map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort_unstable();
    assert_eq!(
        folders, targets,
        "each target has a corpus, and each corpus a target"
    );

    let mut total_bytes = 0;
    for target in TARGETS {
        let inputs = corpus::inputs(target).expect("a corpus");
        assert!(!inputs.is_empty(), "{} has no input", target.name);
        for (name, bytes) in inputs {
            assert!(
                bytes.len() <= MAX_INPUT_BYTES,
                "{}/{name} is too long",
                target.name
            );
            total_bytes += bytes.len() as u64;
        }
    }
    assert!(total_bytes <= MAX_CORPUS_BYTES, "{total_bytes} bytes of corpus");
}

/// `cargo test -p outlive-fuzz --test corpus -- --ignored write_seeds`
#[test]
#[ignore = "writes into fuzz/corpus"]
fn write_seeds() {
    for target in TARGETS {
        corpus::write_seeds(target).expect("the corpus can be written");
    }
}

/// The means notices: a target that panics, in a thread of its own too, allocates what a length says, or does not end soon.
mod teeth {
    use super::*;

    fn planted(run: fn(&[u8])) -> Target {
        Target {
            name: "planted",
            about: "a broken promise",
            run,
            seeds: Vec::new,
            allowance_bytes: 1 << 20,
        }
    }

    /// Whether an input is reported, and what for.
    fn reported(target: &Target, input: &[u8]) -> Option<String> {
        let _one_at_a_time = one_at_a_time();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(target, "planted", input)));
        let why = outcome.err()?;
        Some(why.downcast_ref::<String>().expect("a text").clone())
    }

    #[test]
    fn a_panic_is_reported() {
        let target = planted(|input| assert_ne!(input, b"bad"));
        assert_eq!(reported(&target, b"good"), None);
        assert!(
            reported(&target, b"bad")
                .expect("reported")
                .contains("it panicked")
        );
    }

    #[test]
    fn a_panic_of_a_thread_that_nobody_joins_is_reported() {
        let target = planted(|input| {
            let bad = input == b"bad";
            let (ended, end) = std::sync::mpsc::channel::<()>();
            thread::spawn(move || {
                let _ended = ended;
                assert!(!bad);
            });
            let _ = end.recv();
        });
        assert_eq!(reported(&target, b"good"), None);
        assert!(
            reported(&target, b"bad")
                .expect("reported")
                .contains("one of its threads")
        );
    }

    #[test]
    fn what_a_length_says_is_not_to_be_allocated() {
        let target = planted(|input| {
            let length = input
                .first_chunk()
                .map_or(0, |length| u32::from_le_bytes(*length));
            drop(vec![1_u8; length as usize]);
        });
        assert_eq!(reported(&target, &100_u32.to_le_bytes()), None);
        let why = reported(&target, &100_000_000_u32.to_le_bytes()).expect("reported");
        assert!(why.contains("were allocated"), "{why}");
    }

    /// Mutations find what stands behind a length field, not only the input that shows it.
    #[test]
    fn a_length_that_is_trusted_is_found_by_mutation() {
        thread_local!(static FOUND: Cell<bool> = const { Cell::new(false) });
        let target = planted(|input| {
            if let Some((&[low, high], body)) = input.split_first_chunk() {
                let length = usize::from(u16::from_le_bytes([low, high]));
                FOUND.set(FOUND.get() || length > body.len());
            }
        });
        let mut mutator = Mutator::new(1);
        let inputs = [b"\x03\x00abc".to_vec()];
        for _ in 0..100 {
            (target.run)(&mutator.next(&inputs));
        }
        assert!(FOUND.get());
    }
}
