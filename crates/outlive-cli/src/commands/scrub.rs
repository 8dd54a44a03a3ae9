//! `outlive scrub`: verifies what regions hold while they are in use.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;
use outlive::{Error, RegionView, ScrubFinding, ScrubOptions, ScrubReport, Scrubber, Session};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::invocation::Invocation;
use crate::output::{count, size};
use crate::progress;
use crate::quantity::{parse_interval, parse_size};

/// Longest time in which Ctrl-C goes unnoticed between two rounds.
const NOTICE_INTERRUPT: Duration = Duration::from_millis(50);
/// How the catalog is called in reports.
const CATALOG: &str = "catalog";

/// Verify what regions hold while they are in use
///
/// Reads every set that is kept, as a backup does, and says which do not verify: region, set, offset, and what is good still. The unit
/// and its primaries do not notice; a set that is overwritten meanwhile is no damage. Without a name: every region that one
/// may read, and for administrators the catalog and the superblock. Ends with the code for findings where something is
/// damaged.
#[derive(Debug, Args)]
pub(crate) struct Scrub {
    /// The regions; default: all that one may read
    names: Vec<String>,
    /// Most bytes to read in a second
    #[arg(long, value_name = "BYTES", default_value_t = ScrubOptions::DEFAULT_RATE, value_parser = parse_size)]
    rate: u64,
    /// One round, and end; the default
    #[arg(long, conflicts_with = "every")]
    once: bool,
    /// Begin another round so long after the last one began, until Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = parse_interval)]
    every: Option<Duration>,
    /// Every region of the unit: fail where one may not be read
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

/// What rounds came to.
#[derive(Debug, Default)]
struct Tally {
    regions: u64,
    sets: u64,
    problems: u64,
    /// Regions of which parts were overwritten before they could be verified.
    outrun: u64,
    skipped: Vec<String>,
    interrupted: bool,
}

impl Scrub {
    pub(crate) fn run(&self, invocation: &Invocation) -> Result<(), Failure> {
        let interrupt = Interrupt::catch()?;
        let session = invocation.session()?;
        let mut scrubber = Scrubber::new(
            &session,
            ScrubOptions {
                rate: Some(self.rate),
            },
        );
        let mut problems = 0;
        loop {
            let began = Instant::now();
            let mut round = Round {
                scrub: self,
                invocation,
                session: &session,
                scrubber: &mut scrubber,
                interrupt: &interrupt,
                tally: Tally::default(),
            };
            let outcome = round.run();
            let tally = round.tally;
            // Each round finds the same again.
            problems = problems.max(tally.problems);
            invocation
                .output
                .result(&tally.json(scrubber.bytes_read()), || tally.text())?;
            let again = self.every.filter(|_| !tally.interrupted);
            match (outcome, again) {
                // The unit or the manager is away: the next round may find it back.
                (Err(failure), Some(_)) if failure.exit == Exit::Unreachable => {
                    tracing::warn!(failure.message, "the round was broken off");
                }
                (Err(failure), _) => return Err(failure),
                (Ok(()), _) => {}
            }
            let Some(every) = again else {
                return self.end(problems, &tally);
            };
            while began.elapsed() < every && !interrupt.is_set() {
                std::thread::sleep(NOTICE_INTERRUPT.min(every.saturating_sub(began.elapsed())));
            }
            if interrupt.is_set() {
                return self.end(
                    problems,
                    &Tally {
                        interrupted: true,
                        ..tally
                    },
                );
            }
        }
    }

    fn end(&self, problems: u64, tally: &Tally) -> Result<(), Failure> {
        if problems > 0 {
            return Err(Failure::new(Exit::Found, count(problems, "problem")));
        }
        if tally.interrupted {
            return Err(Failure::new(Exit::Interrupted, "interrupted"));
        }
        match tally.skipped.as_slice() {
            [first, ..] if self.all => {
                let message = format!(
                    "no right to read {first}: {} not verified",
                    count(tally.skipped.len() as u64, "region")
                );
                Err(Failure::new(Exit::NoAccess, message))
            }
            _ => Ok(()),
        }
    }
}

/// One round over everything that was asked for.
struct Round<'a> {
    scrub: &'a Scrub,
    invocation: &'a Invocation,
    session: &'a Session,
    scrubber: &'a mut Scrubber,
    interrupt: &'a Interrupt,
    tally: Tally,
}

impl Round<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let named = !self.scrub.names.is_empty();
        let (names, administrator) = if named {
            (self.scrub.names.clone(), false)
        } else {
            self.visible()?
        };
        if self.scrub.all && !administrator {
            return Err(Failure::new(Exit::NoAccess, "--all takes an administrator"));
        }
        if administrator {
            self.superblock()?;
            self.one(CATALOG, true)?;
        }
        for name in names {
            if self.tally.interrupted {
                break;
            }
            match self.one(&name, false) {
                // Deleted since it was listed, which ends what it held.
                Err(failure) if !named && failure.exit == Exit::NoSuchRegion => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// The regions that may be read, and whether whoever asks is an administrator.
    fn visible(&mut self) -> Result<(Vec<String>, bool), Failure> {
        let who = self.session.who_am_i()?;
        let may_read = |region: &RegionView| {
            let mut listed = region.may_own.iter().chain(&region.may_read);
            listed.any(|name| *name == who.name)
        };
        let (readable, others): (Vec<_>, Vec<_>) = self.session.regions()?.into_iter().partition(may_read);
        self.tally.skipped = others.into_iter().map(|region| region.name).collect();
        let names = readable.into_iter().map(|region| region.name).collect();
        Ok((names, who.administrator))
    }

    /// Its copies are not within any region: the unit itself looks at them.
    fn superblock(&mut self) -> Result<(), Failure> {
        for problem in self
            .session
            .status()?
            .units
            .iter()
            .flat_map(|unit| &unit.superblock)
        {
            self.tally.problems += 1;
            let value = json!({"region": "superblock", "findings": [{"damaged": true, "message": problem}]});
            let text = || format!("problem: {problem}; the next start of the unit writes it anew");
            self.invocation.output.result(&value, text)?;
        }
        Ok(())
    }

    fn one(&mut self, name: &str, catalog: bool) -> Result<(), Failure> {
        let bar = bar(self.session, name);
        let interrupt = self.interrupt;
        let mut progress = |bytes: u64| {
            bar.inc(bytes);
            if interrupt.is_set() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let scrubbed = if catalog {
            self.scrubber.catalog(&mut progress)
        } else {
            self.scrubber.region(name, &mut progress)
        };
        bar.finish_and_clear();
        let mut report = match scrubbed {
            Err(Error::Closed) => {
                self.tally.interrupted = true;
                return Ok(());
            }
            scrubbed => scrubbed?,
        };
        name.clone_into(&mut report.region);
        self.tally.regions += u64::from(!catalog);
        self.tally.sets += report.sets;
        self.tally.outrun += u64::from(report.outrun);
        let damaged = report.findings.iter().filter(|finding| finding.damaged);
        self.tally.problems += damaged.count() as u64;
        self.invocation
            .output
            .result(&report_json(&report), || report_text(&report))
    }
}

/// A bar over the region's bytes; how much of them means something, nobody knows before.
fn bar(session: &Session, name: &str) -> ProgressBar {
    let size = session.describe(name).ok().map(|region| region.size);
    progress::bytes("scrubbing", size)
}

fn report_json(report: &ScrubReport) -> Value {
    let place = |place: Option<(u64, u64)>| {
        place.map(|(generation, sequence)| json!({"generation": generation, "sequence": sequence}))
    };
    json!({
        "region": report.region,
        "size": report.size,
        "sets": report.sets,
        "payload_bytes": report.payload_bytes,
        "newest_good_snapshot": place(report.snapshot),
        "good_up_to": place(report.last),
        "outrun": report.outrun,
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
    })
}

fn finding_json(finding: &ScrubFinding) -> Value {
    let set = finding.set.map(
        |set| json!({"kind": set.kind.to_string(), "generation": set.generation, "sequence": set.sequence}),
    );
    json!({
        "damaged": finding.damaged,
        "set": set,
        "offset": finding.offset,
        "message": finding.message,
    })
}

fn report_text(report: &ScrubReport) -> String {
    let region = &report.region;
    let mut lines: Vec<String> = report
        .findings
        .iter()
        .map(|finding| {
            let severity = if finding.damaged { "problem" } else { "note" };
            format!("{severity}: {region}: {}", finding.message)
        })
        .collect();
    let mut good = Vec::new();
    if let Some((generation, sequence)) = report.snapshot {
        good.push(format!(
            "newest good snapshot {sequence} of generation {generation}"
        ));
    }
    if let Some((generation, sequence)) = report.last {
        good.push(format!("good up to {sequence} of generation {generation}"));
    }
    if report.outrun {
        good.push("the primary was faster than the scrub in parts of the journal".to_owned());
    }
    let verified = format!(
        "{region}: {} verified ({})",
        count(report.sets, "set"),
        size(report.payload_bytes)
    );
    good.insert(0, verified);
    lines.push(good.join(", "));
    lines.join("\n")
}

impl Tally {
    fn json(&self, bytes_read: u64) -> Value {
        json!({
            "event": "scrubbed",
            "regions": self.regions,
            "sets": self.sets,
            "problems": self.problems,
            "outrun": self.outrun,
            "skipped": self.skipped,
            "bytes_read": bytes_read,
            "interrupted": self.interrupted,
        })
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} in {} verified, {}",
            count(self.sets, "set"),
            count(self.regions, "region"),
            count(self.problems, "problem")
        );
        if self.outrun > 0 {
            text.push_str(&format!(
                ", parts of {} overwritten before they could be verified",
                count(self.outrun, "region")
            ));
        }
        if !self.skipped.is_empty() {
            text.push_str(&format!(", no right to read {}", self.skipped.join(", ")));
        }
        if self.interrupted {
            text.push_str(", interrupted: the rest was not looked at");
        }
        text
    }
}
