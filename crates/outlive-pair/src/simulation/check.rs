//! What must hold.
//!
//! At each step: a reply that reflects a set leaves only when that set is persistent in the region,
//! and under one generation only one member's replies leave; what a client is shown is never behind
//! what anybody had been shown before it asked (values and time). At the end: every acknowledged
//! request is in the journal's history once, no request is in it twice, the value that it was
//! answered with is the one at its place there, and who recovers from the region has exactly the
//! state that the history gives. As adding is journalled in one order and every value names its place in
//! it, these together are linearizability.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::batch::{self, Entry, Record};
use crate::machine::Fed;
use crate::output::{Answer, CallId};
use crate::replica::Replica;

use super::client::{Client, Doing, Seen};
use super::region::{Reader, Region};
use super::tally::{self, Tally};
use super::world::REPLIES;

#[derive(Default)]
pub(super) struct Check {
    /// Which member's replies left, by generation.
    served: HashMap<u64, (usize, u64)>,
    /// Which set a call's request is in: by member, life and call.
    sets: HashMap<(usize, u64, CallId), (u64, u64)>,
    /// The latest that anybody was shown.
    pub(super) seen: Seen,
    /// Sum answered, by what was added.
    added: BTreeMap<u64, u64>,
    /// Sums that reads were answered with.
    read: BTreeSet<u64>,
}

impl Check {
    pub(super) fn appended(&mut self, who: (usize, u64), sequence: u64, generation: u64, answers: &[Answer]) {
        for answer in answers.iter().filter(|answer| answer.journalled) {
            self.sets
                .insert((who.0, who.1, answer.call), (sequence, generation));
        }
    }

    pub(super) fn left(
        &mut self,
        who: (usize, u64),
        generation: u64,
        answer: &Answer,
        region: &Region,
    ) -> Result<(), String> {
        if answer.result.is_err() {
            return Ok(());
        }
        let server = *self.served.entry(generation).or_insert(who);
        if server != who {
            return Err(format!(
                "members {server:?} and {who:?} both answered under generation {generation}"
            ));
        }
        if answer.journalled {
            let (sequence, generation) = self
                .sets
                .get(&(who.0, who.1, answer.call))
                .copied()
                .unwrap_or_default();
            if !region.is_persistent(sequence, generation) {
                return Err(format!(
                    "a reply left before its commit: set {sequence} of generation {generation}"
                ));
            }
        }
        Ok(())
    }

    /// A client was shown `reply`.
    pub(super) fn shown(&mut self, client: &Client, reply: &[u8]) -> Result<(), String> {
        let (sum, at_ms) = tally::parse(reply).ok_or("a reply that the service did not make")?;
        let floor = client.floor;
        let adding = matches!(client.doing, Doing::Adding(_));
        if sum < floor.sum || adding && sum == floor.sum {
            return Err(format!(
                "client {} went back: shown {sum} after {floor:?} was known",
                client.id
            ));
        }
        if at_ms < floor.at_ms {
            return Err(format!(
                "client {}: time went back: shown {at_ms} after {floor:?} was known",
                client.id
            ));
        }
        match client.doing {
            Doing::Adding(number) => drop(self.added.insert(number, sum)),
            _ => drop(self.read.insert(sum)),
        }
        self.seen.sum = self.seen.sum.max(sum);
        self.seen.at_ms = self.seen.at_ms.max(at_ms);
        Ok(())
    }

    /// The whole history against everything that was acknowledged.
    pub(super) fn finish(&self, region: &Region) -> Result<(), String> {
        let mut sum = 0;
        let mut at_ms = 0;
        let mut sums = BTreeMap::new();
        let mut reference = Replica::new(Tally::default(), REPLIES);
        for stored in &region.sets {
            reference
                .apply_set(&stored.set)
                .map_err(|error| error.to_string())?;
            let Record::Requests { at_ms: at, entries } =
                batch::decode(&stored.set).map_err(|e| e.to_string())?
            else {
                continue;
            };
            if at < at_ms {
                return Err(format!("the journal's time went back from {at_ms} to {at}"));
            }
            at_ms = at;
            for entry in entries {
                let (Entry::Plain(body) | Entry::Numbered { body, .. }) = entry else {
                    continue;
                };
                let Some(number) = tally::added(body.0) else {
                    continue;
                };
                sum += number;
                if sums.insert(number, sum).is_some() {
                    return Err(format!("request {number} was carried out twice"));
                }
            }
        }
        for (number, answered) in &self.added {
            match sums.get(number) {
                Some(sum) if sum == answered => {}
                Some(sum) => {
                    return Err(format!(
                        "request {number} was answered {answered}, and is {sum} in the history"
                    ));
                }
                None => return Err(format!("request {number} was acknowledged and is lost")),
            }
        }
        let points: BTreeSet<u64> = sums.values().copied().chain([0]).collect();
        if let Some(sum) = self.read.iter().find(|sum| !points.contains(sum)) {
            return Err(format!("a read was answered {sum}, which never was the value"));
        }
        let mut recovered = Replica::new(Tally::default(), REPLIES);
        for fed in region.read(&mut Reader::default()).fed {
            let fed = match fed {
                Fed::Snapshot(bytes) => recovered.restore(Some(&bytes)),
                Fed::Update(set) => recovered.apply_set(&set),
                Fed::Clear => recovered.restore(None),
            };
            fed.map_err(|error| error.to_string())?;
        }
        if recovered.snapshot() != reference.snapshot() {
            return Err(format!(
                "who recovers has {} at {}, and the history gives {} at {}",
                recovered.service().sum,
                recovered.at_ms(),
                reference.service().sum,
                reference.at_ms()
            ));
        }
        Ok(())
    }
}
