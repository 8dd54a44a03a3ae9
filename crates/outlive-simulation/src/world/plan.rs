//! What goes wrong, and when: drawn from a seed, written down, and made smaller.

use std::time::Duration;

use outlive_media::simulated::{Random, Survival};
use serde::{Deserialize, Serialize};

use super::place::{MEMBERS, Place, WRITERS};

/// Faults come, and work is done, until then, in microseconds.
const WORK_US: u64 = 1_500_000;
/// No run is made shorter than that.
const LEAST_WORK_US: u64 = 50_000;
/// Most faults of one plan.
const MOST_FAULTS: u64 = 14;

/// What goes wrong in one run. Any part of a plan is a plan, too: each fault ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// For how long work is done, in microseconds of the machine's time; then everything comes to rest.
    pub work_us: u64,
    /// In order of time.
    pub events: Vec<Planned>,
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// When, in microseconds of the machine's time after the world began.
    pub at_us: u64,
    /// What.
    pub fault: Fault,
}

/// Everything that can go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The unit's process is killed and started again.
    KillUnit {
        /// The manager goes with it, as in `serve`.
        and_manager: bool,
        /// For how long it is away.
        down_us: u64,
    },
    /// The unit's host loses power.
    CutPower {
        /// What of the words that were only placed survives: one of the adversarial choices, or a sample.
        survival: u64,
        /// For how long it is away.
        down_us: u64,
    },
    /// The unit's host loses power right after somebody was told to own a region, or that one was made or deleted.
    CutPowerWhenTold {
        /// As for [`CutPower`](Self::CutPower).
        survival: u64,
        /// For how long it is away.
        down_us: u64,
    },
    /// A process is killed and started again.
    Kill {
        /// Which: any but the unit.
        place: Place,
        /// For how long it is away.
        down_us: u64,
    },
    /// A process is stopped and continued.
    Pause {
        /// Which: any but the unit.
        place: Place,
        /// For how long.
        for_us: u64,
    },
    /// Nothing travels from one to the other.
    Block {
        /// From where.
        from: Place,
        /// To where.
        to: Place,
        /// In the other direction neither.
        both: bool,
        /// For how long.
        for_us: u64,
    },
    /// Data connections break in the middle of what they carry.
    LoseLinks {
        /// Whose.
        place: Place,
        /// After so many bytes more.
        after_bytes: u64,
    },
    /// Control connections break: calls in progress may have arrived or not.
    CutCalls {
        /// Whose.
        from: Place,
        /// To whom.
        to: Place,
    },
    /// A host's wall clock jumps.
    JumpClock {
        /// Whose.
        place: Place,
        /// To so much before or after the true time.
        offset_ms: i64,
    },
    /// A host's clocks run fast or slow.
    SkewClock {
        /// Whose.
        place: Place,
        /// By so many millionths.
        ppm: i64,
    },
}

impl Plan {
    /// The seed's plan.
    pub fn draw(seed: u64) -> Self {
        let mut chance = Chance(Random::new(seed ^ 0x706c_616e));
        // Some runs see one fault only, so that what it does alone is seen, too.
        let count = match chance.below(6) {
            0 => 1,
            1 => 0,
            _ => 1 + chance.below(MOST_FAULTS),
        };
        let mut events: Vec<_> = (0..count)
            .map(|_| Planned {
                at_us: 20_000 + chance.below(WORK_US - 20_000),
                fault: chance.fault(),
            })
            .collect();
        events.sort_by_key(|planned| planned.at_us);
        Self {
            work_us: WORK_US,
            events,
        }
    }

    /// The plan with only these of its events.
    pub fn keep(&self, kept: &[bool]) -> Self {
        let kept = self.events.iter().zip(kept).filter(|(_, kept)| **kept);
        Self {
            work_us: self.work_us,
            events: kept.map(|(event, _)| event.clone()).collect(),
        }
    }

    /// The plan with less work, if there can be less.
    pub fn shorter(&self) -> Option<Self> {
        let work_us = self.work_us * 3 / 4;
        let last_us = self.events.last().map_or(0, |last| last.at_us);
        (work_us >= LEAST_WORK_US.max(last_us)).then(|| Self {
            work_us,
            events: self.events.clone(),
        })
    }
}

struct Chance(Random);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// From too short to be noticed to long enough for a takeover or two.
    fn while_us(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(2_000),
            1 => self.below(80_000),
            _ => self.below(500_000),
        }
    }

    fn number(&mut self, count: u8) -> u8 {
        u8::try_from(self.below(count.into())).expect("few")
    }

    fn user(&mut self) -> Place {
        match self.below(9) {
            0..=4 => Place::Member(self.number(MEMBERS)),
            5..=7 => Place::Writer(self.number(WRITERS)),
            _ => Place::Follower,
        }
    }

    fn process(&mut self) -> Place {
        if self.below(5) == 0 {
            Place::Manager
        } else {
            self.user()
        }
    }

    fn way(&mut self) -> (Place, Place) {
        match self.below(6) {
            0 => (Place::Manager, Place::Unit),
            1 | 2 => (self.user(), Place::Manager),
            _ => (self.user(), Place::Unit),
        }
    }

    fn fault(&mut self) -> Fault {
        match self.below(21) {
            20 => Fault::CutPowerWhenTold {
                survival: self.0.next_u64(),
                down_us: self.while_us(),
            },
            0 | 1 => Fault::KillUnit {
                and_manager: self.below(2) == 0,
                down_us: self.while_us(),
            },
            2 | 3 => Fault::CutPower {
                survival: self.0.next_u64(),
                down_us: self.while_us(),
            },
            4..=8 => Fault::Kill {
                place: self.process(),
                down_us: self.while_us(),
            },
            9..=11 => Fault::Pause {
                place: self.process(),
                for_us: self.while_us(),
            },
            12..=15 => {
                let (a, b) = self.way();
                let (from, to) = if self.below(2) == 0 { (a, b) } else { (b, a) };
                Fault::Block {
                    from,
                    to,
                    both: self.below(3) == 0,
                    for_us: self.while_us(),
                }
            }
            16 => Fault::LoseLinks {
                place: self.process(),
                after_bytes: self.below(4_000),
            },
            17 => {
                let (from, to) = if self.below(3) == 0 {
                    (Place::Manager, Place::Unit)
                } else {
                    (self.user(), Place::Manager)
                };
                Fault::CutCalls { from, to }
            }
            18 => Fault::JumpClock {
                place: self.process(),
                offset_ms: i64::try_from(self.below(20_000_000)).expect("small") - 10_000_000,
            },
            _ => Fault::SkewClock {
                place: self.process(),
                ppm: i64::try_from(self.below(200_000)).expect("small") - 100_000,
            },
        }
    }
}

/// What survives a loss of power that is drawn as this number.
pub(super) fn survival(number: u64) -> Survival {
    let adversarial = Survival::ADVERSARIAL;
    let choice = usize::try_from(number % 24).expect("small");
    adversarial
        .get(choice)
        .copied()
        .unwrap_or(Survival::Sampled(number))
}

pub(super) fn micros(us: u64) -> Duration {
    Duration::from_micros(us)
}
