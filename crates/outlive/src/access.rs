//! Who may do what: region lists and identities.

use std::time::Duration;

use outlive_identity::{Credentials, Name, SigningRequest};
use outlive_proto::v1;

use crate::control::Answer;
use crate::{Error, RegionView, Result, Session};

/// What an identity may be allowed in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessRight {
    /// May become backup.
    Reader,
    /// May become primary, and backup.
    Owner,
}

/// An identity as the manager knows it. One without a role and without a revocation needs no record: it has what the
/// regions' lists give it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdentityView {
    /// Its name.
    pub name: String,
    /// Whether it may create, grow and delete regions, and manage access.
    pub administrator: bool,
    /// Whether it may do nothing any more.
    pub revoked: bool,
    /// Serial numbers of the certificates that count, oldest first; none: any that a trusted authority signed.
    pub serials: Vec<Vec<u8>>,
    /// When it was first recorded, in milliseconds since 1970.
    pub issued_unix_ms: u64,
    /// When the newest certificate that the manager signed expires, in milliseconds since 1970; `None`: it signed none.
    pub expires_unix_ms: Option<u64>,
}

/// How a certificate is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssueOptions {
    /// Makes the identity an administrator.
    pub administrator: bool,
    /// For how long it is valid; `None`: a year.
    pub validity: Option<Duration>,
    /// The identity exists: its certificates so far go on counting until they expire.
    pub renew: bool,
}

/// A certificate that was issued, with its private key, which never left this process.
#[derive(Debug)]
#[non_exhaustive]
pub struct IssuedIdentity {
    /// Whose.
    pub identity: IdentityView,
    /// Certificate and key.
    pub credentials: Credentials,
    /// The authority that signed it, PEM.
    pub authority_pem: String,
}

impl Session {
    /// Who this session is, as the manager sees it.
    ///
    /// # Errors
    /// [`Error::NoAccess`] where the identity was revoked; [`Error::Unreachable`].
    pub fn who_am_i(&self) -> Result<IdentityView> {
        let answer = self.call("", |mut client| async move {
            client.who_am_i(v1::WhoAmIRequest {}).await
        });
        answer.result.map(IdentityView::from)
    }

    /// Puts an identity into one of a region's lists. For administrators.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`], [`Error::NoAccess`], [`Error::Invalid`]; [`Error::Limit`] when the lists are full.
    pub fn grant(&self, region: &str, identity: &str, right: AccessRight) -> Result<RegionView> {
        self.change_access(region, identity, right, true)
    }

    /// Takes an identity out of one of a region's lists. What it may not do any more it cannot do once this has returned:
    /// its connections were stopped and have confirmed it. For administrators.
    ///
    /// # Errors
    /// As for [`grant`](Self::grant); [`Error::FenceUnconfirmed`] when the change was made and a connection did not confirm
    /// that it stopped: ask again.
    pub fn deny(&self, region: &str, identity: &str, right: AccessRight) -> Result<RegionView> {
        self.change_access(region, identity, right, false)
    }

    /// Every identity that the manager knows. For administrators.
    ///
    /// # Errors
    /// [`Error::NoAccess`].
    pub fn identities(&self) -> Result<Vec<IdentityView>> {
        let answer = self.call("", |mut client| async move {
            client.list_identities(v1::ListIdentitiesRequest {}).await
        });
        let identities = answer.result?.identities;
        Ok(identities.into_iter().map(IdentityView::from).collect())
    }

    /// Gives an identity, whoever signed its certificate, a role, or takes it; lifts a revocation. For administrators.
    ///
    /// # Errors
    /// [`Error::NoAccess`]; [`Error::Invalid`] where it is the last administrator, or no name.
    pub fn admit_identity(&self, name: &str, administrator: bool) -> Result<IdentityView> {
        let request = v1::AdmitIdentityRequest {
            name: name.to_owned(),
            administrator,
        };
        let answer = self.call("", move |mut client| {
            let request = request.clone();
            async move { client.admit_identity(request).await }
        });
        answer.result.map(IdentityView::from)
    }

    /// Takes everything from an identity. Once this has returned it has no connection any more and gets none. Returns how
    /// many connections were stopped. For administrators.
    ///
    /// # Errors
    /// [`Error::NoAccess`]; [`Error::Invalid`] where it is the last administrator, or no name;
    /// [`Error::FenceUnconfirmed`] when it is revoked and a connection did not confirm that it stopped: ask again.
    pub fn revoke_identity(&self, name: &str) -> Result<u32> {
        let request = v1::RevokeIdentityRequest {
            name: name.to_owned(),
        };
        let answer = self.call(name, move |mut client| {
            let request = request.clone();
            async move { client.revoke_identity(request).await }
        });
        answer.result.map(|answer| answer.stopped)
    }

    /// Has the manager's authority sign a certificate for a key that is made here. For administrators.
    ///
    /// # Errors
    /// [`Error::NoAccess`]; [`Error::Invalid`] where the manager holds no authority's key, or the identity exists and
    /// `renew` is not set. Tried once, not again: an attempt that broke off may have counted its certificate in.
    pub fn issue_identity(&self, name: &str, options: &IssueOptions) -> Result<IssuedIdentity> {
        let invalid = |reason: String| Error::Invalid { reason };
        let name: Name = name
            .parse()
            .map_err(|error: outlive_identity::NameError| invalid(error.to_string()))?;
        let signing = SigningRequest::new(&name).map_err(|error| invalid(error.to_string()))?;
        let request = v1::IssueIdentityRequest {
            name: name.to_string(),
            signing_request: signing.der().to_vec(),
            administrator: options.administrator,
            valid_s: options.validity.map_or(0, |validity| validity.as_secs().max(1)),
            renew: options.renew,
        };
        let answer: Answer<_> = self.control().call("", Duration::ZERO, move |mut client| {
            let request = request.clone();
            async move { client.issue_identity(request).await }
        });
        let issued = answer.result?;
        let credentials = signing
            .into_credentials(issued.certificate)
            .map_err(|error| Error::Protocol {
                reason: format!("the manager's certificate is of no use: {error}"),
            })?;
        Ok(IssuedIdentity {
            identity: issued.identity.unwrap_or_default().into(),
            credentials,
            authority_pem: issued.authority,
        })
    }

    fn change_access(
        &self,
        region: &str,
        identity: &str,
        right: AccessRight,
        allow: bool,
    ) -> Result<RegionView> {
        let request = v1::ChangeAccessRequest {
            name: region.to_owned(),
            identity: identity.to_owned(),
            right: right.to_proto().into(),
            allow,
        };
        let answer = self.call(region, move |mut client| {
            let request = request.clone();
            async move { client.change_access(request).await }
        });
        answer.result.map(RegionView::from)
    }
}

impl AccessRight {
    fn to_proto(self) -> v1::AccessRight {
        match self {
            Self::Reader => v1::AccessRight::Reader,
            Self::Owner => v1::AccessRight::Owner,
        }
    }
}

impl From<v1::Identity> for IdentityView {
    fn from(identity: v1::Identity) -> Self {
        Self {
            name: identity.name,
            administrator: identity.administrator,
            revoked: identity.revoked,
            serials: identity.serials,
            issued_unix_ms: identity.issued_unix_ms,
            expires_unix_ms: (identity.expires_unix_ms > 0).then_some(identity.expires_unix_ms),
        }
    }
}
