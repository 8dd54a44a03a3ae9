//! One run: the world begins, the plan happens, it comes to rest, and is judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use outlive::Level;
use outlive_media::simulated::Random;

use super::client::Clients;
use super::follower::Follower;
use super::history;
use super::judge::{Judge, violation};
use super::ledger::{Ledger, state_of};
use super::made::Made;
use super::manager::ManagerHost;
use super::pair::{Pair, connect};
use super::place::{MEMBERS, Place, WRITERS};
use super::plan::{Fault, Plan, micros, survival};
use super::roads::Roads;
use super::unit::UnitHost;
use super::writer::{PLAIN, Plain, Writer};
use crate::machine::{self, Process};

/// So long after the last fault everybody must have been served again. The longest single wait of the product that it covers is the
/// manager's attempt of a call, 15 s.
const LIVE_AGAIN: Duration = Duration::from_secs(45);
/// Commits of the plain region that show that it is served again.
const COMMITS_AGAIN: u64 = 3;
const CLIENTS: usize = 3;
/// How long a loss of power waits for the change that it is to follow.
const TOLD_PATIENCE: Duration = Duration::from_millis(150);

/// What the script does at a moment.
enum Act {
    Begin(Fault),
    End(Fault),
}

struct World {
    roads: Arc<Roads>,
    unit: UnitHost,
    manager: ManagerHost,
    pair: Pair,
    plain: Arc<Plain>,
    looks: Arc<AtomicU64>,
    writers: [Option<Process>; WRITERS as usize],
    follower: Option<Process>,
    faults: u64,
}

pub(super) fn play(seed: u64, plan: &Plan) -> BTreeMap<String, u64> {
    let mut world = World::begin(seed);
    let clients = Clients::new(world.pair.handles(), CLIENTS);
    let living = Arc::clone(&clients);
    let clients_process = machine::start("clients", move || living.live());

    let mut acts = BTreeMap::new();
    for (number, planned) in plan.events.iter().enumerate() {
        acts.insert(
            (micros(planned.at_us), number, 0),
            Act::Begin(planned.fault.clone()),
        );
        if let Some(lasts_us) = planned.fault.lasts_us() {
            let end = micros(planned.at_us + lasts_us);
            acts.insert((end, number, 1), Act::End(planned.fault.clone()));
        }
    }
    for ((at, ..), act) in acts {
        std::thread::sleep(at.saturating_sub(machine::now()));
        world.act(&act);
    }
    std::thread::sleep(micros(plan.work_us).saturating_sub(machine::now()));
    world.rest();
    world.plain.commits_since.store(0, Ordering::SeqCst);
    clients.end();
    world.await_life(&clients, clients_process);
    world.judge(&clients)
}

impl Fault {
    /// How long it lasts; `None` for what happens at once.
    fn lasts_us(&self) -> Option<u64> {
        match self {
            Self::KillUnit { down_us, .. }
            | Self::CutPower { down_us, .. }
            | Self::CutPowerWhenTold { down_us, .. }
            | Self::Kill { down_us, .. } => Some(*down_us),
            Self::Pause { for_us, .. } | Self::Block { for_us, .. } => Some(*for_us),
            _ => None,
        }
    }
}

impl World {
    fn begin(seed: u64) -> Self {
        let judge = Arc::new(Judge::default());
        let roads = Roads::new(seed, judge);
        let level = if Random::new(seed).below(4) == 0 {
            Level::Placed
        } else {
            Level::Persistent
        };
        let plain = Arc::new(Plain {
            ledger: Ledger::default(),
            made: Made::default(),
            level,
            commits_since: AtomicU64::new(0),
            takeovers: AtomicU64::new(0),
            ruined: AtomicBool::new(false),
        });
        let mut world = Self {
            unit: UnitHost::new(Arc::clone(&roads)),
            manager: ManagerHost::new(Arc::clone(&roads)),
            pair: Pair::new(Arc::clone(&roads)),
            roads,
            plain,
            looks: Arc::default(),
            writers: [None; WRITERS as usize],
            follower: None,
            faults: 0,
        };
        world.unit.start();
        world.manager.start();
        Place::users().for_each(|place| world.start(place));
        world
    }

    fn start(&mut self, place: Place) {
        match place {
            Place::Unit => self.unit.start(),
            Place::Manager => self.manager.start(),
            Place::Member(number) => self.pair.start(number),
            Place::Writer(number) => {
                let writer = Writer {
                    place,
                    roads: Arc::clone(&self.roads),
                    plain: Arc::clone(&self.plain),
                };
                let process = &mut self.writers[usize::from(number)];
                if process.is_none() {
                    *process = Some(machine::start(&format!("writer-{number}"), move || writer.live()));
                }
            }
            Place::Follower => {
                let follower = Follower {
                    roads: Arc::clone(&self.roads),
                    plain: Arc::clone(&self.plain),
                    looks: Arc::clone(&self.looks),
                };
                if self.follower.is_none() {
                    self.follower = Some(machine::start("follower", move || follower.live()));
                }
            }
            Place::Clients => {}
        }
    }

    fn kill(&mut self, place: Place) {
        match place {
            Place::Unit | Place::Clients => {}
            Place::Manager => self.manager.kill(),
            Place::Member(number) => self.pair.kill(number),
            Place::Writer(_) | Place::Follower => {
                let process = match place {
                    Place::Writer(number) => self.writers[usize::from(number)].take(),
                    _ => self.follower.take(),
                };
                if let Some(process) = process {
                    machine::kill(process);
                    self.roads.cut(place);
                }
            }
        }
    }

    fn process(&self, place: Place) -> Option<Process> {
        match place {
            Place::Manager => self.manager.process(),
            Place::Member(number) => self.pair.process(number),
            Place::Writer(number) => self.writers[usize::from(number)],
            Place::Follower => self.follower,
            Place::Unit | Place::Clients => None,
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Begin(fault) => {
                machine::trace(|| format!("{fault:?}"));
                self.faults += 1;
                self.begin_fault(fault);
            }
            Act::End(fault) => {
                machine::trace(|| format!("ends: {fault:?}"));
                self.end_fault(fault);
            }
        }
    }

    fn cut_power(&mut self, number: u64) {
        if self.plain.level == Level::Placed {
            self.plain.ledger.excuse();
        }
        self.unit.kill(Some(survival(number)));
    }

    fn begin_fault(&mut self, fault: &Fault) {
        match fault {
            Fault::KillUnit { and_manager, .. } => {
                self.unit.kill(None);
                if *and_manager {
                    self.manager.kill();
                }
            }
            Fault::CutPower { survival: number, .. } => self.cut_power(*number),
            Fault::CutPowerWhenTold { survival: number, .. } => {
                let (before, patience) = (self.roads.judge.tellings(), machine::now() + TOLD_PATIENCE);
                while self.roads.judge.tellings() == before && machine::now() < patience {
                    std::thread::sleep(Duration::from_micros(5));
                }
                self.cut_power(*number);
            }
            Fault::Kill { place, .. } => self.kill(*place),
            Fault::Pause { place, .. } => {
                if let Some(process) = self.process(*place) {
                    machine::pause(process);
                }
            }
            Fault::Block { from, to, both, .. } => {
                self.roads.block(*from, *to, true);
                if *both {
                    self.roads.block(*to, *from, true);
                }
            }
            Fault::LoseLinks { place, after_bytes } => self.roads.lose_links(*place, *after_bytes),
            Fault::CutCalls { from, to } => self.roads.cut_calls(*from, *to),
            Fault::JumpClock { place, offset_ms } => {
                if let Some(process) = self.process(*place) {
                    machine::set_wall_clock(process, *offset_ms);
                }
            }
            Fault::SkewClock { place, ppm } => {
                if let Some(process) = self.process(*place) {
                    machine::set_rate(process, *ppm);
                }
            }
        }
    }

    fn end_fault(&mut self, fault: &Fault) {
        match fault {
            Fault::KillUnit { and_manager, .. } => {
                self.unit.start();
                if *and_manager {
                    self.manager.start();
                }
            }
            Fault::CutPower { .. } | Fault::CutPowerWhenTold { .. } => self.unit.start(),
            Fault::Kill { place, .. } => self.start(*place),
            Fault::Pause { place, .. } => {
                if let Some(process) = self.process(*place) {
                    machine::resume(process);
                }
            }
            Fault::Block { from, to, both, .. } => {
                self.roads.block(*from, *to, false);
                if *both {
                    self.roads.block(*to, *from, false);
                }
            }
            _ => {}
        }
    }

    /// All faults end.
    fn rest(&mut self) {
        machine::trace(|| "all faults have ended".to_owned());
        self.roads.heal();
        self.unit.start();
        self.manager.start();
        for place in Place::users().chain([Place::Manager]) {
            self.start(place);
            if let Some(process) = self.process(place) {
                machine::resume(process);
            }
        }
    }

    /// Waits until everybody has been served again.
    fn await_life(&self, clients: &Clients, process: Process) {
        let deadline = machine::now() + LIVE_AGAIN;
        loop {
            let mut waiting = clients.waiting();
            let commits = self.plain.commits_since.load(Ordering::SeqCst);
            if commits < COMMITS_AGAIN && !self.plain.ruined.load(Ordering::SeqCst) {
                waiting.push(format!(
                    "the plain region for a commit ({commits} since the faults ended)"
                ));
            }
            if waiting.is_empty() && machine::ended(process) {
                return;
            }
            if machine::now() > deadline {
                violation(
                    "nobody-is-served",
                    format!(
                        "{} s after the last fault these still wait: {}. {}",
                        LIVE_AGAIN.as_secs(),
                        waiting.join("; "),
                        self.pair.describe()
                    ),
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything that is found when all has come to rest.
    fn judge(&mut self, clients: &Clients) -> BTreeMap<String, u64> {
        for place in Place::users() {
            if matches!(place, Place::Writer(_)) {
                self.kill(place);
            }
        }
        let session = connect(&self.roads, Place::Clients);
        let found = session.backup(PLAIN).and_then(|mut backup| backup.read_all());
        match found {
            Ok(sets) => self.plain.ledger.final_state(&state_of(&sets)),
            Err(error) => {
                if !self.plain.ledger.is_excused() {
                    violation("region-lost", format!("in the end: {error:?}"));
                }
            }
        }
        match session.regions() {
            Ok(regions) => self.plain.made.check(&regions),
            Err(error) => violation(
                "nobody-is-served",
                format!("the regions cannot be listed: {error}"),
            ),
        }
        history::check(&clients.history());
        let counters = [
            ("faults", self.faults),
            ("losses of power", self.unit.power_cuts),
            ("requests answered", clients.answered.load(Ordering::SeqCst)),
            ("requests sent again", clients.resent.load(Ordering::SeqCst)),
            ("sets committed", self.plain.ledger.commits()),
            ("owners", self.plain.ledger.owners()),
            (
                "takeovers by backups",
                self.plain.takeovers.load(Ordering::SeqCst),
            ),
            ("states compared", self.looks.load(Ordering::SeqCst)),
            ("writes landed", self.roads.judge.landings()),
        ];
        counters.map(|(name, count)| (name.to_owned(), count)).into()
    }
}

const _: () = assert!(MEMBERS > 1);
