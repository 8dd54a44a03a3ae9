//! The world: time, messages, faults, and the members in it.

mod clients;
mod manager;
mod members;
mod unit;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::machine::{Call, Cause, Clock, Effect, Event, Journal, Limits, Node};
use crate::output::{Answer, CallId, Output};
use crate::{CallError, ReplyBounds, Role};

use super::check::Check;
use super::client::{Client, Doing, Heard};
use super::random::Random;
use super::region::{Conn, Fenced, Name, Reader, Region, Snapshot};
use super::tally::Tally;
use super::{Bug, Summary};

/// Members of a pair; a third is what a new backup is while the old one is not quite gone.
pub(in crate::simulation) const MEMBERS: usize = 3;
const CLIENTS: usize = 5;
/// Bounds on replies: fewer sessions than the clients may open, so that some are evicted.
pub(in crate::simulation) const REPLIES: ReplyBounds = ReplyBounds {
    sessions: 6,
    replies_per_session: 2,
    bytes: 4000,
};
/// Small, so that the ring is lapped.
const JOURNAL_BYTES: u64 = 9000;
/// Faults happen in the first part of a run; then everybody must get what they asked for.
const FAULTS_UNTIL_US: u64 = 150_000;
/// A run that is not over by then is stuck.
const LIMIT_US: u64 = 60_000_000;
/// Clocks begin here.
const EPOCH_MS: u64 = 1_000_000;

/// Names one life of a member: which, and how many it had before.
type Life = (usize, u64);

/// What is to happen.
#[derive(Debug)]
enum Action {
    /// A member may have something to do.
    Pump(Life),
    /// Something is told to a member.
    Tell(Life, Event),
    /// As `Tell`, if the member still is primary of that generation.
    TellOwner(Life, u64, Event),
    /// As `Tell`, as the answer to what the member's core waits for.
    Granted(Life, Grant),
    Poll(Life),
    /// A member's request arrives at the manager.
    Manager(Life, Ask),
    /// An operation arrives at the unit on a connection.
    Unit(Life, Conn, u64, Op),
    /// The unit has flushed.
    Flushed(Life, Conn, u64, Op),
    /// The unit's answer arrives.
    Landed(Life, Conn, Op),
    /// The unit told a member that its connection is stopped.
    Stopped(Life, Conn),
    /// The unit notices that a connection is gone.
    Gone(Conn),
    Reconnect(Life),
    /// A client's request arrives.
    Request(usize, usize, u64, crate::machine::Ask),
    /// A member's answer arrives.
    Reply(usize, u64, Result<Vec<u8>, CallError>),
    Impatient(usize, u64),
    Crash(usize),
    Start(usize),
    Pause(usize),
    Resume(usize),
    PowerCut,
    /// The unit and the primary's host lose power together.
    Blackout,
    Switchover(usize),
    ClockJump(usize),
}

#[derive(Clone, Copy, Debug)]
enum Ask {
    Open,
    OpenBackup,
    TakeOver { expected: u64 },
    Close { generation: u64 },
}

#[derive(Debug)]
enum Grant {
    Opened(Conn, u64),
    TookOver(Conn, u64),
    Backup,
    Event(Event),
}

/// An operation of a primary on its write connection.
#[derive(Clone, Debug)]
enum Op {
    Append { sequence: u64, set: Vec<u8> },
    Save { sequence: u64, snapshot: Vec<u8> },
    Confirm { number: u64 },
}

struct Member {
    life: u64,
    node: Option<Node<Tally>>,
    paused: bool,
    /// What arrived while it was paused.
    frozen: Vec<Action>,
    events: VecDeque<Event>,
    calls: VecDeque<Call>,
    /// Whom to answer, by call.
    callers: Vec<(usize, u64)>,
    /// Its core waits for an answer of the manager.
    blocked: bool,
    link: Link,
    skew_ms: u64,
}

enum Link {
    None,
    Backup(Reader, u64),
    Primary(Tenure),
}

struct Tenure {
    generation: u64,
    conn: Conn,
    next_sequence: u64,
    output: Output,
    unacknowledged: VecDeque<Op>,
    /// What it had read as backup: the unit may have lost some of it.
    reader: Reader,
    draining: bool,
    /// Messages arrive in the order in which they were sent.
    last_arrival_us: u64,
}

pub(in crate::simulation) struct World {
    bug: Bug,
    trace: bool,
    random: Random,
    now_us: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    actions: BTreeMap<u64, Action>,
    next_action: u64,
    region: Region,
    /// After the unit came back, its clients have until then to do so.
    grace_until_us: u64,
    members: Vec<Member>,
    clients: Vec<Client>,
    /// The attempt before the first one for what a client does now.
    first_attempt: Vec<u64>,
    check: Check,
    summary: Summary,
    violation: Option<String>,
    fingerprint: u64,
}

impl World {
    pub(in crate::simulation) fn new(seed: u64, bug: Bug, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let clients: Vec<_> = (0..CLIENTS).map(|id| Client::new(id, &mut random)).collect();
        let members = (0..MEMBERS)
            .map(|_| Member::dead(random.between(0, 5000)))
            .collect();
        let mut world = Self {
            bug,
            trace,
            random,
            now_us: 0,
            queue: BinaryHeap::new(),
            actions: BTreeMap::new(),
            next_action: 0,
            region: Region::new(JOURNAL_BYTES, bug),
            grace_until_us: 0,
            members,
            clients,
            first_attempt: vec![0; CLIENTS],
            check: Check::default(),
            summary: Summary::default(),
            violation: None,
            fingerprint: 0xcbf2_9ce4_8422_2325,
        };
        world.plan();
        world
    }

    /// Runs to the end.
    pub(in crate::simulation) fn run(&mut self) -> Result<Summary, String> {
        while let Some(Reverse((at_us, id))) = self.queue.pop() {
            self.now_us = at_us;
            let Some(action) = self.actions.remove(&id) else {
                continue;
            };
            self.fingerprint = (self.fingerprint ^ at_us ^ id).wrapping_mul(0x0100_0000_01b3);
            self.act(action);
            if let Some(violation) = self.violation.take() {
                return Err(format!("at {} us: {violation}", self.now_us));
            }
            if self.clients.iter().all(|client| client.doing == Doing::Finished) && at_us > FAULTS_UNTIL_US {
                return self.check.finish(&self.region).map(|()| self.summary);
            }
            if at_us > LIMIT_US {
                break;
            }
        }
        Err(format!("no progress: {}", self.describe()))
    }

    pub(in crate::simulation) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// What befalls this world: as much of each as this seed's temper allows.
    fn plan(&mut self) {
        let temper = self.random.between(0, 4);
        for member in 0..MEMBERS - 1 {
            let at_us = self.random.between(0, 2000);
            self.at(at_us, Action::Start(member));
        }
        for client in 0..CLIENTS {
            self.ask(client);
        }
        let faults = self.random.between(2, 10 + 8 * temper);
        for _ in 0..faults {
            let at_us = self.random.between(2000, FAULTS_UNTIL_US);
            let member = self.random.index(MEMBERS);
            let fault = match self.random.between(0, 12) {
                0..=2 => Action::Crash(member),
                3..=5 => Action::Pause(member),
                6 => Action::PowerCut,
                7 => Action::Blackout,
                8 => Action::PowerCut,
                9 => Action::Switchover(member),
                10 => Action::ClockJump(member),
                _ => Action::Start(member),
            };
            self.at(at_us, fault);
        }
    }

    fn act(&mut self, action: Action) {
        if self.trace {
            eprintln!("{:>8} {action:?}", self.now_us);
        }
        if let Some(member) = action.member()
            && self.members[member].paused
        {
            return self.members[member].frozen.push(action);
        }
        if action.life().is_some_and(|life| !self.lives(life)) {
            return;
        }
        match action {
            Action::Pump(life) => self.pump(life),
            Action::Tell(life, event) => {
                self.members[life.0].events.push_back(event);
                self.pump(life);
            }
            Action::TellOwner(life, generation, event) => {
                if self.members[life.0].generation() == Some(generation) {
                    self.members[life.0].events.push_back(event);
                    self.pump(life);
                }
            }
            Action::Granted(life, grant) => self.granted(life, grant),
            Action::Poll(life) => self.poll(life),
            Action::Manager(life, ask) => self.manager(life, ask),
            Action::Unit(life, conn, generation, op) => self.unit(life, conn, generation, op),
            Action::Flushed(life, conn, generation, op) => self.flushed(life, conn, generation, op),
            Action::Landed(life, conn, op) => self.landed(life, conn, &op),
            Action::Stopped(life, conn) => self.stopped(life, conn),
            Action::Gone(conn) => {
                if self.region.writer == Some(conn) {
                    self.region.writer = None;
                }
            }
            Action::Reconnect(life) => self.reconnect(life),
            Action::Request(client, member, attempt, ask) => self.request(client, member, attempt, ask),
            Action::Reply(client, attempt, result) => self.reply(client, attempt, result),
            Action::Impatient(client, attempt) => {
                if self.clients[client].attempt == attempt && self.clients[client].doing != Doing::Finished {
                    self.ask_another(client);
                }
            }
            Action::Crash(member) => self.crash(member),
            Action::Start(member) => self.start(member),
            Action::Pause(member) => {
                self.members[member].paused = true;
                self.after((500, 120_000), Action::Resume(member));
            }
            Action::Resume(member) => self.resume(member),
            Action::PowerCut => self.power_cut(),
            Action::Blackout => {
                self.power_cut();
                if let Some(owner) = self.region.owner {
                    self.crash(owner);
                }
            }
            Action::Switchover(member) => {
                if self.members[member]
                    .node
                    .as_ref()
                    .is_some_and(|node| node.role() == Role::Primary)
                {
                    self.summary.switchovers += 1;
                }
                self.members[member].events.push_back(Event::SwitchoverAsked);
                let life = (member, self.members[member].life);
                self.pump(life);
            }
            Action::ClockJump(member) => self.members[member].skew_ms = self.random.between(0, 5000),
        }
    }

    fn lives(&self, (index, life): Life) -> bool {
        self.members[index].life == life && self.members[index].node.is_some()
    }

    fn faulty(&self) -> bool {
        self.now_us < FAULTS_UNTIL_US
    }

    fn journal(&self) -> Journal {
        Journal {
            used: self.region.used(),
            capacity: self.region.capacity,
        }
    }

    fn clock(&self, member: usize) -> Clock {
        let now_ms = self.now_us / 1000;
        Clock {
            mono_ms: now_ms + member as u64,
            unix_ms: EPOCH_MS + now_ms + self.members[member].skew_ms,
        }
    }

    fn after(&mut self, (low_us, high_us): (u64, u64), action: Action) {
        let at_us = self.now_us + self.random.between(low_us, high_us);
        self.at(at_us, action);
    }

    fn at(&mut self, at_us: u64, action: Action) {
        self.next_action += 1;
        self.queue.push(Reverse((at_us, self.next_action)));
        self.actions.insert(self.next_action, action);
    }

    fn describe(&self) -> String {
        let roles: Vec<_> = self
            .members
            .iter()
            .map(|member| member.node.as_ref().map(Node::role))
            .collect();
        let doing: Vec<_> = self.clients.iter().map(|client| client.doing).collect();
        format!(
            "members {roles:?}, owner {:?}, writer {:?}, clients {doing:?}",
            self.region.owner, self.region.writer
        )
    }
}

impl Member {
    fn dead(skew_ms: u64) -> Self {
        Self {
            life: 0,
            node: None,
            paused: false,
            frozen: Vec::new(),
            events: VecDeque::new(),
            calls: VecDeque::new(),
            callers: Vec::new(),
            blocked: false,
            link: Link::None,
            skew_ms,
        }
    }

    fn die(&mut self) -> Link {
        let link = std::mem::replace(&mut self.link, Link::None);
        *self = Self {
            life: self.life + 1,
            frozen: std::mem::take(&mut self.frozen),
            ..Self::dead(self.skew_ms)
        };
        link
    }

    fn conn(&self) -> Option<Conn> {
        match &self.link {
            Link::Primary(tenure) => Some(tenure.conn),
            _ => None,
        }
    }

    fn generation(&self) -> Option<u64> {
        match &self.link {
            Link::Primary(tenure) => Some(tenure.generation),
            _ => None,
        }
    }
}

impl Op {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Append { sequence: a, .. }, Self::Append { sequence: b, .. })
            | (Self::Save { sequence: a, .. }, Self::Save { sequence: b, .. })
            | (Self::Confirm { number: a }, Self::Confirm { number: b }) => a == b,
            _ => false,
        }
    }
}

impl Action {
    /// The life that this is for; nothing happens if that is over.
    fn life(&self) -> Option<Life> {
        match self {
            Self::Pump(life)
            | Self::Tell(life, _)
            | Self::TellOwner(life, ..)
            | Self::Granted(life, _)
            | Self::Poll(life)
            | Self::Landed(life, ..)
            | Self::Stopped(life, _)
            | Self::Reconnect(life) => Some(*life),
            _ => None,
        }
    }

    /// The member that must run for this to happen.
    fn member(&self) -> Option<usize> {
        match self {
            Self::Switchover(member) | Self::Request(_, member, ..) => Some(*member),
            other => other.life().map(|(member, _)| member),
        }
    }
}
