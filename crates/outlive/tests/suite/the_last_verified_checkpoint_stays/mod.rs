//! X6: whatever the sequence of saves, appends, clears, growth, slots used again, crashes and full media, the last verified
//! checkpoint can be read; after a clear, by name.
//!
//! Seeded lives of one region over the real library, unit and manager, on simulated memory that loses power at a chosen store or
//! persist. `OUTLIVE_X6_SEED` replays one seed, `OUTLIVE_X6_SEEDS` asks for so many.

mod life;
mod promise;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use life::Life;

const REGION: &str = "r";
const MEDIUM: u64 = 8 << 20;
const MAX_SNAPSHOT: u64 = 8192;
/// Steps of one life: some laps of the journal, a few crashes.
const STEPS: u32 = 30;
/// Lives in `cargo verify`.
const LIVES: u64 = 8;
const AT_ONCE: u64 = 4;

#[test]
fn whatever_happens_the_last_verified_checkpoint_can_be_read() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse().expect("a number"))
    };
    let (first, lives) = match number("OUTLIVE_X6_SEED") {
        Some(seed) => (seed, 1),
        None => (1, number("OUTLIVE_X6_SEEDS").unwrap_or(LIVES)),
    };
    // Mostly they wait: several at once.
    let next = AtomicU64::new(first);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(lives) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + lives {
                        return;
                    }
                    live(seed);
                }
            });
        }
    });
}

fn live(seed: u64) {
    println!("seed {seed} (replay: OUTLIVE_X6_SEED={seed})");
    let mut life = Life::begin(seed);
    for _ in 0..STEPS {
        life.step();
    }
}
