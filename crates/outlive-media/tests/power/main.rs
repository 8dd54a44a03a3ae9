//! Power goes at every store and every persist of whole scenarios, and at every one of the recoveries that follow.
//!
//! Each scenario writes a region with the layout's own writer to simulated memory, noting at each event what was
//! promised by then. Then its trace is cut everywhere, and what is left is read with the real recovery and the real
//! reader: everything acknowledged is there and equal byte for byte, nothing is a mix, no floor is above what was
//! acknowledged, the last verified checkpoint loads. Some of what is left is taken over, and
//! the takeover's trace is cut as well. `docs/testing.md` says what that proves.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod bug;
mod campaign;
mod content;
mod long;
mod primary;
mod region;
mod superblock;

use outlive_layout::catalog::{EXTENT_ALIGN, Extent};

use bug::Bug;
use campaign::{Campaign, Effort, Failure, QUICK, random_steps, small_region};
use content::{Numbers, Regions};
use primary::{Primary, Step};

const UNIT_SPACE: Extent = Extent {
    start: 1 << 20,
    len: 4096 * EXTENT_ALIGN,
};

const WHOLE_SEED: u64 = 1;

/// Explores the checkpoint scenario of a seed.
fn checkpoints(
    campaign: &mut Campaign,
    effort: Effort,
    seed: u64,
    steps: &[Step],
    bug: Option<Bug>,
) -> Result<(), Failure> {
    let (setting, geometry, image) = small_region(seed, bug);
    let primary = Primary::create(setting, &geometry, image, Numbers::none(1500), seed);
    let primary = primary.and_then(|primary| primary.run(steps));
    campaign.explore(&primary.map_err(Failure::without_crash)?, effort, seed)
}

/// Explores the catalog scenario of a seed.
fn catalogs(campaign: &mut Campaign, effort: Effort, seed: u64, steps: &[Step]) -> Result<(), Failure> {
    let (setting, geometry, image) = small_region(seed, None);
    let primary = Primary::create(setting, &geometry, image, Regions::none(UNIT_SPACE), seed);
    let primary = primary.and_then(|primary| primary.run(steps));
    campaign.explore(&primary.map_err(Failure::without_crash)?, effort, seed)
}

/// Everything that a region goes through: pipelined appends, several laps of the journal, saves into every slot,
/// clears, growth while the journal is wrapped, and takeovers.
fn whole_scenario() -> Vec<Step> {
    use Step::{Append, Beat, Clear, Commit, Grow, Reopen, Save};
    let lap = [
        Append, Append, Append, Commit, Append, Beat, Append, Append, Commit, Append,
    ];
    let parts: [&[Step]; 14] = [
        &lap,
        &[Save],
        &lap,
        &[Clear, Append, Commit, Beat],
        &[Save, Append, Commit],
        &lap,
        &[Grow(2), Append, Commit],
        &[Reopen, Append, Beat],
        &lap,
        &lap,
        &[Clear, Commit, Grow(3)],
        &[Append, Save, Reopen],
        &lap,
        &[Clear, Save, Clear, Commit],
    ];
    parts.concat()
}

#[test]
fn a_region_survives_a_cut_at_every_event_of_its_life() {
    let mut campaign = Campaign::default();
    let outcome = checkpoints(&mut campaign, QUICK, WHOLE_SEED, &whole_scenario(), None);
    println!("checkpoint region: {campaign}");
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(campaign.states.len() > 2000, "{campaign}");
}

#[test]
fn seeded_regions_survive_a_cut_at_every_event() {
    let mut campaign = Campaign::default();
    for seed in 100..108 {
        let outcome = checkpoints(&mut campaign, QUICK, seed, &random_steps(seed, true), None);
        outcome.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
    println!("checkpoint regions by seed: {campaign}");
    assert!(campaign.states.len() > 8000, "{campaign}");
}

#[test]
fn a_catalog_survives_a_cut_at_every_event() {
    let mut campaign = Campaign::default();
    for seed in 200..204 {
        let steps = [random_steps(seed, false), random_steps(seed + 1000, false)].concat();
        let outcome = catalogs(&mut campaign, QUICK, seed, &steps);
        outcome.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
    println!("catalogs: {campaign}");
    assert!(campaign.states.len() > 2000, "{campaign}");
}

/// A campaign that finds nothing proves nothing, unless it finds what is put there.
#[test]
fn every_deliberate_bug_is_caught() {
    for bug in Bug::ALL {
        let mut campaign = Campaign::default();
        // The very scenario that holds without the bug.
        let outcome = checkpoints(&mut campaign, QUICK, WHOLE_SEED, &whole_scenario(), Some(bug));
        let Err(failure) = outcome else {
            panic!("{bug:?} went unnoticed in {campaign}")
        };
        println!("{bug:?}: {failure}");
    }
}
