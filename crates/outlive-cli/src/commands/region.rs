//! `outlive region`: create, list, show, resize, delete, grant, deny.

use clap::{Args, Subcommand};
use outlive::{AccessRight, OpenOptions, RegionSpec, RegionView, Session};
use serde_json::{Value, json};

use crate::confirm;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::output::{count, size, table, time};
use crate::quantity::parse_size;
use crate::views;

/// Create, list, show, resize and delete regions, and say who may use them
#[derive(Debug, Args)]
pub(crate) struct Region {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a region
    Create(Create),
    /// List the regions
    Ls(List),
    /// Show one region
    Show(Show),
    /// Give a checkpoint region more room
    Resize(Resize),
    /// Let an identity become primary or backup
    Grant(Change),
    /// Take that from it: its connections are stopped at once
    Deny(Change),
    /// Delete a region and everything in it
    Rm(Remove),
}

#[derive(Debug, Args)]
struct Create {
    name: String,
    /// Bytes of the region, rounded up to 4 KiB
    #[arg(long, value_parser = parse_size)]
    size: u64,
    /// Snapshots that are kept (2 or more)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=64))]
    slots: u32,
    /// Largest snapshot; default: a quarter of the size, less in very small regions
    #[arg(long, value_parser = parse_size)]
    max_snapshot: Option<u64>,
    /// A region without layout: its owner reads and writes at any offset
    #[arg(long, conflicts_with_all = ["slots", "max_snapshot"])]
    raw: bool,
    /// Identity that may become primary (repeat for more); default: the one that creates the region
    #[arg(long = "owner", value_name = "IDENTITY")]
    owners: Vec<String>,
    /// Identity that may become backup (repeat for more); owners may, too
    #[arg(long = "reader", value_name = "IDENTITY")]
    readers: Vec<String>,
}

#[derive(Debug, Args)]
struct Change {
    name: String,
    #[command(flatten)]
    whom: Whom,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// Identity that may (or may not any more) become primary, and backup
    #[arg(long, value_name = "IDENTITY")]
    owner: Option<String>,
    /// Identity that may (or may not any more) become backup
    #[arg(long, value_name = "IDENTITY")]
    reader: Option<String>,
}

#[derive(Debug, Args)]
struct List {
    /// Read the unit's catalog one-sidedly instead of asking the manager
    #[arg(long)]
    catalog: bool,
}

#[derive(Debug, Args)]
struct Show {
    name: String,
    /// What is mapped where, by whom, with which rights
    #[arg(long)]
    address_context: bool,
}

#[derive(Debug, Args)]
struct Resize {
    name: String,
    /// New size; checkpoint regions only grow
    #[arg(long, value_parser = parse_size)]
    size: u64,
}

#[derive(Debug, Args)]
struct Remove {
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Region {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        match &self.action {
            Action::Create(create) => create.run(invocation),
            Action::Ls(list) => list.run(invocation),
            Action::Show(show) => show.run(invocation),
            Action::Resize(resize) => resize.run(invocation),
            Action::Grant(grant) => grant.run(invocation, true),
            Action::Deny(deny) => deny.run(invocation, false),
            Action::Rm(remove) => remove.run(invocation),
        }
    }
}

impl Create {
    fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let mut spec = if self.raw {
            RegionSpec::raw(self.size)
        } else {
            RegionSpec::checkpoint(self.size)
                .slots(self.slots)
                .max_snapshot(self.max_snapshot.unwrap_or(0))
        };
        spec.owners.clone_from(&self.owners);
        spec.readers.clone_from(&self.readers);
        let region = invocation.session()?.create(&self.name, &spec)?;
        invocation.output.result(&views::region(&region), || {
            format!(
                "created {} region {} of {}",
                region.kind,
                region.name,
                size(region.size)
            )
        })
    }
}

impl List {
    fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let session = invocation.session()?;
        let regions = if self.catalog {
            session.catalog()?.regions()?
        } else {
            session.regions()?
        };
        let value: Vec<Value> = regions.iter().map(views::region).collect();
        invocation.output.result(&value, || views::region_table(&regions))
    }
}

impl Show {
    fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let session = invocation.session()?;
        if self.address_context {
            return self.show_address_context(invocation, &session);
        }
        let region = session.describe(&self.name)?;
        invocation
            .output
            .result(&views::region(&region), || describe(&region))
    }

    fn show_address_context(&self, invocation: &Invocation, session: &Session) -> Result<(), Failure> {
        let context = session.address_context(&self.name)?;
        let mappings: Vec<Value> = context
            .mappings
            .iter()
            .map(|(offset, len)| json!({"offset": offset, "len": len}))
            .collect();
        let connections: Vec<Value> = context.connections.iter().map(views::connected).collect();
        let value = json!({"region": views::region(&context.region), "mappings": mappings, "connections": connections});
        invocation.output.result(&value, || {
            let ranges = table(
                ["offset", "bytes"],
                context
                    .mappings
                    .iter()
                    .map(|(offset, len)| [offset.to_string(), len.to_string()]),
            );
            let connections = table(
                ["connection", "peer", "identity", "access", "generation"],
                context.connections.iter().map(|connected| {
                    [
                        connected.connection.to_string(),
                        connected.peer.clone(),
                        connected.identity.clone(),
                        if connected.writable {
                            "read and write"
                        } else {
                            "read"
                        }
                        .to_owned(),
                        connected.generation.to_string(),
                    ]
                }),
            );
            format!("{ranges}\n\n{connections}")
        })
    }
}

impl Resize {
    fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let session = invocation.session()?;
        let primary = session.primary(&self.name, &OpenOptions::default())?;
        let resized = primary.resize(self.size);
        primary.close()?;
        resized?;
        let region = session.describe(&self.name)?;
        invocation.output.result(&views::region(&region), || {
            format!("region {} now has {}", region.name, size(region.size))
        })
    }
}

impl Change {
    fn run(&self, invocation: &Invocation, allow: bool) -> Result<(), Failure> {
        let (identity, right, name) = match (&self.whom.owner, &self.whom.reader) {
            (Some(owner), _) => (owner, AccessRight::Owner, "owner"),
            (None, reader) => (
                reader.as_ref().expect("one of the two is required"),
                AccessRight::Reader,
                "reader",
            ),
        };
        let session = invocation.session()?;
        let region = if allow {
            session.grant(&self.name, identity, right)?
        } else {
            session.deny(&self.name, identity, right)?
        };
        invocation.output.result(&views::region(&region), || {
            let is = if allow { "is now" } else { "is not any more" };
            format!(
                "{identity} {is} listed as {name} of region {}\n{}",
                region.name,
                access(&region)
            )
        })
    }
}

impl Remove {
    fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let session = invocation.session()?;
        let region = session.describe(&self.name)?;
        let what = format!(
            "deleting region {} ({}) and every checkpoint in it",
            region.name,
            size(region.size)
        );
        confirm::destroying(&what, self.yes)?;
        session.delete(&self.name)?;
        invocation.output.result(&json!({"deleted": self.name}), || {
            format!("deleted region {}", self.name)
        })
    }
}

/// The region's lists.
fn access(region: &RegionView) -> String {
    let list = |names: &[String]| {
        if names.is_empty() {
            "-".to_owned()
        } else {
            names.join(", ")
        }
    };
    format!(
        "may own     {}\nmay read    {}",
        list(&region.may_own),
        list(&region.may_read)
    )
}

fn describe(region: &RegionView) -> String {
    let mut lines = vec![
        format!("name        {}", region.name),
        format!("id          {}", region.id),
        format!("kind        {}", region.kind),
        format!(
            "size        {} ({} bytes, {})",
            size(region.size),
            region.size,
            count(region.extents, "extent")
        ),
    ];
    if region.kind == outlive::RegionKind::Checkpoint {
        lines.push(format!(
            "snapshots   {} kept, {} at most each",
            region.slots,
            size(region.max_snapshot)
        ));
    }
    lines.extend([
        format!("generation  {}", region.generation),
        format!("owner       {}", views::owner(region)),
        access(region),
        format!("readers     {}", region.readers),
        format!("created     {}", time(region.created_unix_ms)),
    ]);
    lines.join("\n")
}
