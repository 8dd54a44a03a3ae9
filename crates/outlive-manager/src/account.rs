//! What the audit log is told of calls.

use outlive_audit::{Act, Entry};
use outlive_identity::Caller;
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

use crate::access::Right;
use crate::call::Call;
use crate::shared::Shared;

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
            region: want.region().map(str::to_owned),
            subject: request.subject().map(str::to_owned),
            right: want.right(),
        }
    }

    /// Records how the call ended, if it was refused, or failed in what it was to change.
    pub(crate) fn settle(&self, shared: &Shared, error: &ControlError) {
        let Some(entry) = self.entry(shared, error) else {
            return;
        };
        let entry = match (&self.region, &self.subject) {
            (Some(region), Some(subject)) => entry.region(clipped(region)).about(clipped(subject)),
            (Some(region), None) => entry.region(clipped(region)),
            (None, Some(subject)) => entry.about(clipped(subject)),
            (None, None) => entry,
        };
        shared.options.audit.record(&entry);
    }

    fn entry(&self, shared: &Shared, error: &ControlError) -> Option<Entry> {
        let entry = match error.code {
            ErrorCode::NoAccess => by(Entry::refused(self.act, error), &self.caller),
            ErrorCode::NoSuchRegion if self.is_hidden(shared) => {
                let reason = "may not see the region; told that it does not exist";
                by(Entry::refused(self.act, reason), &self.caller)
            }
            ErrorCode::NoSuchRegion => by(Entry::refused(self.act, error), &self.caller),
            _ if self.act == Act::Inspect => return None,
            _ => failed(self.act, &self.caller, error),
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

    fn is_hidden(&self, shared: &Shared) -> bool {
        let region = self.region.as_deref().unwrap_or_default();
        shared.catalog.named(region).is_ok()
    }
}

/// What a caller sent may be anything: a name is never longer than this, and the log is bounded.
fn clipped(text: &str) -> String {
    text.chars()
        .take(outlive_layout::catalog::MAX_NAME_BYTES)
        .collect()
}
