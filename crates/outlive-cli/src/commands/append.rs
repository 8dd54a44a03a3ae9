//! `outlive append`: updates after the snapshot.

use std::collections::VecDeque;
use std::path::PathBuf;

use clap::Args;
use outlive::{Commit, Primary, Receipt};
use serde_json::json;

use crate::failure::Failure;
use crate::input::Input;
use crate::invocation::Invocation;
use crate::opening::Opening;
use crate::views;

/// Sets on their way at once with `--lines`: enough to share flushes, little enough to be waited for.
const SETS_IN_FLIGHT: usize = 1024;

/// Append an update to what the region holds
///
/// Returns when everything is committed; prints the receipt.
#[derive(Debug, Args)]
pub(crate) struct Append {
    /// The region
    name: String,
    /// What to append; standard input where it is - or missing
    file: Option<PathBuf>,
    /// One set per line, pipelined
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    opening: Opening,
}

impl Append {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let session = invocation.session()?;
        let region = session.describe(&self.name)?;
        let input = Input::open(self.file.as_deref())?;
        if self.lines {
            let primary = session.primary(&self.name, &self.opening.options())?;
            return self.append_lines(invocation, input, primary);
        }
        let bytes = input.read_all(region.size, &self.name)?;
        let primary = session.primary(&self.name, &self.opening.options())?;
        let receipt = primary.append(bytes)?.wait()?;
        primary.close()?;
        invocation
            .output
            .result(&views::receipt(&receipt), || receipt.to_string())
    }

    fn append_lines(&self, invocation: &Invocation, input: Input, primary: Primary) -> Result<(), Failure> {
        let mut appended = Appended::default();
        let result = appended.all_lines(input, &primary);
        let closed = primary.close();
        // What was committed is said even where the rest failed: the script's next try must know.
        let sets = appended.sets;
        result.map_err(|failure| failure.and(&format!("{sets} lines before it are committed")))?;
        closed?;
        let value = json!({
            "sets": sets,
            "bytes": appended.bytes,
            "first_sequence": appended.first_sequence,
            "last": appended.last.as_ref().map(views::receipt),
        });
        invocation.output.result(&value, || match &appended.last {
            None => "no lines, nothing appended".to_owned(),
            Some(last) => format!(
                "{sets} sets ({} bytes), sequences {} to {}, are {}",
                appended.bytes, appended.first_sequence, last.sequence, last.level
            ),
        })
    }
}

/// What is committed so far.
#[derive(Default)]
struct Appended {
    sets: u64,
    bytes: u64,
    first_sequence: u64,
    last: Option<Receipt>,
}

impl Appended {
    fn all_lines(&mut self, input: Input, primary: &Primary) -> Result<(), Failure> {
        let limit_bytes = primary.usage().capacity;
        let mut lines = input.lines();
        let mut on_their_way: VecDeque<Commit> = VecDeque::new();
        let sent = loop {
            match lines.next(limit_bytes) {
                Err(failure) => break Err(failure),
                Ok(None) => break Ok(()),
                Ok(Some(line)) => match primary.append(line) {
                    Ok(commit) => on_their_way.push_back(commit),
                    Err(error) => break Err(error.into()),
                },
            }
            if on_their_way.len() == SETS_IN_FLIGHT
                && let Some(oldest) = on_their_way.pop_front()
            {
                self.note(oldest.wait()?);
            }
        };
        for commit in on_their_way {
            self.note(commit.wait()?);
        }
        sent
    }

    fn note(&mut self, receipt: Receipt) {
        if self.sets == 0 {
            self.first_sequence = receipt.sequence;
        }
        self.sets += 1;
        self.bytes += receipt.bytes;
        self.last = Some(receipt);
    }
}
