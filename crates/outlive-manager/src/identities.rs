//! Identities: who has a role, whose certificates count, who was revoked.

use std::time::{Duration, UNIX_EPOCH};

use outlive_audit::{Act, Entry};
use outlive_identity::{Caller, Issued, Name, Serial};
use outlive_layout::catalog::{IdentityEntry, Record};
use outlive_proto::ControlError;
use outlive_proto::v1::{
    self, AdmitIdentityRequest, ErrorCode, IssueIdentityRequest, IssueIdentityResponse,
    ListIdentitiesResponse, RevokeIdentityRequest, RevokeIdentityResponse,
};
use tokio::sync::MutexGuard;

use crate::access::Want;
use crate::catalog::now_ms;
use crate::lists::{made, subject};
use crate::shared::{Attachment, Shared};
use crate::{account, limits};

impl Shared {
    /// Who the caller is, as the catalog knows it.
    pub(crate) fn who_am_i(&self, caller: &Caller) -> v1::Identity {
        let known = self.catalog.identity(caller.name.as_str());
        told(known.unwrap_or_else(|| unknown(&caller.name)))
    }

    /// Every identity that the catalog knows.
    ///
    /// # Errors
    /// `UNIT_UNREACHABLE` while there is no catalog to look into.
    pub(crate) async fn list_identities(&self) -> Result<ListIdentitiesResponse, ControlError> {
        self.attachment().await?;
        Ok(ListIdentitiesResponse {
            identities: self.catalog.identities().into_iter().map(told).collect(),
        })
    }

    /// Gives an identity a role, or takes it; lifts a revocation.
    ///
    /// # Errors
    /// `INVALID` for what is no name, and for the last administrator's role.
    pub(crate) async fn admit_identity(
        &self,
        caller: &Caller,
        request: &AdmitIdentityRequest,
    ) -> Result<v1::Identity, ControlError> {
        let name = subject(&request.name)?;
        let attachment = self.attachment().await?;
        let locked = self.identities_locked(caller).await?;
        let known = self.catalog.identity(name.as_str());
        if !request.administrator {
            self.check_not_last(&name)?;
        }
        let entry = IdentityEntry {
            administrator: request.administrator,
            revoked: false,
            ..known.clone().unwrap_or_else(|| unknown(&name))
        };
        self.set_identity(&attachment, known.as_ref(), entry.clone())
            .await?;
        drop(locked);
        let catalog = attachment.catalog_region;
        let confined = self.confine(&attachment, name.as_str(), catalog).await;
        let stopped = confined.map_err(made)?;
        let done = self.administrative(Act::AdmitIdentity, caller, &name);
        let right = if request.administrator {
            "+administrator"
        } else {
            "-administrator"
        };
        self.options
            .audit
            .record(&done.right(right).count(u64::from(stopped)));
        Ok(told(entry))
    }

    /// Takes everything from an identity: from now on it may do nothing, and its connections are stopped before this
    /// returns.
    ///
    /// # Errors
    /// `INVALID` for what is no name, and for the last administrator; `FENCE_UNCONFIRMED` when it is revoked and a
    /// connection did not confirm that it stopped: ask again.
    pub(crate) async fn revoke_identity(
        &self,
        caller: &Caller,
        request: &RevokeIdentityRequest,
    ) -> Result<RevokeIdentityResponse, ControlError> {
        let name = subject(&request.name)?;
        let attachment = self.attachment().await?;
        let locked = self.identities_locked(caller).await?;
        let known = self.catalog.identity(name.as_str());
        self.check_not_last(&name)?;
        let entry = IdentityEntry {
            administrator: false,
            revoked: true,
            ..known.clone().unwrap_or_else(|| unknown(&name))
        };
        self.set_identity(&attachment, known.as_ref(), entry).await?;
        drop(locked);
        // Also where nothing changed: the call before may have been cut off here.
        let revoked = attachment.unit.revoke(None, name.as_str(), false).await;
        let stopped = attachment.checked(revoked).map_err(made)?;
        for region in self.catalog.listing(name.as_str()) {
            self.tell_if_lost(region.id);
        }
        let done = self.administrative(Act::RevokeIdentity, caller, &name);
        self.options.audit.record(&done.count(u64::from(stopped)));
        Ok(RevokeIdentityResponse { stopped })
    }

    /// Signs a certificate and lets it count: for a name that is new or was revoked as the only one, with `renew` beside
    /// those before.
    ///
    /// # Errors
    /// `INVALID` where the manager holds no authority's key, the identity exists (or does not, with `renew`), or the request
    /// cannot be signed; `LIMIT` when the catalog is full.
    pub(crate) async fn issue_identity(
        &self,
        caller: &Caller,
        request: &IssueIdentityRequest,
    ) -> Result<IssueIdentityResponse, ControlError> {
        let name = subject(&request.name)?;
        let Some(authority) = &self.options.authority else {
            return Err(invalid(format!(
                "this manager holds no authority's key: have your own authority sign a certificate for {name}, \
                 then: outlive access admit {name}"
            )));
        };
        let validity = match request.valid_s {
            0 => outlive_identity::DEFAULT_VALIDITY,
            seconds => Duration::from_secs(seconds),
        };
        let attachment = self.attachment().await?;
        let locked = self.identities_locked(caller).await?;
        let known = self.catalog.identity(name.as_str());
        check_issue(known.as_ref(), &name, request.renew)?;
        let issued = authority
            .sign_request(&request.signing_request, &name, validity)
            .map_err(|error| invalid(error.to_string()))?;
        let entry = issued_to(known.as_ref(), &name, request.administrator, &issued);
        self.set_identity(&attachment, known.as_ref(), entry.clone())
            .await?;
        drop(locked);
        let done = self.administrative(Act::IssueIdentity, caller, &name);
        let done = if entry.administrator {
            done.right("administrator")
        } else {
            done
        };
        self.options.audit.record(&done);
        Ok(IssueIdentityResponse {
            identity: Some(told(entry)),
            certificate: issued.certificate_pem,
            authority: authority.certificate_pem().to_owned(),
        })
    }

    async fn set_identity(
        &self,
        attachment: &Attachment,
        known: Option<&IdentityEntry>,
        entry: IdentityEntry,
    ) -> Result<(), ControlError> {
        if known == Some(&entry) {
            return Ok(());
        }
        self.commit(attachment, Record::IdentitySet { identity: entry })
            .await
    }

    /// Keeps others from changing identities. The caller's own right is looked at again: who held the lock before may
    /// have taken it.
    async fn identities_locked(&self, caller: &Caller) -> Result<MutexGuard<'_, ()>, ControlError> {
        let locked = tokio::time::timeout(limits::REGION_WAIT, self.identities.lock()).await;
        let locked = locked.map_err(|_elapsed| {
            let waited = limits::REGION_WAIT.as_secs();
            let message = format!("others have changed identities for {waited} s: try again");
            ControlError::new(ErrorCode::UnitUnreachable, message)
        })?;
        self.catalog.authorise(caller, &Want::Administer)?;
        Ok(locked)
    }

    /// That somebody administrates when `name` does not any more.
    fn check_not_last(&self, name: &Name) -> Result<(), ControlError> {
        let now = now_ms();
        let (own, others): (Vec<_>, Vec<_>) = self
            .catalog
            .identities()
            .into_iter()
            .filter(|entry| is_active_administrator(entry, now))
            .partition(|entry| entry.name == name.as_str());
        if own.is_empty() || !others.is_empty() {
            return Ok(());
        }
        Err(invalid(format!(
            "{name} is the last administrator: make another one first: outlive access admit NAME --administrator"
        )))
    }

    fn administrative(&self, act: Act, caller: &Caller, about: &Name) -> Entry {
        account::done(act, caller).about(about.as_str())
    }
}

/// The entry that makes `name`, of which nothing is known yet, an administrator whose certificate `serial` counts, or
/// that counts one more certificate of an administrator; `None` where nothing has to change. One that was revoked, or lost
/// the role, stays so: only an administrator changes that.
pub(crate) fn founded(
    known: Option<&IdentityEntry>,
    name: &Name,
    serial: Option<&Serial>,
    now_ms: u64,
) -> Option<IdentityEntry> {
    let Some(known) = known else {
        return Some(IdentityEntry {
            administrator: true,
            serials: serial.map(|serial| serial.0.clone()).into_iter().collect(),
            issued_ms: now_ms,
            ..unknown(name)
        });
    };
    let is_active = known.administrator && !known.revoked;
    let serial = serial.filter(|serial| is_active && !known.counts(&serial.0))?;
    let mut entry = known.clone();
    count(&mut entry, serial);
    Some(entry)
}

/// Whether a certificate may be issued to a name of which this is known.
fn check_issue(known: Option<&IdentityEntry>, name: &Name, renew: bool) -> Result<(), ControlError> {
    match known {
        Some(known) if known.revoked && renew => Err(invalid(format!(
            "{name} was revoked: issue it a new certificate without --renew"
        ))),
        Some(known) if !known.revoked && !renew => Err(invalid(format!(
            "{name} exists: for one more certificate, beside those it has, say --renew"
        ))),
        None if renew => Err(invalid(format!("there is no identity {name} to renew"))),
        Some(_) | None => Ok(()),
    }
}

/// The entry of an identity that was issued one more certificate. Where every certificate of a trusted authority counts,
/// that stays so.
fn issued_to(
    known: Option<&IdentityEntry>,
    name: &Name,
    administrator: bool,
    issued: &Issued,
) -> IdentityEntry {
    let since = issued.expires.duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let Some(active) = known.filter(|known| !known.revoked) else {
        // Certificates of before its revocation count no more.
        return IdentityEntry {
            administrator,
            serials: vec![issued.serial.0.clone()],
            expires_ms,
            ..unknown(name)
        };
    };
    let mut entry = IdentityEntry {
        administrator: administrator || active.administrator,
        expires_ms: expires_ms.max(active.expires_ms),
        ..active.clone()
    };
    if !entry.serials.is_empty() {
        count(&mut entry, &issued.serial);
    }
    entry
}

/// Lets one more certificate count, in place of the oldest where there are too many.
fn count(entry: &mut IdentityEntry, serial: &Serial) {
    if entry.serials.len() >= outlive_layout::catalog::MAX_SERIALS {
        entry.serials.remove(0);
    }
    entry.serials.push(serial.0.clone());
}

/// What holds of a name that the catalog does not know.
fn unknown(name: &Name) -> IdentityEntry {
    IdentityEntry {
        name: name.to_string(),
        issued_ms: now_ms(),
        ..IdentityEntry::default()
    }
}

/// Whether it can act as administrator; one whose certificates are known to have expired cannot.
fn is_active_administrator(entry: &IdentityEntry, now_ms: u64) -> bool {
    entry.administrator && !entry.revoked && (entry.expires_ms == 0 || entry.expires_ms > now_ms)
}

fn told(entry: IdentityEntry) -> v1::Identity {
    v1::Identity {
        name: entry.name,
        administrator: entry.administrator,
        revoked: entry.revoked,
        serials: entry.serials,
        issued_unix_ms: entry.issued_ms,
        expires_unix_ms: entry.expires_ms,
    }
}

fn invalid(message: String) -> ControlError {
    ControlError::new(ErrorCode::Invalid, message)
}
