//! What the library tells, as JSON and as tables.

use std::time::Duration;

use outlive::{
    Certificate, Connected, Finding, MemberView, PairView, Receipt, RegionView, Role, Set, SetInfo,
    TakeoverView, UnitView,
};
use serde_json::{Value, json};

use crate::output::{hex, size, table};

pub(crate) fn region(region: &RegionView) -> Value {
    json!({
        "name": region.name,
        "id": region.id.to_string(),
        "kind": region.kind.to_string(),
        "size": region.size,
        "slots": region.slots,
        "max_snapshot": region.max_snapshot,
        "generation": region.generation,
        "owner": region.owner,
        "owner_alive": region.owner_alive,
        "extents": region.extents,
        "readers": region.readers,
        "created_unix_ms": region.created_unix_ms,
        "may_own": region.may_own,
        "may_read": region.may_read,
        "owner_identity": region.owner_identity,
    })
}

pub(crate) fn region_table(regions: &[RegionView]) -> String {
    if regions.is_empty() {
        return "no regions".to_owned();
    }
    table(
        ["name", "kind", "size", "generation", "readers", "owner"],
        regions.iter().map(|region| {
            [
                region.name.clone(),
                region.kind.to_string(),
                size(region.size),
                region.generation.to_string(),
                region.readers.to_string(),
                owner(region),
            ]
        }),
    )
}

/// The owner for people.
pub(crate) fn owner(region: &RegionView) -> String {
    match (region.owner.as_str(), region.owner_alive) {
        ("", true) => "(unnamed)".to_owned(),
        ("", false) => "-".to_owned(),
        (owner, true) => owner.to_owned(),
        (owner, false) => format!("{owner} (gone)"),
    }
}

pub(crate) fn connected(connected: &Connected) -> Value {
    json!({
        "connection": connected.connection,
        "peer": connected.peer,
        "identity": connected.identity,
        "writable": connected.writable,
        "generation": connected.generation,
    })
}

pub(crate) fn receipt(receipt: &Receipt) -> Value {
    json!({
        "region": receipt.region.to_string(),
        "level": receipt.level.to_string(),
        "method": receipt.method.map(|method| format!("{method:?}")),
        "incarnation": receipt.incarnation,
        "generation": receipt.generation,
        "sequence": receipt.sequence,
        "bytes": receipt.bytes,
        "took_us": micros(receipt.took),
    })
}

/// A set without its payload.
pub(crate) fn set(set: &Set) -> Value {
    json!({
        "kind": set.kind.to_string(),
        "generation": set.generation,
        "sequence": set.sequence,
        "unix_ms": set.unix_ms,
        "bytes": set.bytes.len(),
    })
}

/// A set with its payload: as text where it is text, else in hexadecimal.
pub(crate) fn set_with_payload(of: &Set) -> Value {
    let mut value = set(of);
    match std::str::from_utf8(&of.bytes) {
        Ok(text) => value["text"] = text.into(),
        Err(_) => value["hex"] = hex(&of.bytes).into(),
    }
    value
}

pub(crate) fn set_info(info: &SetInfo) -> Value {
    let mut value = json!({
        "kind": info.kind.to_string(),
        "generation": info.generation,
        "sequence": info.sequence,
        "unix_ms": info.unix_ms,
        "bytes": info.bytes,
        "finding": finding(&info.finding),
    });
    if let Finding::Corrupt { offset } = &info.finding {
        value["offset"] = (*offset).into();
    }
    value
}

pub(crate) fn finding(finding: &Finding) -> &'static str {
    match finding {
        Finding::Verified => "verified",
        Finding::Torn => "torn",
        _ => "corrupt",
    }
}

pub(crate) fn certificate(certificate: &Certificate) -> Value {
    json!({
        "region": certificate.region.to_string(),
        "fenced_generation": certificate.fenced_generation,
        "generation": certificate.generation,
        "last_sequence": certificate.last_sequence,
        "unread_sets": certificate.unread_sets,
        "unread_bytes": certificate.unread_bytes,
        "torn_sets": certificate.torn_sets,
        "accepted_loss": certificate.accepted_loss.map(|(from, to)| json!({"from": from, "to": to})),
        "ahead": certificate.ahead.map(|ahead| {
            json!({"read_sequence": ahead.read_sequence, "unit_sequence": ahead.unit_sequence})
        }),
        "detect_us": micros(certificate.detect),
        "fence_us": micros(certificate.fence),
        "read_us": micros(certificate.read),
        "persist_us": micros(certificate.persist),
        "resume_us": micros(certificate.resume),
        "total_us": micros(certificate.total()),
    })
}

pub(crate) fn unit(unit: &UnitView) -> Value {
    json!({
        "id": hex(&unit.id),
        "data_address": unit.data_address,
        "incarnation": unit.incarnation,
        "media": unit.media,
        "media_bytes": unit.media_bytes,
        "free_bytes": unit.free_bytes,
        "strongest": unit.strongest.to_string(),
        "connections": unit.connections,
        "bytes_written": unit.bytes_written,
        "bytes_read": unit.bytes_read,
        "writes": unit.writes,
        "reads": unit.reads,
        "persists": unit.persists,
        "flushes": unit.flushes,
        "refusals": unit.refusals,
        "poisoned": unit.poisoned,
        "superblock": unit.superblock,
        "scrub": unit.scrub.as_ref().map(|scrub| json!({
            "rounds": scrub.rounds,
            "ended_unix_ms": scrub.ended_unix_ms,
            "sets": scrub.sets,
            "bytes": scrub.bytes,
            "found": scrub.found,
            "findings": scrub.findings,
            "incomplete": scrub.incomplete,
            "incomplete_rounds": scrub.incomplete_rounds,
            "outrun": scrub.outrun,
        })),
    })
}

pub(crate) fn pair(pair: &PairView) -> Value {
    let lag = lag(pair);
    json!({
        "name": pair.name,
        "members": pair.members.iter().map(member).collect::<Vec<_>>(),
        "lag_sets": lag,
        "last_takeover": pair.last_takeover.as_ref().map(takeover),
    })
}

/// How many sequences the slowest backup is behind its primary, where both report.
pub(crate) fn lag(pair: &PairView) -> Option<u64> {
    let primary = pair.members.iter().find(|member| member.role == Role::Primary)?;
    let backups = pair.members.iter().filter(|member| member.role == Role::Backup);
    let slowest = backups.map(|member| member.sequence).min()?;
    Some(primary.sequence.saturating_sub(slowest))
}

pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Backup => "backup",
    }
}

fn member(member: &MemberView) -> Value {
    json!({
        "id": hex(&member.id),
        "address": member.address,
        "role": role(member.role),
        "generation": member.generation,
        "sequence": member.sequence,
        "silent_ms": u64::try_from(member.silent.as_millis()).unwrap_or(u64::MAX),
        "process_id": member.process_id,
    })
}

pub(crate) fn takeover(takeover: &TakeoverView) -> Value {
    json!({
        "fenced_generation": takeover.fenced_generation,
        "generation": takeover.generation,
        "last_sequence": takeover.last_sequence,
        "unread_sets": takeover.unread_sets,
        "unread_bytes": takeover.unread_bytes,
        "torn_sets": takeover.torn_sets,
        "detect_us": takeover.detect_us,
        "fence_us": takeover.fence_us,
        "read_us": takeover.read_us,
        "resume_us": takeover.resume_us,
        "total_us": takeover.total_us,
        "unix_ms": takeover.unix_ms,
        "member": takeover.member,
    })
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds for people.
pub(crate) fn duration_text(micros: u64) -> String {
    let tenths = |whole: u64| format!("{}.{}", micros / whole, micros % whole / (whole / 10));
    match micros {
        0..10_000 => format!("{micros} us"),
        10_000..10_000_000 => format!("{} ms", tenths(1000)),
        _ => format!("{} s", tenths(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (micros, text) in [
            (0, "0 us"),
            (9_999, "9999 us"),
            (12_345, "12.3 ms"),
            (9_999_999, "9999.9 ms"),
            (61_500_000, "61.5 s"),
        ] {
            assert_eq!(duration_text(micros), text);
        }
    }
}
