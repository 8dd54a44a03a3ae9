//! What each call takes: said here beside its request's type, so that none can be served without a decision.

use outlive_audit::Act;
use outlive_proto::v1::{
    AddressContextRequest, AdmitIdentityRequest, ChangeAccessRequest, CloseRegionRequest,
    CreateRegionRequest, DeleteRegionRequest, DescribeRegionRequest, IssueIdentityRequest,
    ListIdentitiesRequest, ListRegionsRequest, OpenCatalogRequest, OpenRegionRequest, ReconnectRegionRequest,
    ReportMemberRequest, ResizeRegionRequest, RevokeIdentityRequest, Role, StatusRequest, SwitchoverRequest,
    TakeoverRegionRequest, WatchRegionRequest, WhoAmIRequest,
};

use crate::access::Want;

/// A request to the manager.
pub(crate) trait Call {
    /// How the audit log calls it.
    const ACT: Act;

    /// What its caller wants.
    fn want(&self) -> Want<'_>;

    /// The identity that it is about.
    fn subject(&self) -> Option<&str> {
        None
    }
}

impl Call for CreateRegionRequest {
    const ACT: Act = Act::CreateRegion;

    fn want(&self) -> Want<'_> {
        Want::Administer
    }
}

impl Call for DeleteRegionRequest {
    const ACT: Act = Act::DeleteRegion;

    fn want(&self) -> Want<'_> {
        Want::Manage(&self.name)
    }
}

impl Call for ResizeRegionRequest {
    const ACT: Act = Act::ResizeRegion;

    fn want(&self) -> Want<'_> {
        Want::Grow(&self.name, self.generation)
    }
}

impl Call for ListRegionsRequest {
    const ACT: Act = Act::Inspect;

    fn want(&self) -> Want<'_> {
        Want::Answer
    }
}

impl Call for DescribeRegionRequest {
    const ACT: Act = Act::Inspect;

    fn want(&self) -> Want<'_> {
        Want::See(&self.name)
    }
}

impl Call for OpenRegionRequest {
    const ACT: Act = Act::Open;

    fn want(&self) -> Want<'_> {
        match self.role() {
            Role::Primary => Want::Own(&self.name),
            // One without a role is refused as such, by whom the caller may know.
            Role::Backup | Role::Unspecified => Want::Read(&self.name),
        }
    }
}

impl Call for ReconnectRegionRequest {
    const ACT: Act = Act::Reconnect;

    fn want(&self) -> Want<'_> {
        match self.role() {
            Role::Primary => Want::Hold(&self.name, self.generation),
            Role::Backup | Role::Unspecified => Want::Read(&self.name),
        }
    }
}

impl Call for TakeoverRegionRequest {
    const ACT: Act = Act::Takeover;

    fn want(&self) -> Want<'_> {
        Want::Own(&self.name)
    }
}

impl Call for CloseRegionRequest {
    const ACT: Act = Act::Close;

    fn want(&self) -> Want<'_> {
        Want::Hold(&self.name, self.generation)
    }
}

impl Call for WatchRegionRequest {
    const ACT: Act = Act::Inspect;

    fn want(&self) -> Want<'_> {
        Want::See(&self.name)
    }
}

impl Call for AddressContextRequest {
    const ACT: Act = Act::Inspect;

    fn want(&self) -> Want<'_> {
        Want::See(&self.name)
    }
}

impl Call for OpenCatalogRequest {
    const ACT: Act = Act::OpenCatalog;

    fn want(&self) -> Want<'_> {
        Want::Administer
    }
}

impl Call for StatusRequest {
    const ACT: Act = Act::Inspect;

    fn want(&self) -> Want<'_> {
        Want::Answer
    }
}

impl Call for ReportMemberRequest {
    const ACT: Act = Act::Inspect;

    fn want(&self) -> Want<'_> {
        // A pair has its region's name.
        Want::Own(&self.pair)
    }
}

impl Call for WhoAmIRequest {
    const ACT: Act = Act::Inspect;

    fn want(&self) -> Want<'_> {
        Want::Answer
    }
}

impl Call for ChangeAccessRequest {
    const ACT: Act = Act::ChangeAccess;

    fn want(&self) -> Want<'_> {
        Want::Manage(&self.name)
    }

    fn subject(&self) -> Option<&str> {
        Some(&self.identity)
    }
}

impl Call for ListIdentitiesRequest {
    const ACT: Act = Act::Inspect;

    fn want(&self) -> Want<'_> {
        Want::Administer
    }
}

impl Call for IssueIdentityRequest {
    const ACT: Act = Act::IssueIdentity;

    fn want(&self) -> Want<'_> {
        Want::Administer
    }

    fn subject(&self) -> Option<&str> {
        Some(&self.name)
    }
}

impl Call for AdmitIdentityRequest {
    const ACT: Act = Act::AdmitIdentity;

    fn want(&self) -> Want<'_> {
        Want::Administer
    }

    fn subject(&self) -> Option<&str> {
        Some(&self.name)
    }
}

impl Call for RevokeIdentityRequest {
    const ACT: Act = Act::RevokeIdentity;

    fn want(&self) -> Want<'_> {
        Want::Administer
    }

    fn subject(&self) -> Option<&str> {
        Some(&self.name)
    }
}

impl Call for SwitchoverRequest {
    const ACT: Act = Act::Switchover;

    fn want(&self) -> Want<'_> {
        Want::HandOver(&self.pair)
    }
}
