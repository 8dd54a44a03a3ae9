//! The state machine itself.

use std::collections::VecDeque;

use crate::batch::{self, Record};
use crate::replica::{MAX_BEGINNINGS, Replica, ReplicaError};
use crate::{CallError, PairConfig, ReplyBounds, Role, Service};

use super::event::{Call, Cause, Clock, Effect, Event, Fed, Journal};
use super::serve;

/// First and longest wait before something that failed is tried again, doubling in between: short,
/// because a service stands still; bounded, so that a returning unit is found within a second.
const RETRY_MS: (u64, u64) = (20, 1000);

/// After handing over, how long this member leaves the region to others before it takes it back:
/// enough for a backup that polls every few milliseconds, also on a loaded machine.
const HAND_OVER_MS: u64 = 1500;

/// Wait after a snapshot that could not be saved.
const SAVE_RETRY_MS: u64 = 1000;

/// A set may take at most one part in this many of the journal, so that a full lap never hangs on one set.
const SET_SHARE: u64 = 8;

/// Bytes of seal and padding allowed for each set when room is checked.
const SEAL_BYTES: u64 = 256;

/// What a [`Node`] is told at its start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Requests in a set.
    pub batch_requests: usize,
    /// Bytes in a set.
    pub batch_bytes: usize,
    /// Share of the journal that may be used before a snapshot is saved.
    pub snapshot_at: f64,
    /// Bounds on remembered replies.
    pub replies: ReplyBounds,
    /// Unclean takeovers within the window at which the pair stops.
    pub takeovers: u32,
    /// That window, in milliseconds.
    pub window_ms: u64,
}

impl From<&PairConfig> for Limits {
    fn from(config: &PairConfig) -> Self {
        Self {
            batch_requests: config.flow.batch_requests,
            batch_bytes: config.flow.batch_bytes,
            snapshot_at: config.snapshot_at,
            replies: config.replies,
            takeovers: config.crash_loop.takeovers,
            window_ms: u64::try_from(config.crash_loop.window.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// One member of a pair, pure.
pub struct Node<S> {
    limits: Limits,
    replica: Replica<S>,
    role: Role,
    generation: u64,
    /// Why it stopped, unless it was asked to.
    stopped: Option<String>,
    /// Calls taken and not carried out yet, for want of room in the journal.
    waiting: VecDeque<Call>,
    journal: Journal,
    /// Room of the longest set appended since the region told how full it is: as much may have been skipped at the
    /// ring's end, where a set does not split.
    skipped: u64,
    saving: Saving,
    /// Serving waits for the snapshot that is being saved.
    begin_after_save: bool,
    leaving: bool,
    retry_ms: u64,
    /// Not before this monotonic time is something tried again.
    retry_at_ms: u64,
    /// Until this monotonic time a region that this member gave up is left to others.
    yielding_until_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saving {
    Idle,
    UnderWay,
    /// Failed; not tried again before this monotonic time.
    Failed(u64),
}

impl<S: Service> Node<S> {
    /// A member that has not started. `service` is in its initial state.
    pub fn new(service: S, limits: Limits) -> Self {
        Self {
            limits: Limits {
                takeovers: limits
                    .takeovers
                    .min(u32::try_from(MAX_BEGINNINGS).unwrap_or(u32::MAX)),
                ..limits
            },
            replica: Replica::new(service, limits.replies),
            role: Role::Starting,
            generation: 0,
            stopped: None,
            waiting: VecDeque::new(),
            journal: Journal::default(),
            skipped: 0,
            saving: Saving::Idle,
            begin_after_save: false,
            leaving: false,
            retry_ms: RETRY_MS.0,
            retry_at_ms: 0,
            yielding_until_ms: 0,
        }
    }

    /// What the member does now.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Generation that it serves under, or served under last.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Why it stopped, unless it was asked to or runs.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Whether it takes calls now. While it is primary and does not, calls wait in their queue.
    pub fn takes_calls(&self) -> bool {
        self.role == Role::Primary && self.waiting.is_empty()
    }

    /// The replicated state.
    pub fn replica(&self) -> &Replica<S> {
        &self.replica
    }

    /// Takes note of `event` and says what is to be done, in order.
    pub fn handle(&mut self, now: Clock, event: Event) -> Vec<Effect> {
        if self.role == Role::Stopped {
            return match event {
                Event::Calls { calls, .. } => vec![self.refuse(calls)],
                // Granted after it was asked to end: give it back.
                Event::Opened { .. } | Event::TookOver { .. } => vec![Effect::Abandon],
                _ => vec![],
            };
        }
        match event {
            Event::Start => vec![Effect::OpenPrimary],
            Event::Tick => self.tick(now),
            Event::Calls { calls, journal } => self.calls(now, calls, journal),
            Event::Opened {
                generation,
                sets,
                journal,
            } => self.opened(now, generation, &sets, journal),
            Event::Owned => self.follow(),
            Event::OpenFailed { why, fatal } => self.open_failed(now, why, fatal),
            Event::Following => self.following(),
            Event::Fresh(sets) => self.fresh(&sets),
            Event::Suspected(cause) => self.suspected(now, cause),
            Event::Reassured => self.reassured(),
            Event::TookOver {
                generation,
                unread,
                ahead,
                journal,
            } => self.took_over(now, generation, &unread, ahead, journal),
            Event::LostRace => self.lost_race(),
            Event::TakeoverFailed { why, fatal } => self.takeover_failed(now, why, fatal),
            Event::Saved { journal } => self.saved(now, journal),
            Event::SaveFailed { why } => self.save_failed(now, why),
            Event::Drained if self.role == Role::HandingOver => vec![Effect::Close],
            Event::Drained => vec![],
            Event::Closed => self.closed(now),
            Event::Lost { fenced } => self.lost(now, fenced),
            Event::SwitchoverAsked => self.hand_over(now),
            Event::LeaveAsked => self.leave(now),
        }
    }

    fn tick(&mut self, now: Clock) -> Vec<Effect> {
        match self.role {
            Role::Starting if now.mono_ms >= self.retry_at_ms => vec![Effect::OpenPrimary],
            Role::Starting => vec![Effect::Rest {
                ms: self.retry_at_ms - now.mono_ms,
            }],
            Role::Primary if self.takes_calls() => vec![],
            Role::Primary => self.work(now),
            _ => vec![],
        }
    }

    fn calls(&mut self, now: Clock, calls: Vec<Call>, journal: Journal) -> Vec<Effect> {
        if self.role != Role::Primary {
            return vec![self.refuse(calls)];
        }
        self.told(journal);
        self.waiting.extend(calls);
        self.work(now)
    }

    /// Carries out what waits, as far as there is room, and saves a snapshot when it is time.
    fn work(&mut self, now: Clock) -> Vec<Effect> {
        let mut effects = Vec::new();
        while !self.waiting.is_empty() {
            let (take, bytes) = self.next_batch();
            if take == 0 {
                let call = self.waiting.pop_front();
                let limit_bytes = self.set_limit();
                effects.push(serve::refuse(call, &CallError::TooLarge { bytes, limit_bytes }));
                continue;
            }
            if !self.has_room(bytes) {
                effects.extend(self.make_room(now));
                return effects;
            }
            let batch: Vec<Call> = self.waiting.drain(..take).collect();
            let effect = serve::serve(&mut self.replica, &batch, now.unix_ms);
            self.note_appended(&effect);
            effects.push(effect);
        }
        if self.is_due() {
            effects.extend(self.save(now));
        }
        effects
    }

    /// How many of the waiting calls go into the next set, and their bytes. 0: the first one is too large.
    fn next_batch(&self) -> (usize, usize) {
        let limit = self.set_limit();
        let mut bytes = batch::set_bound_bytes(0);
        for (i, call) in self.waiting.iter().take(self.limits.batch_requests).enumerate() {
            let with = bytes.saturating_add(serve::bound_bytes(call));
            if with > batch::set_bound_bytes(limit) {
                return if i == 0 { (0, with) } else { (i, bytes) };
            }
            bytes = with;
        }
        (self.waiting.len().min(self.limits.batch_requests), bytes)
    }

    fn set_limit(&self) -> usize {
        let share = usize::try_from(self.journal.capacity / SET_SHARE).unwrap_or(usize::MAX);
        // A little above the longest request, so that what the bound on requests lets in also fits.
        self.limits
            .batch_bytes
            .saturating_add(batch::set_bound_bytes(0))
            .min(share)
    }

    /// Whether a set of `bytes` fits, even if the ring's end is in its way.
    fn has_room(&self, bytes: usize) -> bool {
        let free = self.journal.capacity.saturating_sub(self.journal.used);
        free >= 2 * (bytes as u64 + SEAL_BYTES) + self.skipped
    }

    fn told(&mut self, journal: Journal) {
        self.journal = journal;
        self.skipped = 0;
    }

    fn make_room(&mut self, now: Clock) -> Vec<Effect> {
        match self.saving {
            Saving::UnderWay => vec![],
            Saving::Idle => self.save(now),
            Saving::Failed(until_ms) if now.mono_ms >= until_ms => self.save(now),
            Saving::Failed(_) => {
                let error = CallError::Full {
                    why: "a snapshot, which would make room, cannot be saved".into(),
                };
                vec![serve::refuse(self.waiting.drain(..), &error)]
            }
        }
    }

    fn is_due(&self) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
        let share = self.journal.used as f64 / self.journal.capacity.max(1) as f64;
        self.saving == Saving::Idle && share >= self.limits.snapshot_at
    }

    fn save(&mut self, now: Clock) -> Vec<Effect> {
        if matches!(self.saving, Saving::UnderWay)
            || matches!(self.saving, Saving::Failed(at) if now.mono_ms < at)
        {
            return vec![];
        }
        self.saving = Saving::UnderWay;
        vec![Effect::Save {
            snapshot: self.replica.snapshot(),
        }]
    }

    fn note_appended(&mut self, effect: &Effect) {
        if let Effect::Append { set, .. } = effect {
            let room = set.len() as u64 + SEAL_BYTES;
            self.journal.used += room;
            self.skipped = self.skipped.max(room);
        }
    }

    fn saved(&mut self, now: Clock, journal: Journal) -> Vec<Effect> {
        self.saving = Saving::Idle;
        self.told(journal);
        if std::mem::take(&mut self.begin_after_save) {
            return self.begin(now);
        }
        if self.role == Role::Primary {
            self.work_after_save(now)
        } else {
            vec![]
        }
    }

    fn work_after_save(&mut self, now: Clock) -> Vec<Effect> {
        let (take, bytes) = self.next_batch();
        if !self.waiting.is_empty() && take > 0 && !self.has_room(bytes) {
            let error = CallError::Full {
                why: "a snapshot was saved and made no room".into(),
            };
            return vec![serve::refuse(self.waiting.drain(..), &error)];
        }
        self.work(now)
    }

    fn save_failed(&mut self, now: Clock, why: String) -> Vec<Effect> {
        if std::mem::take(&mut self.begin_after_save) {
            return self.stop(
                format!("the state could not be saved before serving: {why}"),
                vec![Effect::Close],
            );
        }
        self.saving = Saving::Failed(now.mono_ms + SAVE_RETRY_MS);
        let mut effects = vec![Effect::Rest { ms: SAVE_RETRY_MS }];
        if self.role == Role::Primary {
            effects.extend(self.work(now));
        }
        effects
    }

    fn opened(&mut self, now: Clock, generation: u64, sets: &[Fed], journal: Journal) -> Vec<Effect> {
        self.generation = generation;
        let restored = self.replica.restore(None).and_then(|()| self.feed(sets));
        if let Err(error) = restored {
            return self.stop(error.to_string(), vec![Effect::Close]);
        }
        if let Some(why) = self.crash_loop(now) {
            return self.stop(why, vec![Effect::Close]);
        }
        self.assume(now, journal, false)
    }

    fn took_over(
        &mut self,
        now: Clock,
        generation: u64,
        unread: &[Fed],
        ahead: bool,
        journal: Journal,
    ) -> Vec<Effect> {
        self.generation = generation;
        if let Err(error) = self.feed(unread) {
            return self.stop(error.to_string(), vec![Effect::Close]);
        }
        // What was unread may hold the takeovers that are too many.
        if let Some(why) = self.crash_loop(now) {
            return self.stop(why, vec![Effect::Close]);
        }
        self.assume(now, journal, ahead)
    }

    /// Owns the region and has its state. A snapshot goes first where the unit holds less than this
    /// member knows, or has no room left for the set that begins.
    fn assume(&mut self, now: Clock, journal: Journal, ahead: bool) -> Vec<Effect> {
        self.told(journal);
        self.saving = Saving::Idle;
        self.retry_ms = RETRY_MS.0;
        if ahead || !self.has_room(batch::set_bound_bytes(0)) {
            self.role = Role::TakingOver;
            self.begin_after_save = true;
            return self.save(now);
        }
        self.begin(now)
    }

    fn begin(&mut self, now: Clock) -> Vec<Effect> {
        self.role = Role::Primary;
        self.replica
            .begin(now.unix_ms, self.generation, self.limits.replies);
        let set = batch::encode(&Record::Began {
            at_ms: self.replica.at_ms(),
            generation: self.generation,
            bounds: self.limits.replies.into(),
        });
        let effect = Effect::Append { set, answers: vec![] };
        self.note_appended(&effect);
        let mut effects = vec![effect];
        if self.leaving {
            effects.extend(self.hand_over(now));
        } else if self.is_due() {
            effects.extend(self.save(now));
        }
        effects
    }

    fn open_failed(&mut self, now: Clock, why: String, fatal: bool) -> Vec<Effect> {
        if fatal {
            return self.stop(why, vec![Effect::Abandon]);
        }
        self.start_over(now)
    }

    fn start_over(&mut self, now: Clock) -> Vec<Effect> {
        self.role = Role::Starting;
        vec![Effect::Rest {
            ms: self.back_off(now),
        }]
    }

    fn back_off(&mut self, now: Clock) -> u64 {
        let wait_ms = self.retry_ms;
        self.retry_at_ms = now.mono_ms + wait_ms;
        self.retry_ms = (wait_ms * 2).min(RETRY_MS.1);
        wait_ms
    }

    fn follow(&mut self) -> Vec<Effect> {
        self.role = Role::Starting;
        vec![Effect::OpenBackup]
    }

    fn following(&mut self) -> Vec<Effect> {
        match self.replica.restore(None) {
            Ok(()) => {
                self.role = Role::Backup;
                self.retry_ms = RETRY_MS.0;
                vec![]
            }
            Err(error) => self.stop(error.to_string(), vec![Effect::Abandon]),
        }
    }

    fn fresh(&mut self, sets: &[Fed]) -> Vec<Effect> {
        match self.feed(sets) {
            Ok(()) => vec![],
            Err(error) => self.stop(error.to_string(), vec![Effect::Abandon]),
        }
    }

    fn feed(&mut self, sets: &[Fed]) -> Result<(), ReplicaError> {
        sets.iter().try_for_each(|set| match set {
            Fed::Snapshot(bytes) => self.replica.restore(Some(bytes)),
            Fed::Update(bytes) => self.replica.apply_set(bytes),
            Fed::Clear => self.replica.restore(None),
        })
    }

    fn suspected(&mut self, now: Clock, cause: Cause) -> Vec<Effect> {
        if !matches!(self.role, Role::Backup | Role::Suspecting) {
            return vec![];
        }
        if cause == Cause::Closed && now.mono_ms < self.yielding_until_ms {
            return vec![];
        }
        if let Some(why) = self.crash_loop(now) {
            return self.stop(why, vec![Effect::Abandon]);
        }
        if self.role == Role::Suspecting && now.mono_ms < self.retry_at_ms {
            return vec![];
        }
        self.role = Role::TakingOver;
        vec![Effect::TakeOver]
    }

    fn reassured(&mut self) -> Vec<Effect> {
        if self.role == Role::Suspecting {
            self.role = Role::Backup;
            self.retry_ms = RETRY_MS.0;
        }
        vec![]
    }

    fn lost_race(&mut self) -> Vec<Effect> {
        self.role = Role::Backup;
        vec![]
    }

    fn takeover_failed(&mut self, now: Clock, why: String, fatal: bool) -> Vec<Effect> {
        if fatal {
            return self.stop(why, vec![Effect::Abandon]);
        }
        self.role = Role::Suspecting;
        self.back_off(now);
        vec![]
    }

    /// Whether a member that began now would be one too many.
    fn crash_loop(&self, now: Clock) -> Option<String> {
        let at_ms = now.unix_ms.max(self.replica.at_ms());
        let since_ms = at_ms.saturating_sub(self.limits.window_ms);
        let count = self.replica.unclean_since(since_ms);
        let limit = self.limits.takeovers as usize;
        (self.replica.would_be_unclean() && count >= limit).then(|| {
            format!(
                "crash loop: {count} takeovers without a clean end within {} s; find out from the members' \
                 logs why they fail, then start them again after that time",
                self.limits.window_ms.div_ceil(1000)
            )
        })
    }

    fn hand_over(&mut self, now: Clock) -> Vec<Effect> {
        if self.role != Role::Primary {
            return vec![];
        }
        self.role = Role::HandingOver;
        let refused = serve::refuse(self.waiting.drain(..), &CallError::NotPrimary { primary: None });
        self.replica.end(now.unix_ms);
        let set = batch::encode(&Record::Ended {
            at_ms: self.replica.at_ms(),
        });
        vec![refused, Effect::Append { set, answers: vec![] }, Effect::Drain]
    }

    fn closed(&mut self, now: Clock) -> Vec<Effect> {
        if self.leaving {
            self.role = Role::Stopped;
            return vec![Effect::Abandon];
        }
        self.yielding_until_ms = now.mono_ms + HAND_OVER_MS;
        let mut effects = vec![Effect::Abandon];
        effects.extend(self.follow());
        effects
    }

    fn lost(&mut self, now: Clock, fenced: bool) -> Vec<Effect> {
        if !matches!(self.role, Role::Primary | Role::HandingOver | Role::TakingOver) {
            return vec![];
        }
        let refused = serve::refuse(self.waiting.drain(..), &CallError::NotPrimary { primary: None });
        self.begin_after_save = false;
        self.saving = Saving::Idle;
        let mut effects = vec![Effect::Abandon, refused];
        if self.leaving {
            self.role = Role::Stopped;
        } else if fenced {
            effects.extend(self.follow());
        } else {
            effects.extend(self.start_over(now));
        }
        effects
    }

    fn leave(&mut self, now: Clock) -> Vec<Effect> {
        self.leaving = true;
        match self.role {
            Role::Primary => self.hand_over(now),
            Role::HandingOver | Role::Stopped => vec![],
            Role::TakingOver if self.begin_after_save => vec![],
            _ => {
                self.role = Role::Stopped;
                vec![Effect::Abandon]
            }
        }
    }

    fn stop(&mut self, why: String, mut effects: Vec<Effect>) -> Vec<Effect> {
        self.role = Role::Stopped;
        let refused = serve::refuse(self.waiting.drain(..), &CallError::Stopped { why: why.clone() });
        self.stopped = Some(why);
        effects.push(refused);
        effects
    }

    fn refuse(&self, calls: Vec<Call>) -> Effect {
        let error = match self.role {
            Role::Stopped => CallError::Stopped {
                why: self.stopped.clone().unwrap_or_else(|| "it left".into()),
            },
            _ => CallError::NotPrimary { primary: None },
        };
        serve::refuse(calls, &error)
    }
}
