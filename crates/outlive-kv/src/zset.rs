//! A sorted set: members ordered by (score, bytes), as Redis orders them.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bytes::Bytes;
use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A sorted set. Scores are never NaN.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ZSet {
    scores: IndexMap<Bytes, Score>,
    order: BTreeSet<(Score, Bytes)>,
}

impl ZSet {
    /// How many members.
    pub(crate) fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// A member's score.
    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).map(|score| score.0)
    }

    /// Adds a member, or moves it to this score.
    pub(crate) fn insert(&mut self, member: Bytes, score: f64) {
        debug_assert!(!score.is_nan(), "callers refuse NaN");
        // Redis keeps whole scores as integers, among which there is no -0.
        let score = score + 0.0;
        if let Some(old) = self.scores.insert(member.clone(), Score(score)) {
            self.order.remove(&(old, member.clone()));
        }
        self.order.insert((Score(score), member));
    }

    /// Removes a member; whether it was there.
    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        match self.scores.swap_remove_entry(member) {
            Some((member, score)) => self.order.remove(&(score, member)),
            None => false,
        }
    }

    /// Removes and returns the lowest member, or the highest.
    pub(crate) fn pop(&mut self, highest: bool) -> Option<(Bytes, f64)> {
        let (score, member) = if highest {
            self.order.pop_last()
        } else {
            self.order.pop_first()
        }?;
        self.scores.swap_remove(&member);
        Some((member, score.0))
    }

    /// How many members come before this one.
    pub(crate) fn rank(&self, member: &[u8]) -> Option<usize> {
        let (member, score) = self.scores.get_key_value(member)?;
        Some(self.order.range(..(*score, member.clone())).count())
    }

    /// Members and scores in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Bytes, f64)> + ExactSizeIterator {
        self.order.iter().map(|(score, member)| (member, score.0))
    }

    /// Members in order from the first one whose score is at least this.
    pub(crate) fn at_least(&self, min: f64) -> impl DoubleEndedIterator<Item = (&Bytes, f64)> {
        let from = (Score(min), Bytes::new());
        self.order.range(from..).map(|(score, member)| (member, score.0))
    }
}

impl Serialize for ZSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.scores.iter().map(|(member, score)| (member, score.0)))
    }
}

impl<'de> Deserialize<'de> for ZSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(Bytes, f64)>::deserialize(deserializer)?;
        let mut zset = Self::default();
        for (member, score) in pairs {
            if score.is_nan() {
                return Err(serde::de::Error::custom("a score is not a number"));
            }
            zset.insert(member, score);
        }
        Ok(zset)
    }
}

/// A score with a total order; 0 and -0 are equal, as in Redis.
#[derive(Clone, Copy, Debug)]
struct Score(f64);

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.partial_cmp(&other.0).expect("scores are never NaN")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_zero_is_kept_as_zero() {
        let mut zset = ZSet::default();
        zset.insert(Bytes::from_static(b"m"), -0.0);
        assert!(zset.score(b"m").expect("there").is_sign_positive());
    }

    #[test]
    fn orders_by_score_then_bytes() {
        let mut zset = ZSet::default();
        for (member, score) in [
            ("b", 1.0),
            ("a", 1.0),
            ("c", f64::NEG_INFINITY),
            ("d", -0.0),
            ("e", 0.0),
        ] {
            zset.insert(Bytes::from(member), score);
        }
        let members: Vec<_> = zset.iter().map(|(member, _)| member.clone()).collect();
        assert_eq!(members, ["c", "d", "e", "a", "b"]);
        assert_eq!(zset.rank(b"a"), Some(3));
        zset.insert(Bytes::from("c"), 2.0);
        assert_eq!(zset.rank(b"c"), Some(4));
        assert!(zset.remove(b"a") && !zset.remove(b"a"));
        assert_eq!(zset.pop(true), Some((Bytes::from("c"), 2.0)));
        assert_eq!(zset.len(), 3);
    }

    #[test]
    fn survives_serialisation_in_its_order_of_insertion() {
        let mut zset = ZSet::default();
        zset.insert(Bytes::from("z"), 2.0);
        zset.insert(Bytes::from("a"), -0.0);
        let bytes = postcard::to_stdvec(&zset).expect("serialises");
        let back: ZSet = postcard::from_bytes(&bytes).expect("reads back");
        assert_eq!(back, zset);
        assert_eq!(postcard::to_stdvec(&back).expect("serialises"), bytes);
    }
}
