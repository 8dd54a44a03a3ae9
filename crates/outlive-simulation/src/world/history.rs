//! Whether the clients saw one service: every list in the end, every answer, and real time.
//!
//! A list only grows and no value is added twice, so the order of all additions to one key stands in the list itself. An addition that was told length *n*
//! stands at place *n*; a read that saw *n* values came between the *n*th addition and the next. Then the history is linearizable
//! exactly when every answer fits its place and no call that had ended before another began comes behind it.

use std::collections::BTreeMap;

use super::client::{Done, KEYS};
use super::judge::violation;
use super::lists::Ask;

/// Checks all that clients were told. The last read of each key is the list in the end.
pub(super) fn check(history: &[Done]) {
    for key in 0..KEYS {
        let of_key: Vec<&Done> = history
            .iter()
            .filter(|done| matches!(done.ask, Ask::Add { key: k, .. } | Ask::Read { key: k } if k == key))
            .collect();
        let reads = of_key.iter().filter(|done| matches!(done.ask, Ask::Read { .. }));
        let longest = reads.max_by_key(|done| done.answer.len());
        let list = longest.map_or(&[] as &[u64], |done| &done.answer);
        check_once(key, list);
        let placed: Vec<(usize, &Done)> = of_key
            .iter()
            .map(|done| (place(key, list, done), *done))
            .collect();
        check_order(key, placed);
    }
}

fn check_once(key: u8, list: &[u64]) {
    let mut places = BTreeMap::new();
    for (at, value) in list.iter().enumerate() {
        if let Some(before) = places.insert(value, at) {
            violation(
                "done-twice",
                format!("value {value} stands in list {key} at {before} and at {at}"),
            );
        }
    }
}

/// How long the list was when the call took effect.
fn place(key: u8, list: &[u64], done: &Done) -> usize {
    match done.ask {
        Ask::Add { value, .. } => {
            let told = done
                .answer
                .first()
                .and_then(|len| usize::try_from(*len).ok())
                .unwrap_or(0);
            if told == 0 || list.get(told - 1) != Some(&value) {
                violation(
                    "acknowledged-request-lost",
                    format!(
                        "client {} was told that value {value} stands at {told} of list {key}, which is {list:?}",
                        done.client
                    ),
                );
            }
            told
        }
        Ask::Read { .. } => {
            let len = done.answer.len();
            if list.get(..len) != Some(&done.answer) {
                violation(
                    "read-is-no-prefix",
                    format!(
                        "client {} read {:?} in list {key}, which is {list:?}",
                        done.client, done.answer
                    ),
                );
            }
            len
        }
    }
}

/// In real time nothing goes back.
fn check_order(key: u8, mut calls: Vec<(usize, &Done)>) {
    calls.sort_by_key(|(_, done)| done.began);
    let mut by_end = calls.clone();
    by_end.sort_by_key(|(_, done)| done.ended);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<(usize, &Done)> = None;
    for (place, done) in calls {
        while let Some((place, before)) = ended.next_if(|(_, before)| before.ended < done.began) {
            if newest.is_none_or(|(newest, _)| place > newest) {
                newest = Some((place, before));
            }
        }
        let Some((least, before)) = newest else { continue };
        let is_add = matches!(done.ask, Ask::Add { .. });
        if place < least || is_add && place == least {
            violation(
                "not-linearizable",
                format!("in list {key} {before:?} had ended before {done:?} began"),
            );
        }
    }
}
