//! The mistakes that the product can be told to make, so that the world shows that it notices them.

/// A mistake: its name, what is done, and what makes it.
struct Mistake {
    name: &'static str,
    what: &'static str,
    switch_on: fn(),
}

pub(super) fn list() -> Vec<(&'static str, &'static str)> {
    MISTAKES
        .iter()
        .map(|mistake| (mistake.name, mistake.what))
        .collect()
}

/// Makes it from now on, in this process.
pub(super) fn switch_on(name: &str) {
    if let Some(mistake) = MISTAKES.iter().find(|mistake| mistake.name == name) {
        (mistake.switch_on)();
    }
}

#[cfg(not(feature = "deliberate-bugs"))]
const MISTAKES: &[Mistake] = &[];

#[cfg(feature = "deliberate-bugs")]
const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "grant-before-fence",
        what: "a new owner is let in while the one before still writes",
        switch_on: || {
            outlive_manager::bugs::Bug::NoFence.switch_on();
            outlive_unit::bugs::Bug::ManyWriters.switch_on();
        },
    },
    Mistake {
        name: "fence-stops-nobody",
        what: "the unit confirms a fence and stops no connection",
        switch_on: || {
            outlive_unit::bugs::Bug::FenceStopsNobody.switch_on();
            outlive_unit::bugs::Bug::ManyWriters.switch_on();
        },
    },
    Mistake {
        name: "tickets-outlive-fence",
        what: "a ticket of a fenced generation lets in",
        switch_on: || outlive_unit::bugs::Bug::TicketsOutliveFence.switch_on(),
    },
    Mistake {
        name: "catalog-reply-before-persist",
        what: "the manager answers before the catalog is persistent",
        switch_on: || outlive_manager::bugs::Bug::ReplyBeforePersist.switch_on(),
    },
    Mistake {
        name: "incarnation-not-persistent",
        what: "incarnation and manager generation are only placed",
        switch_on: || outlive_media::bugs::Bug::StaleSuperblock.switch_on(),
    },
    Mistake {
        name: "commit-before-persist",
        what: "a set counts as persistent when it is placed",
        switch_on: || outlive::bugs::Bug::CommitBeforePersist.switch_on(),
    },
    Mistake {
        name: "reconnect-rewrites-nothing",
        what: "what an incarnation of the unit lost is not written again",
        switch_on: || outlive::bugs::Bug::ReconnectRewritesNothing.switch_on(),
    },
    Mistake {
        name: "takeover-without-persist",
        what: "what a new owner found is not made persistent before it goes on",
        switch_on: || outlive::bugs::Bug::TakeoverWithoutPersist.switch_on(),
    },
    Mistake {
        name: "clear-is-missed",
        what: "a follower misses what comes while it looks for a snapshot that was cleared",
        switch_on: || outlive::bugs::Bug::ClearIsMissed.switch_on(),
    },
    Mistake {
        name: "floor-ahead",
        what: "a set's floor is above what is committed",
        switch_on: || outlive_layout::bugs::Bug::FloorAhead.switch_on(),
    },
    Mistake {
        name: "reclaim-at-once",
        what: "the journal is reused before the snapshot that covers it is there",
        switch_on: || outlive_layout::bugs::Bug::ReclaimAtOnce.switch_on(),
    },
    Mistake {
        name: "no-second-look",
        what: "a reader does not look again at a set that was overwritten meanwhile",
        switch_on: || outlive_layout::bugs::Bug::NoSecondLook.switch_on(),
    },
    Mistake {
        name: "reply-before-commit",
        what: "a reply of the pair leaves before its set is committed",
        switch_on: || outlive_pair::bugs::Bug::ReplyBeforeCommit.switch_on(),
    },
    Mistake {
        name: "replies-forgotten",
        what: "snapshots of the pair leave the remembered replies out",
        switch_on: || outlive_pair::bugs::Bug::RepliesForgotten.switch_on(),
    },
    Mistake {
        name: "read-unconfirmed",
        what: "the pair answers reads without asking whether it still owns the region",
        switch_on: || outlive_pair::bugs::Bug::ReadUnconfirmed.switch_on(),
    },
];
