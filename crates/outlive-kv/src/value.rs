//! The kinds of value that a key can hold.
//!
//! Hashes and sets are kept in an order that depends on their history alone (insertion, and the last
//! one takes a removed one's place), never on random hashing: two members that applied the same
//! requests hold, answer and snapshot the same bytes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};

use crate::zset::ZSet;

/// A string; `APPEND` grows it in place.
pub(crate) type Text = BytesMut;
/// A list.
pub(crate) type List = VecDeque<Bytes>;
/// A hash.
pub(crate) type Hash = IndexMap<Bytes, Bytes>;
/// A set.
pub(crate) type Set = IndexSet<Bytes>;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Value {
    /// `SET`, `INCR`, …
    Text(Text),
    /// `LPUSH`, …
    List(List),
    /// `HSET`, …
    Hash(Hash),
    /// `SADD`, …
    Set(Set),
    /// `ZADD`, …
    ZSet(ZSet),
}

impl Value {
    /// As `TYPE` answers.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
            Self::ZSet(_) => "zset",
        }
    }

    /// Whether it is a container without content, which Redis does not keep.
    pub(crate) fn is_empty_container(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::List(list) => list.is_empty(),
            Self::Hash(hash) => hash.is_empty(),
            Self::Set(set) => set.is_empty(),
            Self::ZSet(zset) => zset.is_empty(),
        }
    }
}

/// One of the kinds, so that "the list at this key, or WRONGTYPE" is written once.
pub(crate) trait Kind: Default {
    /// The value, if it is of this kind.
    fn of(value: &Value) -> Option<&Self>;
    /// The value to change, if it is of this kind.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// As a value.
    fn into_value(self) -> Value;
}

macro_rules! kind {
    ($kind:ty, $variant:ident) => {
        impl Kind for $kind {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$variant(inner) = value {
                    Some(inner)
                } else {
                    None
                }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$variant(inner) = value {
                    Some(inner)
                } else {
                    None
                }
            }
            fn into_value(self) -> Value {
                Value::$variant(self)
            }
        }
    };
}
kind!(Text, Text);
kind!(List, List);
kind!(Hash, Hash);
kind!(Set, Set);
kind!(ZSet, ZSet);
