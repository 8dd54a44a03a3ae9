//! The thread that tells the manager how the member is, for people and for planned hand-overs.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use outlive::{MemberReport, Session, TakeoverView};
use tracing::debug;

use crate::{Role, RoleView, Takeover};

use super::shared::{Input, Shared};

/// Time between reports: how old what `status` shows may be, and how long a hand-over waits to begin.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// How long an ending member waits for its last report.
const LAST_REPORT: Duration = Duration::from_millis(500);

/// Tells the thread to report at once.
pub(super) struct Reporter {
    /// One nudge waiting says all that several would.
    nudge: Option<SyncSender<()>>,
    done: Receiver<()>,
}

impl Reporter {
    pub(super) fn start(
        shared: Arc<Shared>,
        session: Session,
        pair: String,
        id: [u8; 16],
    ) -> std::io::Result<Self> {
        let (nudge, nudges) = sync_channel(1);
        let (done_sender, done) = sync_channel(1);
        let reporting = Reporting {
            shared,
            session,
            pair,
            id,
            reported: None,
        };
        thread::Builder::new().name("pair-report".into()).spawn(move || {
            reporting.run(&nudges);
            // Nobody may wait any more.
            let _ = done_sender.send(());
        })?;
        Ok(Self {
            nudge: Some(nudge),
            done,
        })
    }

    /// Something has changed.
    pub(super) fn nudge(&self) {
        if let Some(nudge) = &self.nudge {
            match nudge.try_send(()) {
                Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
    }

    /// Reports that the member leaves, waiting a little for it.
    pub(super) fn finish(mut self) {
        self.nudge = None;
        // The manager forgets a member that falls silent as well.
        let _ = self.done.recv_timeout(LAST_REPORT);
    }
}

struct Reporting {
    shared: Arc<Shared>,
    session: Session,
    pair: String,
    id: [u8; 16],
    /// The takeover that was reported last.
    reported: Option<Takeover>,
}

impl Reporting {
    fn run(mut self, nudges: &Receiver<()>) {
        loop {
            match nudges.recv_timeout(REPORT_EVERY) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => self.report(false),
                Err(RecvTimeoutError::Disconnected) => return self.report(true),
            }
        }
    }

    fn report(&mut self, leaving: bool) {
        let view = self.shared.view.borrow().clone();
        if view.role == Role::Starting && !leaving {
            return;
        }
        let takeover = view
            .last_takeover
            .clone()
            .filter(|last| self.reported.as_ref() != Some(last));
        let report = self.report_of(&view, takeover.as_ref(), leaving);
        match self.session.report_member(&report) {
            Ok(switchover) => {
                if takeover.is_some() {
                    self.reported = takeover;
                }
                if switchover && !leaving {
                    // The core is gone only when the member has ended.
                    let _ = self.shared.inputs.send(Input::Switchover);
                }
            }
            Err(error) => debug!(%error, "the manager did not take the report"),
        }
    }

    fn report_of(&self, view: &RoleView, takeover: Option<&Takeover>, leaving: bool) -> MemberReport {
        let role = match view.role {
            Role::Primary | Role::HandingOver => outlive::Role::Primary,
            _ => outlive::Role::Backup,
        };
        MemberReport {
            pair: self.pair.clone(),
            id: self.id.to_vec(),
            address: self.shared.advertise.clone(),
            role,
            generation: view.generation,
            sequence: self.shared.counters.read().sequence,
            takeover: takeover.map(|takeover| self.takeover_view(takeover)),
            leaving,
        }
    }

    fn takeover_view(&self, takeover: &Takeover) -> TakeoverView {
        let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        TakeoverView {
            fenced_generation: takeover.fenced_generation,
            generation: takeover.generation,
            last_sequence: takeover.last_sequence,
            unread_sets: takeover.unread_sets,
            unread_bytes: takeover.unread_bytes,
            torn_sets: takeover.torn_sets,
            detect_us: us(takeover.detect),
            fence_us: us(takeover.fence),
            read_us: us(takeover.read),
            resume_us: us(takeover.resume),
            total_us: us(takeover.total),
            unix_ms: takeover.unix_ms,
            member: self.shared.advertise.clone(),
        }
    }
}
