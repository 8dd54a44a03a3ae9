//! What is done to the processes and hosts, and the plan of it, which is a function of a seed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::random::Random;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// SIGKILL to a member of the pair, which is started again later.
    KillMember,
    /// SIGTERM, which hands over as planned.
    StopMember,
    /// SIGSTOP, and SIGCONT later: mostly longer than the time after which the others suspect it.
    PauseMember,
    /// SIGKILL to the unit.
    KillUnit,
    /// SIGTERM to the unit.
    StopUnit,
    /// SIGSTOP to the unit.
    PauseUnit,
    /// SIGKILL to the manager.
    KillManager,
    /// SIGTERM to the manager.
    StopManager,
    /// SIGSTOP to the manager.
    PauseManager,
    /// SIGKILL to whatever is saving or appending a checkpoint.
    KillWriter,
    /// No byte is left on the file system of medium, audit log and trust folder.
    DiskFull,
    /// A host's frames, in both directions, are late, each by another time: so they are reordered.
    Delay,
    /// Some of a host's frames are lost.
    Loss,
    /// Some of a host's frames arrive twice.
    Twice,
    /// Nothing comes through between two parts of the hosts.
    Partition,
    /// Nothing comes through between two hosts.
    Break,
    /// Nothing comes through from one host to another; the other way it does.
    OneWay,
    /// Nothing of one host reaches anybody, or nothing reaches it.
    HalfDeaf,
    /// All processors are busy with something else.
    Busy,
}

/// One fault of a plan. It begins and ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// When it begins, after the beginning of the plan.
    pub at_ms: u64,
    /// For how long it lasts (a killed process stays away for so long).
    pub for_ms: u64,
    /// What.
    pub kind: Kind,
    /// Which member or host, from 0.
    pub which: usize,
    /// Which other host; for a partition, bits of one part's hosts.
    pub other: usize,
    /// How bad, from 1 to 100. Above 40 a fault of a member hits whoever is primary then, whatever `which` says.
    pub degree: u32,
}

/// What there is to be hit.
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    /// Members of the pair.
    pub members: usize,
    /// Hosts on the network; 0 without one.
    pub hosts: usize,
    /// Whether the manager is a process of its own.
    pub separate_manager: bool,
    /// Whether the disk can be filled.
    pub disk: bool,
}

/// After so many faults in a row it is calm for [a while](CALM_MS), so that everybody comes back and works.
const FAULTS_IN_A_ROW: usize = 7;
const CALM_MS: u64 = 2500;

impl Kind {
    /// Every one.
    pub const ALL: [Self; 19] = [
        Self::KillMember,
        Self::StopMember,
        Self::PauseMember,
        Self::KillUnit,
        Self::StopUnit,
        Self::PauseUnit,
        Self::KillManager,
        Self::StopManager,
        Self::PauseManager,
        Self::KillWriter,
        Self::DiskFull,
        Self::Delay,
        Self::Loss,
        Self::Twice,
        Self::Partition,
        Self::Break,
        Self::OneWay,
        Self::HalfDeaf,
        Self::Busy,
    ];

    /// As `--faults` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillMember => "kill-member",
            Self::StopMember => "stop-member",
            Self::PauseMember => "pause-member",
            Self::KillUnit => "kill-unit",
            Self::StopUnit => "stop-unit",
            Self::PauseUnit => "pause-unit",
            Self::KillManager => "kill-manager",
            Self::StopManager => "stop-manager",
            Self::PauseManager => "pause-manager",
            Self::KillWriter => "kill-writer",
            Self::DiskFull => "disk-full",
            Self::Delay => "delay",
            Self::Loss => "loss",
            Self::Twice => "twice",
            Self::Partition => "partition",
            Self::Break => "break",
            Self::OneWay => "one-way",
            Self::HalfDeaf => "half-deaf",
            Self::Busy => "busy",
        }
    }

    /// Whether there is something that it can be done to.
    pub fn is_possible(self, targets: &Targets) -> bool {
        match self {
            Self::KillManager | Self::StopManager | Self::PauseManager => targets.separate_manager,
            Self::DiskFull => targets.disk,
            Self::Delay
            | Self::Loss
            | Self::Twice
            | Self::Partition
            | Self::Break
            | Self::OneWay
            | Self::HalfDeaf => targets.hosts > 1,
            _ => true,
        }
    }

    /// How often, compared with the others: what ends the pair's primary most often tells most.
    fn weight(self) -> u64 {
        match self {
            Self::KillMember | Self::PauseMember | Self::Partition | Self::Break => 4,
            Self::KillUnit | Self::OneWay | Self::HalfDeaf | Self::KillWriter => 3,
            Self::Busy | Self::DiskFull => 1,
            _ => 2,
        }
    }

    /// For how long, in milliseconds.
    fn duration_ms(self, random: &mut Random) -> u64 {
        match self {
            // Soon again, or after everybody has noticed.
            Self::KillMember | Self::StopMember | Self::KillManager | Self::StopManager => {
                if random.permille(500) {
                    random.between(0, 300)
                } else {
                    random.between(300, 3000)
                }
            }
            Self::KillUnit | Self::StopUnit => {
                if random.permille(700) {
                    random.between(0, 500)
                } else {
                    random.between(500, 4000)
                }
            }
            // Around the time after which it is suspected, and far beyond.
            Self::PauseMember | Self::PauseUnit | Self::PauseManager => {
                if random.permille(300) {
                    random.between(50, 400)
                } else {
                    random.between(400, 4000)
                }
            }
            Self::KillWriter => random.between(0, 60),
            Self::Busy => random.between(500, 2500),
            Self::DiskFull => random.between(500, 4000),
            _ => random.between(200, 5000),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("no such fault; there are: {names}")
            })
    }
}

impl Planned {
    /// When it ends.
    pub fn ends_ms(&self) -> u64 {
        self.at_ms + self.for_ms
    }
}

/// The plan for a time: the same for the same seed, kinds and targets. A longer time's begins as the shorter one's.
pub fn plan(seed: u64, time: Duration, kinds: &[Kind], targets: &Targets) -> Vec<Planned> {
    let mut possible: Vec<Kind> = kinds
        .iter()
        .copied()
        .filter(|kind| kind.is_possible(targets))
        .collect();
    possible.sort_unstable();
    possible.dedup();
    let mut planned = Vec::new();
    if possible.is_empty() {
        return planned;
    }
    let weights: u64 = possible.iter().map(|kind| kind.weight()).sum();
    let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut random = Random::new(seed, u64::from_le_bytes(*b"faults\0\0"));
    let mut at_ms = 0;
    loop {
        at_ms += if random.permille(250) {
            random.between(0, 100)
        } else {
            random.between(100, 2000)
        };
        if planned.len() % FAULTS_IN_A_ROW == FAULTS_IN_A_ROW - 1 {
            at_ms += CALM_MS;
        }
        if at_ms >= time_ms {
            return planned;
        }
        let mut chosen = random.below(weights);
        let kind = *possible
            .iter()
            .find(|kind| match chosen.checked_sub(kind.weight()) {
                Some(rest) => {
                    chosen = rest;
                    false
                }
                None => true,
            })
            .expect("the weights' sum is above what was drawn");
        planned.push(one(kind, at_ms, targets, &mut random));
    }
}

fn one(kind: Kind, at_ms: u64, targets: &Targets, random: &mut Random) -> Planned {
    let for_ms = kind.duration_ms(random);
    let hosts = targets.hosts.max(2);
    let (which, other) = match kind {
        Kind::KillMember | Kind::StopMember | Kind::PauseMember => (random.index(targets.members), 0),
        // Neither part is empty.
        Kind::Partition => (0, random.index((1 << (hosts - 1)) - 1) + 1),
        _ => {
            let which = random.index(hosts);
            (which, (which + 1 + random.index(hosts - 1)) % hosts)
        }
    };
    let degree = u32::try_from(random.between(1, 100)).unwrap_or(1);
    Planned {
        at_ms,
        for_ms,
        kind,
        which,
        other,
        degree,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: Targets = Targets {
        members: 3,
        hosts: 7,
        separate_manager: true,
        disk: true,
    };

    #[test]
    fn a_plan_is_a_function_of_its_seed() {
        let minute = Duration::from_secs(60);
        let first = plan(1, minute, &Kind::ALL, &TARGETS);
        assert_eq!(first, plan(1, minute, &Kind::ALL, &TARGETS));
        assert_ne!(first, plan(2, minute, &Kind::ALL, &TARGETS));
        let longer = plan(1, minute * 2, &Kind::ALL, &TARGETS);
        assert_eq!(longer[..first.len()], first);
    }

    #[test]
    fn every_kind_comes_and_hits_what_there_is() {
        let planned = plan(3, Duration::from_secs(3600), &Kind::ALL, &TARGETS);
        for kind in Kind::ALL {
            let of_kind: Vec<&Planned> = planned.iter().filter(|planned| planned.kind == kind).collect();
            assert!(!of_kind.is_empty(), "{kind}");
            for planned in of_kind {
                match kind {
                    Kind::KillMember | Kind::StopMember | Kind::PauseMember => assert!(planned.which < 3),
                    Kind::Partition => assert!((1..(1 << 7) - 1).contains(&planned.other)),
                    _ => assert!(planned.which < 7 && planned.other < 7 && planned.which != planned.other),
                }
            }
        }
        assert!(planned.is_sorted_by_key(|planned| planned.at_ms));
    }

    #[test]
    fn what_cannot_be_done_is_not_planned() {
        let few = Targets {
            members: 2,
            hosts: 0,
            separate_manager: false,
            disk: false,
        };
        let planned = plan(1, Duration::from_secs(600), &Kind::ALL, &few);
        assert!(!planned.is_empty());
        assert!(planned.iter().all(|planned| planned.kind.is_possible(&few)));
        assert!(!planned.iter().any(|planned| planned.kind == Kind::Partition));
        assert_eq!(plan(1, Duration::from_secs(600), &[], &TARGETS), []);
    }

    #[test]
    fn names_are_read_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).ok(), Some(kind.name().into()));
        }
        assert!(
            "nonsense"
                .parse::<Kind>()
                .is_err_and(|why| why.contains("kill-member"))
        );
    }
}
