//! Cuts a scenario's trace at every event, recovers what is left, and does the same with the recovery's own trace.

use std::collections::{HashMap, HashSet};
use std::fmt;

use outlive_layout::{Geometry, RegionId};
use outlive_media::simulated::{Cut, Image, Random, SimulatedMedia, Survival};

use crate::bug::Bug;
use crate::content::Content;
use crate::primary::{Primary, Setting, Step};
use crate::region::{InImage, Milestone, Region, Seen, load, recover};

/// How thoroughly a scenario is explored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Cuts with at most so many outcomes are tried exhaustively.
    pub(crate) exhaustive: u64,
    /// Sampled survivals of each other cut, beside the adversarial ones.
    pub(crate) samples: u64,
    /// Of so many crash states one is taken over, and the takeover cut, too.
    pub(crate) one_taken_over_of: u64,
    /// How often a takeover is cut again.
    pub(crate) depth: u32,
}

/// What `cargo verify` has time for.
pub(crate) const QUICK: Effort = Effort {
    exhaustive: 64,
    samples: 6,
    one_taken_over_of: 64,
    depth: 2,
};

/// What a long campaign has time for.
pub(crate) const LONG: Effort = Effort {
    exhaustive: 256,
    samples: 12,
    one_taken_over_of: 48,
    depth: 3,
};

/// A scenario in which a crash cost something.
#[derive(Debug)]
pub(crate) struct Failure {
    /// From the outermost crash to the one that was not survived.
    path: Vec<String>,
    what: String,
}

impl Failure {
    /// The scenario itself did not go as it should.
    pub(crate) fn without_crash(what: String) -> Self {
        Self {
            path: Vec::new(),
            what,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  crashes: {}", self.what, self.path.join(", then "))
    }
}

/// Crash states that were seen, over all scenarios.
#[derive(Debug, Default)]
pub(crate) struct Campaign {
    pub(crate) states: HashSet<u64>,
    /// Cuts at which a power went.
    pub(crate) cuts: u64,
    /// Crash states that were recovered and checked.
    pub(crate) recoveries: u64,
    /// Takeovers of crash states, whose own traces were cut.
    pub(crate) takeovers: u64,
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} distinct crash states of {} cuts, {} recoveries, {} takeovers cut again",
            self.states.len(),
            self.cuts,
            self.recoveries,
            self.takeovers
        )
    }
}

impl Campaign {
    /// Runs a scenario to its end, then cuts it everywhere.
    pub(crate) fn explore<C: Content>(
        &mut self,
        primary: &Primary<C>,
        effort: Effort,
        seed: u64,
    ) -> Result<(), Failure> {
        self.cut_everywhere(primary, effort, seed, &mut Vec::new())
    }

    fn cut_everywhere<C: Content>(
        &mut self,
        primary: &Primary<C>,
        effort: Effort,
        seed: u64,
        path: &mut Vec<String>,
    ) -> Result<(), Failure> {
        // What a reader makes of an image does not depend on when it was left, what was promised does.
        let mut seen = HashMap::new();
        primary.media.trace().each_cut(|cut| {
            self.cuts += 1;
            let promised = primary.promised(cut.event());
            let visit = &mut |name: String, image: Image| {
                path.push(format!("event {} leaving {name}", cut.event()));
                let failure = |what| Failure {
                    path: path.clone(),
                    what,
                };
                let is_new = !seen.contains_key(&image.fingerprint());
                if is_new {
                    self.states.insert(image.fingerprint());
                    self.recoveries += 1;
                    let left = Left::read(primary, &image).map_err(failure)?;
                    seen.insert(image.fingerprint(), left);
                }
                seen[&image.fingerprint()].keeps(promised).map_err(failure)?;
                if is_new {
                    self.go_on(primary, promised, cut, &image, effort, seed, path)?;
                }
                path.pop();
                Ok(())
            };
            each_image(cut, effort, seed, visit)
        })
    }

    /// Takes one of many crash states over, and cuts that trace, too.
    #[expect(clippy::too_many_arguments, reason = "one place, called from one other")]
    fn go_on<C: Content>(
        &mut self,
        primary: &Primary<C>,
        promised: &Milestone,
        cut: &Cut<'_>,
        image: &Image,
        effort: Effort,
        seed: u64,
        path: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let lot = Random::new(seed ^ image.fingerprint()).below(effort.one_taken_over_of);
        if effort.depth == 0 || lot != 0 {
            return Ok(());
        }
        // After a loss of power what is left is persistent; after a kill it is only placed.
        let left = [
            ("power", SimulatedMedia::of(image.clone())),
            (
                "kill",
                SimulatedMedia::left(cut.persistent().clone(), image.clone()),
            ),
        ];
        for (name, media) in left {
            self.takeovers += 1;
            path.push(name.to_owned());
            // What they go on to do differs, or both would mostly leave the same.
            let next_seed =
                Random::new(seed.rotate_left(9) ^ image.fingerprint() ^ name.len() as u64).next_u64();
            let next = Primary::take_over(
                primary.setting,
                media,
                &primary.content,
                promised,
                &primary.snapshots,
                next_seed,
            );
            let next = next.and_then(|next| next.run(&afterwards(next_seed)));
            let next = next.map_err(|what| Failure {
                path: path.clone(),
                what,
            })?;
            let effort = Effort {
                depth: effort.depth - 1,
                samples: effort.samples / 2,
                ..effort
            };
            self.cut_everywhere(&next, effort, next_seed, path)?;
            path.pop();
        }
        Ok(())
    }
}

/// What the readers made of a crash state.
struct Left {
    seen: Seen,
    /// Sequence of the checkpoint that is loaded, even after a clear.
    loaded: u64,
}

impl Left {
    fn read<C: Content>(primary: &Primary<C>, image: &Image) -> Result<Self, String> {
        let (region, snapshots) = (primary.setting.region, &primary.snapshots);
        let found = recover(&mut InImage(image, region), region, &primary.content, snapshots)?;
        let loaded = load(image, region, &found, snapshots)?;
        Ok(Self {
            seen: found.seen,
            loaded,
        })
    }

    fn keeps(&self, promised: &Milestone) -> Result<(), String> {
        self.seen.keeps(promised)?;
        if self.loaded < promised.verified {
            return Err(format!(
                "the last verified checkpoint is {}, but {} is loaded",
                promised.verified, self.loaded
            ));
        }
        Ok(())
    }
}

fn each_image(
    cut: &Cut<'_>,
    effort: Effort,
    seed: u64,
    visit: &mut dyn FnMut(String, Image) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if let Some(mut every) = cut.every_outcome(effort.exhaustive) {
        return every.try_for_each(|image| visit("one of all outcomes".to_owned(), image));
    }
    let base = seed.wrapping_add((cut.event() as u64) << 20);
    let samples = (0..effort.samples).map(|n| Survival::Sampled(base + n));
    Survival::ADVERSARIAL
        .into_iter()
        .chain(samples)
        .try_for_each(|survival| visit(format!("{survival:?}"), cut.survivors(survival)))
}

/// What a successor does before its trace is cut.
fn afterwards(seed: u64) -> Vec<Step> {
    let short = [Step::Append, Step::Append, Step::Commit, Step::Beat];
    let saving = [Step::Append, Step::Save, Step::Append, Step::Commit];
    let clearing = [Step::Clear, Step::Append, Step::Commit, Step::Beat];
    match Random::new(seed).below(6) {
        0 => saving.to_vec(),
        1 => clearing.to_vec(),
        _ => short.to_vec(),
    }
}

/// The scenario of one seed: a geometry, a start, and some tens of steps.
pub(crate) fn random_steps(seed: u64, clears: bool) -> Vec<Step> {
    let mut random = Random::new(seed);
    let steps = 15 + random.below(30);
    let step = |_| match random.below(32) {
        0..=16 => Step::Append,
        17..=22 => Step::Commit,
        23..=25 => Step::Beat,
        26..=27 => Step::Save,
        28 => Step::Grow(1 + random.below(3)),
        29 => Step::Reopen,
        _ if clears => Step::Clear,
        _ => Step::Append,
    };
    (0..steps).map(step).collect()
}

/// A small region on a medium of its own, with room to grow.
pub(crate) fn small_region(seed: u64, bug: Option<Bug>) -> (Setting, Geometry, Image) {
    let mut random = Random::new(seed);
    let slots = if random.below(3) == 0 { 3 } else { 2 };
    let max_snapshot = 4096;
    let size = 3 * 4096 + u64::from(slots) * (4096 + max_snapshot) + 16 * 1024 + 8 * random.below(64);
    let geometry = Geometry::new(size, slots, max_snapshot).expect("it fits");
    let len = size.next_multiple_of(4096) + 8 * 4096;
    let mut id = RegionId([0x5a; 16]);
    id.0[..8].copy_from_slice(&seed.to_le_bytes());
    let region = Region { id, start: 0, len };
    (Setting { region, bug }, geometry, Image::zeroed(len))
}
