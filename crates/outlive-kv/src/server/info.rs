//! What this member tells about itself: `INFO` and `ROLE`.

use std::fmt::Write;

use outlive_pair::{Request, Role, RoleView};
use redis_protocol::resp2::{decode::decode, types::OwnedFrame};

use super::Shared;
use super::clients::Peer;
use super::local::Answer;
use crate::commands::Args;
use crate::error::CommandError;
use crate::reply::Reply;
use crate::request;

/// The version whose replies and error texts this server gives. Client libraries look at it to decide
/// what they may use.
pub(super) const REDIS_VERSION: &str = "7.0.15";

/// Sections in the order in which they are shown.
const SECTIONS: [&str; 5] = ["server", "clients", "replication", "outlive", "keyspace"];

pub(super) fn info(_: &Shared, _: &mut Peer, args: Args<'_>) -> Result<Answer, CommandError> {
    Ok(Answer::Info(
        args.iter()
            .map(|section| String::from_utf8_lossy(section).to_ascii_lowercase())
            .collect(),
    ))
}

/// The reply to `INFO` with these sections, all of them where none is named.
pub(super) async fn reply(shared: &Shared, sections: &[String]) -> Reply {
    let all = sections.is_empty()
        || sections
            .iter()
            .any(|name| ["all", "default", "everything"].contains(&&name[..]));
    let mut text = String::new();
    for section in SECTIONS
        .into_iter()
        .filter(|name| all || sections.iter().any(|asked| asked == name))
    {
        if !text.is_empty() {
            text += "\r\n";
        }
        let (first, rest) = section.split_at(1);
        text += &format!("# {}{rest}\r\n", first.to_ascii_uppercase());
        for (name, value) in fields(shared, section).await {
            let _ = write!(text, "{name}:{value}\r\n");
        }
    }
    Reply::bulk(text)
}

/// What `ROLE` says, in Redis's terms: `master`, or `slave` of the primary.
pub(super) fn role(view: &RoleView) -> Reply {
    if is_primary(view) {
        return Reply::Array(vec![Reply::bulk("master"), Reply::Int(0), Reply::Array(vec![])]);
    }
    let (host, port) = primary_address(view).unwrap_or_default();
    let link = if view.role == Role::Backup {
        "connected"
    } else {
        "connect"
    };
    let port = Reply::Int(port.parse().unwrap_or(0));
    Reply::Array(vec![
        Reply::bulk("slave"),
        Reply::bulk(host),
        port,
        Reply::bulk(link),
        Reply::Int(0),
    ])
}

/// Whether this member answers data commands.
pub(super) fn is_primary(view: &RoleView) -> bool {
    view.role == Role::Primary
}

/// Host and port of the primary, where it is known.
pub(super) fn primary_address(view: &RoleView) -> Option<(String, String)> {
    let (host, port) = view.primary.as_deref()?.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port.to_owned()))
}

/// How this member is, for `INFO` and `OUTLIVE STATUS`.
pub(super) fn status(shared: &Shared) -> Vec<(&'static str, String)> {
    let (view, metrics) = (shared.member.role(), shared.member.metrics());
    let mut fields = vec![
        ("pair", shared.pair.clone()),
        ("role", view.role.to_string()),
        ("primary", view.primary.unwrap_or_default()),
        ("generation", view.generation.to_string()),
        ("sequence", metrics.sequence.to_string()),
        ("requests", metrics.requests.to_string()),
        ("reads", metrics.reads.to_string()),
        ("batches", metrics.batches.to_string()),
        ("applied", metrics.applied.to_string()),
        ("snapshots", metrics.snapshots.to_string()),
        ("takeovers", metrics.takeovers.to_string()),
        ("journal_used_bytes", metrics.journal_used_bytes.to_string()),
        (
            "journal_capacity_bytes",
            metrics.journal_capacity_bytes.to_string(),
        ),
    ];
    if let Some(takeover) = view.last_takeover {
        fields.push(("last_takeover_us", takeover.total.as_micros().to_string()));
        fields.push(("last_takeover_unread_sets", takeover.unread_sets.to_string()));
    }
    fields
}

async fn fields(shared: &Shared, section: &str) -> Vec<(&'static str, String)> {
    match section {
        "server" => vec![
            ("redis_version", REDIS_VERSION.into()),
            ("redis_mode", "standalone".into()),
            ("outlive_version", env!("CARGO_PKG_VERSION").into()),
            ("process_id", std::process::id().to_string()),
        ],
        "clients" => vec![("connected_clients", shared.clients.len().to_string())],
        "replication" => replication(&shared.member.role()),
        "outlive" => status(shared),
        _ => keyspace(shared)
            .await
            .into_iter()
            .map(|text| ("db0", text))
            .collect(),
    }
}

fn replication(view: &RoleView) -> Vec<(&'static str, String)> {
    if is_primary(view) {
        return vec![("role", "master".into()), ("connected_slaves", "0".into())];
    }
    let (host, port) = primary_address(view).unwrap_or_default();
    let link = if view.role == Role::Backup { "up" } else { "down" };
    vec![
        ("role", "slave".into()),
        ("master_host", host),
        ("master_port", port),
        ("master_link_status", link.into()),
    ]
}

/// Nothing on a member that is not primary, and of an empty keyspace, as in Redis.
async fn keyspace(shared: &Shared) -> Option<String> {
    let request = request::encode(&["outlive.keyspace"]);
    let reply = shared.member.call(Request::plain(&request[..])).await.ok()?;
    let Ok(Some((OwnedFrame::Array(counts), _))) = decode(&reply) else {
        return None;
    };
    match counts[..] {
        [OwnedFrame::Integer(keys), OwnedFrame::Integer(expires)] if keys > 0 => {
            Some(format!("keys={keys},expires={expires},avg_ttl=0"))
        }
        _ => None,
    }
}
