//! What clients asked and were told, and when: the only thing that is judged.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// An operation on one key. Values written are never written twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `SET key value`
    Set(u64),
    /// `SET key value GET`: writes, and returns what was there.
    Swap(u64),
    /// `GET key`
    Get,
    /// `INCR key`
    Increment,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It was done.
    Done,
    /// It was done, and this is (or was) there.
    Value(Option<u64>),
}

/// One operation of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Who asked.
    pub client: u32,
    /// What was asked.
    pub operation: Operation,
    /// When it was asked: nanoseconds of one monotonic clock, taken before the first byte left.
    pub called_ns: u64,
    /// When the reply was there, and what it was. `None`: nobody knows whether it was carried out, or will be.
    pub replied: Option<(u64, Reply)>,
}

/// Everything that was done to each key.
#[derive(Debug)]
pub struct History {
    begun: Instant,
    keys: Mutex<BTreeMap<String, Vec<Entry>>>,
    /// Operations that were refused, and so never carried out: not part of the history.
    refused: AtomicU64,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// An empty one that begins now.
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            keys: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Now, on the history's clock.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Adds what is known of an operation. A read whose reply is not known says nothing and is left out.
    pub fn add(&self, key: &str, entry: Entry) {
        if entry.replied.is_none() && entry.operation == Operation::Get {
            return;
        }
        lock(&self.keys).entry(key.to_owned()).or_default().push(entry);
    }

    /// Counts an operation that was refused.
    pub fn add_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Every key that was touched.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.keys).keys().cloned().collect()
    }

    /// Each key's entries, so far.
    pub fn by_key(&self) -> BTreeMap<String, Vec<Entry>> {
        lock(&self.keys).clone()
    }

    /// Writes each entry as a line of JSON.
    ///
    /// # Errors
    /// Of the writer.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Line<'a> {
            key: &'a str,
            #[serde(flatten)]
            entry: &'a Entry,
        }
        for (key, entries) in &*lock(&self.keys) {
            for entry in entries {
                serde_json::to_writer(&mut out, &Line { key, entry })?;
                out.write_all(b"\n")?;
            }
        }
        out.flush()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every holder leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
