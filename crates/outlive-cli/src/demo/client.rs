//! Clients: threads that send a mixed load through a Redis client and keep account of every reply.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outlive_kv::client::{ClientError, SessionClient, SessionOptions};
use redis::{Cmd, Connection, Value, cmd};

use super::gate::Gate;
use super::ledger::{Held, Ledger, Operation, Reply, SHARED_COUNTER, SharedCounter, Tally};
use crate::exit::Exit;
use crate::failure::Failure;

/// How long a check may wait for one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Keys asked for at once.
const KEYS_AT_ONCE: usize = 256;
/// Elements asked for at once.
const ELEMENTS_AT_ONCE: usize = 4096;

/// All that clients share.
pub(crate) struct Crew {
    pub(crate) gate: Gate,
    addresses: Vec<String>,
    /// One for each client.
    ledgers: Vec<Mutex<Ledger>>,
    shared: Mutex<SharedCounter>,
    tally: Mutex<Tally>,
    pulse: Mutex<Pulse>,
    /// What ended a client, if something did.
    trouble: Mutex<Option<String>>,
}

/// When replies came.
struct Pulse {
    last: Instant,
    longest: Duration,
}

impl Crew {
    pub(crate) fn new(addresses: Vec<String>, clients: u64, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(),
            addresses,
            ledgers: (0..clients)
                .map(|client| Mutex::new(Ledger::new(client, seed)))
                .collect(),
            shared: Mutex::default(),
            tally: Mutex::default(),
            pulse: Mutex::new(Pulse {
                last: Instant::now(),
                longest: Duration::ZERO,
            }),
            trouble: Mutex::default(),
        })
    }

    /// Starts a thread for each client. They end when the gate is ended.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<Vec<std::thread::JoinHandle<()>>> {
        (0..self.ledgers.len())
            .map(|client| {
                let crew = self.clone();
                std::thread::Builder::new().spawn(move || {
                    if let Err(error) = crew.work(client) {
                        let message = format!(
                            "client {client}: {}",
                            Failure::from_error(Exit::Failure, &error).message
                        );
                        lock(&crew.trouble).get_or_insert(message);
                    }
                })
            })
            .collect()
    }

    /// Writes that were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.ledgers
            .iter()
            .map(|ledger| lock(ledger).acknowledged())
            .sum()
    }

    /// What was found wrong so far.
    pub(crate) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Fails once a client has failed.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match &*lock(&self.trouble) {
            Some(message) => Err(Failure::new(Exit::Failure, message.clone())),
            None => Ok(()),
        }
    }

    /// From now on the longest time without any reply is measured anew.
    pub(crate) fn begin_measuring(&self) {
        *lock(&self.pulse) = Pulse {
            last: Instant::now(),
            longest: Duration::ZERO,
        };
    }

    /// The longest time without any reply since then.
    pub(crate) fn longest_silence(&self) -> Duration {
        lock(&self.pulse).longest
    }

    /// Reads everything back and compares it with what was acknowledged, while every client waits.
    pub(crate) fn audit(&self, primary: &str) -> Result<(), Failure> {
        let cannot_read = |error: redis::RedisError| {
            Failure::from_error(Exit::Failure, &error).and("everything could not be read back")
        };
        let mut connection = connect(primary).map_err(cannot_read)?;
        let mut found = Tally::default();
        for ledger in &self.ledgers {
            let mut ledger = lock(ledger);
            let held = read_back(&mut connection, &ledger).map_err(cannot_read)?;
            found.add(ledger.audit(held));
        }
        let shared: Option<u64> = cmd("GET")
            .arg(SHARED_COUNTER)
            .query(&mut connection)
            .map_err(cannot_read)?;
        found.add(lock(&self.shared).audit(shared.unwrap_or(0)));
        lock(&self.tally).add(found);
        Ok(())
    }

    fn work(&self, client: usize) -> Result<(), ClientError> {
        let mut session = SessionClient::connect(self.addresses.clone(), SessionOptions::default())?;
        let pass = self.gate.enter();
        while pass.pass() {
            let operation = lock(&self.ledgers[client]).next();
            let command = command(&lock(&self.ledgers[client]), &operation);
            let reply = reply(session.request(&command)?);
            lock(&self.pulse).beat();
            let tally = lock(&self.ledgers[client]).settle(operation, &reply, &mut lock(&self.shared));
            if !tally.is_clean() {
                lock(&self.tally).add(tally);
            }
        }
        Ok(())
    }
}

impl Pulse {
    fn beat(&mut self) {
        let now = Instant::now();
        self.longest = self.longest.max(now.saturating_duration_since(self.last));
        self.last = now;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder leaves it whole; a client that panicked is reported by its thread.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn command(ledger: &Ledger, operation: &Operation) -> Cmd {
    match operation {
        Operation::Set { key, value } => cmd("SET").arg(ledger.key(*key)).arg(value).arg("GET").to_owned(),
        Operation::Get { key } => cmd("GET").arg(ledger.key(*key)).to_owned(),
        Operation::Count => cmd("INCR").arg(ledger.counter()).to_owned(),
        Operation::CountShared => cmd("INCR").arg(SHARED_COUNTER).to_owned(),
        Operation::Push { element } => cmd("RPUSH").arg(ledger.list()).arg(element).to_owned(),
        Operation::SetField { field, value } => {
            cmd("HSET").arg(ledger.hash()).arg(*field).arg(value).to_owned()
        }
    }
}

fn reply(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Nothing,
        Value::Int(number) => Reply::Integer(number),
        Value::BulkString(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Reply::Text(text),
            Err(error) => Reply::Unexpected(error.to_string()),
        },
        Value::SimpleString(text) => Reply::Text(text),
        other => Reply::Unexpected(format!("{other:?}")),
    }
}

fn connect(address: &str) -> Result<Connection, redis::RedisError> {
    let connection =
        redis::Client::open(format!("redis://{address}/"))?.get_connection_with_timeout(ANSWER)?;
    connection.set_read_timeout(Some(ANSWER))?;
    connection.set_write_timeout(Some(ANSWER))?;
    Ok(connection)
}

/// What the service holds of one client's.
fn read_back(connection: &mut Connection, ledger: &Ledger) -> Result<Held, redis::RedisError> {
    let mut held = Held::default();
    let keys: Vec<u64> = ledger.keys().collect();
    for keys in keys.chunks(KEYS_AT_ONCE) {
        let names: Vec<String> = keys.iter().map(|key| ledger.key(*key)).collect();
        let values: Vec<Option<String>> = cmd("MGET").arg(names).query(connection)?;
        held.values.extend(
            keys.iter()
                .zip(values)
                .filter_map(|(key, value)| Some((*key, value?))),
        );
    }
    let fields: BTreeMap<u64, String> = cmd("HGETALL").arg(ledger.hash()).query(connection)?;
    held.fields = fields;
    held.count = cmd("GET")
        .arg(ledger.counter())
        .query::<Option<u64>>(connection)?
        .unwrap_or(0);
    loop {
        let from = held.elements.len();
        let elements: Vec<String> = cmd("LRANGE")
            .arg(ledger.list())
            .arg(from)
            .arg(from + ELEMENTS_AT_ONCE - 1)
            .query(connection)?;
        if elements.is_empty() {
            return Ok(held);
        }
        held.elements.extend(elements);
    }
}
