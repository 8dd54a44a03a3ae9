//! Unit and manager killed at any moment of create, delete, resize, append, open and takeover: what was acknowledged
//! is there after the restart, the offline check finds nothing, and no byte of the medium is lost for good.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use outlive::{Error, Level, OpenOptions, Primary, RegionSpec, Session, SessionOptions};
use serde_json::Value;
use support::World;

const ROUNDS: u64 = 6;
/// A page of regions that come and go.
const NAMES: usize = 8;
const FIRST_BYTES: u64 = 1 << 20;
/// A region grows by this, and not for ever: it may lie in 64 extents at most.
const STEP_BYTES: u64 = 64 << 10;
const LARGEST_BYTES: u64 = FIRST_BYTES + 40 * STEP_BYTES;

/// What is known of a region that comes and goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    There,
    Gone,
    /// The unit died before it answered.
    Either,
}

/// What was acknowledged in a round, and what was on its way.
struct Ledger {
    regions: Vec<Known>,
    /// Acknowledged updates of the growing region.
    updates: u64,
    size: u64,
    generation: u64,
}

#[test]
fn a_unit_that_is_killed_in_the_middle_of_anything_is_whole_again() {
    let world = World::with_media("256MiB");
    let mut serve = world.serve();
    let begin = connect(&world);
    let free = begin.status().unwrap().units[0].free_bytes;
    for name in ["growing", "contended"] {
        begin.create(name, &RegionSpec::checkpoint(FIRST_BYTES)).unwrap();
    }
    drop(begin);
    let mut ledger = Ledger {
        regions: vec![Known::Gone; NAMES],
        updates: 0,
        size: FIRST_BYTES,
        generation: 0,
    };
    for round in 0..ROUNDS {
        let ended = AtomicBool::new(false);
        let before = thread::scope(|scope| {
            let (session, regions) = (connect(&world), &mut ledger.regions);
            scope.spawn(|| until(&ended, come_and_go(session, regions)));
            let (session, updates, size) = (connect(&world), &mut ledger.updates, &mut ledger.size);
            scope.spawn(|| until(&ended, grow(session, updates, size)));
            let (session, generation) = (connect(&world), &mut ledger.generation);
            scope.spawn(|| until(&ended, contend(session, generation)));
            // Another moment each time.
            thread::sleep(Duration::from_millis(150 + 67 * round));
            ended.store(true, Ordering::Release);
            serve.kill()
        });
        check(&world);
        serve = world.serve_again(&before);
        compare(&connect(&world), &mut ledger);
    }
    let session = connect(&world);
    for region in session.regions().unwrap() {
        // Owners that are gone are given a moment to come back.
        let primary = session.primary(&region.name, &taking_over()).unwrap();
        primary.close().unwrap();
        session.delete(&region.name).unwrap();
    }
    assert_eq!(
        session.status().unwrap().units[0].free_bytes,
        free,
        "space was lost"
    );
}

/// Works until the unit is killed; only then may it fail.
fn until(ended: &AtomicBool, mut step: impl FnMut() -> Result<(), Error>) {
    loop {
        if let Err(error) = step() {
            assert!(
                ended.load(Ordering::Acquire),
                "before the unit was killed: {error}"
            );
            return;
        }
    }
}

/// Creates what is not there and deletes what is.
fn come_and_go(session: Session, regions: &mut [Known]) -> impl FnMut() -> Result<(), Error> {
    let mut next = 0;
    move || {
        let at = next % NAMES;
        next += 1;
        let name = format!("passing{at}");
        let was = std::mem::replace(&mut regions[at], Known::Either);
        if was == Known::There {
            session.delete(&name)?;
            regions[at] = Known::Gone;
        } else {
            let size = FIRST_BYTES + 4096 * (next as u64 % 7);
            session.create(&name, &RegionSpec::checkpoint(size))?;
            regions[at] = Known::There;
        }
        Ok(())
    }
}

/// Appends to a region and makes it larger.
fn grow(session: Session, updates: &mut u64, size: &mut u64) -> impl FnMut() -> Result<(), Error> {
    let mut primary = None;
    move || {
        let open = match &primary {
            Some(open) => open,
            None => primary.insert(session.primary("growing", &taking_over())?),
        };
        for _ in 0..3 {
            open.append(updates.to_le_bytes())?.wait()?;
            *updates += 1;
        }
        if *size < LARGEST_BYTES {
            open.resize(*size + STEP_BYTES)?;
            *size += STEP_BYTES;
        }
        Ok(())
    }
}

/// Opens a region again and again, taking it from whoever has it; closes it every third time.
fn contend(session: Session, generation: &mut u64) -> impl FnMut() -> Result<(), Error> {
    let mut owner: Option<Primary> = None;
    move || {
        let next = session.primary("contended", &taking_over())?;
        assert!(next.generation() > *generation, "a generation was given twice");
        *generation = next.generation();
        if generation.is_multiple_of(3) {
            return next.close();
        }
        // The one before is still open when it is taken from.
        drop(owner.replace(next));
        Ok(())
    }
}

/// The offline check of the medium that the killed unit left.
fn check(world: &World) {
    let outcome = world.run(&["fsck", world.medium().to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(outcome.code, 0, "{report}");
}

/// Compares what is there with what was acknowledged, and takes over what was open.
fn compare(session: &Session, ledger: &mut Ledger) {
    let there = session.regions().unwrap();
    for (at, known) in ledger.regions.iter_mut().enumerate() {
        let name = format!("passing{at}");
        let found = there.iter().any(|region| region.name == name);
        match known {
            Known::Either => *known = if found { Known::There } else { Known::Gone },
            known => assert_eq!(found, *known == Known::There, "{name} was {known:?}"),
        }
        if found {
            let held = session.backup(&name).unwrap().read_all().unwrap();
            assert!(
                held.snapshot.is_none() && held.updates.is_empty(),
                "{name} is as it was made"
            );
        }
    }
    let held = session.backup("growing").unwrap().read_all().unwrap();
    let values: Vec<Vec<u8>> = held.updates.into_iter().map(|update| update.bytes).collect();
    let expected = |count: u64| {
        (0..count)
            .map(|number| number.to_le_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    if values.len() as u64 > ledger.updates {
        ledger.updates += 1;
    }
    assert_eq!(
        values,
        expected(ledger.updates),
        "updates are missing, or there twice"
    );
    let size = session.describe("growing").unwrap().size;
    assert!(
        [ledger.size, ledger.size + STEP_BYTES].contains(&size),
        "{size}, was {}",
        ledger.size
    );
    ledger.size = size;
    assert!(session.describe("contended").unwrap().generation >= ledger.generation);
}

fn taking_over() -> OpenOptions {
    OpenOptions {
        take_over: true,
        level: Some(Level::Placed),
        retry_for: Some(PATIENCE),
        ..OpenOptions::default()
    }
}

/// How long a call goes on trying when the unit is gone: it stays away until everybody has noticed.
const PATIENCE: Duration = Duration::from_millis(500);

fn connect(world: &World) -> Session {
    let context = outlive::Context::load(&world.path("context.json")).unwrap();
    Session::connect_with(&context, SessionOptions { retry_for: PATIENCE }).unwrap()
}
