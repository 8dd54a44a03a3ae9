//! What the audit log is told of calls.

use std::net::IpAddr;

use outlive_audit::{Act, Entry};
use outlive_identity::{Caller, Name};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

use crate::access::Right;
use crate::call::Call;
use crate::catalog::clipped;
use crate::limits;
use crate::rate::Pass;
use crate::shared::Shared;

/// Where calls come from: who, and from which host.
pub(crate) type Source = (Name, Option<IpAddr>);

/// Something that a caller did.
pub(crate) fn done(act: Act, caller: &Caller) -> Entry {
    by(Entry::done(act), caller)
}

/// Something that a caller may do and that failed.
pub(crate) fn failed(act: Act, caller: &Caller, why: &ControlError) -> Entry {
    by(Entry::failed(act, why), caller)
}

fn by(entry: Entry, caller: &Caller) -> Entry {
    let entry = entry.by(caller.name.as_str());
    match caller.source {
        Some(source) => entry.from(source),
        None => entry,
    }
}

/// One call, kept for the case that it is refused or fails. What is done is recorded by whoever did it.
#[derive(Debug)]
pub(crate) struct Account {
    act: Act,
    caller: Caller,
    region: Option<String>,
    subject: Option<String>,
    right: Option<Right>,
}

impl Account {
    pub(crate) fn of<Q: Call>(caller: &Caller, request: &Q) -> Self {
        let want = request.want();
        Self {
            act: Q::ACT,
            caller: caller.clone(),
            region: want.region().map(|region| clipped(region).to_owned()),
            subject: request.subject().map(|subject| clipped(subject).to_owned()),
            right: want.right(),
        }
    }

    /// Records how the call ended, if it was refused, or failed in what it was to change. Returns what the caller is told: one
    /// that was refused too often is told to wait, and learns nothing more.
    pub(crate) fn settle(&self, shared: &Shared, error: ControlError) -> ControlError {
        if let Some(entry) = self.entry(shared, &error) {
            self.record(shared, entry);
        }
        if self.is_refusal(shared, &error) && shared.refusals.pass(&self.source()) == Pass::Refused {
            let message = format!(
                "more than {} calls of {} per second were refused: wait before you try again",
                limits::REFUSALS_PER_SECOND,
                self.caller.name
            );
            return ControlError::new(ErrorCode::Limit, message);
        }
        error
    }

    fn record(&self, shared: &Shared, entry: Entry) {
        let entry = match (&self.region, &self.subject) {
            (Some(region), Some(subject)) => entry.region(region).about(subject),
            (Some(region), None) => entry.region(region),
            (None, Some(subject)) => entry.about(subject),
            (None, None) => entry,
        };
        shared.options.audit.record(&entry);
    }

    fn entry(&self, shared: &Shared, error: &ControlError) -> Option<Entry> {
        let entry = if self.is_refusal(shared, error) {
            let refused = if error.code == ErrorCode::NoSuchRegion && self.exists(shared) {
                Entry::refused(self.act, "may not see the region; told that it does not exist")
            } else {
                Entry::refused(self.act, error)
            };
            by(refused, &self.caller)
        } else if self.act == Act::Inspect {
            return None;
        } else {
            // Refusals are bounded by the log itself.
            let Pass::Allowed { refused_before } = shared.failures.pass(&self.source()) else {
                return None;
            };
            let entry = failed(self.act, &self.caller, error);
            match refused_before {
                0 => entry,
                more => entry.count(more),
            }
        };
        let right = [Right::Reader, Right::Owner, Right::Holder, Right::Administrator]
            .into_iter()
            .find(|right| right.name() == error.missing_right)
            .or(self.right);
        let entry = match right {
            Some(right) => entry.right(right.name()),
            None => entry,
        };
        Some(match error.generation {
            0 => entry,
            generation => entry.generation(generation),
        })
    }

    /// Whether the caller was refused something. That there is no such region refuses an administrator nothing.
    fn is_refusal(&self, shared: &Shared, error: &ControlError) -> bool {
        match error.code {
            ErrorCode::NoAccess => true,
            ErrorCode::NoSuchRegion => !shared.catalog.is_administrator(&self.caller),
            _ => false,
        }
    }

    fn source(&self) -> Source {
        let address = self.caller.source.map(|source| source.ip());
        (self.caller.name.clone(), address)
    }

    fn exists(&self, shared: &Shared) -> bool {
        let region = self.region.as_deref().unwrap_or_default();
        shared.catalog.named(region).is_ok()
    }
}
