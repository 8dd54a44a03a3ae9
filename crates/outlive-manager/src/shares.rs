//! What all share and no one identity may use up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outlive_identity::Name;
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

/// A bound in all, and one for each identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// What there is a bounded number of, as people are told.
    pub(crate) what: &'static str,
    /// At once, all together.
    pub(crate) all: usize,
    /// At once, for one identity.
    pub(crate) each: usize,
    /// Of all: kept for administrators, who can end what the others do.
    pub(crate) kept: usize,
}

/// Who has how many of something.
#[derive(Debug)]
pub(crate) struct Shares {
    bounds: Bounds,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only identities that have some: never more than `all`.
    of: HashMap<Name, usize>,
}

/// One of them; given back when dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Share {
    shares: Arc<Shares>,
    who: Name,
}

impl Shares {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            taken: Mutex::default(),
        })
    }

    /// Takes one more for `who`.
    ///
    /// # Errors
    /// `LIMIT` when `who` has its share, or all are taken.
    pub(crate) fn take(self: &Arc<Self>, who: &Name, is_administrator: bool) -> Result<Share, ControlError> {
        let Bounds {
            what,
            all,
            each,
            kept,
        } = self.bounds;
        let refuse = |message: String| Err(ControlError::new(ErrorCode::Limit, message));
        let mut taken = self.taken();
        let has = taken.of.get(who).copied().unwrap_or(0);
        if has >= each {
            return refuse(format!(
                "{who} has {has} {what}, which is one identity's limit: try again"
            ));
        }
        if taken.all >= if is_administrator { all } else { all - kept } {
            return refuse(format!(
                "there are {} {what}, which is the limit: try again",
                taken.all
            ));
        }
        taken.all += 1;
        taken.of.insert(who.clone(), has + 1);
        drop(taken);
        Ok(Share {
            shares: Arc::clone(self),
            who: who.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Every change leaves the table valid, so a panic elsewhere in the task spoils nothing.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        taken.all -= 1;
        if let Some(has) = taken.of.get_mut(&self.who) {
            *has -= 1;
            if *has == 0 {
                taken.of.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_uses_all_of_it_up_and_administrators_come_last() {
        let shares = Shares::new(Bounds {
            what: "calls in progress",
            all: 10,
            each: 4,
            kept: 2,
        });
        let name = |name: &str| name.parse::<Name>().unwrap();
        let take = |who: &str, is_administrator| shares.take(&name(who), is_administrator);
        let mut held: Vec<_> = (0..4).map(|_| take("a", false).unwrap()).collect();
        let refused = take("a", false).unwrap_err();
        assert!(refused.message.contains("a has 4 calls in progress"), "{refused}");
        held.extend((0..4).map(|_| take("b", false).unwrap()));
        let refused = take("c", false).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Limit);
        assert!(
            refused.message.contains("there are 8 calls in progress"),
            "{refused}"
        );
        held.extend((0..2).map(|_| take("root", true).unwrap()));
        assert!(take("root", true).is_err());
        drop(held.remove(0));
        assert!(take("root", true).is_ok());
        held.clear();
        assert!(shares.taken().of.is_empty() && shares.taken().all == 0);
        assert!(take("a", false).is_ok());
    }
}
