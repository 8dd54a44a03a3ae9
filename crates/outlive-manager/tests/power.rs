//! Power goes at every store and every persist of what a manager does to its unit, and of the next manager's recovery:
//! the real manager's catalog, written through the real unit, on simulated memory.
//!
//! What is found is what was acknowledged, or that with the change that was under way; a region can be made and a primary let in; no
//! two regions share a byte. Changes of every kind are cut, and so is a snapshot of the catalog with the reuse of its journal.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a failed step is a failed test"
)]

mod support;

use std::collections::HashSet;

use outlive_manager::{AttachError, Manager};
use outlive_media::simulated::{Random, SimulatedMedia, Survival};
use outlive_media::{Stored, Volume};
use outlive_proto::v1::{AccessRight, RegionKind};
use outlive_unit::{AttachSecret, Unit, UnitOptions};
use support::{Calls, Client, SECRET, options, serve_until};
use tokio::task::AbortHandle;

const MIB: u64 = 1 << 20;
const MEDIUM: u64 = 16 * MIB;
/// Of so many cuts one is recovered by a manager, whose own trace is cut, too.
const ONE_CUT_AGAIN_OF: u64 = 12;
/// Every kind of change.
const CHANGES: u32 = 7;
/// More than the catalog's journal takes.
const MOST_CHANGES: u32 = 5000;

/// A unit and its manager on simulated memory.
struct World {
    media: SimulatedMedia,
    unit: Unit,
    manager: Manager,
    client: Client,
    serving: AbortHandle,
}

impl World {
    async fn start(media: SimulatedMedia, stored: Stored) -> Result<Self, AttachError> {
        let volume = Volume::start(media.medium(), stored).expect("a volume");
        let unit = Unit::on(volume, UnitOptions::new(AttachSecret::new(SECRET)));
        unit.serve_data(([127, 0, 0, 1], 0).into()).unwrap();
        let manager = Manager::attach(options(unit.admin_client())).await?;
        let (client, serving) = serve_until(&manager).await;
        Ok(Self {
            media,
            unit,
            manager,
            client,
            serving,
        })
    }

    async fn seen(&self) -> Seen {
        let regions = self.client.list().await.into_iter();
        Seen(
            regions
                .map(|region| (region.name, region.size, region.generation, region.may_own))
                .collect(),
        )
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
        self.manager.stop();
        let _ = self.unit.close();
    }
}

/// What a catalog says of its regions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen(Vec<(String, u64, u64, Vec<String>)>);

/// One change, of those that a manager makes durable before it takes effect.
async fn change(world: &World, number: u32) {
    let client = &world.client;
    let name = format!("r{}", number / 7);
    match number % 7 {
        0 => drop(client.create(&name, RegionKind::Raw, 64 << 10).await.unwrap()),
        1 => drop(client.primary(&name, "an owner").await.unwrap()),
        2 => drop(client.resize(&name, 128 << 10, 1).await.unwrap()),
        3 => drop(
            client
                .change(&name, "alice", AccessRight::Owner, true)
                .await
                .unwrap(),
        ),
        4 => client.close(&name, 1).await.unwrap(),
        5 => drop(
            client
                .change(&name, "alice", AccessRight::Owner, false)
                .await
                .unwrap(),
        ),
        _ => client.delete(&name).await.unwrap(),
    }
}

/// The catalog's states, by the event of the medium from which on each was acknowledged.
struct History {
    noted: Vec<(usize, Seen)>,
    /// Before the first manager of the trace had recovered the catalog, any of these might still be found.
    earlier: Vec<Seen>,
    recovered: usize,
}

impl History {
    /// A trace begins: cuts before it are of no interest.
    async fn begin(world: &World) -> Self {
        let seen = world.seen().await;
        world.media.forget();
        Self {
            noted: vec![(0, seen)],
            earlier: Vec::new(),
            recovered: 0,
        }
    }

    /// A trace in which a unit and a manager were started on what was left, of which any of `earlier` could be made.
    async fn of_recovery(world: &World, earlier: Vec<Seen>) -> Self {
        Self {
            noted: vec![(0, world.seen().await)],
            earlier,
            recovered: world.media.events(),
        }
    }

    async fn note(&mut self, world: &World) {
        let event = world.media.events();
        self.noted.push((event, world.seen().await));
    }

    /// What was acknowledged by an event, and what may have been under way.
    fn allowed(&self, event: usize) -> Vec<Seen> {
        let acknowledged = self.noted.partition_point(|(from, _)| *from <= event) - 1;
        let noted = self.noted[acknowledged..]
            .iter()
            .take(2)
            .map(|(_, seen)| seen.clone());
        let earlier = self.earlier.iter().filter(|_| event < self.recovered).cloned();
        noted.chain(earlier).collect()
    }
}

/// What cutting found out.
struct Campaign {
    states: HashSet<u64>,
    cuts: u64,
    random: Random,
}

impl Campaign {
    fn new() -> Self {
        Self {
            states: HashSet::new(),
            cuts: 0,
            random: Random::new(1),
        }
    }

    /// Cuts a trace everywhere; the next unit and the next manager find what was acknowledged, and some of their own traces are cut, too.
    async fn cut(&mut self, world: &World, history: &History, depth: u32) {
        let mut left = Vec::new();
        let visited = world.media.trace().each_cut(|cut| {
            let adversarial = Survival::ADVERSARIAL;
            // Another one at each event, and all of them within a few.
            let choice = adversarial[self.random.below(adversarial.len() as u64) as usize];
            for survival in [choice, Survival::Sampled(self.random.next_u64())] {
                left.push((
                    cut.event(),
                    survival,
                    cut.survivors(survival),
                    cut.persistent().clone(),
                ));
            }
            Ok::<_, ()>(())
        });
        visited.unwrap();
        for (event, survival, image, persistent) in left {
            self.cuts += 1;
            if !self.states.insert(image.fingerprint()) {
                continue;
            }
            let what = format!("event {event} leaving {survival:?}");
            let again = depth > 0 && self.random.below(ONE_CUT_AGAIN_OF) == 0;
            let allowed = history.allowed(event);
            let next = recovered(SimulatedMedia::of(image.clone()), &allowed, &what).await;
            if again {
                self.cut_recovery(&next, &allowed, depth - 1).await;
                // Without loss of power what the unit had placed is there, and not persistent.
                let media = SimulatedMedia::left(persistent, image);
                let next = recovered(media, &allowed, &format!("{what}, killed")).await;
                self.cut_recovery(&next, &allowed, depth - 1).await;
            }
        }
    }

    /// Everything since the unit was started, with a change that is made after it.
    async fn cut_recovery(&mut self, world: &World, allowed: &[Seen], depth: u32) {
        let mut history = History::of_recovery(world, allowed.to_vec()).await;
        world.client.create("next", RegionKind::Raw, MIB).await.unwrap();
        history.note(world).await;
        Box::pin(self.cut(world, &history, depth)).await;
    }
}

async fn recovered(media: SimulatedMedia, allowed: &[Seen], what: &str) -> World {
    let world = World::start(media, Stored::Before).await;
    let world = world.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let found = world.seen().await;
    assert!(
        allowed.contains(&found),
        "{what}: {found:?} is none of {allowed:?}"
    );
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managers_changes_survive_a_cut_at_every_event() {
    let world = World::start(SimulatedMedia::new(MEDIUM), Stored::New)
        .await
        .unwrap();
    let mut campaign = Campaign::new();
    for number in 0..CHANGES {
        let mut history = History::begin(&world).await;
        change(&world, number).await;
        history.note(&world).await;
        campaign.cut(&world, &history, 1).await;
    }
    println!(
        "changes: {} distinct crash states of {} cuts",
        campaign.states.len(),
        campaign.cuts
    );
    assert!(campaign.states.len() > 20, "{}", campaign.states.len());
}

/// Adds an owner and takes it out again: small records that change nothing in the end.
async fn toggle(world: &World, number: u32) {
    let allow = number.is_multiple_of(2);
    let changed = world.client.change("r", "alice", AccessRight::Owner, allow).await;
    changed.unwrap();
}

/// How the seals of the catalog's two slots begin.
fn seals(world: &World) -> [[u8; 64]; 2] {
    let start = world.unit.volume().geometry().catalog_data_start();
    [0, 1].map(|slot| {
        let mut seal = [0; 64];
        world.media.placed().read(start + 12288 + 4096 * slot, &mut seal);
        seal
    })
}

/// Changes the catalog until its writer saves a snapshot; the trace of the change that led to it, and of the one behind it.
async fn until_saved(world: &World, number: &mut u32) -> History {
    let before = seals(world);
    for _ in 0..MOST_CHANGES {
        let mut history = History::begin(world).await;
        // It saves behind its answer; the second change waits for that.
        for _ in 0..2 {
            toggle(world, *number).await;
            history.note(world).await;
            *number += 1;
        }
        if seals(world) != before {
            return history;
        }
    }
    panic!("no snapshot of the catalog in {MOST_CHANGES} changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_the_catalog_survives_a_cut_at_every_event() {
    let world = World::start(SimulatedMedia::new(MEDIUM), Stored::New)
        .await
        .unwrap();
    world.client.create("r", RegionKind::Raw, MIB).await.unwrap();
    let mut campaign = Campaign::new();
    let mut number = 0;
    // The third overwrites the first, and the journal behind it is used again.
    for snapshot in 0..3 {
        let history = until_saved(&world, &mut number).await;
        if snapshot != 1 {
            campaign.cut(&world, &history, 0).await;
        }
    }
    println!(
        "snapshots: {} distinct crash states of {} cuts",
        campaign.states.len(),
        campaign.cuts
    );
    assert!(campaign.states.len() > 20, "{}", campaign.states.len());
}

/// A bit of it is written otherwise: it frees no journal, and keeps no later manager out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_the_catalog_that_does_not_verify_is_taken_back() {
    let mut world = World::start(SimulatedMedia::new(MEDIUM), Stored::New)
        .await
        .unwrap();
    world.client.create("r", RegionKind::Raw, MIB).await.unwrap();
    // Version 2, of the first manager: how the snapshot begins.
    world.media.flip_in(Some(&[2, 0, 1, 0, 0, 0, 0, 0, 0, 0]));
    let mut number = 0;
    while world.media.will_flip() {
        toggle(&world, number).await;
        number += 1;
        assert!(number < MOST_CHANGES, "no snapshot");
    }
    // Waits until the writer has dealt with it.
    toggle(&world, number).await;
    let before = world.seen().await;
    let media = world.media.clone();
    drop(world);
    world = World::start(media, Stored::Before).await.unwrap();
    assert_eq!(world.seen().await, before);
    until_saved(&world, &mut number).await;
}
