//! Clients of the pair: threads that ask, and write down what they were told.
//!
//! Half of them have sessions, so that each of their requests is carried out once; they ask until they are answered. The others are ordinary Redis
//! clients: they take any member, and where the connection breaks nobody knows what became of the request.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outlive_kv::client::{ClientError, SessionClient, SessionOptions};
use redis::{Cmd, Connection, ErrorKind, FromRedisValue, RedisError, Value, cmd};
use serde::Serialize;

use crate::history::{Entry, History, Operation, Reply};
use crate::lab::Host;
use crate::random::Random;
use crate::sets::Adds;

/// Operations on one key of registers and counters; then the next key is used. Long enough for several faults to fall into it, and short
/// enough for the search of an order to be short.
const OPERATIONS_PER_KEY: u64 = 250;
/// Elements of one set; then the next is used.
const ELEMENTS_PER_SET: u64 = 2000;
/// Time-outs are far below the faults' lengths, so that clients give up during some and not during others.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
const REPLY_TIMEOUT: Duration = Duration::from_millis(800);
/// One attempt of a session client; it goes on with the same request afterwards.
const RETRY_FOR: Duration = Duration::from_secs(2);
/// Between two operations of a client, in microseconds at most: they are to meet, not to fill the machine.
const PAUSE_US: u64 = 6000;
/// Times without any reply that stand in the timeline.
const NOTED_SILENCE: Duration = Duration::from_secs(1);
/// Odd replies that are kept to be shown.
const ODD_SHOWN: usize = 20;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Reads, writes and swaps of single values.
    Registers,
    /// Counters that are incremented and read.
    Counters,
    /// Elements added to sets.
    Sets,
    /// Checkpoints saved and appended by the command line, beside the pair.
    Checkpoints,
}

impl Workload {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Registers, Self::Counters, Self::Sets, Self::Checkpoints];

    /// As `--workload` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Registers => "registers",
            Self::Counters => "counters",
            Self::Sets => "sets",
            Self::Checkpoints => "checkpoints",
        }
    }
}

impl std::str::FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|workload| workload.name() == text)
            .ok_or_else(|| {
                format!(
                    "no such workload; there are: {}",
                    Self::ALL.map(Self::name).join(", ")
                )
            })
    }
}

/// Something that a broken service would do, done by the clients themselves: it must be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A read returns what was there before all writes.
    StaleRead,
    /// An increment is carried out twice.
    DoubledIncrement,
    /// An addition is acknowledged and never carried out.
    LostAddition,
}

/// A lie is told so many times of a thousand.
const LIES_PERMILLE: u32 = 200;

/// How many operations ended how.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Outcomes {
    /// Acknowledged.
    pub ok: u64,
    /// Refused: not carried out.
    pub refused: u64,
    /// Nobody knows.
    pub unknown: u64,
}

/// All that clients share.
pub(crate) struct Crew {
    pub(crate) history: History,
    pub(crate) adds: Adds,
    addresses: Vec<String>,
    workloads: Vec<Workload>,
    seed: u64,
    lie: Option<Lie>,
    begun: AtomicU64,
    ended: AtomicBool,
    outcomes: [AtomicU64; 3],
    odd: Mutex<Vec<String>>,
    pulse: Mutex<Pulse>,
}

/// When replies came.
struct Pulse {
    last: Instant,
    longest: Duration,
    /// When there were none for long: from, to.
    silences: Vec<(Instant, Instant)>,
}

/// How an attempt ended.
enum Ended<T> {
    Replied(T),
    Refused,
    Unknown,
}

impl Crew {
    pub(crate) fn new(addresses: &[String], workloads: &[Workload], seed: u64, lie: Option<Lie>) -> Self {
        let of_pair = |workload: &Workload| *workload != Workload::Checkpoints;
        Self {
            history: History::new(),
            adds: Adds::default(),
            addresses: addresses.to_vec(),
            workloads: workloads.iter().copied().filter(of_pair).collect(),
            seed,
            lie,
            begun: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            outcomes: Default::default(),
            odd: Mutex::default(),
            pulse: Mutex::new(Pulse {
                last: Instant::now(),
                longest: Duration::ZERO,
                silences: Vec::new(),
            }),
        }
    }

    /// Tells every client to end; one that waits for a reply gives it up.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        let [ok, refused, unknown] = [0, 1, 2].map(|place| self.outcomes[place].load(Ordering::Relaxed));
        Outcomes { ok, refused, unknown }
    }

    /// Replies that make no sense, or that a client must never get.
    pub(crate) fn odd(&self) -> Vec<String> {
        lock(&self.odd).clone()
    }

    /// The longest time in which no client got any reply.
    pub(crate) fn longest_silence(&self) -> Duration {
        lock(&self.pulse).longest
    }

    /// When no client got any reply for long, since this was last asked.
    pub(crate) fn new_silences(&self) -> Vec<(Instant, Instant)> {
        std::mem::take(&mut lock(&self.pulse).silences)
    }

    /// What client `number` does until the end, on the calling thread, from this host.
    pub(crate) fn work(&self, number: usize, host: Option<&Host>) {
        if let Some(Err(error)) = host.map(Host::enter) {
            self.note_odd(format!("client {number} could not enter its host: {error}"));
            return;
        }
        if self.workloads.is_empty() {
            return;
        }
        let client = u32::try_from(number).unwrap_or(u32::MAX);
        let mut random = Random::new(self.seed, 1000 + number as u64);
        let mut asker = match number % 2 {
            0 => Asker::Session(None),
            _ => Asker::Plain(None),
        };
        while !self.has_ended() {
            std::thread::sleep(Duration::from_micros(random.below(PAUSE_US)));
            // An operation begins only where there is somebody to ask: else it would not have begun at all.
            if !asker.connect(&self.addresses, &mut random) {
                continue;
            }
            match self.workloads[random.index(self.workloads.len())] {
                Workload::Sets => self.add_or_look(&mut asker, &mut random),
                workload => self.use_key(&mut asker, client, workload, &mut random),
            }
        }
    }

    fn use_key(&self, asker: &mut Asker, client: u32, workload: Workload, random: &mut Random) {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let place = number / OPERATIONS_PER_KEY;
        // Numbers are never used twice, and so no value is.
        let operation = match (workload, random.below(10)) {
            (Workload::Counters, 0..=6) => Operation::Increment,
            (Workload::Counters, _) | (_, 0..=3) => Operation::Get,
            (_, 4..=6) => Operation::Set(number),
            _ => Operation::Swap(number),
        };
        let key = format!("{}:{place}", workload.name());
        let lie = self.lie.filter(|_| random.permille(LIES_PERMILLE));
        self.operate(asker, client, &key, operation, lie);
    }

    fn operate(&self, asker: &mut Asker, client: u32, key: &str, operation: Operation, lie: Option<Lie>) {
        let called_ns = self.history.now_ns();
        let mut ended = asker.ask::<Value>(&command(key, operation), self);
        match (lie, operation) {
            (Some(Lie::DoubledIncrement), Operation::Increment) if asker.is_connected() => {
                ended = asker.ask(&command(key, operation), self);
            }
            (Some(Lie::StaleRead), Operation::Get) => ended = Ended::Replied(Value::Nil),
            _ => {}
        }
        let replied_ns = self.history.now_ns();
        let replied = match ended {
            Ended::Refused => {
                self.history.add_refused();
                return;
            }
            Ended::Unknown => None,
            Ended::Replied(value) => match reply(operation, &value) {
                Some(reply) => Some((replied_ns, reply)),
                None => return self.note_odd(format!("{key} {operation:?}: {value:?}")),
            },
        };
        let entry = Entry {
            client,
            operation,
            called_ns,
            replied,
        };
        self.history.add(key, entry);
    }

    fn add_or_look(&self, asker: &mut Asker, random: &mut Random) {
        if random.permille(300)
            && let Some(element) = self.adds.pick(random)
        {
            let look = cmd("SISMEMBER").arg(set_of(element)).arg(element).to_owned();
            if let Ended::Replied(there) = asker.ask::<bool>(&look, self) {
                self.adds.note(element, there);
            }
            return;
        }
        let element = self.adds.send();
        if self.lie == Some(Lie::LostAddition) && random.permille(LIES_PERMILLE) {
            return self.adds.acknowledge(element, true);
        }
        let add = cmd("SADD").arg(set_of(element)).arg(element).to_owned();
        match asker.ask::<u64>(&add, self) {
            Ended::Replied(added) => self.adds.acknowledge(element, added == 1),
            Ended::Refused => self.adds.refuse(element),
            Ended::Unknown => {}
        }
    }

    /// Reads everything, when nothing is wrong any more: each key into the history, and returns the sets' elements.
    pub(crate) fn read_everything(&self, host: Option<&Host>) -> Result<BTreeSet<u64>, ClientError> {
        let read = || {
            let mut client = SessionClient::connect(self.addresses.clone(), SessionOptions::default())?;
            for key in self.history.keys() {
                let called_ns = self.history.now_ns();
                let value: Option<u64> = client.request(&command(&key, Operation::Get))?;
                let replied = Some((self.history.now_ns(), Reply::Value(value)));
                let entry = Entry {
                    client: u32::MAX,
                    operation: Operation::Get,
                    called_ns,
                    replied,
                };
                self.history.add(&key, entry);
            }
            let mut elements = BTreeSet::new();
            for first in (0..self.adds.sent()).step_by(usize::try_from(ELEMENTS_PER_SET).unwrap_or(1)) {
                let members: Vec<u64> = client.request(cmd("SMEMBERS").arg(set_of(first)))?;
                elements.extend(members);
            }
            Ok(elements)
        };
        match host {
            Some(host) => host.run(read),
            None => read(),
        }
    }

    fn count<T>(&self, ended: Ended<T>) -> Ended<T> {
        let place = match ended {
            Ended::Replied(_) => 0,
            Ended::Refused => 1,
            Ended::Unknown => 2,
        };
        self.outcomes[place].fetch_add(1, Ordering::Relaxed);
        if place == 0 {
            let mut pulse = lock(&self.pulse);
            let now = Instant::now();
            let (from, silence) = (pulse.last, now - pulse.last);
            pulse.longest = pulse.longest.max(silence);
            if silence >= NOTED_SILENCE {
                pulse.silences.push((from, now));
            }
            pulse.last = now;
        }
        ended
    }

    fn note_odd(&self, what: String) {
        let mut odd = lock(&self.odd);
        if odd.len() < ODD_SHOWN {
            odd.push(what);
        }
    }
}

/// A client's connection, if it has one.
enum Asker {
    Session(Option<SessionClient>),
    Plain(Option<Connection>),
}

impl Asker {
    /// Whether there is a connection, perhaps a new one.
    fn connect(&mut self, addresses: &[String], random: &mut Random) -> bool {
        match self {
            Self::Session(session) => {
                if session.is_none() {
                    let mut options = SessionOptions::default();
                    options.retry_for = RETRY_FOR;
                    options.connect_timeout = CONNECT_TIMEOUT;
                    options.reply_timeout = REPLY_TIMEOUT;
                    *session = SessionClient::connect(addresses.iter().cloned(), options).ok();
                }
                session.is_some()
            }
            Self::Plain(connection) => {
                if connection.is_none() {
                    *connection = connect(&addresses[random.index(addresses.len())]).ok();
                }
                connection.is_some()
            }
        }
    }

    fn is_connected(&self) -> bool {
        match self {
            Self::Session(session) => session.is_some(),
            Self::Plain(connection) => connection.is_some(),
        }
    }

    fn ask<T: FromRedisValue>(&mut self, command: &Cmd, crew: &Crew) -> Ended<T> {
        let ended = match self {
            Self::Session(session) => match session.as_mut().map(|client| ask_session(client, command, crew))
            {
                Some(Ok(Ended::Unknown)) | None => {
                    *session = None;
                    Ended::Unknown
                }
                Some(Ok(ended)) => ended,
                Some(Err(odd)) => {
                    *session = None;
                    crew.note_odd(odd);
                    Ended::Unknown
                }
            },
            Self::Plain(connection) => {
                let Some(open) = connection.as_mut() else {
                    return Ended::Unknown;
                };
                match command.query(open) {
                    Ok(value) => Ended::Replied(value),
                    Err(error) => {
                        *connection = None;
                        ended_with(&error, crew)
                    }
                }
            }
        };
        crew.count(ended)
    }
}

/// Asks until there is a reply, or it is all over. An error is a reply that a session must never get.
fn ask_session<T: FromRedisValue>(
    client: &mut SessionClient,
    command: &Cmd,
    crew: &Crew,
) -> Result<Ended<T>, String> {
    let mut reply = client.request::<T>(command).map(Some);
    loop {
        match reply {
            Ok(Some(value)) => return Ok(Ended::Replied(value)),
            Ok(None) => return Err("a request was forgotten by its client".to_owned()),
            Err(ClientError::Unanswered { .. }) if crew.has_ended() => return Ok(Ended::Unknown),
            Err(ClientError::Unanswered { .. }) => reply = client.resume(),
            Err(error) => {
                let why = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
                return Err(format!("{error}: {why}"));
            }
        }
    }
}

/// What an error says about a request that was sent once.
fn ended_with<T>(error: &RedisError, crew: &Crew) -> Ended<T> {
    match error.code() {
        Some("READONLY" | "OOM" | "STOPPED") => Ended::Refused,
        Some("OUTCOMEUNKNOWN") => Ended::Unknown,
        None if error.kind() == ErrorKind::Io || error.is_io_error() => Ended::Unknown,
        _ => {
            crew.note_odd(format!("a reply that no client should get: {error}"));
            Ended::Unknown
        }
    }
}

fn connect(address: &str) -> Result<Connection, RedisError> {
    let client = redis::Client::open(format!("redis://{address}/"))?;
    let connection = client.get_connection_with_timeout(CONNECT_TIMEOUT)?;
    connection.set_read_timeout(Some(REPLY_TIMEOUT))?;
    connection.set_write_timeout(Some(REPLY_TIMEOUT))?;
    Ok(connection)
}

fn command(key: &str, operation: Operation) -> Cmd {
    match operation {
        Operation::Set(value) => cmd("SET").arg(key).arg(value).to_owned(),
        Operation::Swap(value) => cmd("SET").arg(key).arg(value).arg("GET").to_owned(),
        Operation::Get => cmd("GET").arg(key).to_owned(),
        Operation::Increment => cmd("INCR").arg(key).to_owned(),
    }
}

/// `None` if it is no reply to this operation.
fn reply(operation: Operation, value: &Value) -> Option<Reply> {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok();
    match (operation, value) {
        (Operation::Set(_), Value::Okay) => Some(Reply::Done),
        (Operation::Increment, Value::Int(count)) => Some(Reply::Value(Some(u64::try_from(*count).ok()?))),
        (Operation::Get | Operation::Swap(_), Value::Nil) => Some(Reply::Value(None)),
        (Operation::Get | Operation::Swap(_), Value::BulkString(bytes)) => {
            Some(Reply::Value(Some(number(bytes)?)))
        }
        _ => None,
    }
}

fn set_of(element: u64) -> String {
    format!("set:{}", element / ELEMENTS_PER_SET)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every holder leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
