//! What the node wants done, done.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use outlive::{Commit, Primary};
use tracing::{info, warn};

use crate::machine::{Effect, Event, Journal};
use crate::output::Answer;
use crate::{CallError, Service};

use super::core::{Core, Link};
use super::pace::Pace;
use super::region::{self, fed, journal};
use super::release::Releaser;
use super::shared::Input;

impl<S: Service> Core<S> {
    pub(super) fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::OpenPrimary => Some(self.open_primary()),
            Effect::OpenBackup => Some(self.open_backup()),
            Effect::TakeOver => self.take_over(),
            Effect::Append { set, answers } => self.append(&set, answers),
            Effect::Confirm { answers } => self.confirm(answers),
            Effect::Save { snapshot } => self.save(snapshot),
            Effect::Answer(answers) => {
                self.shared.answer(answers);
                None
            }
            Effect::Drain => {
                if let Link::Primary(_, releaser) = &self.link {
                    releaser.drain();
                }
                None
            }
            Effect::Close => Some(self.close()),
            Effect::Abandon => {
                self.abandon();
                None
            }
            Effect::Rest { ms } => {
                self.tick_at = Some(Instant::now() + Duration::from_millis(ms));
                None
            }
        }
    }

    fn open_primary(&mut self) -> Event {
        match region::open_primary(&self.session, &self.config) {
            Ok((primary, event)) => self.own(primary, event),
            Err(event) => event,
        }
    }

    fn own(&mut self, primary: Primary, event: Event) -> Event {
        self.abandon();
        let in_flight = self.config.flow.batches_in_flight;
        match Releaser::start(Arc::clone(&self.shared), self.epoch, in_flight) {
            Ok(releaser) => {
                self.link = Link::Primary(primary, releaser);
                event
            }
            Err(error) => Event::OpenFailed {
                why: format!("cannot start a thread: {error}"),
                fatal: true,
            },
        }
    }

    fn open_backup(&mut self) -> Event {
        match region::open_backup(&self.session, &self.config) {
            Ok(backup) => {
                self.abandon();
                self.link = Link::Backup(Box::new(backup));
                self.pace = Pace::new(&self.config);
                Event::Following
            }
            Err(Event::Owned) => Event::OpenFailed {
                why: "owned".into(),
                fatal: false,
            },
            Err(event) => event,
        }
    }

    fn take_over(&mut self) -> Option<Event> {
        let Link::Backup(backup) = &mut self.link else {
            return None;
        };
        let began = Instant::now();
        let taken = match backup.takeover(&region::takeover_options(&self.config)) {
            Ok(taken) => taken,
            Err(error) => {
                info!(%error, "the takeover failed");
                return Some(region::takeover_failed(&error));
            }
        };
        info!(pair = self.config.pair, certificate = %taken.certificate, "took over");
        let event = Event::TookOver {
            generation: taken.primary.generation(),
            unread: taken.unread.into_iter().filter_map(fed).collect(),
            ahead: taken.certificate.ahead.is_some(),
            journal: journal(taken.primary.usage()),
        };
        self.taking_over = Some((taken.certificate, began));
        Some(self.own(taken.primary, event))
    }

    fn append(&mut self, set: &[u8], answers: Vec<Answer>) -> Option<Event> {
        let Link::Primary(primary, releaser) = &self.link else {
            return self.lost_before(answers);
        };
        self.shared.counters.batches.fetch_add(1, Ordering::Relaxed);
        let unchanged = answers.iter().filter(|answer| !answer.journalled).count();
        self.shared
            .counters
            .reads
            .fetch_add(unchanged as u64, Ordering::Relaxed);
        match primary.append(set) {
            Ok(commit) => {
                // Sends it now, while the release thread may be waiting for an earlier one. What goes
                // wrong here that thread is told as well.
                let _ = commit.wait_for(Duration::ZERO);
                #[cfg(feature = "deliberate-bugs")]
                if crate::bugs::Bug::ReplyBeforeCommit.is_made() {
                    self.shared.answer(answers);
                    releaser.hold_for_commit(commit, Vec::new());
                    return None;
                }
                releaser.hold_for_commit(commit, answers);
                None
            }
            Err(error) => {
                warn!(%error, "a set could not be appended");
                releaser.hold_for_ever(answers);
                // What was carried out after it must not be journalled without it.
                self.abandon();
                Some(Event::Lost {
                    fenced: error.is_fenced(),
                })
            }
        }
    }

    fn confirm(&mut self, answers: Vec<Answer>) -> Option<Event> {
        let Link::Primary(primary, releaser) = &self.link else {
            return self.lost_before(answers);
        };
        self.shared.counters.confirms.fetch_add(1, Ordering::Relaxed);
        self.shared
            .counters
            .reads
            .fetch_add(answers.len() as u64, Ordering::Relaxed);
        #[cfg(feature = "deliberate-bugs")]
        if crate::bugs::Bug::ReadUnconfirmed.is_made() {
            self.shared.answer(answers);
            return None;
        }
        let number = releaser.hold_for_confirm(answers);
        match primary.confirm() {
            Ok(confirm) => {
                releaser.confirming(confirm, number);
                None
            }
            Err(error) => {
                warn!(%error, "the region's ownership could not be confirmed");
                Some(Event::Lost {
                    fenced: error.is_fenced(),
                })
            }
        }
    }

    /// An effect of the same batch has already lost the region: these were carried out on a state that is gone.
    fn lost_before(&self, answers: Vec<Answer>) -> Option<Event> {
        let unknown = |answer: Answer| Answer {
            result: Err(CallError::OutcomeUnknown { primary: None }),
            ..answer
        };
        self.shared.answer(answers.into_iter().map(unknown).collect());
        None
    }

    fn save(&mut self, snapshot: Vec<u8>) -> Option<Event> {
        let Link::Primary(primary, _) = &self.link else {
            return None;
        };
        let bytes = snapshot.len();
        let saving = primary
            .save(snapshot)
            .map_err(|error| error.to_string())
            .and_then(|commit| {
                self.await_snapshot(commit, bytes)
                    .map_err(|error| format!("cannot start a thread: {error}"))
            });
        saving.err().map(|why| Event::SaveFailed { why })
    }

    /// Snapshots are rare and long: a thread of its own waits for each.
    fn await_snapshot(&self, commit: Commit, bytes: usize) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let epoch = self.epoch;
        thread::Builder::new()
            .name("pair-snapshot".into())
            .spawn(move || {
                let event = match commit.wait() {
                    Ok(receipt) => {
                        info!(bytes, sequence = receipt.sequence, took = ?receipt.took, "saved a snapshot");
                        Event::Saved {
                            journal: Journal::default(),
                        }
                    }
                    Err(error) => Event::SaveFailed {
                        why: error.to_string(),
                    },
                };
                // The core is gone only when the member has ended.
                let _ = shared.inputs.send(Input::Event { epoch, event });
            })?;
        Ok(())
    }

    fn close(&mut self) -> Event {
        if let Link::Primary(primary, releaser) = std::mem::replace(&mut self.link, Link::None) {
            self.epoch += 1;
            if let Err(error) = primary.close() {
                warn!(%error, "the region could not be closed");
            }
            self.shared.answer(releaser.fail());
        }
        Event::Closed
    }

    pub(super) fn abandon(&mut self) {
        self.epoch += 1;
        if let Link::Primary(primary, releaser) = std::mem::replace(&mut self.link, Link::None) {
            self.shared.answer(releaser.fail());
            drop(primary);
        }
    }
}
