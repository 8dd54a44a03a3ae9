//! The world: time, messages, faults, and the members in it.

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
pub(super) const MEMBERS: usize = 3;
const CLIENTS: usize = 5;
/// Bounds on replies: fewer sessions than the clients may open, so that some are evicted.
pub(super) const REPLIES: ReplyBounds = ReplyBounds {
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

pub(super) struct World {
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
    pub(super) fn new(seed: u64, bug: Bug, trace: bool) -> Self {
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
    pub(super) fn run(&mut self) -> Result<Summary, String> {
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

    pub(super) fn fingerprint(&self) -> u64 {
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

    // Members.

    fn start(&mut self, index: usize) {
        let member = &mut self.members[index];
        if member.node.is_some() {
            return;
        }
        let limits = Limits {
            batch_requests: 4,
            batch_bytes: 400,
            snapshot_at: 0.5,
            // Members need not agree: what the primary goes by is journalled.
            replies: ReplyBounds {
                sessions: REPLIES.sessions - index,
                ..REPLIES
            },
            takeovers: 200,
            window_ms: 1_000_000,
        };
        member.node = Some(Node::new(Tally::default(), limits));
        let life = (index, member.life);
        member.events.push_back(Event::Start);
        self.pump(life);
    }

    fn crash(&mut self, index: usize) {
        let member = &mut self.members[index];
        if member.node.is_none() {
            return;
        }
        let link = member.die();
        if let Link::Primary(tenure) = link {
            self.after((500, 60_000), Action::Gone(tenure.conn));
        }
        self.after((1000, 50_000), Action::Start(index));
    }

    fn resume(&mut self, index: usize) {
        self.members[index].paused = false;
        for action in std::mem::take(&mut self.members[index].frozen) {
            self.after((0, 300), action);
        }
    }

    /// Lets a member's core do what there is to do.
    fn pump(&mut self, life: Life) {
        while self.lives(life) && !self.members[life.0].blocked {
            let member = &mut self.members[life.0];
            let Some(node) = &member.node else {
                return;
            };
            let event = match member.events.pop_front() {
                Some(event) => event,
                None if !member.calls.is_empty() && (node.role() != Role::Primary || node.takes_calls()) => {
                    let take = self.random.index(member.calls.len().min(8)) + 1;
                    let calls = self.members[life.0].calls.drain(..take).collect();
                    Event::Calls {
                        calls,
                        journal: self.journal(),
                    }
                }
                None => return,
            };
            self.feed(life, event);
        }
    }

    fn feed(&mut self, life: Life, event: Event) {
        let event = match event {
            Event::Saved { .. } => Event::Saved {
                journal: self.journal(),
            },
            event => event,
        };
        let now = self.clock(life.0);
        let member = &mut self.members[life.0];
        let Some(node) = &mut member.node else {
            return;
        };
        let before = node.role();
        let effects = node.handle(now, event);
        let after = node.role();
        let stopped = node.stopped().map(str::to_owned);
        if self.trace && before != after {
            eprintln!("{:>8}   member {life:?}: {before} -> {after}", self.now_us);
        }
        if before == Role::TakingOver && after == Role::Primary {
            self.summary.takeovers += 1;
        }
        if let Some(why) = stopped {
            self.violation
                .get_or_insert(format!("member {life:?} stopped: {why}"));
        }
        for effect in effects {
            self.perform(life, effect);
        }
    }

    fn perform(&mut self, life: Life, effect: Effect) {
        match effect {
            Effect::OpenPrimary => self.ask_manager(life, Ask::Open),
            Effect::OpenBackup => self.ask_manager(life, Ask::OpenBackup),
            Effect::TakeOver => {
                let expected = match &self.members[life.0].link {
                    Link::Backup(_, generation) => *generation,
                    _ => 0,
                };
                self.ask_manager(life, Ask::TakeOver { expected });
            }
            Effect::Append { set, answers } => self.append(life, set, answers),
            Effect::Confirm { answers } => {
                let Link::Primary(tenure) = &mut self.members[life.0].link else {
                    return;
                };
                let number = tenure.output.hold_for_confirm(answers);
                if self.bug == Bug::ReadUnconfirmed {
                    let answers = tenure.output.confirmed(number);
                    return self.release(life, answers);
                }
                self.send(life, Op::Confirm { number });
            }
            Effect::Save { snapshot } => {
                let Link::Primary(tenure) = &mut self.members[life.0].link else {
                    return;
                };
                let sequence = tenure.next_sequence;
                tenure.next_sequence += 1;
                self.send(life, Op::Save { sequence, snapshot });
            }
            Effect::Answer(answers) => self.release(life, answers),
            Effect::Drain => {
                if let Link::Primary(tenure) = &mut self.members[life.0].link {
                    tenure.draining = true;
                }
                self.drained(life);
            }
            Effect::Close => {
                let generation = self.members[life.0].node.as_ref().map_or(0, Node::generation);
                self.drop_link(life);
                self.ask_manager(life, Ask::Close { generation });
            }
            Effect::Abandon => self.drop_link(life),
            Effect::Rest { ms } => {
                let at_us = self.now_us + ms * 1000;
                self.at(at_us, Action::Tell(life, Event::Tick));
            }
        }
    }

    fn append(&mut self, life: Life, set: Vec<u8>, answers: Vec<Answer>) {
        let Link::Primary(tenure) = &mut self.members[life.0].link else {
            return;
        };
        let sequence = tenure.next_sequence;
        tenure.next_sequence += 1;
        self.check.appended(life, sequence, tenure.generation, &answers);
        tenure.output.hold_for_commit(sequence, answers);
        let early = match self.bug {
            Bug::ReplyBeforeCommit => tenure.output.committed(sequence),
            _ => vec![],
        };
        self.release(life, early);
        self.send(life, Op::Append { sequence, set });
    }

    /// Sends an operation on a primary's write connection.
    fn send(&mut self, life: Life, op: Op) {
        let delay_us = self.random.between(20, 400);
        let now_us = self.now_us;
        let Link::Primary(tenure) = &mut self.members[life.0].link else {
            return;
        };
        tenure.unacknowledged.push_back(op.clone());
        tenure.last_arrival_us = (now_us + delay_us).max(tenure.last_arrival_us + 1);
        let (at_us, conn, generation) = (tenure.last_arrival_us, tenure.conn, tenure.generation);
        self.at(at_us, Action::Unit(life, conn, generation, op));
    }

    fn release(&mut self, life: Life, answers: Vec<Answer>) {
        let generation = self.members[life.0].node.as_ref().map_or(0, Node::generation);
        for answer in answers {
            if let Err(violation) = self.check.left(life, generation, &answer, &self.region) {
                self.violation.get_or_insert(violation);
            }
            if matches!(answer.result, Err(CallError::OutcomeUnknown { .. })) {
                self.summary.unknown_outcomes += 1;
            }
            let index = usize::try_from(answer.call.0).expect("an index");
            let (client, attempt) = self.members[life.0].callers[index];
            if !self.random.chance(20) {
                self.after((30, 2000), Action::Reply(client, attempt, answer.result));
            }
        }
    }

    fn drained(&mut self, life: Life) {
        if let Link::Primary(tenure) = &mut self.members[life.0].link
            && tenure.draining
            && tenure.output.is_empty()
            && !tenure
                .unacknowledged
                .iter()
                .any(|op| matches!(op, Op::Append { .. }))
        {
            tenure.draining = false;
            let generation = tenure.generation;
            self.after((1, 50), Action::TellOwner(life, generation, Event::Drained));
        }
    }

    fn drop_link(&mut self, life: Life) {
        // What the old link still would have told must not be taken for its successor's.
        self.members[life.0]
            .events
            .retain(|event| !matches!(event, Event::Saved { .. } | Event::Lost { .. } | Event::Drained));
        if let Link::Primary(mut tenure) = std::mem::replace(&mut self.members[life.0].link, Link::None) {
            let answers = tenure.output.fail(None);
            self.release(life, answers);
            self.after((100, 5000), Action::Gone(tenure.conn));
        }
    }

    fn poll(&mut self, life: Life) {
        self.after((800, 3000), Action::Poll(life));
        let paused_owner = self.region.owner.is_some_and(|owner| self.members[owner].paused);
        let suspected = if self.region.owner.is_none() {
            Some(Cause::Closed)
        } else if self.region.writer.is_none() && self.now_us >= self.grace_until_us {
            Some(Cause::OwnerLost)
        } else if self.random.chance(if paused_owner { 100 } else { 2 }) {
            Some(Cause::Silent)
        } else {
            None
        };
        let generation = self.region.generation;
        let late = self.random.chance(300);
        let member = &mut self.members[life.0];
        if member.blocked {
            return;
        }
        let Link::Backup(reader, expected) = &mut member.link else {
            return;
        };
        if !late {
            *expected = generation;
            let fed = self.region.read(reader).fed;
            member.events.push_back(Event::Fresh(fed));
        }
        member
            .events
            .push_back(suspected.map_or(Event::Reassured, Event::Suspected));
        self.pump(life);
    }

    // The manager.

    fn ask_manager(&mut self, life: Life, ask: Ask) {
        self.members[life.0].blocked = true;
        if self.faulty() && self.random.chance(40) {
            let failed = Self::failed(ask);
            return self.after((10_000, 20_000), Action::Granted(life, Grant::Event(failed)));
        }
        self.after((100, 1500), Action::Manager(life, ask));
    }

    fn failed(ask: Ask) -> Event {
        let why = "the manager did not answer".to_owned();
        match ask {
            Ask::Open | Ask::OpenBackup => Event::OpenFailed { why, fatal: false },
            Ask::TakeOver { .. } => Event::TakeoverFailed { why, fatal: false },
            Ask::Close { .. } => Event::Closed,
        }
    }

    fn manager(&mut self, life: Life, ask: Ask) {
        let grant = match ask {
            Ask::Open if self.region.owner.is_some() && self.region.writer.is_some() => {
                Grant::Event(Event::Owned)
            }
            Ask::Open => {
                let conn = self.grant(life);
                Grant::Opened(conn, self.region.generation)
            }
            Ask::OpenBackup => Grant::Backup,
            Ask::TakeOver { expected } if expected != self.region.generation => Grant::Event(Event::LostRace),
            Ask::TakeOver { .. } => {
                let conn = self.grant(life);
                Grant::TookOver(conn, self.region.generation)
            }
            Ask::Close { generation } => {
                if self.region.generation == generation {
                    self.region.owner = None;
                    self.region.writer = None;
                }
                Grant::Event(Event::Closed)
            }
        };
        if self.faulty() && self.random.chance(30) {
            // The answer is lost, and with it the ticket: nobody ever connects.
            if let Grant::Opened(conn, _) | Grant::TookOver(conn, _) = grant {
                self.after((0, 10), Action::Gone(conn));
            }
            return self.after(
                (10_000, 20_000),
                Action::Granted(life, Grant::Event(Self::failed(ask))),
            );
        }
        self.after((100, 1500), Action::Granted(life, grant));
    }

    fn grant(&mut self, life: Life) -> Conn {
        let (conn, Fenced(before)) = self.region.grant(life.0);
        if let Some(before) = before {
            let owner = (0..MEMBERS).find(|index| self.members[*index].conn() == Some(before));
            if let Some(owner) = owner {
                let life = (owner, self.members[owner].life);
                self.after((50, 30_000), Action::Stopped(life, before));
            }
        }
        conn
    }

    fn granted(&mut self, life: Life, grant: Grant) {
        self.members[life.0].blocked = false;
        let event = match grant {
            Grant::Event(event) => event,
            Grant::Backup => {
                self.drop_link(life);
                self.members[life.0].link = Link::Backup(Reader::default(), self.region.generation);
                self.after((10, 500), Action::Poll(life));
                Event::Following
            }
            Grant::Opened(conn, generation) if self.region.writer == Some(conn) => {
                let mut reader = Reader::default();
                let sets = self.region.read(&mut reader).fed;
                self.own(life, conn, generation, reader);
                Event::Opened {
                    generation,
                    sets,
                    journal: self.journal(),
                }
            }
            Grant::TookOver(conn, generation) if self.region.writer == Some(conn) => {
                let Link::Backup(reader, _) = &mut self.members[life.0].link else {
                    return;
                };
                let mut reader = std::mem::take(reader);
                let reading = self.region.read(&mut reader);
                self.summary.ahead += u64::from(reading.ahead);
                self.own(life, conn, generation, reader);
                Event::TookOver {
                    generation,
                    unread: reading.fed,
                    ahead: reading.ahead,
                    journal: self.journal(),
                }
            }
            // Fenced, or the unit gone, before it could read.
            Grant::Opened(..) => Self::failed(Ask::Open),
            Grant::TookOver(..) => Self::failed(Ask::TakeOver { expected: 0 }),
        };
        self.members[life.0].events.push_front(event);
        self.pump(life);
    }

    fn own(&mut self, life: Life, conn: Conn, generation: u64, reader: Reader) {
        let next_sequence = self.region.last_sequence().max(reader.last.sequence) + 1;
        self.members[life.0].link = Link::Primary(Tenure {
            generation,
            conn,
            next_sequence,
            output: Output::default(),
            unacknowledged: VecDeque::new(),
            reader,
            draining: false,
            last_arrival_us: self.now_us,
        });
    }

    // The unit.

    /// An operation arrives, perhaps of a member that is no more.
    fn unit(&mut self, life: Life, conn: Conn, generation: u64, op: Op) {
        if !self.region.admits(conn, generation) {
            return;
        }
        if let Op::Append { sequence, set } = &op {
            self.region.place(*sequence, generation, set.clone());
        }
        let delay = match op {
            Op::Confirm { .. } => (1, 50),
            // Disks have bad days.
            _ if self.random.chance(50) => (600, 10_000),
            _ => (50, 600),
        };
        self.after(delay, Action::Flushed(life, conn, generation, op));
    }

    fn flushed(&mut self, life: Life, conn: Conn, generation: u64, op: Op) {
        if !self.region.admits(conn, generation) {
            return;
        }
        match &op {
            Op::Append { .. } => self.region.persist(),
            Op::Save { sequence, snapshot } => {
                let name = Name {
                    sequence: *sequence,
                    generation,
                };
                let nothing = Reader::default();
                let reader = match &self.members[life.0].link {
                    Link::Primary(tenure) if tenure.conn == conn => &tenure.reader,
                    _ => &nothing,
                };
                self.region.save(
                    Snapshot {
                        name,
                        bytes: snapshot.clone(),
                    },
                    reader,
                );
                self.summary.snapshots += 1;
            }
            Op::Confirm { .. } => {}
        }
        self.after((20, 3000), Action::Landed(life, conn, op));
    }

    /// Acknowledgements may overtake each other here: a set is committed when it and all before it are.
    fn landed(&mut self, life: Life, conn: Conn, op: &Op) {
        let Link::Primary(tenure) = &mut self.members[life.0].link else {
            return;
        };
        if tenure.conn != conn {
            return;
        }
        tenure.unacknowledged.retain(|other| !other.is(op));
        let free = match op {
            Op::Append { sequence, .. } => {
                // Everything placed before it was flushed with it.
                tenure
                    .unacknowledged
                    .retain(|other| !matches!(other, Op::Append { sequence: s, .. } if s <= sequence));
                tenure.output.committed(*sequence)
            }
            Op::Confirm { number } => tenure.output.confirmed(*number),
            Op::Save { .. } => {
                let (generation, event) = (
                    tenure.generation,
                    Event::Saved {
                        journal: Journal::default(),
                    },
                );
                self.after((1, 100), Action::TellOwner(life, generation, event));
                vec![]
            }
        };
        self.release(life, free);
        self.drained(life);
    }

    fn stopped(&mut self, life: Life, conn: Conn) {
        if self.members[life.0].conn() == Some(conn) {
            self.members[life.0]
                .events
                .push_back(Event::Lost { fenced: true });
            self.pump(life);
        }
    }

    fn power_cut(&mut self) {
        self.summary.power_cuts += 1;
        self.grace_until_us = self.now_us + 20_000;
        let kept = self.random.index(4);
        self.region.lose_power(kept);
        for index in 0..MEMBERS {
            if self.members[index].conn().is_some() {
                let life = (index, self.members[index].life);
                self.after((1000, 15_000), Action::Reconnect(life));
            }
        }
    }

    /// A primary comes back after the unit did, and sends again what was not acknowledged.
    fn reconnect(&mut self, life: Life) {
        let Some(generation) = self.members[life.0].generation() else {
            return;
        };
        if self.region.generation != generation || self.region.owner != Some(life.0) {
            self.members[life.0]
                .events
                .push_back(Event::Lost { fenced: true });
            return self.pump(life);
        }
        let conn = self.region.connect();
        let Link::Primary(tenure) = &mut self.members[life.0].link else {
            return;
        };
        tenure.conn = conn;
        for op in std::mem::take(&mut tenure.unacknowledged) {
            self.send(life, op);
        }
    }

    // Clients.

    fn ask(&mut self, client: usize) {
        let seen = self.check.seen;
        let Some(ask) = self.clients[client].ask(self.bug, seen) else {
            return;
        };
        let (attempt, member) = (self.clients[client].attempt, self.clients[client].target);
        if !self.random.chance(20) {
            self.after((30, 1500), Action::Request(client, member, attempt, ask));
        }
        self.after((5000, 30_000), Action::Impatient(client, attempt));
    }

    fn ask_another(&mut self, client: usize) {
        self.clients[client].target = self.random.index(MEMBERS);
        self.clients[client].asked_again = true;
        self.ask(client);
    }

    fn request(&mut self, client: usize, index: usize, attempt: u64, ask: crate::machine::Ask) {
        let member = &mut self.members[index];
        if member.node.is_none() {
            let refused = Err(CallError::NotPrimary { primary: None });
            return self.after((100, 3000), Action::Reply(client, attempt, refused));
        }
        let id = CallId(member.callers.len() as u64);
        member.callers.push((client, attempt));
        member.calls.push_back(Call { id, ask });
        let life = (index, member.life);
        self.after((0, 300), Action::Pump(life));
    }

    fn reply(&mut self, client: usize, attempt: u64, result: Result<Vec<u8>, CallError>) {
        if !self.clients[client].expects(attempt, self.first_attempt[client]) {
            return;
        }
        let heard = match self.clients[client].hear(attempt, result) {
            Ok(heard) => heard,
            Err(violation) => {
                self.violation.get_or_insert(violation);
                return;
            }
        };
        match heard {
            Heard::Reply(reply) => {
                if let Err(violation) = self.check.shown(&self.clients[client], &reply) {
                    self.violation.get_or_insert(violation);
                }
                self.summary.acknowledged += 1;
                let asked = &self.clients[client];
                self.summary.reads += u64::from(asked.doing == Doing::Reading);
                self.summary.repeated += u64::from(asked.asked_again && asked.doing != Doing::Reading);
            }
            Heard::Opened => {}
            Heard::Evicted => self.summary.evicted += 1,
            Heard::Again if self.clients[client].attempt == attempt => return self.ask_another(client),
            Heard::Again => return,
        }
        self.first_attempt[client] = self.clients[client].attempt;
        let seen = self.check.seen;
        self.clients[client].next(&mut self.random, seen);
        self.ask(client);
    }

    // The rest.

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
