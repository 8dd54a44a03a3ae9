//! Mistakes that a primary could make. A campaign that does not catch one of them proves nothing about it.

/// What the primary of a scenario does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bug {
    /// Sets are acknowledged before their persist.
    AcknowledgeBeforePersist,
    /// A slot's old seal stays while the payload is overwritten.
    KeepOldSeal,
    /// The old seal is made invalid, and that is not persistent when the payload is overwritten.
    InvalidateUnpersisted,
    /// The seal is published without a persist of the payload before it.
    SealWithPayload,
    /// The seal is persistent before the payload is placed.
    SealBeforePayload,
    /// The journal behind a snapshot is reused as soon as that was begun.
    ReuseBeforeVerified,
    /// The floor record names what was sent and not what is committed.
    FloorAhead,
    /// A resize writes the new geometry along with the copies that it needs.
    GeometryWithCopies,
    /// A resize writes both control blocks at once.
    BothControlBlocks,
    /// A successor repairs beside what it read, before that is persistent.
    RepairUnpersisted,
    /// The successor's first set is acknowledged before its persist.
    TakeoverUnpersisted,
}

impl Bug {
    pub(crate) const ALL: [Self; 11] = [
        Self::AcknowledgeBeforePersist,
        Self::KeepOldSeal,
        Self::InvalidateUnpersisted,
        Self::SealWithPayload,
        Self::SealBeforePayload,
        Self::ReuseBeforeVerified,
        Self::FloorAhead,
        Self::GeometryWithCopies,
        Self::BothControlBlocks,
        Self::RepairUnpersisted,
        Self::TakeoverUnpersisted,
    ];
}
