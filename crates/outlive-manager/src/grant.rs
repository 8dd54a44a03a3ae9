//! Who may touch a region: open, reconnect, take over, close.
//!
//! Every change of ownership runs under the region's lock in the same order: the new generation durable in the
//! catalog, then everything below it fenced at the unit and confirmed, then the grant. A failure between two
//! steps leaves the region without a living owner, never with two.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant as Clock;

use outlive_audit::Act;
use outlive_fabric::{RegionId, Rights, Terms, Ticket};
use outlive_identity::Caller;
use outlive_layout::catalog::Record;
use outlive_proto::ControlError;
use outlive_proto::v1::region_event::Kind;
use outlive_proto::v1::{
    CloseRegionRequest, CloseRegionResponse, ErrorCode, LiveConnection, OpenRegionRequest, Opened,
    ReconnectRegionRequest, Region, RegionKind, Role, TakeoverRegionRequest,
};

use crate::access::{Leave, Right, Want};
use crate::call::Call;
use crate::catalog::{RegionRecord, layout_id};
use crate::live::{Purpose, RegionLock};
use crate::programming::Fence;
use crate::rate::Pass;
use crate::shared::{Attachment, Shared};
use crate::{account, limits};

impl Shared {
    /// Opens a region as primary or as backup.
    ///
    /// # Errors
    /// `OWNED` as primary while another is alive and take-over was not asked for.
    pub(crate) async fn open(
        self: Arc<Self>,
        caller: &Caller,
        request: OpenRegionRequest,
    ) -> Result<Opened, ControlError> {
        self.check_rate(caller)?;
        let is_primary = is_primary(request.role())?;
        let attachment = self.attachment().await?;
        let want = request.want();
        let (_lock, record) = self.locked(caller, &want).await?;
        let granted = if is_primary {
            let owner = owner_label(&request.owner, caller)?;
            if !request.take_over {
                self.check_unowned(&attachment, &record).await?;
            }
            self.grant_next(&attachment, caller, &want, record, owner).await?
        } else {
            self.grant_read(&attachment, caller, &want, &record).await?
        };
        Ok(self.granted(Act::Open, caller, &want, granted))
    }

    /// Lets the owner of this generation, or a backup, connect again. Never raises the generation.
    ///
    /// # Errors
    /// `FENCED` when the generation has moved on or was closed.
    pub(crate) async fn reconnect(
        self: Arc<Self>,
        caller: &Caller,
        request: ReconnectRegionRequest,
    ) -> Result<Opened, ControlError> {
        self.check_rate(caller)?;
        let is_primary = is_primary(request.role())?;
        let attachment = self.attachment().await?;
        let want = request.want();
        let (_lock, record) = self.locked(caller, &want).await?;
        let granted = if is_primary {
            check_generation(&record, request.generation)?;
            let grant = self.grant_same(&attachment, caller, &want, &record);
            self.expecting(&attachment, record.id, record.generation, grant)
                .await?
        } else {
            self.grant_read(&attachment, caller, &want, &record).await?
        };
        Ok(self.granted(Act::Reconnect, caller, &want, granted))
    }

    /// Makes the caller primary if the generation still is the expected one.
    ///
    /// # Errors
    /// `LOST_RACE`, naming the generation, when it is not.
    pub(crate) async fn take_over(
        self: Arc<Self>,
        caller: &Caller,
        request: TakeoverRegionRequest,
    ) -> Result<Opened, ControlError> {
        self.check_rate(caller)?;
        let owner = owner_label(&request.owner, caller)?;
        let attachment = self.attachment().await?;
        let want = request.want();
        let (_lock, record) = self.locked(caller, &want).await?;
        if record.generation != request.expected_generation {
            let message = format!(
                "region {:?} is at generation {}, not {}: another takeover won",
                record.name, record.generation, request.expected_generation
            );
            let error = ControlError::new(ErrorCode::LostRace, message).at_generation(record.generation);
            return Err(error.owned_by(record.owner_label()));
        }
        let granted = self.grant_next(&attachment, caller, &want, record, owner).await?;
        Ok(self.granted(Act::Takeover, caller, &want, granted))
    }

    /// Gives up ownership. The generation is kept; whoever opens next gets the one after it.
    ///
    /// # Errors
    /// `FENCED` when the generation has moved on or was closed already.
    pub(crate) async fn close(
        &self,
        caller: &Caller,
        request: &CloseRegionRequest,
    ) -> Result<CloseRegionResponse, ControlError> {
        let attachment = self.attachment().await?;
        let (_lock, record) = self.locked(caller, &request.want()).await?;
        check_generation(&record, request.generation)?;
        let (region, generation) = (record.id, record.generation);
        self.commit(
            &attachment,
            Record::Closed {
                region: layout_id(region),
                generation,
            },
        )
        .await?;
        self.live.tell(region, Kind::OwnerClosed);
        // Programmed by a manager before this one, the region may have connections all the same.
        match self
            .fence(&attachment, caller, &record, generation, Fence::Through)
            .await
        {
            Ok(()) => self.describe_page(&attachment, region).await?,
            Err(error) if error.code == ErrorCode::NoSuchRegion => {}
            Err(error) => return Err(error),
        }
        let entry = account::done(Act::Close, caller).region(&record.name);
        self.options.audit.record(&entry.generation(generation));
        Ok(CloseRegionResponse {})
    }

    /// Read access to the catalog, for administrators: it shows every region.
    ///
    /// # Errors
    /// `LIMIT`; what the unit says.
    pub(crate) async fn open_catalog(&self, caller: &Caller) -> Result<Opened, ControlError> {
        self.check_rate(caller)?;
        let attachment = self.attachment().await?;
        let region = attachment.catalog_region;
        let generation = attachment.manager_generation();
        let admitted = self.admit(&attachment, caller, region, false, generation).await?;
        let handed = self
            .hand_out(&attachment, caller, &Want::Administer, region, admitted)
            .await?;
        let entry = account::done(Act::OpenCatalog, caller).right(Right::Administrator.name());
        self.options.audit.record(&entry.generation(generation));
        Ok(Opened {
            region: Some(catalog_as_region(&attachment)),
            ..handed
        })
    }

    /// Locks the region that is wanted and finds it; the order matters, since whoever held the lock before may have
    /// deleted it, or taken the right to it.
    ///
    /// # Errors
    /// `NO_SUCH_REGION`, `NO_ACCESS`; `UNIT_UNREACHABLE` when others work on it for too long.
    pub(crate) async fn locked(
        &self,
        caller: &Caller,
        want: &Want<'_>,
    ) -> Result<(RegionLock, RegionRecord), ControlError> {
        let RegionRecord { id, .. } = self.catalog.authorised(caller, want)?;
        let name = want.region().unwrap_or_default();
        let purpose = match want {
            Want::Read(_) => Purpose::Read,
            _ => Purpose::Change,
        };
        let lock = tokio::time::timeout(limits::REGION_WAIT, self.live.lock_region(id, purpose));
        let lock = lock.await.map_err(|_elapsed| {
            let waited = limits::REGION_WAIT.as_secs();
            let message = format!("others have worked on region {name:?} for {waited} s: try again");
            ControlError::new(ErrorCode::UnitUnreachable, message)
        })?;
        if self.catalog.identified(id).is_none() {
            self.live.forget(id);
            return Err(crate::catalog::no_such_region(name));
        }
        Ok((lock, self.catalog.authorised(caller, want)?))
    }

    /// Tells a region's watchers that its owner is lost, if it is.
    pub(crate) fn tell_if_lost(&self, region: RegionId) {
        if let Some(record) = self.catalog.identified(region)
            && record.is_open()
            && !self.owner_is_alive(&record)
        {
            self.live.tell(region, Kind::OwnerLost);
        }
    }

    /// Whether the owner is there, or may still come: its ticket is valid, or the time to reconnect to a unit
    /// that was just attached to is not over.
    pub(crate) fn owner_is_alive(&self, record: &RegionRecord) -> bool {
        if !record.is_open() {
            return false;
        }
        let presence = self.live.presence(record.id, record.generation);
        presence.connected || self.owner_may_come(record)
    }

    /// Whether an owner that is not connected may still come.
    fn owner_may_come(&self, record: &RegionRecord) -> bool {
        if self.catalog.leave(record.owner_identity(), Some(record.id)) != Leave::All {
            return false;
        }
        self.live.presence(record.id, record.generation).expected || self.is_in_grace(record)
    }

    /// Whether an owner of before this attachment still has time to reconnect.
    fn is_in_grace(&self, record: &RegionRecord) -> bool {
        let Some(attachment) = self.attached() else {
            return true;
        };
        attachment.since.elapsed() < limits::RECONNECT_GRACE
            && !self
                .live
                .owner_was_seen(record.id, attachment.manager_generation())
    }

    /// That the region has no owner who is alive or may still come.
    pub(crate) async fn check_unowned(
        &self,
        attachment: &Attachment,
        record: &RegionRecord,
    ) -> Result<(), ControlError> {
        // Before the unit is asked: an owner that connects in between is in neither answer otherwise.
        let may_come = self.owner_may_come(record);
        // The unit is asked, since its events may be on their way.
        let connections = attachment.checked(attachment.unit.connections(record.id).await)?;
        let writes =
            |connection: &LiveConnection| connection.writable && connection.generation == record.generation;
        if !record.is_open() || !(connections.iter().any(writes) || may_come) {
            return Ok(());
        }
        let message = format!(
            "region {:?} is owned by {} (generation {}), which is alive: stop it, or take the region over by name",
            record.name,
            record.owner_label(),
            record.generation
        );
        let error = ControlError::new(ErrorCode::Owned, message).at_generation(record.generation);
        Err(error.owned_by(record.owner_label()))
    }

    /// Durable, fenced, granted: makes the caller the owner in the next generation.
    async fn grant_next(
        self: &Arc<Self>,
        attachment: &Attachment,
        caller: &Caller,
        want: &Want<'_>,
        record: RegionRecord,
        owner: String,
    ) -> Result<Opened, ControlError> {
        let begun = Clock::now();
        let (region, before) = (record.id, record.generation);
        let generation = before.checked_add(1).ok_or_else(|| {
            ControlError::new(
                ErrorCode::Limit,
                format!("region {:?} has used up its generations", record.name),
            )
        })?;
        self.commit(
            attachment,
            Record::Opened {
                region: layout_id(region),
                generation,
                owner,
                identity: caller.name.to_string(),
            },
        )
        .await?;
        let grant = async {
            self.live.tell(region, Kind::Generation);
            let is_described = self.ensure_programmed(attachment, region).await?;
            #[cfg(feature = "deliberate-bugs")]
            let fences = !crate::bugs::Bug::NoFence.is_made();
            #[cfg(not(feature = "deliberate-bugs"))]
            let fences = true;
            if fences {
                self.fence(attachment, caller, &record, generation, Fence::Below)
                    .await?;
            }
            let fence_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            if !is_described {
                self.describe_page(attachment, region).await?;
            }
            let admitted = self.admit(attachment, caller, region, true, generation).await?;
            let handed = self.hand_out(attachment, caller, want, region, admitted).await?;
            Ok(Opened {
                fenced_generation: before,
                fence_us,
                ..self.with_region(handed, region)
            })
        };
        self.expecting(attachment, region, generation, grant).await
    }

    /// Stops the owner's connection before, and lets it connect again in the same generation.
    async fn grant_same(
        &self,
        attachment: &Attachment,
        caller: &Caller,
        want: &Want<'_>,
        record: &RegionRecord,
    ) -> Result<Opened, ControlError> {
        let begun = Clock::now();
        let (region, generation) = (record.id, record.generation);
        self.ensure_programmed(attachment, region).await?;
        self.fence(attachment, caller, record, generation, Fence::Through)
            .await?;
        let fence_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let admitted = self.admit(attachment, caller, region, true, generation).await?;
        let handed = self.hand_out(attachment, caller, want, region, admitted).await?;
        Ok(Opened {
            fence_us,
            ..self.with_region(handed, region)
        })
    }

    async fn grant_read(
        &self,
        attachment: &Attachment,
        caller: &Caller,
        want: &Want<'_>,
        record: &RegionRecord,
    ) -> Result<Opened, ControlError> {
        self.ensure_programmed(attachment, record.id).await?;
        let admitted = self
            .admit(attachment, caller, record.id, false, record.generation)
            .await?;
        let handed = self
            .hand_out(attachment, caller, want, record.id, admitted)
            .await?;
        Ok(self.with_region(handed, record.id))
    }

    /// Hands a ticket out, unless the right to it was taken meanwhile: revoking an identity takes no region's lock, so it
    /// may have passed between the decision and the ticket. Then the ticket is void before anybody has seen it.
    async fn hand_out(
        &self,
        attachment: &Attachment,
        caller: &Caller,
        want: &Want<'_>,
        region: RegionId,
        opened: Opened,
    ) -> Result<Opened, ControlError> {
        let Err(error) = self.catalog.authorise(caller, want) else {
            return Ok(opened);
        };
        self.confine(attachment, caller.name.as_str(), region).await?;
        Err(error)
    }

    /// Writes a grant down.
    fn granted(&self, act: Act, caller: &Caller, want: &Want<'_>, opened: Opened) -> Opened {
        let generation = opened.region.as_ref().map_or(0, |region| region.generation);
        let entry = account::done(act, caller).generation(generation);
        let entry = entry.region(want.region().unwrap_or_default());
        let right = want.right().map_or("", Right::name);
        self.options.audit.record(&entry.right(right));
        opened
    }

    async fn admit(
        &self,
        attachment: &Attachment,
        caller: &Caller,
        region: RegionId,
        writable: bool,
        generation: u64,
    ) -> Result<Opened, ControlError> {
        let rights = if writable { Rights::ReadWrite } else { Rights::Read };
        let ticket = new_ticket(Terms {
            identity: caller.name.to_string(),
            region,
            generation,
            rights,
            incarnation: attachment.incarnation,
        })?;
        attachment.checked(attachment.unit.admit(&ticket).await)?;
        Ok(opened(attachment, &ticket))
    }

    fn with_region(&self, opened: Opened, region: RegionId) -> Opened {
        let record = self.catalog.identified(region);
        Opened {
            region: record.map(|record| self.region_of(&record)),
            ..opened
        }
    }

    /// Carries a grant of write access out. Its owner counts as expected from the beginning, so that stopping the
    /// connection before is not taken for its loss; it is told as lost if the grant fails or its ticket is never used.
    async fn expecting(
        self: &Arc<Self>,
        attachment: &Attachment,
        region: RegionId,
        generation: u64,
        grant: impl Future<Output = Result<Opened, ControlError>>,
    ) -> Result<Opened, ControlError> {
        let manager_generation = attachment.manager_generation();
        let expect = |valid| {
            self.live
                .expect_owner(region, manager_generation, generation, valid)
        };
        let granting = expect(limits::GRANT);
        let granted = grant.await;
        if granted.is_err() {
            self.live.forget_ticket(region, granting);
            self.tell_if_lost(region);
            return granted;
        }
        // Nobody has the ticket yet, so it cannot have been used.
        let ticket = expect(limits::TICKET_VALID);
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(ticket.valid_until).await;
            if shared.live.forget_ticket(region, ticket) {
                shared.tell_if_lost(region);
            }
        });
        granted
    }

    /// That an open does not come too soon after those before. The caller's own bound comes first, so that who is over it
    /// takes nothing from the others.
    fn check_rate(&self, caller: &Caller) -> Result<(), ControlError> {
        let refuse = |message| Err(ControlError::new(ErrorCode::Limit, message));
        if self.identity_opens.pass(&caller.name) == Pass::Refused {
            let bound = self.options.identity_opens_per_second;
            return refuse(format!(
                "{} opens more than {bound} regions per second: try again",
                caller.name
            ));
        }
        if !self.opens.allows() {
            let bound = self.options.opens_per_second;
            return refuse(format!("more than {bound} opens per second: try again"));
        }
        Ok(())
    }
}

/// A ticket with an id and a secret of its own.
pub(crate) fn new_ticket(terms: Terms) -> Result<Ticket, ControlError> {
    Ticket::random(terms).map_err(|error| {
        ControlError::new(
            ErrorCode::Limit,
            format!("the operating system has no randomness for a ticket: {error}"),
        )
    })
}

/// What the ticket's owner is told over its authenticated connection: the one place that the secret goes to.
fn opened(attachment: &Attachment, ticket: &Ticket) -> Opened {
    let Ticket { id, secret, terms } = ticket;
    Opened {
        region: None,
        data_address: attachment.data_address.clone(),
        data_tls: attachment.data_tls.into(),
        data_certificate: attachment.data_certificate.clone(),
        ticket_id: id.0.to_vec(),
        ticket_secret: secret.as_bytes().to_vec(),
        identity: terms.identity.clone(),
        generation: terms.generation,
        writable: terms.rights.allows_write(),
        incarnation: attachment.incarnation,
        strongest: attachment.strongest.into(),
        ..Opened::default()
    }
}

/// The catalog as its readers are told about it; its layout stands in its own control block.
fn catalog_as_region(attachment: &Attachment) -> Region {
    Region {
        id: attachment.catalog_region.0.to_vec(),
        kind: RegionKind::Checkpoint.into(),
        size: attachment.catalog_len,
        generation: attachment.manager_generation(),
        owner_alive: true,
        extents: 1,
        ..Region::default()
    }
}

fn is_primary(role: Role) -> Result<bool, ControlError> {
    match role {
        Role::Primary => Ok(true),
        Role::Backup => Ok(false),
        Role::Unspecified => Err(ControlError::new(
            ErrorCode::Invalid,
            "the request names no role: primary or backup",
        )),
    }
}

/// What others are told about the owner; never empty, since an empty owner says that the region is closed.
fn owner_label(owner: &str, caller: &Caller) -> Result<String, ControlError> {
    crate::label::check("an owner's label", owner)?;
    Ok(if owner.is_empty() {
        caller.name.to_string()
    } else {
        owner.to_owned()
    })
}

pub(crate) fn check_generation(record: &RegionRecord, generation: u64) -> Result<(), ControlError> {
    let message = if record.generation != generation {
        format!(
            "region {:?} is at generation {}, owned by {}: generation {generation} is fenced",
            record.name,
            record.generation,
            if record.is_open() {
                record.owner_label()
            } else {
                "nobody"
            }
        )
    } else if !record.is_open() {
        format!(
            "generation {generation} of region {:?} was closed: open the region again",
            record.name
        )
    } else {
        return Ok(());
    };
    let error = ControlError::new(ErrorCode::Fenced, message).at_generation(record.generation);
    Err(error.owned_by(record.owner_label()))
}
