//! The pair's service: lists to which unique values are added.

use std::collections::BTreeMap;

use outlive_pair::{Moment, RestoreError, Service};

/// What clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Adds a value to the end of a list; the answer is its length from then on.
    Add { key: u8, value: u64 },
    /// The whole list.
    Read { key: u8 },
}

impl Ask {
    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Add { key, value } => {
                let mut bytes = vec![b'a', key];
                bytes.extend(value.to_le_bytes());
                bytes
            }
            Self::Read { key } => vec![b'r', key],
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'a', key, value @ ..] => {
                let value = u64::from_le_bytes(value.try_into().ok()?);
                Some(Self::Add { key: *key, value })
            }
            [b'r', key] => Some(Self::Read { key: *key }),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Lists {
    lists: BTreeMap<u8, Vec<u64>>,
}

/// Values of an answer or a snapshot.
pub(super) fn numbers(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.chunks_exact(8);
    words
        .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
        .collect()
}

fn encode(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

impl Service for Lists {
    fn is_read_only(&self, request: &[u8]) -> bool {
        matches!(Ask::decode(request), Some(Ask::Read { .. }))
    }

    fn apply(&mut self, request: &[u8], _: Moment) -> Vec<u8> {
        let Some(Ask::Add { key, value }) = Ask::decode(request) else {
            return Vec::new();
        };
        let list = self.lists.entry(key).or_default();
        list.push(value);
        encode(&[list.len() as u64])
    }

    fn query(&self, request: &[u8], _: Moment) -> Vec<u8> {
        let Some(Ask::Read { key }) = Ask::decode(request) else {
            return Vec::new();
        };
        encode(self.lists.get(&key).map_or(&[], Vec::as_slice))
    }

    fn snapshot(&self) -> Vec<u8> {
        let lists = self.lists.iter().flat_map(|(key, list)| {
            let head = [u64::from(*key), list.len() as u64];
            head.into_iter().chain(list.iter().copied())
        });
        encode(&lists.collect::<Vec<_>>())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.lists.clear();
        let mut rest = numbers(snapshot).into_iter();
        while let Some(key) = rest.next() {
            let broken = || RestoreError::new("a list is cut off");
            let key = u8::try_from(key).map_err(|_| broken())?;
            let len = rest
                .next()
                .and_then(|len| usize::try_from(len).ok())
                .ok_or_else(broken)?;
            let list: Vec<u64> = rest.by_ref().take(len).collect();
            if list.len() < len {
                return Err(broken());
            }
            self.lists.insert(key, list);
        }
        Ok(())
    }
}
