//! One line of the log.

use serde::Serialize;

/// What was done, or asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Act {
    /// A control or data connection was made.
    Connect,
    /// A connection ended.
    Disconnect,
    /// A manager took charge of a unit.
    Attach,
    /// A region was opened (as primary or as backup).
    Open,
    /// An owner or a backup connected again.
    Reconnect,
    /// A region was taken over.
    Takeover,
    /// Connections of older generations were stopped, and confirmed it.
    Fence,
    /// All connections of a region were stopped, and the unit forgot it.
    Withdraw,
    /// Connections of an identity that lost a right were stopped, and confirmed it.
    Revoke,
    /// An owner gave a region up.
    Close,
    /// A region was made.
    CreateRegion,
    /// A region grew.
    ResizeRegion,
    /// A region was deleted.
    DeleteRegion,
    /// An owner or reader was added or taken out.
    ChangeAccess,
    /// A certificate was signed.
    IssueIdentity,
    /// An identity was given a role.
    AdmitIdentity,
    /// An identity was revoked.
    RevokeIdentity,
    /// A pair's primary was asked to hand over.
    Switchover,
    /// The catalog was opened for reading.
    OpenCatalog,
    /// Something was looked at: a description, a list, a status.
    Inspect,
    /// Bytes were to be read.
    Read,
    /// Bytes were to be written.
    Write,
    /// Bytes were to be made persistent.
    Persist,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not allowed; `reason` says why.
    Refused,
    /// It was allowed and failed; `reason` says why.
    Failed,
}

/// One line of the log, built up by its methods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Entry {
    /// What.
    pub act: Act,
    /// How it ended.
    pub outcome: Outcome,
    /// Who: the identity that was proven, or was claimed where `outcome` is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// From where: an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The region's name (manager) or number (unit).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whom an administrative act is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The right that was used, changed or missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<&'static str>,
    /// The generation it led to or was asked for in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The unit's number of the data connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// First byte of the range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Bytes of the range, or of a region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
    /// How many (connections stopped, operations refused).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Why it was refused or failed; why a connection ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Entry {
    /// Something that was done.
    pub fn done(act: Act) -> Self {
        Self {
            act,
            outcome: Outcome::Done,
            identity: None,
            source: None,
            region: None,
            subject: None,
            right: None,
            generation: None,
            connection: None,
            offset: None,
            len: None,
            count: None,
            reason: None,
        }
    }

    /// Something that was not allowed.
    pub fn refused(act: Act, reason: impl ToString) -> Self {
        Self {
            outcome: Outcome::Refused,
            reason: Some(reason.to_string()),
            ..Self::done(act)
        }
    }

    /// Something that was allowed and failed.
    pub fn failed(act: Act, reason: impl ToString) -> Self {
        Self {
            outcome: Outcome::Failed,
            ..Self::refused(act, reason)
        }
    }

    /// Who.
    pub fn by(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// From where.
    pub fn from(mut self, source: impl ToString) -> Self {
        self.source = Some(source.to_string());
        self
    }

    /// In which region.
    pub fn region(mut self, region: impl ToString) -> Self {
        self.region = Some(region.to_string());
        self
    }

    /// About whom.
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// With, or without, which right.
    pub fn right(mut self, right: &'static str) -> Self {
        self.right = Some(right);
        self
    }

    /// In which generation.
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }

    /// On which data connection.
    pub fn connection(mut self, connection: u64) -> Self {
        self.connection = Some(connection);
        self
    }

    /// Which bytes.
    pub fn range(mut self, offset: u64, len: u64) -> Self {
        (self.offset, self.len) = (Some(offset), Some(len));
        self
    }

    /// How many bytes.
    pub fn len(mut self, len: u64) -> Self {
        self.len = Some(len);
        self
    }

    /// Why it came about.
    pub fn because(mut self, reason: impl ToString) -> Self {
        self.reason = Some(reason.to_string());
        self
    }

    /// How many.
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }
}
