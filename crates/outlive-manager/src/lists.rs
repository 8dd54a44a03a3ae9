//! Who stands in a region's lists: granting and denying.

use outlive_audit::Act;
use outlive_identity::{Caller, Name};
use outlive_layout::catalog::{AccessList, AccessRight, CatalogError, Record};
use outlive_proto::ControlError;
use outlive_proto::v1::{self, ChangeAccessRequest, ErrorCode, Region};

use crate::access::Leave;
use crate::account;
use crate::call::Call;
use crate::shared::{Attachment, Shared};
use outlive_fabric::RegionId;

impl Shared {
    /// Puts an identity into one of a region's lists, or takes it out. What it may not do any more it cannot do once this
    /// has returned: its connections were stopped and have confirmed it, its tickets are void.
    ///
    /// # Errors
    /// `INVALID`; `LIMIT` when the lists are full; `FENCE_UNCONFIRMED` when the change is made and a connection did not
    /// confirm that it stopped: ask again.
    pub(crate) async fn change_access(
        &self,
        caller: &Caller,
        request: &ChangeAccessRequest,
    ) -> Result<Region, ControlError> {
        let right = right(request.right())?;
        let identity = subject(&request.identity)?;
        let attachment = self.attachment().await?;
        let (_lock, record) = self.locked(caller, &request.want()).await?;
        if record.access.names(identity.as_str(), right) != request.allow {
            let change = Record::AccessChanged {
                region: record.region,
                identity: identity.to_string(),
                right,
                allowed: request.allow,
            };
            self.commit(&attachment, change).await?;
        }
        // Also where nothing changed: the call before may have been cut off here.
        let confined = self.confine(&attachment, identity.as_str(), record.id).await;
        let stopped = confined.map_err(made)?;
        if !self.ensure_programmed(&attachment, record.id).await? {
            self.describe_page(&attachment, record.id).await?;
        }
        self.tell_if_lost(record.id);
        let entry = account::done(Act::ChangeAccess, caller)
            .region(&record.name)
            .about(identity.as_str())
            .right(changed(right, request.allow))
            .count(u64::from(stopped));
        self.options.audit.record(&entry);
        self.catalog
            .identified(record.id)
            .map(|record| self.region_of(&record))
            .ok_or_else(|| crate::catalog::no_such_region(&request.name))
    }

    /// Stops those of an identity's connections to a region, or to the catalog, that it may not have, and voids its tickets
    /// likewise. Returns how many were stopped once each has confirmed it.
    pub(crate) async fn confine(
        &self,
        attachment: &Attachment,
        identity: &str,
        region: RegionId,
    ) -> Result<u32, ControlError> {
        let listed = (region != attachment.catalog_region).then_some(region);
        let keep_readers = match self.catalog.leave(identity, listed) {
            Leave::All => return Ok(0),
            Leave::Readers => true,
            Leave::Nothing => false,
        };
        let revoked = attachment.unit.revoke(Some(region), identity, keep_readers).await;
        attachment.checked(revoked)
    }
}

/// What is said when a change stands and something that it forbids could not be confirmed stopped.
pub(crate) fn made(error: ControlError) -> ControlError {
    if error.code != ErrorCode::FenceUnconfirmed {
        return error;
    }
    let message = format!("the change is made, but {}: ask for it again", error.message);
    ControlError { message, ..error }
}

/// The lists of a new region.
///
/// # Errors
/// `INVALID` for what is no identity's name or named twice; `LIMIT` beyond their bound.
pub(crate) fn of(owners: Vec<String>, readers: Vec<String>) -> Result<AccessList, ControlError> {
    for identity in owners.iter().chain(&readers) {
        subject(identity)?;
    }
    AccessList::new(owners, readers).map_err(|error| {
        let code = match error {
            CatalogError::AccessFull => ErrorCode::Limit,
            _ => ErrorCode::Invalid,
        };
        ControlError::new(code, error.to_string())
    })
}

/// An identity that may be given rights.
///
/// # Errors
/// `INVALID` for what is no name, and for those of Outlive's own processes.
pub(crate) fn subject(name: &str) -> Result<Name, ControlError> {
    let invalid = |message: String| ControlError::new(ErrorCode::Invalid, message);
    let name: Name = name
        .parse()
        .map_err(|error: outlive_identity::NameError| invalid(error.to_string()))?;
    if name.is_system() {
        let message =
            format!("{name} is one of Outlive's own processes: those have no roles and no rights to regions");
        return Err(invalid(message));
    }
    Ok(name)
}

fn right(right: v1::AccessRight) -> Result<AccessRight, ControlError> {
    match right {
        v1::AccessRight::Reader => Ok(AccessRight::Reader),
        v1::AccessRight::Owner => Ok(AccessRight::Owner),
        v1::AccessRight::Unspecified => Err(ControlError::new(
            ErrorCode::Invalid,
            "the request names no right: owner or reader",
        )),
    }
}

/// What the audit log says of a change.
fn changed(right: AccessRight, allowed: bool) -> &'static str {
    match (right, allowed) {
        (AccessRight::Owner, true) => "+owner",
        (AccessRight::Owner, false) => "-owner",
        (AccessRight::Reader, true) => "+reader",
        (AccessRight::Reader, false) => "-reader",
    }
}
