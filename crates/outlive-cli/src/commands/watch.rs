//! `outlive watch`: sets as they arrive, and the gaps between them.

use std::time::{Duration, Instant};

use clap::Args;
use outlive::{Fresh, Overrun, Set};
use serde_json::json;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::invocation::Invocation;
use crate::output::{json_line, time};
use crate::quantity::parse_time;
use crate::views;

/// Longest time in which Ctrl-C goes unnoticed.
const NOTICE_INTERRUPT: Duration = Duration::from_millis(50);

/// Print sets as they arrive
///
/// Begins with what the region holds. A set that was overwritten before it was read is a gap, and is printed
/// as such. Ends with Ctrl-C, or after --count sets.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The region
    name: String,
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_time)]
    every: Duration,
    /// End after so many sets
    #[arg(long)]
    count: Option<u64>,
    /// Print what is in the sets, too
    #[arg(long)]
    payload: bool,
}

impl Watch {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let interrupt = Interrupt::catch()?;
        let mut backup = invocation.session()?.backup(&self.name)?;
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 && !interrupt.is_set() {
            let fresh = backup.read_new()?;
            let more = fresh.more;
            self.print(invocation, &fresh, &mut left)?;
            if !more && left > 0 {
                self.pause(&interrupt);
            }
        }
        Ok(())
    }

    fn print(&self, invocation: &Invocation, fresh: &Fresh, left: &mut u64) -> Result<(), Failure> {
        if let Some(gap) = &fresh.overrun {
            let value = json!({"gap": {"from": gap.from, "to": gap.to}});
            invocation.output.result(&value, || gap_text(gap))?;
        }
        for set in &fresh.sets {
            if *left == 0 {
                break;
            }
            *left -= 1;
            if invocation.output.is_json() {
                json_line(&if self.payload {
                    views::set_with_payload(set)
                } else {
                    views::set(set)
                })?;
            }
            invocation.output.note(|| self.text(set))?;
        }
        Ok(())
    }

    fn text(&self, set: &Set) -> String {
        let about = format!(
            "{} {} {} generation {} {} bytes",
            time(set.unix_ms),
            set.sequence,
            set.kind,
            set.generation,
            set.bytes.len()
        );
        if !self.payload {
            return about;
        }
        match std::str::from_utf8(&set.bytes) {
            Ok(text) => format!("{about}: {text}"),
            Err(_) => format!("{about}: {}", crate::output::hex(&set.bytes)),
        }
    }

    fn pause(&self, interrupt: &Interrupt) {
        let until = Instant::now() + self.every;
        while !interrupt.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(NOTICE_INTERRUPT));
        }
    }
}

fn gap_text(gap: &Overrun) -> String {
    format!(
        "gap: sets {} to {} were overwritten before they were read",
        gap.from, gap.to
    )
}
