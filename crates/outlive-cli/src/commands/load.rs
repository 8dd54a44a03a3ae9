//! `outlive load`: sets to standard output, or into a folder.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use outlive::{Backup, LoadOptions, Set, SetKind, Sets};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::output::{json_line, raw};
use crate::{progress, views};

/// Bytes written between two moves of the progress bar.
const CHUNK_BYTES: usize = 1 << 20;

/// Load sets to standard output
///
/// Without options: the newest snapshot, as it was saved. Several sets follow one another without anything
/// between them; --lines ends each with a line feed, --into makes a file of each, --json makes a line of each
/// that carries the payload as text, or in hexadecimal where it is none.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The region
    name: String,
    /// The updates after the newest snapshot
    #[arg(long, conflicts_with_all = ["all", "after", "sequence"])]
    updates: bool,
    /// Every set at once: the newest snapshot and the updates after it
    #[arg(long, conflicts_with_all = ["after", "sequence"])]
    all: bool,
    /// Every set after this sequence: what was not read yet
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "sequence")]
    after: Option<u64>,
    /// One earlier set that is still kept
    #[arg(long)]
    sequence: Option<u64>,
    /// What the last clear hid
    #[arg(long, conflicts_with_all = ["after", "sequence"])]
    cleared: bool,
    /// End each set with a line feed
    #[arg(long, conflicts_with = "json")]
    lines: bool,
    /// Write each set to a file of its own in this folder: SEQUENCE.snapshot, SEQUENCE.update
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["lines", "json"])]
    into: Option<PathBuf>,
}

impl Load {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let mut backup = invocation.session()?.backup(&self.name)?;
        let options = LoadOptions {
            sequence: self.sequence,
            after: self.after,
            cleared: self.cleared,
        };
        let spinner = progress::spinner("loading");
        let sets = backup.load(&options);
        spinner.finish_and_clear();
        let sets = match sets {
            Err(outlive::Error::NoSuchSet { region, sequence }) => {
                return Err(no_such_set(&mut backup, region, sequence));
            }
            sets => sets?,
        };
        let chosen = self.choose(sets)?;
        match &self.into {
            Some(folder) => write_files(folder, &chosen),
            None => self.print(invocation, &chosen),
        }
    }

    /// The sets that were asked for.
    fn choose(&self, sets: Sets) -> Result<Vec<Set>, Failure> {
        if self.updates {
            return Ok(sets.updates);
        }
        if self.all || self.after.is_some() || self.sequence.is_some() {
            return Ok(sets.snapshot.into_iter().chain(sets.updates).collect());
        }
        let missing = || {
            let what = if self.cleared {
                "no cleared snapshot"
            } else {
                "no snapshot"
            };
            let hint = if sets.updates.is_empty() {
                ""
            } else {
                " (it holds updates: --updates or --all)"
            };
            Failure::new(
                Exit::NoSuchSet,
                format!("region {} holds {what}{hint}", self.name),
            )
        };
        sets.snapshot.clone().map(|set| vec![set]).ok_or_else(missing)
    }

    fn print(&self, invocation: &Invocation, sets: &[Set]) -> Result<(), Failure> {
        let total = sets.iter().map(|set| set.bytes.len() as u64).sum();
        let bar = progress::bytes("writing", Some(total));
        for set in sets {
            if invocation.output.is_json() {
                json_line(&views::set_with_payload(set))?;
                continue;
            }
            for chunk in set.bytes.chunks(CHUNK_BYTES) {
                raw(chunk)?;
                bar.inc(chunk.len() as u64);
            }
            if self.lines {
                raw(b"\n")?;
            }
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// Says it where the log names such a set, but as a mark, which has no payload.
fn no_such_set(backup: &mut Backup, region: String, sequence: u64) -> Failure {
    // The log explains; where it cannot be read the refusal stands as it is.
    let log = backup.log().unwrap_or_default();
    let mark = log
        .iter()
        .find(|set| set.sequence == sequence && matches!(set.kind, SetKind::Takeover | SetKind::Clear));
    match mark {
        None => outlive::Error::NoSuchSet { region, sequence }.into(),
        Some(mark) => Failure::new(
            Exit::NoSuchSet,
            format!(
                "set {sequence} of region {region} is a {} mark, without payload",
                mark.kind
            ),
        ),
    }
}

/// In one step: what was there before stays whole where the disk is full or somebody presses Ctrl-C.
fn write_whole(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // As any other file that is made: as far as the process's mask allows.
    let mode = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .prefix(".outlive.")
        .permissions(mode)
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

fn write_files(folder: &Path, sets: &[Set]) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::file("make the folder", folder, &error))?;
    for set in sets {
        let path = folder.join(format!("{:020}.{}", set.sequence, set.kind));
        write_whole(folder, &path, &set.bytes).map_err(|error| Failure::file("write", &path, &error))?;
    }
    Ok(())
}
