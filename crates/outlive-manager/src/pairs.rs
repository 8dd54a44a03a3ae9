//! What the members of process pairs report about themselves. In memory only: after a restart of the manager
//! they report anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outlive_proto::ControlError;
use outlive_proto::v1::{
    ErrorCode, MemberStatus, PairStatus, ReportMemberRequest, ReportMemberResponse, Role, SwitchoverResponse,
    Takeover,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits;

/// A member that reported within this time (or waits in a long poll now) counts as present.
const PRESENT: Duration = Duration::from_secs(3);

/// Long polls of one member at once: one that waits, and one that a lost connection left behind, with room.
const POLLS_PER_MEMBER: u32 = 4;

/// All pairs that report.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    pairs: Mutex<BTreeMap<String, Pair>>,
}

#[derive(Debug, Default)]
struct Pair {
    members: Vec<Member>,
    last_takeover: Option<Takeover>,
    /// The primary that is asked to hand over.
    asked: Option<Vec<u8>>,
    changed: Arc<Notify>,
}

/// A member whose report was taken in, and what tells it of changes.
struct Reporter {
    id: Vec<u8>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct Member {
    status: MemberStatus,
    heard: Instant,
    /// Long polls of this member that wait now.
    polls: u32,
}

impl Member {
    fn is(&self, role: Role) -> bool {
        self.status.role == i32::from(role)
    }

    fn is_present(&self) -> bool {
        self.polls > 0 || self.heard.elapsed() < PRESENT
    }
}

impl Pairs {
    /// Takes a report in, and answers when something is asked of the member or its wait is over.
    pub(crate) async fn report(
        &self,
        request: ReportMemberRequest,
    ) -> Result<ReportMemberResponse, ControlError> {
        let wait = Duration::from_millis(request.wait_ms).min(limits::MEMBER_WAIT);
        let name = request.pair.clone();
        let until = Instant::now() + wait;
        let Some(Reporter { id, changed }) = self.take_in(request)? else {
            return Ok(ReportMemberResponse { switchover: false });
        };
        let Some(_poll) = Poll::begin(self, &name, &id) else {
            return Ok(ReportMemberResponse {
                switchover: self.is_asked(&name, &id),
            });
        };
        loop {
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.is_asked(&name, &id) {
                return Ok(ReportMemberResponse { switchover: true });
            }
            if tokio::time::timeout_at(until, notified).await.is_err() {
                return Ok(ReportMemberResponse { switchover: false });
            }
        }
    }

    /// Asks the primary to hand over and waits until another member reports that it is primary.
    pub(crate) async fn switchover(
        &self,
        name: &str,
        timeout: Duration,
    ) -> Result<SwitchoverResponse, ControlError> {
        let begun = Instant::now();
        let (old, changed) = self.ask(name)?;
        let _asked = Asked {
            pairs: self,
            name,
            id: &old.id,
        };
        let until = begun + timeout.min(limits::SWITCHOVER);
        loop {
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(new_primary) = self.successor(name, &old)? {
                return Ok(SwitchoverResponse {
                    old_primary: old.address.clone(),
                    new_primary,
                    took_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
                });
            }
            if tokio::time::timeout_at(until, notified).await.is_err() {
                let message = format!(
                    "pair {name:?}: no other member became primary within {} ms; {} was asked to hand over and is primary \
                     as far as it reported",
                    timeout.as_millis(),
                    old.address
                );
                return Err(ControlError::new(ErrorCode::TimedOut, message));
            }
        }
    }

    /// Forgets a pair whose region is gone, and wakes whoever waits for its members.
    pub(crate) fn forget(&self, name: &str) {
        if let Some(pair) = self.lock().remove(name) {
            pair.changed.notify_waiters();
        }
    }

    /// How the pairs are that `is_shown` lets through, by name.
    pub(crate) fn status(&self, is_shown: impl Fn(&str) -> bool) -> Vec<PairStatus> {
        let mut pairs = self.lock();
        forget_silent(&mut pairs);
        let shown = pairs.iter().filter(|(name, _)| is_shown(name));
        let pairs = shown.map(|(name, pair)| PairStatus {
            name: name.clone(),
            members: pair.members.iter().map(Member::status_now).collect(),
            last_takeover: pair.last_takeover.clone(),
        });
        pairs.collect()
    }

    /// Returns what a long poll needs, or `None` for a member that leaves.
    fn take_in(&self, request: ReportMemberRequest) -> Result<Option<Reporter>, ControlError> {
        let status = request
            .member
            .ok_or_else(|| invalid("the report names no member"))?;
        check_report(&request.pair, &status)?;
        let mut pairs = self.lock();
        if !pairs.contains_key(&request.pair) && pairs.len() >= limits::PAIRS {
            forget_silent(&mut pairs);
            if pairs.len() >= limits::PAIRS {
                let message = format!("{} pairs report already, which is the limit", limits::PAIRS);
                return Err(ControlError::new(ErrorCode::Limit, message));
            }
        }
        let pair = pairs.entry(request.pair.clone()).or_default();
        if let Some(takeover) = request.takeover {
            pair.last_takeover = Some(takeover);
        }
        let id = status.id.clone();
        if request.leaving {
            pair.members.retain(|member| member.status.id != id);
            pair.changed.notify_waiters();
            if pair.members.is_empty() && pair.last_takeover.is_none() {
                pairs.remove(&request.pair);
            }
            return Ok(None);
        }
        pair.put(status);
        pair.changed.notify_waiters();
        Ok(Some(Reporter {
            id,
            changed: Arc::clone(&pair.changed),
        }))
    }

    fn is_asked(&self, name: &str, id: &[u8]) -> bool {
        let pairs = self.lock();
        let Some(pair) = pairs.get(name) else { return false };
        pair.asked.as_deref() == Some(id)
            && pair
                .members
                .iter()
                .any(|member| member.status.id == id && member.is(Role::Primary))
    }

    fn ask(&self, name: &str) -> Result<(MemberStatus, Arc<Notify>), ControlError> {
        let mut pairs = self.lock();
        forget_silent(&mut pairs);
        let no_pair = |message: String| ControlError::new(ErrorCode::NoSuchPair, message);
        let pair = pairs.get_mut(name);
        let pair = pair.ok_or_else(|| no_pair(format!("no member of a pair {name:?} reports")))?;
        if pair.asked.is_some() {
            return Err(invalid(format!(
                "a switchover of pair {name:?} is in progress: await its end"
            )));
        }
        let primary = pair
            .members
            .iter()
            .filter(|member| member.is(Role::Primary) && member.is_present());
        let primary = primary.max_by_key(|member| member.status.generation);
        let Some(primary) = primary.map(|member| member.status.clone()) else {
            return Err(no_pair(format!(
                "pair {name:?} has no primary that reports: there is nobody to ask"
            )));
        };
        if !pair
            .members
            .iter()
            .any(|member| member.is(Role::Backup) && member.is_present())
        {
            return Err(no_pair(format!(
                "pair {name:?} has no backup that reports: start one first"
            )));
        }
        pair.asked = Some(primary.id.clone());
        pair.changed.notify_waiters();
        Ok((primary, Arc::clone(&pair.changed)))
    }

    /// The address of the member that is primary after `old`, or `None` while there is none.
    fn successor(&self, name: &str, old: &MemberStatus) -> Result<Option<String>, ControlError> {
        let pairs = self.lock();
        let Some(pair) = pairs.get(name) else {
            let message = format!("every member of pair {name:?} left during the switchover");
            return Err(ControlError::new(ErrorCode::NoSuchPair, message));
        };
        let new = pair.members.iter().find(|member| {
            member.is(Role::Primary)
                && member.status.id != old.id
                && member.status.generation > old.generation
        });
        Ok(new.map(|member| member.status.address.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pair>> {
        // Every change leaves the table valid, so a panic elsewhere in the task spoils nothing.
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pair {
    fn put(&mut self, status: MemberStatus) {
        let heard = Instant::now();
        if let Some(member) = self
            .members
            .iter_mut()
            .find(|member| member.status.id == status.id)
        {
            member.status = status;
            member.heard = heard;
            return;
        }
        if self.members.len() >= limits::MEMBERS_PER_PAIR {
            let quietest = (0..self.members.len()).min_by_key(|&at| self.members[at].heard);
            quietest.map(|at| self.members.swap_remove(at));
        }
        self.members.push(Member {
            status,
            heard,
            polls: 0,
        });
    }
}

impl Member {
    fn status_now(&self) -> MemberStatus {
        let silent_ms = u64::try_from(self.heard.elapsed().as_millis()).unwrap_or(u64::MAX);
        MemberStatus {
            silent_ms,
            ..self.status.clone()
        }
    }
}

/// A long poll in progress: while it lasts its member is present, and its end counts as a sign of life.
struct Poll<'a> {
    pairs: &'a Pairs,
    name: &'a str,
    id: &'a [u8],
}

impl<'a> Poll<'a> {
    /// `None` when the member has too many already, or is gone.
    fn begin(pairs: &'a Pairs, name: &'a str, id: &'a [u8]) -> Option<Self> {
        let mut begun = false;
        let change = |member: &mut Member| {
            begun = member.polls < POLLS_PER_MEMBER;
            member.polls += u32::from(begun);
        };
        change_member(pairs, name, id, change);
        begun.then_some(Self { pairs, name, id })
    }
}

/// Changes a member, where it is known.
fn change_member(pairs: &Pairs, name: &str, id: &[u8], change: impl FnOnce(&mut Member)) {
    let mut pairs = pairs.lock();
    let pair = pairs.get_mut(name);
    if let Some(member) = pair.and_then(|pair| pair.members.iter_mut().find(|member| member.status.id == id))
    {
        change(member);
    }
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        change_member(self.pairs, self.name, self.id, |member| {
            member.polls = member.polls.saturating_sub(1);
            member.heard = Instant::now();
        });
    }
}

/// A switchover in progress; its end, however it comes, takes the request back.
struct Asked<'a> {
    pairs: &'a Pairs,
    name: &'a str,
    id: &'a [u8],
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut pairs = self.pairs.lock();
        if let Some(pair) = pairs
            .get_mut(self.name)
            .filter(|pair| pair.asked.as_deref() == Some(self.id))
        {
            pair.asked = None;
        }
    }
}

/// Drops members that were silent for long, and pairs that have none left.
fn forget_silent(pairs: &mut BTreeMap<String, Pair>) {
    pairs.retain(|_, pair| {
        pair.members
            .retain(|member| member.polls > 0 || member.heard.elapsed() < limits::MEMBER_SILENT);
        !pair.members.is_empty() || pair.asked.is_some()
    });
}

fn check_report(pair: &str, status: &MemberStatus) -> Result<(), ControlError> {
    if pair.is_empty() || pair.len() > limits::NAME_BYTES {
        return Err(invalid(format!(
            "a pair's name has 1 to {} bytes, not {}",
            limits::NAME_BYTES,
            pair.len()
        )));
    }
    if status.id.len() != 16 {
        return Err(invalid(format!(
            "a member's id has 16 bytes, not {}",
            status.id.len()
        )));
    }
    crate::label::check("a member's address", &status.address)
}

fn invalid(message: impl Into<String>) -> ControlError {
    ControlError::new(ErrorCode::Invalid, message)
}

#[cfg(test)]
mod tests;
