//! Who may do what: the one place where it is decided.
//!
//! A pure function of the catalog, the caller, and what is wanted. Every call is decided anew, so that a change of the
//! catalog acts on whoever is connected already. What a caller may not see is told apart from what does not
//! exist by nobody but the audit log.

use outlive_fabric::RegionId;
use outlive_identity::Caller;
use outlive_layout::catalog::{AccessRight, Catalog, RegionEntry};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

use crate::catalog::{layout_id, no_such_region};

/// What can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// May become a region's backup.
    Reader,
    /// May become its primary, and its backup.
    Owner,
    /// Is the identity that opened the region's present generation.
    Holder,
    /// Creates, grows and deletes regions, and manages access.
    Administrator,
}

/// What a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want<'a> {
    /// An answer that shows nothing but what the caller may see.
    Answer,
    /// What no region is asked about and only administrators may.
    Administer,
    /// To see a region.
    See(&'a str),
    /// To become its backup.
    Read(&'a str),
    /// To become its primary, or to speak as a member of the pair on it.
    Own(&'a str),
    /// To go on as primary of this generation.
    Hold(&'a str, u64),
    /// To grow it, as primary of this generation.
    Grow(&'a str, u64),
    /// To have its pair change roles.
    HandOver(&'a str),
    /// To delete it, or to change who may use it.
    Manage(&'a str),
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// There is no such region, or the caller is not to know of it: the answer is the same.
    Hidden,
    /// The caller may see the region (or none is asked about), and lacks this right.
    Missing(Right),
    /// The identity may do nothing.
    Revoked,
    /// Its certificate was replaced by others.
    Replaced,
}

/// Which of the regions a caller is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight<'a> {
    All,
    /// Those whose lists name it.
    Listed(&'a str),
}

/// Which of an identity's connections to a region may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    All,
    Readers,
    Nothing,
}

/// Decides.
pub(crate) fn decide(catalog: &Catalog, caller: &Caller, want: &Want<'_>) -> Verdict {
    let name = caller.name.as_str();
    let known = catalog.identity(name);
    if known.is_some_and(|known| known.revoked) {
        return Verdict::Revoked;
    }
    if known.is_some_and(|known| !known.counts(&caller.serial.0)) {
        return Verdict::Replaced;
    }
    let is_administrator = known.is_some_and(|known| known.administrator);
    let allowed_if = |allowed: bool, right| {
        if allowed {
            Verdict::Allowed
        } else {
            Verdict::Missing(right)
        }
    };
    let Some(region) = want.region() else {
        return allowed_if(is_administrator || *want == Want::Answer, Right::Administrator);
    };
    let Some(entry) = catalog.region_named(region) else {
        return Verdict::Hidden;
    };
    let may_read = entry.access.allows(name, AccessRight::Reader);
    let may_own = entry.access.allows(name, AccessRight::Owner);
    if !(is_administrator || may_read) {
        return Verdict::Hidden;
    }
    match want {
        Want::Answer | Want::See(_) => Verdict::Allowed,
        Want::Administer | Want::Manage(_) => allowed_if(is_administrator, Right::Administrator),
        Want::Read(_) => allowed_if(may_read, Right::Reader),
        Want::Own(_) => allowed_if(may_own, Right::Owner),
        Want::HandOver(_) => allowed_if(is_administrator || may_own, Right::Owner),
        Want::Grow(..) if !is_administrator => Verdict::Missing(Right::Administrator),
        Want::Hold(..) | Want::Grow(..) if !may_own => Verdict::Missing(Right::Owner),
        Want::Hold(_, generation) | Want::Grow(_, generation) => {
            allowed_if(may_hold(entry, name, *generation), Right::Holder)
        }
    }
}

/// Which regions a caller is shown who was allowed an answer.
pub(crate) fn sight<'a>(catalog: &Catalog, caller: &'a Caller) -> Sight<'a> {
    let name = caller.name.as_str();
    match catalog.identity(name) {
        Some(known) if known.administrator => Sight::All,
        _ => Sight::Listed(name),
    }
}

/// What of an identity's connections to a region the catalog allows; `None`: to the catalog itself.
pub(crate) fn leave(catalog: &Catalog, identity: &str, region: Option<RegionId>) -> Leave {
    let known = catalog.identity(identity);
    if known.is_some_and(|known| known.revoked) {
        return Leave::Nothing;
    }
    let Some(region) = region else {
        let is_administrator = known.is_some_and(|known| known.administrator);
        return if is_administrator {
            Leave::Readers
        } else {
            Leave::Nothing
        };
    };
    match catalog.region(layout_id(region)).map(|entry| &entry.access) {
        Some(access) if access.allows(identity, AccessRight::Owner) => Leave::All,
        Some(access) if access.allows(identity, AccessRight::Reader) => Leave::Readers,
        Some(_) | None => Leave::Nothing,
    }
}

/// Whether an owner may act for a generation. One that has passed or was closed is answered `FENCED` by the operation,
/// which is what its former primary has to hear.
fn may_hold(entry: &RegionEntry, name: &str, generation: u64) -> bool {
    let is_present = entry.generation == generation;
    entry
        .owner
        .as_ref()
        .is_none_or(|owner| !is_present || owner.identity == name)
}

impl Right {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Owner => "owner",
            Self::Holder => "holder",
            Self::Administrator => "administrator",
        }
    }
}

impl<'a> Want<'a> {
    /// The region asked about.
    pub(crate) fn region(&self) -> Option<&'a str> {
        match self {
            Self::Answer | Self::Administer => None,
            Self::See(region)
            | Self::Read(region)
            | Self::Own(region)
            | Self::Hold(region, _)
            | Self::Grow(region, _)
            | Self::HandOver(region)
            | Self::Manage(region) => Some(region),
        }
    }

    /// The right that is used, or missing.
    pub(crate) fn right(&self) -> Option<Right> {
        match self {
            Self::Answer | Self::See(_) => None,
            Self::Read(_) => Some(Right::Reader),
            Self::Own(_) | Self::HandOver(_) => Some(Right::Owner),
            Self::Hold(..) => Some(Right::Holder),
            Self::Administer | Self::Grow(..) | Self::Manage(_) => Some(Right::Administrator),
        }
    }
}

impl Verdict {
    /// As an answer to the caller.
    ///
    /// # Errors
    /// `NO_SUCH_REGION`, alike for regions that do not exist and for hidden ones; `NO_ACCESS`, naming the right that is
    /// missing and what gives it.
    pub(crate) fn check(self, caller: &Caller, want: &Want<'_>) -> Result<(), ControlError> {
        let who = &caller.name;
        let region = want.region().unwrap_or_default();
        let denied = |message: String| ControlError::new(ErrorCode::NoAccess, message);
        let missing = |right: Right, message| Err(denied(message).missing(right.name()));
        match self {
            Self::Allowed => Ok(()),
            Self::Hidden => Err(no_such_region(region)),
            Self::Missing(right @ Right::Administrator) => missing(
                right,
                format!(
                    "{who} is not an administrator; an administrator can make it one: \
                     outlive access admit {who} --administrator"
                ),
            ),
            Self::Missing(right @ (Right::Owner | Right::Reader)) => missing(
                right,
                format!(
                    "{who} is not listed as {0} of region {region:?}; an administrator can change that: \
                     outlive region grant {region} --{0} {who}",
                    right.name()
                ),
            ),
            Self::Missing(right @ Right::Holder) => missing(
                right,
                format!(
                    "another identity than {who} opened this generation of region {region:?}: open the region, \
                     or take it over"
                ),
            ),
            Self::Revoked => Err(denied(format!(
                "identity {who} was revoked; an administrator can admit it again: outlive access admit {who}"
            ))),
            Self::Replaced => Err(denied(format!(
                "this certificate of {who} does not count any more: use the newest one that was issued"
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
