//! What the manager tells about units, regions and pairs.

use std::time::Duration;

use outlive_fabric::RegionId;
use outlive_proto::v1;

use crate::{Level, RegionKind};

/// A region as the manager knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionView {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: RegionId,
    /// What its bytes mean.
    pub kind: RegionKind,
    /// Bytes of data.
    pub size: u64,
    /// Snapshot slots (checkpoint regions).
    pub slots: u32,
    /// Largest snapshot in bytes (checkpoint regions).
    pub max_snapshot: u64,
    /// Generation of ownership.
    pub generation: u64,
    /// Advertised address or label of the owner; empty when closed.
    pub owner: String,
    /// Whether the owner's write connection is alive now.
    pub owner_alive: bool,
    /// Pieces of the medium that it lies in.
    pub extents: u32,
    /// Read connections that are open.
    pub readers: u32,
    /// When it was created, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Identities that may become primary.
    pub may_own: Vec<String>,
    /// Identities that may become backup; those that may become primary may, too.
    pub may_read: Vec<String>,
    /// Identity of the owner; empty when closed.
    pub owner_identity: String,
}

/// Who has what mapped, with which rights.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressContext {
    /// The region.
    pub region: RegionView,
    /// Its virtual ranges: offset and length in bytes.
    pub mappings: Vec<(u64, u64)>,
    /// The connections that it is exposed to.
    pub connections: Vec<Connected>,
}

/// One connection that a region is exposed to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    /// Number of the connection at the unit.
    pub connection: u64,
    /// Where it comes from.
    pub peer: String,
    /// Whom the manager authenticated.
    pub identity: String,
    /// Whether it may write.
    pub writable: bool,
    /// Generation it was granted under.
    pub generation: u64,
}

/// What a region's metadata page says, read one-sidedly from the unit's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionMetadata {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: RegionId,
    /// What its bytes mean.
    pub kind: RegionKind,
    /// Bytes of data.
    pub size: u64,
    /// Snapshot slots (checkpoint regions).
    pub slots: u32,
    /// Largest snapshot in bytes (checkpoint regions).
    pub max_snapshot: u64,
    /// Generation of ownership.
    pub generation: u64,
    /// Advertised address or label of the owner; empty when closed.
    pub owner: String,
    /// When it was created, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Its virtual ranges: offset and length in bytes.
    pub mappings: Vec<(u64, u64)>,
    /// Who may use it: identity, and whether for writing.
    pub access: Vec<(String, bool)>,
}

impl From<outlive_layout::MetadataPage> for RegionMetadata {
    fn from(page: outlive_layout::MetadataPage) -> Self {
        Self {
            name: page.name,
            id: RegionId(page.region.0),
            kind: RegionKind::from_layout(page.kind),
            size: page.size,
            slots: page.slots,
            max_snapshot: page.max_snapshot,
            generation: page.generation,
            owner: page.owner,
            created_unix_ms: page.created_ms,
            mappings: page.ranges,
            access: page
                .access
                .into_iter()
                .map(|entry| (entry.identity, entry.writable))
                .collect(),
        }
    }
}

/// Everything that the manager knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusView {
    /// The units.
    pub units: Vec<UnitView>,
    /// The regions.
    pub regions: Vec<RegionView>,
    /// The pairs that report.
    pub pairs: Vec<PairView>,
    /// How often a manager attached.
    pub manager_generation: u64,
}

/// A unit as the manager knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the counters say what they count")]
pub struct UnitView {
    /// Identity, 16 bytes.
    pub id: Vec<u8>,
    /// `host:port` of the data listener.
    pub data_address: String,
    /// Its present incarnation.
    pub incarnation: u64,
    /// Size of the medium.
    pub media_bytes: u64,
    /// Bytes that no region holds.
    pub free_bytes: u64,
    /// What the medium is, for people.
    pub media: String,
    /// Strongest level it can promise.
    pub strongest: Level,
    /// Data connections open now.
    pub connections: u32,
    pub bytes_written: u64,
    pub bytes_read: u64,
    pub writes: u64,
    pub reads: u64,
    pub persists: u64,
    pub flushes: u64,
    pub refusals: u64,
    /// Empty while healthy; else why the medium refuses everything.
    pub poisoned: String,
    /// What is wrong with the superblock's copies; the other one serves.
    pub superblock: Vec<String>,
    /// What scrubbing in the background found, where the unit's process does that.
    pub scrub: Option<BackgroundScrub>,
}

/// What scrubbing in the background found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackgroundScrub {
    /// How often everything was verified.
    pub rounds: u64,
    /// When the last round ended, in milliseconds since 1970; 0: none has.
    pub ended_unix_ms: u64,
    /// Sets that verified in the last round.
    pub sets: u64,
    /// Bytes read in all rounds.
    pub bytes: u64,
    /// Damage found in the last round.
    pub found: u64,
    /// The first few of it, in words.
    pub findings: Vec<String>,
    /// Why the last round did not read everything, which is then none of `rounds`.
    pub incomplete: Option<String>,
    /// How many rounds did not.
    pub incomplete_rounds: u64,
    /// Regions of which parts were overwritten before they could be verified in the last round.
    pub outrun: u64,
}

/// A pair as its members report it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairView {
    /// Its name, which is its region's.
    pub name: String,
    /// Its members.
    pub members: Vec<MemberView>,
    /// The last takeover that was reported.
    pub last_takeover: Option<TakeoverView>,
}

/// What a member of a pair is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows.
    Backup,
    /// Serves.
    Primary,
}

/// A member as it last reported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberView {
    /// Unique for each start of a member.
    pub id: Vec<u8>,
    /// Advertised address.
    pub address: String,
    /// What it is.
    pub role: Role,
    /// Generation it serves or follows.
    pub generation: u64,
    /// Last sequence committed (primary) or applied (backup).
    pub sequence: u64,
    /// Since the manager last heard of it.
    pub silent: Duration,
    /// Its process.
    pub process_id: u64,
}

/// A takeover as it was reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the same names as in `Certificate`, in microseconds")]
pub struct TakeoverView {
    pub fenced_generation: u64,
    pub generation: u64,
    pub last_sequence: u64,
    pub unread_sets: u64,
    pub unread_bytes: u64,
    pub torn_sets: u64,
    pub detect_us: u64,
    pub fence_us: u64,
    pub read_us: u64,
    pub resume_us: u64,
    pub total_us: u64,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Address of the member that took over.
    pub member: String,
}

/// What a member of a pair tells the manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// The pair's name.
    pub pair: String,
    /// Unique for each start of a member.
    pub id: Vec<u8>,
    /// Advertised address.
    pub address: String,
    /// What it is.
    pub role: Role,
    /// Generation it serves or follows.
    pub generation: u64,
    /// Last sequence committed (primary) or applied (backup).
    pub sequence: u64,
    /// Set once, by the member that took over.
    pub takeover: Option<TakeoverView>,
    /// The member is leaving for good.
    pub leaving: bool,
}

/// A planned hand-over that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwitchoverView {
    /// Address of the primary before.
    pub old_primary: String,
    /// Address of the primary now.
    pub new_primary: String,
    /// From the request to the new primary's report.
    pub took: Duration,
}

/// Ids are 16 bytes; anything else on the wire becomes zeroes, which name nothing.
pub(crate) fn region_id(bytes: &[u8]) -> RegionId {
    RegionId(bytes.try_into().unwrap_or_default())
}

impl From<v1::Region> for RegionView {
    fn from(region: v1::Region) -> Self {
        Self {
            kind: RegionKind::from_proto(region.kind()),
            id: region_id(&region.id),
            name: region.name,
            size: region.size,
            slots: region.slots,
            max_snapshot: region.max_snapshot,
            generation: region.generation,
            owner: region.owner,
            owner_alive: region.owner_alive,
            extents: region.extents,
            readers: region.readers,
            created_unix_ms: region.created_unix_ms,
            may_own: region.may_own,
            may_read: region.may_read,
            owner_identity: region.owner_identity,
        }
    }
}

impl From<v1::AddressContextResponse> for AddressContext {
    fn from(answer: v1::AddressContextResponse) -> Self {
        let connected = |it: v1::ConnectionInfo| Connected {
            connection: it.connection,
            peer: it.peer,
            identity: it.identity,
            writable: it.writable,
            generation: it.generation,
        };
        Self {
            region: answer.region.unwrap_or_default().into(),
            mappings: answer
                .mappings
                .iter()
                .map(|mapping| (mapping.offset, mapping.len))
                .collect(),
            connections: answer.connections.into_iter().map(connected).collect(),
        }
    }
}

impl From<v1::StatusResponse> for StatusView {
    fn from(answer: v1::StatusResponse) -> Self {
        Self {
            units: answer.units.into_iter().map(UnitView::from).collect(),
            regions: answer.regions.into_iter().map(RegionView::from).collect(),
            pairs: answer.pairs.into_iter().map(PairView::from).collect(),
            manager_generation: answer.manager_generation,
        }
    }
}

impl From<v1::UnitStatus> for UnitView {
    fn from(unit: v1::UnitStatus) -> Self {
        Self {
            strongest: Level::from_proto(unit.strongest()),
            id: unit.id,
            data_address: unit.data_address,
            incarnation: unit.incarnation,
            media_bytes: unit.media_bytes,
            free_bytes: unit.free_bytes,
            media: unit.media,
            connections: unit.connections,
            bytes_written: unit.bytes_written,
            bytes_read: unit.bytes_read,
            writes: unit.writes,
            reads: unit.reads,
            persists: unit.persists,
            flushes: unit.flushes,
            refusals: unit.refusals,
            poisoned: unit.poisoned,
            superblock: unit.superblock,
            scrub: unit.scrub.map(|state| BackgroundScrub {
                rounds: state.rounds,
                ended_unix_ms: state.ended_unix_ms,
                sets: state.sets,
                bytes: state.bytes,
                found: state.found,
                findings: state.findings,
                incomplete: Some(state.incomplete).filter(|reason| !reason.is_empty()),
                incomplete_rounds: state.incomplete_rounds,
                outrun: state.outrun,
            }),
        }
    }
}

impl From<v1::PairStatus> for PairView {
    fn from(pair: v1::PairStatus) -> Self {
        Self {
            name: pair.name,
            members: pair.members.into_iter().map(MemberView::from).collect(),
            last_takeover: pair.last_takeover.map(TakeoverView::from),
        }
    }
}

impl From<v1::MemberStatus> for MemberView {
    fn from(member: v1::MemberStatus) -> Self {
        Self {
            role: Role::from_proto(member.role()),
            id: member.id,
            address: member.address,
            generation: member.generation,
            sequence: member.sequence,
            silent: Duration::from_millis(member.silent_ms),
            process_id: member.process_id,
        }
    }
}

impl From<v1::Takeover> for TakeoverView {
    fn from(takeover: v1::Takeover) -> Self {
        Self {
            fenced_generation: takeover.fenced_generation,
            generation: takeover.generation,
            last_sequence: takeover.last_sequence,
            unread_sets: takeover.unread_sets,
            unread_bytes: takeover.unread_bytes,
            torn_sets: takeover.torn_sets,
            detect_us: takeover.detect_us,
            fence_us: takeover.fence_us,
            read_us: takeover.read_us,
            resume_us: takeover.resume_us,
            total_us: takeover.total_us,
            unix_ms: takeover.unix_ms,
            member: takeover.member,
        }
    }
}

impl From<&MemberReport> for v1::ReportMemberRequest {
    fn from(report: &MemberReport) -> Self {
        let takeover = report.takeover.clone().map(|takeover| v1::Takeover {
            fenced_generation: takeover.fenced_generation,
            generation: takeover.generation,
            last_sequence: takeover.last_sequence,
            unread_sets: takeover.unread_sets,
            unread_bytes: takeover.unread_bytes,
            torn_sets: takeover.torn_sets,
            detect_us: takeover.detect_us,
            fence_us: takeover.fence_us,
            read_us: takeover.read_us,
            resume_us: takeover.resume_us,
            total_us: takeover.total_us,
            unix_ms: takeover.unix_ms,
            member: takeover.member,
        });
        Self {
            pair: report.pair.clone(),
            member: Some(v1::MemberStatus {
                id: report.id.clone(),
                address: report.address.clone(),
                role: report.role.to_proto().into(),
                generation: report.generation,
                sequence: report.sequence,
                silent_ms: 0,
                process_id: std::process::id().into(),
            }),
            takeover,
            leaving: report.leaving,
            wait_ms: 0,
        }
    }
}

impl Role {
    fn from_proto(role: v1::Role) -> Self {
        match role {
            v1::Role::Primary => Self::Primary,
            v1::Role::Backup | v1::Role::Unspecified => Self::Backup,
        }
    }

    fn to_proto(self) -> v1::Role {
        match self {
            Self::Primary => v1::Role::Primary,
            Self::Backup => v1::Role::Backup,
        }
    }
}
