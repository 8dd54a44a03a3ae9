//! The keyspace: keys, what they hold, and when they expire.
//!
//! Time is what the pair journals with each request, never this host's clock: a key is expired if and
//! only if its deadline is at or before that moment. Expired keys are invisible at once; their memory
//! is given back a bounded number at a time by [`Store::advance`].

use std::collections::BTreeSet;

use bytes::Bytes;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::error::CommandError;
use crate::value::{Kind, Value};

/// How many expired keys one request removes at most, besides the one that it names: enough to keep
/// up when every request sets a time-out, little enough not to be felt in its latency.
pub(crate) const REAP_PER_REQUEST: usize = 20;

/// The whole state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Store {
    /// In order of insertion; a removed key's place is taken by the last one (see [`View::scan`]).
    keys: IndexMap<Bytes, Entry>,
    /// (deadline, key) of every key that has a deadline.
    deadlines: BTreeSet<(u64, Bytes)>,
    now_ms: u64,
}

/// A key's value and deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// What it holds.
    pub value: Value,
    /// Unix milliseconds from which on it is expired.
    pub deadline_ms: Option<u64>,
}

/// The state as it looks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    store: &'a Store,
    now_ms: u64,
}

impl Store {
    /// Moves the store's time on (never back) and removes a bounded number of expired keys.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        for _ in 0..REAP_PER_REQUEST {
            match self.deadlines.first() {
                Some((deadline_ms, _)) if *deadline_ms <= self.now_ms => {
                    let (_, key) = self.deadlines.pop_first().expect("there is a first");
                    self.keys.swap_remove(&key);
                }
                _ => break,
            }
        }
    }

    /// The time of the request that is being applied, in Unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// What can be read now.
    pub(crate) fn view(&self) -> View<'_> {
        self.view_at(self.now_ms)
    }

    /// What can be read at a moment (or at the store's own time, where that is later).
    pub(crate) fn view_at(&self, now_ms: u64) -> View<'_> {
        View {
            store: self,
            now_ms: now_ms.max(self.now_ms),
        }
    }

    /// The value to change, if the key exists.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub(crate) fn change<T: Kind>(&mut self, key: &[u8]) -> Result<Option<&mut T>, CommandError> {
        self.drop_if_expired(key);
        match self.keys.get_mut(key) {
            Some(entry) => T::of_mut(&mut entry.value)
                .map(Some)
                .ok_or(CommandError::WrongType),
            None => Ok(None),
        }
    }

    /// The value to change; an empty one is made where the key does not exist. The caller puts
    /// something in.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub(crate) fn change_or_make<T: Kind>(&mut self, key: &[u8]) -> Result<&mut T, CommandError> {
        self.drop_if_expired(key);
        let entry = self
            .keys
            .entry(Bytes::copy_from_slice(key))
            .or_insert_with(|| Entry {
                value: T::default().into_value(),
                deadline_ms: None,
            });
        T::of_mut(&mut entry.value).ok_or(CommandError::WrongType)
    }

    /// Sets a key, whatever it held; its deadline becomes this one. An overwritten key keeps its place.
    pub(crate) fn put(&mut self, key: &[u8], entry: Entry) {
        let key = Bytes::copy_from_slice(key);
        let deadline_ms = entry.deadline_ms;
        let old = self.keys.insert(key.clone(), entry);
        if let Some(old_ms) = old.and_then(|old| old.deadline_ms) {
            self.deadlines.remove(&(old_ms, key.clone()));
        }
        if let Some(deadline_ms) = deadline_ms {
            self.deadlines.insert((deadline_ms, key));
        }
    }

    /// Removes a key and returns what it held, unless it had expired.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let (key, entry) = self.keys.swap_remove_entry(key)?;
        if let Some(deadline_ms) = entry.deadline_ms {
            self.deadlines.remove(&(deadline_ms, key));
        }
        entry
            .deadline_ms
            .is_none_or(|deadline_ms| deadline_ms > self.now_ms)
            .then_some(entry)
    }

    /// Removes the key if what it holds has become empty.
    pub(crate) fn remove_if_empty(&mut self, key: &[u8]) {
        if self
            .keys
            .get(key)
            .is_some_and(|entry| entry.value.is_empty_container())
        {
            self.remove(key);
        }
    }

    /// Gives an existing key a deadline, or takes it away. One that has passed removes the key.
    pub(crate) fn set_deadline(&mut self, key: &[u8], deadline_ms: Option<u64>) {
        let Some((index, key, entry)) = self.keys.get_full_mut(key) else {
            return;
        };
        if let Some(old_ms) = std::mem::replace(&mut entry.deadline_ms, deadline_ms) {
            self.deadlines.remove(&(old_ms, key.clone()));
        }
        match deadline_ms {
            Some(deadline_ms) if deadline_ms <= self.now_ms => {
                self.keys.swap_remove_index(index);
            }
            Some(deadline_ms) => {
                self.deadlines.insert((deadline_ms, key.clone()));
            }
            None => {}
        }
    }

    /// Removes every key.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.deadlines.clear();
    }

    fn drop_if_expired(&mut self, key: &[u8]) {
        let now_ms = self.now_ms;
        if self.keys.get(key).is_some_and(|entry| entry.is_expired(now_ms)) {
            self.remove(key);
        }
    }
}

impl Entry {
    /// A value without deadline.
    pub(crate) fn lasting(value: impl Kind) -> Self {
        Self {
            value: value.into_value(),
            deadline_ms: None,
        }
    }

    fn is_expired(&self, now_ms: u64) -> bool {
        self.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms)
    }
}

impl<'a> View<'a> {
    /// The moment, in Unix milliseconds.
    pub(crate) fn now_ms(self) -> u64 {
        self.now_ms
    }

    /// A key that exists and has not expired.
    pub(crate) fn entry(self, key: &[u8]) -> Option<&'a Entry> {
        self.store
            .keys
            .get(key)
            .filter(|entry| !entry.is_expired(self.now_ms))
    }

    /// What the key holds, if it exists.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub(crate) fn read<T: Kind>(self, key: &[u8]) -> Result<Option<&'a T>, CommandError> {
        match self.entry(key) {
            Some(entry) => T::of(&entry.value).map(Some).ok_or(CommandError::WrongType),
            None => Ok(None),
        }
    }

    /// How many keys exist.
    pub(crate) fn len(self) -> usize {
        self.store.keys.len() - self.expired().count()
    }

    /// How many keys have a deadline that is still to come.
    pub(crate) fn len_with_deadline(self) -> usize {
        self.store.deadlines.len() - self.expired().count()
    }

    /// Every key and what it holds.
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a Bytes, &'a Entry)> {
        self.store
            .keys
            .iter()
            .filter(move |(_, entry)| !entry.is_expired(self.now_ms))
    }

    /// The next `count` places of an iteration that began with cursor 0, and the cursor to go on with
    /// (0 at the end).
    ///
    /// The cursor is how many places are still to be visited, and the walk goes from the last place to
    /// the first. Keys are added at the end and a removed one's place is taken by the last, so a key
    /// that is not visited yet only ever moves to a lower place: one that exists for the whole
    /// iteration is always returned, though some may be returned twice.
    pub(crate) fn scan(self, cursor: usize, count: usize) -> (Vec<(&'a Bytes, &'a Entry)>, usize) {
        let keys = &self.store.keys;
        let end = if cursor == 0 {
            keys.len()
        } else {
            cursor.min(keys.len())
        };
        let start = end.saturating_sub(count);
        let found = (start..end)
            .rev()
            .filter_map(|place| keys.get_index(place))
            .filter(|(_, entry)| !entry.is_expired(self.now_ms))
            .collect();
        (found, start)
    }

    fn expired(self) -> impl Iterator<Item = &'a (u64, Bytes)> {
        self.store
            .deadlines
            .iter()
            .take_while(move |(deadline_ms, _)| *deadline_ms <= self.now_ms)
    }
}

/// Written as the time and the keys in their order; the deadlines' index follows from them.
impl Serialize for Store {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.now_ms, &self.keys).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Store {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (now_ms, keys) = <(u64, IndexMap<Bytes, Entry>)>::deserialize(deserializer)?;
        let deadlines = keys
            .iter()
            .filter_map(|(key, entry)| Some((entry.deadline_ms?, key.clone())))
            .collect();
        Ok(Self {
            keys,
            deadlines,
            now_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Text;

    fn text(value: &str) -> Text {
        Text::from(value.as_bytes())
    }

    fn until(value: &str, deadline_ms: u64) -> Entry {
        Entry {
            value: text(value).into_value(),
            deadline_ms: Some(deadline_ms),
        }
    }

    #[test]
    fn a_key_is_gone_from_its_deadline_on() {
        let mut store = Store::default();
        store.advance(100);
        store.put(b"k", until("v", 200));
        assert!(store.view_at(199).entry(b"k").is_some());
        assert!(store.view_at(200).entry(b"k").is_none());
        assert_eq!((store.view_at(199).len(), store.view_at(200).len()), (1, 0));
        store.advance(200);
        assert_eq!(store.remove(b"k"), None);
        // Time never goes back: what was seen expired stays so.
        assert!(store.view_at(150).entry(b"k").is_none());
    }

    #[test]
    fn reaping_is_bounded_and_gets_everything() {
        let mut store = Store::default();
        for n in 0..REAP_PER_REQUEST * 2 + 1 {
            store.put(n.to_string().as_bytes(), until("v", 10));
        }
        store.advance(10);
        assert_eq!(store.keys.len(), REAP_PER_REQUEST + 1);
        assert_eq!(store.view().len(), 0);
        store.advance(10);
        store.advance(10);
        assert_eq!((store.keys.len(), store.deadlines.len()), (0, 0));
    }

    #[test]
    fn a_scan_returns_whatever_stays_while_others_come_and_go() {
        let mut store = Store::default();
        let key = |n: usize| n.to_string().into_bytes();
        (0..1000).for_each(|n| store.put(&key(n), Entry::lasting(text("v"))));
        let (mut seen, mut cursor, mut step) = (BTreeSet::new(), 0, 0);
        loop {
            let (found, next) = store.view().scan(cursor, 7);
            seen.extend(found.into_iter().map(|(key, _)| key.clone()));
            // Odd keys go, others come; even ones stay, though some are overwritten.
            store.put(&key(step * 2 % 1000), Entry::lasting(text("w")));
            store.remove(&key((step * 2 + 1) % 1000));
            store.remove(&key((1999 - step * 2) % 1000));
            store.put(&key(5000 + step), Entry::lasting(text("v")));
            (cursor, step) = (next, step + 1);
            if cursor == 0 {
                break;
            }
        }
        assert!((0..1000).step_by(2).all(|n| seen.contains(&Bytes::from(key(n)))));
    }

    #[test]
    fn a_new_deadline_replaces_the_old() {
        let mut store = Store::default();
        store.put(b"k", until("v", 10));
        store.set_deadline(b"k", Some(20));
        store.advance(10);
        assert!(store.view().entry(b"k").is_some());
        store.set_deadline(b"k", None);
        store.advance(30);
        assert!(store.view().entry(b"k").is_some());
        store.set_deadline(b"k", Some(30));
        assert!(store.view().entry(b"k").is_none());
        assert_eq!((store.keys.len(), store.deadlines.len()), (0, 0));
    }
}
