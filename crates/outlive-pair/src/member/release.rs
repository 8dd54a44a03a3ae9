//! The thread that waits for commits and lets replies go.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use outlive::{Commit, Confirm};
use tracing::warn;

use crate::machine::Event;
use crate::output::{Answer, Output};

use super::shared::{Input, Shared, lock};

/// What is on its way to the unit, in the order in which it was sent.
pub(super) enum Flight {
    Commit(Commit),
    Confirm(Confirm, u64),
    /// Everything before it has landed.
    Drain,
}

/// One tenure as primary: answers that are held, and the thread that releases them.
pub(super) struct Releaser {
    output: Arc<Mutex<Output>>,
    flights: SyncSender<Flight>,
}

impl Releaser {
    /// Starts the thread. It ends when this is dropped and what was on its way has ended.
    pub(super) fn start(shared: Arc<Shared>, epoch: u64, in_flight: usize) -> std::io::Result<Self> {
        let output = Arc::new(Mutex::new(Output::default()));
        let (flights, receiver) = sync_channel(in_flight);
        let release = Release {
            output: Arc::clone(&output),
            shared,
            epoch,
        };
        thread::Builder::new()
            .name("pair-release".into())
            .spawn(move || release.run(&receiver))?;
        Ok(Self { output, flights })
    }

    /// Holds answers for a set that was appended. Waits while too many are on their way.
    pub(super) fn hold_for_commit(&self, commit: Commit, answers: Vec<Answer>) {
        lock(&self.output).hold_for_commit(commit.sequence(), answers);
        self.send(Flight::Commit(commit));
    }

    /// Holds answers for a confirmation that is to be posted now; [`confirming`](Self::confirming) follows.
    pub(super) fn hold_for_confirm(&self, answers: Vec<Answer>) -> u64 {
        lock(&self.output).hold_for_confirm(answers)
    }

    /// The confirmation with this number is on its way.
    pub(super) fn confirming(&self, confirm: Confirm, number: u64) {
        self.send(Flight::Confirm(confirm, number));
    }

    /// Tells [`Event::Drained`] when everything so far has landed.
    pub(super) fn drain(&self) {
        self.send(Flight::Drain);
    }

    /// Holds answers that no commit will release.
    pub(super) fn hold_for_ever(&self, answers: Vec<Answer>) {
        lock(&self.output).hold_for_commit(u64::MAX, answers);
    }

    /// Ends the tenure for those who wait: what to tell them.
    pub(super) fn fail(&self) -> Vec<Answer> {
        lock(&self.output).fail(None)
    }

    /// Answers held, and the last sequence committed.
    pub(super) fn progress(&self) -> (usize, u64) {
        let output = lock(&self.output);
        (output.len(), output.committed_sequence())
    }

    fn send(&self, flight: Flight) {
        // The thread ends early only after it has told that the region is lost.
        let _ = self.flights.send(flight);
    }
}

struct Release {
    output: Arc<Mutex<Output>>,
    shared: Arc<Shared>,
    epoch: u64,
}

impl Release {
    fn run(self, flights: &Receiver<Flight>) {
        for flight in flights {
            let landed = match flight {
                Flight::Commit(commit) => commit.wait().map(|receipt| {
                    let answers = lock(&self.output).committed(receipt.sequence);
                    self.shared
                        .counters
                        .sequence
                        .fetch_max(receipt.sequence, Ordering::Relaxed);
                    answers
                }),
                Flight::Confirm(confirm, number) => {
                    confirm.wait().map(|()| lock(&self.output).confirmed(number))
                }
                Flight::Drain => {
                    self.tell(Event::Drained);
                    continue;
                }
            };
            match landed {
                Ok(answers) => self.shared.answer(answers),
                Err(error) => {
                    warn!(%error, "the primary can no longer commit");
                    self.tell(Event::Lost {
                        fenced: error.is_fenced(),
                    });
                    return;
                }
            }
        }
    }

    fn tell(&self, event: Event) {
        // The core is gone only when the member has ended.
        let _ = self.shared.inputs.send(Input::Event {
            epoch: self.epoch,
            event,
        });
    }
}
