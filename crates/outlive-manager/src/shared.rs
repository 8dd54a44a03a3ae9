//! What every operation of one manager shares.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outlive_fabric::RegionId;
use outlive_identity::{Caller, Name};
use outlive_proto::ControlError;
use outlive_proto::v1::{DataTls, ErrorCode, Level};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use outlive_layout::catalog::Record;

use crate::access::Want;
use crate::account::Source;
use crate::catalog::{Catalog, CatalogWriter, CommitError};
use crate::live::Live;
use crate::pairs::Pairs;
use crate::rate::{Frequency, Rate, Rates};
use crate::shares::{Bounds, Share, Shares};
use crate::unit::UnitLink;
use crate::{ManagerOptions, limits};

/// What every operation of one manager shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: ManagerOptions,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) live: Live,
    pub(crate) pairs: Pairs,
    pub(crate) opens: Rate,
    pub(crate) identity_opens: Rates<Name>,
    /// Refusals that are explained, by source.
    pub(crate) refusals: Rates<Source>,
    /// Failures that get a line in the audit log, by source.
    pub(crate) failures: Rates<Source>,
    pub(crate) watchers: Arc<Shares>,
    pub(crate) calls: Arc<Shares>,
    pub(crate) long_polls: Arc<Shares>,
    /// Held across every change of an identity, so that two administrators cannot revoke each other.
    pub(crate) identities: tokio::sync::Mutex<()>,
    link: watch::Sender<Link>,
}

/// Whether the unit can be worked with.
#[derive(Clone, Debug)]
enum Link {
    /// It is being attached to again.
    Away {
        since: Instant,
        why: String,
        /// It answers, and its medium failed: waiting does not help, starting it anew does.
        medium_failed: bool,
    },
    /// Attached.
    Up(Arc<Attachment>),
    /// For good: another manager is in charge, or this one was stopped.
    Ended(ControlError),
}

/// One attachment to the unit: everything in it ends with the manager generation it was made under.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) unit: UnitLink,
    pub(crate) unit_id: Vec<u8>,
    pub(crate) incarnation: u64,
    pub(crate) data_address: String,
    /// Whether data connections are encrypted, and the unit's certificate for it.
    pub(crate) data_tls: DataTls,
    pub(crate) data_certificate: Vec<u8>,
    pub(crate) strongest: Level,
    pub(crate) catalog_region: RegionId,
    pub(crate) catalog_len: u64,
    pub(crate) since: Instant,
    pub(crate) writer: CatalogWriter,
    pub(crate) loss: Loss,
}

/// Tells the keeper that an attachment is of no use any more.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    why: Mutex<Option<ControlError>>,
    happened: Notify,
}

impl Loss {
    /// Reports the loss; the first report counts.
    pub(crate) fn report(&self, why: ControlError) {
        self.why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(why);
        self.happened.notify_one();
    }

    /// Waits for a report. One task waits.
    pub(crate) async fn wait(&self) -> ControlError {
        loop {
            if let Some(why) = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return why;
            }
            self.happened.notified().await;
        }
    }
}

impl Attachment {
    /// Passes a unit call's result on; one that shows that the attachment is of no use any more ends it.
    pub(crate) fn checked<T>(&self, result: Result<T, ControlError>) -> Result<T, ControlError> {
        if let Err(error) = &result
            && matches!(error.code, ErrorCode::UnitUnreachable | ErrorCode::Superseded)
        {
            self.loss.report(error.clone());
        }
        result
    }

    pub(crate) fn manager_generation(&self) -> u64 {
        self.unit.manager_generation()
    }
}

impl Shared {
    pub(crate) fn new(options: ManagerOptions, catalog: Arc<Catalog>) -> Self {
        let opens = Rate::new(Frequency {
            per_second: options.opens_per_second,
            burst: options.open_burst,
        });
        let identity_opens = Frequency {
            per_second: options.identity_opens_per_second,
            burst: options.identity_open_burst,
        };
        let refusals = Frequency {
            per_second: limits::REFUSALS_PER_SECOND,
            burst: limits::REFUSAL_BURST,
        };
        let failures = Frequency {
            per_second: limits::FAILURES_PER_SECOND,
            burst: limits::FAILURE_BURST,
        };
        Self {
            options,
            catalog,
            live: Live::default(),
            pairs: Pairs::default(),
            opens,
            identity_opens: Rates::new(identity_opens, limits::RATES),
            refusals: Rates::new(refusals, limits::RATES),
            failures: Rates::new(failures, limits::RATES),
            watchers: Shares::new(Bounds {
                what: "streams that watch regions",
                all: limits::WATCHERS,
                each: limits::WATCHERS_PER_IDENTITY,
                kept: limits::KEPT_FOR_ADMINISTRATORS,
            }),
            calls: Shares::new(Bounds {
                what: "calls in progress",
                all: limits::CALLS_IN_PROGRESS,
                each: limits::CALLS_PER_IDENTITY,
                kept: limits::KEPT_FOR_ADMINISTRATORS,
            }),
            long_polls: Shares::new(Bounds {
                what: "calls that wait",
                all: limits::LONG_POLLS,
                each: limits::LONG_POLLS_PER_IDENTITY,
                kept: limits::KEPT_FOR_ADMINISTRATORS,
            }),
            identities: tokio::sync::Mutex::default(),
            link: watch::Sender::new(Link::Away {
                since: Instant::now(),
                why: "not attached yet".into(),
                medium_failed: false,
            }),
        }
    }

    /// Takes one more for a caller.
    ///
    /// # Errors
    /// `LIMIT`.
    pub(crate) fn share(&self, of: &Arc<Shares>, caller: &Caller) -> Result<Share, ControlError> {
        of.take(&caller.name, self.catalog.is_administrator(caller))
    }

    /// The attachment to work with; waits, within a bound, for a unit that is away.
    ///
    /// # Errors
    /// `UNIT_UNREACHABLE` after the bound; `MEDIA_FAILED` as soon as an attempt to attach has said so; `SUPERSEDED`
    /// once another manager is in charge.
    pub(crate) async fn attachment(&self) -> Result<Arc<Attachment>, ControlError> {
        let mut link = self.link.subscribe();
        let has_failed = matches!(
            *link.borrow_and_update(),
            Link::Away {
                medium_failed: true,
                ..
            }
        );
        if has_failed {
            // The unit may have been restarted since: the next attempt knows.
            drop(tokio::time::timeout(limits::UNIT_AWAY, link.changed()).await);
        }
        let settled = link.wait_for(|link| {
            !matches!(
                link,
                Link::Away {
                    medium_failed: false,
                    ..
                }
            )
        });
        drop(tokio::time::timeout(limits::UNIT_AWAY, settled).await);
        match &*self.link.borrow() {
            Link::Up(attachment) => Ok(Arc::clone(attachment)),
            Link::Ended(error) => Err(error.clone()),
            Link::Away {
                why,
                medium_failed: true,
                ..
            } => Err(ControlError::new(ErrorCode::MediaFailed, why.clone())),
            Link::Away { since, why, .. } => {
                let message = format!("{why}; tried again for {} ms so far", since.elapsed().as_millis());
                Err(ControlError::new(ErrorCode::UnitUnreachable, message))
            }
        }
    }

    /// The attachment now, without waiting.
    pub(crate) fn attached(&self) -> Option<Arc<Attachment>> {
        match &*self.link.borrow() {
            Link::Up(attachment) => Some(Arc::clone(attachment)),
            Link::Away { .. } | Link::Ended(_) => None,
        }
    }

    /// The unit's incarnation, 0 while it is away.
    pub(crate) fn incarnation(&self) -> u64 {
        self.attached().map_or(0, |attachment| attachment.incarnation)
    }

    pub(crate) fn set_away(&self, why: &ControlError) {
        self.set_link(Link::Away {
            since: Instant::now(),
            why: why.message.clone(),
            medium_failed: why.code == ErrorCode::MediaFailed,
        });
    }

    /// The unit still is away: why, as far as the last attempt told.
    pub(crate) fn set_still_away(&self, reason: String, failed: bool) {
        self.link.send_modify(|link| {
            if let Link::Away {
                why, medium_failed, ..
            } = link
            {
                *why = reason;
                *medium_failed = failed;
            }
        });
    }

    pub(crate) fn set_up(&self, attachment: Arc<Attachment>) {
        self.set_link(Link::Up(attachment));
    }

    pub(crate) fn set_ended(&self, why: ControlError) {
        self.set_link(Link::Ended(why));
    }

    /// Changes the link, unless it has ended: that is for good.
    fn set_link(&self, new: Link) {
        self.link.send_if_modified(|link| {
            let is_open = !matches!(link, Link::Ended(_));
            if is_open {
                *link = new;
            }
            is_open
        });
    }

    /// Waits for `work` as long as the caller may have what it wants.
    ///
    /// # Errors
    /// That of `work`; `NO_SUCH_REGION`, `NO_ACCESS` as soon as the right is lost.
    pub(crate) async fn while_allowed<T>(
        &self,
        caller: &Caller,
        want: &Want<'_>,
        work: impl Future<Output = Result<T, ControlError>>,
    ) -> Result<T, ControlError> {
        let mut rights = self.catalog.rights();
        tokio::pin!(work);
        loop {
            self.catalog.authorise(caller, want)?;
            tokio::select! {
                done = &mut work => return done,
                changed = rights.changed() => changed.map_err(|_ended| {
                    ControlError::new(ErrorCode::Superseded, "this manager was stopped")
                })?,
            }
        }
    }

    /// Makes a change durable in the catalog and only then visible. When the outcome is unknown the catalog
    /// is recovered and looked into: success is reported only for what is found there.
    ///
    /// # Errors
    /// `LIMIT` when the catalog has no room; `UNIT_UNREACHABLE` when the change was not made, or when the
    /// unit stayed away and nobody can say.
    pub(crate) async fn commit(&self, attachment: &Attachment, change: Record) -> Result<(), ControlError> {
        let error = match attachment.writer.commit(change.clone()).await {
            Ok(()) => return Ok(()),
            Err(CommitError::Refused(error)) => return Err(error),
            Err(CommitError::Unknown(why)) => ControlError::new(ErrorCode::UnitUnreachable, why),
        };
        attachment.loss.report(error.clone());
        let recovered = self
            .attachment_after(attachment.manager_generation())
            .await
            .map_err(|away| {
                let message = format!(
                    "{}; whether the change was made is unknown: look again",
                    away.message
                );
                ControlError { message, ..away }
            })?;
        if self.catalog.reflects(&change) {
            tracing::info!(
                generation = recovered.manager_generation(),
                "a change whose outcome was unknown was found in the recovered catalog"
            );
            return Ok(());
        }
        let message = format!("{}; the change was not made: try again", error.message);
        Err(ControlError::new(ErrorCode::UnitUnreachable, message))
    }

    /// Waits for an attachment newer than `manager_generation`.
    async fn attachment_after(&self, manager_generation: u64) -> Result<Arc<Attachment>, ControlError> {
        let mut link = self.link.subscribe();
        let is_newer = |link: &Link| match link {
            Link::Up(attachment) => attachment.manager_generation() > manager_generation,
            Link::Ended(_) => true,
            Link::Away { medium_failed, .. } => *medium_failed,
        };
        let bound: Duration = limits::UNIT_AWAY;
        drop(tokio::time::timeout(bound, link.wait_for(is_newer)).await);
        match &*self.link.borrow() {
            Link::Up(attachment) if attachment.manager_generation() > manager_generation => {
                Ok(Arc::clone(attachment))
            }
            Link::Ended(error) => Err(error.clone()),
            Link::Away {
                why,
                medium_failed: true,
                ..
            } => Err(ControlError::new(ErrorCode::MediaFailed, why.clone())),
            Link::Up(_) | Link::Away { .. } => {
                let message = format!("the unit did not come back within {} s", bound.as_secs());
                Err(ControlError::new(ErrorCode::UnitUnreachable, message))
            }
        }
    }
}
