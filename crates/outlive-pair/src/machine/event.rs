//! What a [`Node`](super::Node) is told, and what it wants done.

use crate::output::{Answer, CallId};
use crate::{Request, SessionId};

/// The two clocks that a member has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Never goes back; from an arbitrary start. For waiting.
    pub mono_ms: u64,
    /// Since 1970, and may jump. For journalling.
    pub unix_ms: u64,
}

/// A call as it stands in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whom to answer.
    pub id: CallId,
    /// What is asked.
    pub ask: Ask,
}

/// What a caller asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A request to the service.
    Request(Request),
    /// A new session under this id, which was drawn at random.
    OpenSession(SessionId),
}

/// How full the region's journal is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// Taken by sets since the covering snapshot.
    pub used: u64,
    /// What sets can take.
    pub capacity: u64,
}

/// A set as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fed {
    /// Replaces the state.
    Snapshot(Vec<u8>),
    /// Changes it.
    Update(Vec<u8>),
    /// Empties it.
    Clear,
}

/// Why a backup thinks that it should take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The primary's connection to the unit broke.
    OwnerLost,
    /// The primary fell silent.
    Silent,
    /// The primary gave the region up.
    Closed,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The member starts.
    Start,
    /// Time has passed: as much as [`Effect::Rest`] asked for, or any other.
    Tick,
    /// Clients ask, in this order.
    Calls {
        /// The calls.
        calls: Vec<Call>,
        /// How full the journal is.
        journal: Journal,
    },
    /// The region was opened as primary, and read.
    Opened {
        /// The new generation.
        generation: u64,
        /// Everything in the region.
        sets: Vec<Fed>,
        /// How full the journal is.
        journal: Journal,
    },
    /// Another primary is alive.
    Owned,
    /// The region could not be opened (as primary or backup). It is tried again, unless that is pointless.
    OpenFailed {
        /// Why.
        why: String,
        /// Whether trying again is pointless.
        fatal: bool,
    },
    /// The region was opened as backup: what comes is read from the start.
    Following,
    /// The backup has read this.
    Fresh(Vec<Fed>),
    /// The backup has a reason to take over, now and until told otherwise.
    Suspected(Cause),
    /// The backup has no reason to take over any more.
    Reassured,
    /// The takeover was granted and the rest was read.
    TookOver {
        /// The new generation.
        generation: u64,
        /// What the backup had not read.
        unread: Vec<Fed>,
        /// Whether this member had read more than the unit still holds.
        ahead: bool,
        /// How full the journal is.
        journal: Journal,
    },
    /// Another member was faster.
    LostRace,
    /// The takeover failed. It is tried again, unless that is pointless.
    TakeoverFailed {
        /// Why.
        why: String,
        /// Whether trying again is pointless.
        fatal: bool,
    },
    /// The snapshot is committed and verified.
    Saved {
        /// How full the journal is now.
        journal: Journal,
    },
    /// The snapshot could not be saved; the region is still owned.
    SaveFailed {
        /// Why.
        why: String,
    },
    /// Nothing appended is uncommitted and no answer is held, as [`Effect::Drain`] asked.
    Drained,
    /// The region was given up, as [`Effect::Close`] asked, or could not be, which comes to the same.
    Closed,
    /// The primary can no longer write: it was fenced, or the unit is gone.
    Lost {
        /// Whether another primary holds the region.
        fenced: bool,
    },
    /// The primary is asked to hand over.
    SwitchoverAsked,
    /// The member is asked to end.
    LeaveAsked,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open the region as primary and read it: [`Event::Opened`], [`Event::Owned`] or [`Event::OpenFailed`].
    OpenPrimary,
    /// Open the region as backup, and go on reading what is new: [`Event::Following`], [`Event::Fresh`],
    /// [`Event::Suspected`].
    OpenBackup,
    /// Take over: [`Event::TookOver`], [`Event::LostRace`] or [`Event::TakeoverFailed`].
    TakeOver,
    /// Append a set, and hold the answers until it is committed.
    Append {
        /// The set.
        set: Vec<u8>,
        /// The answers.
        answers: Vec<Answer>,
    },
    /// Confirm ownership, and hold the answers until everything appended is committed and that has succeeded.
    Confirm {
        /// The answers.
        answers: Vec<Answer>,
    },
    /// Save a snapshot of everything appended so far: [`Event::Saved`] or [`Event::SaveFailed`].
    Save {
        /// The snapshot.
        snapshot: Vec<u8>,
    },
    /// Answer at once: nothing was carried out, and nothing is told about the state.
    Answer(Vec<Answer>),
    /// Tell when nothing is uncommitted or held any more: [`Event::Drained`].
    Drain,
    /// Give up the region: [`Event::Closed`].
    Close,
    /// Drop the connection as primary or backup, and fail the answers that are held.
    Abandon,
    /// Wait this long for [`Event::Tick`], whatever else comes.
    Rest {
        /// Milliseconds.
        ms: u64,
    },
}
