//! The thread that drives a member: it carries out the node's effects and tells it what came of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outlive::{Backup, Certificate, Primary, Session, Suspicion};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{sleep_until, timeout};
use tracing::{error, info, warn};

use crate::machine::{Call, Cause, Clock, Event, Journal, Limits, Node};
use crate::output::CallId;
use crate::{CallError, PairConfig, Role, RoleView, Service, Takeover};

use super::pace::Pace;
use super::region::{fed, is_fatal, journal};
use super::release::Releaser;
use super::report::Reporter;
use super::shared::{Input, Queued, Shared};

/// How often an idle primary asks whether it was fenced: nobody waits for it, so it is for its role and for clients.
const IDLE_CHECK: Duration = Duration::from_millis(50);

pub(super) struct Core<S> {
    pub(super) node: Node<S>,
    pub(super) shared: Arc<Shared>,
    pub(super) session: Session,
    pub(super) config: PairConfig,
    inputs: mpsc::UnboundedReceiver<Input>,
    calls: mpsc::Receiver<Queued>,
    reporter: Reporter,
    /// Only to wait on two queues and a clock at once.
    waiting: Runtime,
    pub(super) link: Link,
    /// Raised whenever a link is dropped, so that what it still tells is not mistaken for its successor's.
    pub(super) epoch: u64,
    pub(super) pace: Pace,
    started: Instant,
    pub(super) tick_at: Option<Instant>,
    /// A takeover that is not finished yet: what the library certified, and when it began.
    pub(super) taking_over: Option<(Certificate, Instant)>,
    dropped: bool,
}

/// The connection to the region.
pub(super) enum Link {
    None,
    Primary(Primary, Releaser),
    Backup(Box<Backup>),
}

impl<S: Service> Core<S> {
    pub(super) fn new(
        shared: Arc<Shared>,
        session: Session,
        config: PairConfig,
        service: S,
        inputs: mpsc::UnboundedReceiver<Input>,
        calls: mpsc::Receiver<Queued>,
        reporter: Reporter,
    ) -> std::io::Result<Self> {
        Ok(Self {
            node: Node::new(service, Limits::from(&config)),
            pace: Pace::new(&config),
            shared,
            session,
            config,
            inputs,
            calls,
            reporter,
            waiting: Builder::new_current_thread().enable_time().build()?,
            link: Link::None,
            epoch: 0,
            started: Instant::now(),
            tick_at: None,
            taking_over: None,
            dropped: false,
        })
    }

    /// Runs until the member has stopped or its last handle is gone.
    pub(super) fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.shared));
        self.feed(Event::Start);
        while self.node.role() != Role::Stopped && !self.dropped {
            if matches!(self.link, Link::Backup(_)) {
                self.follow()
            } else {
                self.serve()
            }
        }
        self.abandon();
        self.calls.close();
        while let Ok(queued) = self.calls.try_recv() {
            let why = self.node.stopped().unwrap_or("it left").to_owned();
            // Nobody may be waiting any more.
            let _ = queued.reply.send(Err(CallError::Stopped { why }));
        }
        self.reporter.finish();
        self.shared.view.send_modify(|view| view.role = Role::Stopped);
    }

    /// One step while there is nothing to follow: takes what comes, or waits for it.
    fn serve(&mut self) {
        let mut queue = Vec::new();
        let limit = self.config.flow.batch_requests;
        let takes_calls = self.node.role() != Role::Primary || self.node.takes_calls();
        match self.inputs.try_recv() {
            Ok(input) => return self.take(input),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        let deadline = self.tick_at.unwrap_or_else(|| Instant::now() + IDLE_CHECK);
        let woken = self.waiting.block_on(async {
            tokio::select! {
                biased;
                input = self.inputs.recv() => Woken::Input(input),
                _ = self.calls.recv_many(&mut queue, limit), if takes_calls => Woken::Calls,
                () = sleep_until(deadline.into()) => Woken::Time,
            }
        });
        match woken {
            Woken::Input(Some(input)) => self.take(input),
            // This core's own `shared` holds a sender, so the queue of inputs never ends.
            Woken::Input(None) => self.dropped = true,
            Woken::Calls if queue.is_empty() => self.dropped = true,
            Woken::Calls => self.take_calls(queue),
            Woken::Time => self.time(),
        }
    }

    /// One step as backup: looks after the primary for a while, then reads what is new.
    fn follow(&mut self) {
        while let Ok(input) = self.inputs.try_recv() {
            self.take(input);
        }
        self.refuse_calls();
        let Link::Backup(backup) = &mut self.link else {
            return;
        };
        match backup.await_failure(self.pace.interval()) {
            Ok(Some(suspicion)) => {
                self.feed(Event::Suspected(cause(&suspicion)));
                if matches!(self.link, Link::Backup(_)) {
                    // It will be suspected again at once: wait, but for what is asked of this member.
                    self.rest(self.config.follow_every);
                }
            }
            Ok(None) if self.node.role() == Role::Suspecting => self.feed(Event::Reassured),
            Ok(None) => {}
            Err(error) => self.follow_failed(&error),
        }
        self.look();
    }

    /// Reads what is new, and only then more than a few bytes; everything now and then.
    fn look(&mut self) {
        let Link::Backup(backup) = &mut self.link else {
            return;
        };
        if self.pace.is_whole_due(Instant::now()) {
            return self.read_new();
        }
        match backup.is_quiet() {
            Ok(true) => {
                self.pace.nothing_new();
                self.feed(Event::Fresh(Vec::new()));
            }
            Ok(false) => self.read_new(),
            Err(error) => self.follow_failed(&error),
        }
    }

    fn read_new(&mut self) {
        let mut was_new = false;
        loop {
            let Link::Backup(backup) = &mut self.link else {
                return;
            };
            match backup.read_new() {
                Ok(fresh) => {
                    if let Some(gap) = fresh.overrun {
                        info!(
                            from = gap.from,
                            to = gap.to,
                            "sets were overwritten before they were read; went on from a snapshot"
                        );
                    }
                    was_new |= !fresh.sets.is_empty();
                    let sequence = backup.sequence();
                    self.shared
                        .counters
                        .applied
                        .fetch_add(fresh.sets.len() as u64, Ordering::Relaxed);
                    self.shared.counters.sequence.store(sequence, Ordering::Relaxed);
                    self.feed(Event::Fresh(fresh.sets.into_iter().filter_map(fed).collect()));
                    if !fresh.more {
                        return self.pace.looked_whole(Instant::now(), was_new);
                    }
                }
                Err(error) => return self.follow_failed(&error),
            }
        }
    }

    fn follow_failed(&mut self, error: &outlive::Error) {
        if is_fatal(error) {
            return self.feed(Event::OpenFailed {
                why: error.to_string(),
                fatal: true,
            });
        }
        warn!(%error, "the backup cannot read its region; trying again");
        self.rest(self.config.follow_every);
    }

    fn rest(&mut self, time: Duration) {
        let input = self
            .waiting
            .block_on(async { timeout(time, self.inputs.recv()).await });
        if let Ok(Some(input)) = input {
            self.take(input);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Event { epoch, event } if epoch == self.epoch => {
                let event = self.complete(event);
                self.feed(event);
            }
            Input::Event { .. } => {}
            Input::Switchover => self.feed(Event::SwitchoverAsked),
            Input::Leave => self.feed(Event::LeaveAsked),
            Input::Dropped => self.dropped = true,
        }
    }

    /// Adds what only this thread can know.
    fn complete(&self, event: Event) -> Event {
        match (event, &self.link) {
            (Event::Saved { .. }, Link::Primary(primary, _)) => {
                self.shared.counters.snapshots.fetch_add(1, Ordering::Relaxed);
                Event::Saved {
                    journal: journal(primary.usage()),
                }
            }
            (event, _) => event,
        }
    }

    fn take_calls(&mut self, queue: Vec<Queued>) {
        let (asks, replies): (Vec<_>, Vec<_>) =
            queue.into_iter().map(|queued| (queued.ask, queued.reply)).unzip();
        let first = self.shared.callers.enter(replies.into_iter());
        self.shared
            .counters
            .requests
            .fetch_add(asks.len() as u64, Ordering::Relaxed);
        let calls = (first..)
            .zip(asks)
            .map(|(id, ask)| Call { id: CallId(id), ask })
            .collect();
        let usage = match &self.link {
            Link::Primary(primary, _) => journal(primary.usage()),
            _ => Journal::default(),
        };
        self.shared
            .counters
            .journal_used_bytes
            .store(usage.used, Ordering::Relaxed);
        self.shared
            .counters
            .journal_capacity_bytes
            .store(usage.capacity, Ordering::Relaxed);
        self.feed(Event::Calls {
            calls,
            journal: usage,
        });
    }

    fn refuse_calls(&mut self) {
        let mut queue = Vec::new();
        while let Ok(queued) = self.calls.try_recv() {
            queue.push(queued);
        }
        if !queue.is_empty() {
            self.take_calls(queue);
        }
    }

    fn time(&mut self) {
        if let Link::Primary(primary, releaser) = &self.link {
            let (held, _) = releaser.progress();
            self.shared
                .counters
                .held_replies
                .store(held as u64, Ordering::Relaxed);
            if let Some(ended) = primary.ended() {
                return self.feed(Event::Lost {
                    fenced: ended.is_fenced(),
                });
            }
        }
        if self.tick_at.is_some_and(|at| at <= Instant::now()) {
            self.tick_at = None;
            self.feed(Event::Tick);
        }
    }

    /// Tells the node, does what it wants, tells it what came of that, until nothing is left.
    fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            if let Event::OpenFailed { why, .. }
            | Event::TakeoverFailed { why, .. }
            | Event::SaveFailed { why } = &event
            {
                warn!(pair = self.config.pair, why, "the pair's region");
            }
            let effects = self.node.handle(self.clock(), event);
            // It is primary only once its first set is on its way; other roles may take their time to act.
            if self.node.role() != Role::Primary {
                self.publish();
            }
            for effect in effects {
                events.extend(self.perform(effect));
            }
        }
        self.publish();
    }

    /// Tells the role to whoever wants to know, when it has changed.
    fn publish(&mut self) {
        let role = self.node.role();
        let takeover = self.finish_takeover(role);
        let primary = match (&self.link, role) {
            (Link::Primary(..), Role::Primary | Role::HandingOver) => Some(self.config.advertise.clone()),
            (Link::Backup(backup), _) => Some(backup.region().owner).filter(|owner| !owner.is_empty()),
            _ => None,
        };
        let generation = match &self.link {
            Link::Backup(backup) => backup.region().generation,
            Link::Primary(primary, _) => primary.generation(),
            Link::None => self.node.generation(),
        };
        let before = self.shared.view.borrow().role;
        // Handles that see `Stopped` expect that nothing is left to do: `run` tells that.
        let shown = if role == Role::Stopped { before } else { role };
        let stopped = self.node.stopped().map(str::to_owned);
        let changed = self.shared.view.send_if_modified(|view| {
            let last_takeover = takeover.or_else(|| view.last_takeover.clone());
            let now = RoleView {
                role: shown,
                primary,
                generation,
                stopped,
                last_takeover,
            };
            let changed = *view != now;
            *view = now;
            changed
        });
        if changed {
            self.reporter.nudge();
        }
        if role != before {
            match self.node.stopped() {
                Some(why) => error!(pair = self.config.pair, why, "the member stops"),
                None => info!(pair = self.config.pair, from = %before, to = %role, generation, "role"),
            }
        }
    }

    fn finish_takeover(&mut self, role: Role) -> Option<Takeover> {
        if role == Role::TakingOver {
            return None;
        }
        let (certificate, began) = self.taking_over.take()?;
        if role != Role::Primary {
            return None;
        }
        self.shared.counters.takeovers.fetch_add(1, Ordering::Relaxed);
        let took = began.elapsed();
        let read = certificate.read + certificate.persist;
        Some(Takeover {
            fenced_generation: certificate.fenced_generation,
            generation: certificate.generation,
            last_sequence: certificate.last_sequence,
            unread_sets: certificate.unread_sets,
            unread_bytes: certificate.unread_bytes,
            torn_sets: certificate.torn_sets,
            detect: certificate.detect,
            fence: certificate.fence,
            read,
            resume: took.saturating_sub(certificate.fence + read),
            total: certificate.detect + took,
            unix_ms: self.clock().unix_ms,
        })
    }

    fn clock(&self) -> Clock {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Clock {
            mono_ms: ms(self.started.elapsed()),
            unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms),
        }
    }
}

enum Woken {
    Input(Option<Input>),
    Calls,
    Time,
}

fn cause(suspicion: &Suspicion) -> Cause {
    match suspicion {
        Suspicion::OwnerLost => Cause::OwnerLost,
        Suspicion::Closed => Cause::Closed,
        _ => Cause::Silent,
    }
}

/// At the end of the core, also when the service panics: nobody is left waiting.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.callers.give_up();
        if thread::panicking() {
            self.0.view.send_modify(|view| {
                view.role = Role::Stopped;
                view.stopped = Some("the service panicked".into());
            });
        }
    }
}
