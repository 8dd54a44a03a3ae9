//! `outlive status`: units, regions, pairs.

use clap::Args;
use outlive::{PairView, StatusView, UnitView};
use serde_json::json;

use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::output::{count, size, table, time};
use crate::views;

/// Show units, regions and pairs
#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let status = invocation.session()?.status()?;
        let value = json!({
            "manager_generation": status.manager_generation,
            "units": status.units.iter().map(views::unit).collect::<Vec<_>>(),
            "regions": status.regions.iter().map(views::region).collect::<Vec<_>>(),
            "pairs": status.pairs.iter().map(views::pair).collect::<Vec<_>>(),
        });
        invocation.output.result(&value, || text(&status))
    }
}

fn text(status: &StatusView) -> String {
    let mut parts: Vec<String> = status.units.iter().map(unit).collect();
    parts.push(views::region_table(&status.regions));
    parts.extend(status.pairs.iter().map(pair));
    parts.join("\n\n")
}

fn unit(unit: &UnitView) -> String {
    let mut lines = vec![
        format!(
            "unit        {} at {}, incarnation {}",
            unit.media, unit.data_address, unit.incarnation
        ),
        format!(
            "room        {} of {} free",
            size(unit.free_bytes),
            size(unit.media_bytes)
        ),
        format!("commits     up to {}", unit.strongest),
        format!("connections {}", unit.connections),
        format!(
            "served      {} ({}), {} ({}), {} in {}, {}",
            count(unit.writes, "write"),
            size(unit.bytes_written),
            count(unit.reads, "read"),
            size(unit.bytes_read),
            count(unit.persists, "persist"),
            count(unit.flushes, "flush"),
            count(unit.refusals, "refusal")
        ),
    ];
    if !unit.poisoned.is_empty() {
        lines.push(format!("FAILED      {}", unit.poisoned));
    }
    lines.extend(
        unit.superblock
            .iter()
            .map(|problem| format!("DAMAGED     {problem}")),
    );
    if let Some(scrub) = &unit.scrub {
        lines.push(match (scrub.ended_unix_ms, scrub.found) {
            (0, _) => "scrub       the first round is not over yet".to_owned(),
            (_, found) => format!(
                "scrub       {} verified in the round that ended {}, {}",
                count(scrub.sets, "set"),
                time(scrub.ended_unix_ms),
                count(found, "problem")
            ),
        });
        if let Some(reason) = &scrub.incomplete {
            lines.push(format!("INCOMPLETE  scrub: {reason}"));
        }
        if scrub.outrun > 0 {
            lines.push(format!(
                "scrub       parts of {} were overwritten faster than they could be verified",
                count(scrub.outrun, "region")
            ));
        }
        lines.extend(
            scrub
                .findings
                .iter()
                .map(|finding| format!("DAMAGED     {finding}")),
        );
    }
    lines.join("\n")
}

fn pair(pair: &PairView) -> String {
    let members = table(
        ["member", "role", "generation", "sequence", "heard", "process"],
        pair.members.iter().map(|member| {
            [
                member.address.clone(),
                views::role(member.role).to_owned(),
                member.generation.to_string(),
                member.sequence.to_string(),
                format!("{} ago", views::duration_text(views::micros(member.silent))),
                member.process_id.to_string(),
            ]
        }),
    );
    let lag = views::lag(pair).map_or_else(
        || "no backup".to_owned(),
        |sets| format!("lag {}", count(sets, "set")),
    );
    let mut text = format!("pair {} ({lag})\n{members}", pair.name);
    if let Some(takeover) = &pair.last_takeover {
        text.push_str(&format!(
            "\nlast takeover {} by {}: generation {} after {}, {} unread, {} in all",
            time(takeover.unix_ms),
            takeover.member,
            takeover.generation,
            takeover.fenced_generation,
            count(takeover.unread_sets, "set"),
            views::duration_text(takeover.total_us)
        ));
    }
    text
}
