//! The command line.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use super::fleet::{Fleet, Tally};
use super::shrink::shrink;
use super::subject::{Broken, Report, Subject};
use super::worker::{self, Runs};

/// What the shell makes of a process that ended by SIGINT.
const INTERRUPTED: u8 = 130;

/// The whole of Outlive in one seeded process, again and again.
#[derive(Parser)]
#[command(
    name = "outlive-simulation",
    after_help = "Exit codes: 0 nothing was found (teeth: every bug was caught), 1 something was, 2 wrong usage, 130 interrupted.\n\
                  OUTLIVE_TRACE=1 has a run tell what happens in it."
)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed, with the plan of faults that it draws or another
    Run(One),
    /// Run a range of seeds; what fails is run again and shrunk
    Campaign(Campaign),
    /// Find the smallest plan with which a seed still fails in the same way
    Shrink(Shrink),
    /// Print the plan of faults that a seed draws
    Plan {
        /// The seed
        #[arg(long)]
        seed: u64,
    },
    /// Switch every deliberate bug on in turn; each must be caught
    Teeth(Teeth),
    /// Run one seed for another process
    #[command(hide = true)]
    Worker(One),
}

#[derive(Args)]
struct One {
    /// The seed
    #[arg(long)]
    seed: u64,
    /// Another plan than the seed's: JSON, or a file that holds it
    #[arg(long)]
    plan: Option<String>,
    #[command(flatten)]
    how: How,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct How {
    /// Switch a deliberate bug on
    #[arg(long)]
    bug: Option<String>,
    /// A run that takes longer, in real time, has failed
    #[arg(long, default_value_t = 300)]
    limit_s: u64,
}

#[derive(Args)]
struct Campaign {
    /// The seeds, from the first up to, and without, the last
    #[arg(long, value_parser = range, default_value = "1..1001")]
    seeds: Range<u64>,
    /// How many run at the same time; by default one for each processor
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
    /// Run every so manieth seed twice, and demand the same run; 0 for none
    #[arg(long, default_value_t = 100)]
    twice_every: u64,
    /// Run at most so many plans to shrink a failure; 0 leaves it as it is
    #[arg(long, default_value_t = 200)]
    shrink_runs: usize,
    #[command(flatten)]
    how: How,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Shrink {
    /// The seed
    #[arg(long)]
    seed: u64,
    /// The plan to begin with; by default the seed's
    #[arg(long)]
    plan: Option<String>,
    /// Run at most so many plans
    #[arg(long, default_value_t = 200)]
    shrink_runs: usize,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
struct Teeth {
    /// Give a bug up as not caught after these seeds
    #[arg(long, value_parser = range, default_value = "1..501")]
    seeds: Range<u64>,
    /// How many seeds run at the same time; by default one for each processor
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Only this bug
    #[arg(long)]
    bug: Option<String>,
    /// A run that takes longer, in real time, has failed
    #[arg(long, default_value_t = 300)]
    limit_s: u64,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text} is not a range of seeds such as 1..1001");
    let (start, end) = text.split_once("..").ok_or_else(wrong)?;
    let range = start.parse().map_err(|_| wrong())?..end.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(wrong()) } else { Ok(range) }
}

/// Runs the command line for `subject`.
pub fn main<S: Subject>(subject: &S) -> ExitCode {
    let done = match Line::parse().command {
        Command::Run(one) => run(subject, &one),
        Command::Worker(one) => work(subject, &one),
        Command::Plan { seed } => plan(subject, seed),
        Command::Campaign(asked) => campaign(subject, &asked),
        Command::Shrink(asked) => shrink_one(subject, &asked),
        Command::Teeth(asked) => teeth(subject, &asked),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

/// The plan that was given, or the seed's own.
fn planned<S: Subject>(subject: &S, seed: u64, given: Option<&str>) -> io::Result<S::Plan> {
    let Some(given) = given else {
        return Ok(subject.draw(seed));
    };
    let text = if Path::new(given).is_file() {
        std::fs::read_to_string(given)?
    } else {
        given.to_owned()
    };
    serde_json::from_str(&text).map_err(|error| io::Error::other(format!("that is no plan: {error}")))
}

fn known_bug<'a, S: Subject>(subject: &S, bug: Option<&'a str>) -> io::Result<Option<&'a str>> {
    let bugs = subject.bugs();
    match bug {
        Some(bug) if !bugs.iter().any(|(name, _)| *name == bug) => {
            let names: Vec<&str> = bugs.iter().map(|(name, _)| *name).collect();
            let known = if names.is_empty() {
                "this build has none (build it with `--features deliberate-bugs`)".to_owned()
            } else {
                format!("there are {}", names.join(", "))
            };
            Err(io::Error::other(format!(
                "there is no deliberate bug {bug}: {known}"
            )))
        }
        bug => Ok(bug),
    }
}

fn run<S: Subject>(subject: &S, asked: &One) -> io::Result<ExitCode> {
    let plan = planned(subject, asked.seed, asked.plan.as_deref())?;
    let bug = known_bug(subject, asked.how.bug.as_deref())?;
    let report = worker::work(
        subject,
        asked.seed,
        &plan,
        bug,
        Duration::from_secs(asked.how.limit_s),
    );
    if asked.json {
        println!("{}", json!({ "seed": asked.seed, "report": report }));
    } else {
        println!(
            "seed {}: digest {:016x}, {} virtual ms, {} switches",
            asked.seed, report.digest, report.virtual_ms, report.switches
        );
        for (name, count) in &report.counters {
            println!("  {name}: {count}");
        }
        if let Some(broken) = &report.broken {
            println!("failed: {}\n{}", broken.kind, broken.text);
        }
    }
    Ok(code(report.broken.is_some()))
}

fn work<S: Subject>(subject: &S, asked: &One) -> io::Result<ExitCode> {
    let plan = planned(subject, asked.seed, asked.plan.as_deref())?;
    let bug = known_bug(subject, asked.how.bug.as_deref())?;
    let report = worker::work(
        subject,
        asked.seed,
        &plan,
        bug,
        Duration::from_secs(asked.how.limit_s),
    );
    worker::print(&report);
    Ok(ExitCode::SUCCESS)
}

fn plan<S: Subject>(subject: &S, seed: u64) -> io::Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(&subject.draw(seed))?);
    Ok(ExitCode::SUCCESS)
}

fn code(found: bool) -> ExitCode {
    if found {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// A flag that Ctrl-C and SIGTERM set; a second one ends the process at once.
fn interrupts() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED.into(), stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

fn jobs(asked: Option<NonZeroUsize>) -> usize {
    asked
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get)
}

fn campaign<S: Subject>(subject: &S, asked: &Campaign) -> io::Result<ExitCode> {
    known_bug(subject, asked.how.bug.as_deref())?;
    let stop = interrupts()?;
    let runs = Runs {
        bug: asked.how.bug.clone(),
        limit: Duration::from_secs(asked.how.limit_s),
    };
    let fleet = Fleet {
        seeds: asked.seeds.clone(),
        jobs: jobs(asked.jobs),
        keep_going: asked.keep_going,
        twice_every: asked.twice_every,
        runs,
    };
    let tally = fleet.run(&stop)?;
    let mut shrunk = Vec::new();
    // One smallest plan says enough; the others can be asked for.
    let first = tally.failures.first_key_value();
    if let Some((seed, broken)) = first.filter(|_| asked.shrink_runs > 0 && !stop.load(Ordering::Relaxed)) {
        let plan = subject.draw(*seed);
        let replay = smallest(subject, &fleet.runs, *seed, &plan, broken, asked.shrink_runs)?;
        shrunk.push((*seed, replay));
    }
    if asked.json {
        let shrunk: Vec<_> = shrunk
            .iter()
            .map(|(seed, text)| json!({ "seed": seed, "replay": text }))
            .collect();
        println!("{}", json!({ "campaign": tally, "shrunk": shrunk }));
    } else {
        tell(&tally, asked.how.bug.as_deref());
        for (seed, replay) in &shrunk {
            println!("the smallest plan with which seed {seed} still fails so:\n  {replay}");
        }
    }
    if tally.interrupted {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(code(!tally.failures.is_empty()))
}

fn tell(tally: &Tally, bug: Option<&str>) {
    println!(
        "{} seeds ({} of them twice) in {:.1} s, {:.1} a second; {} s of virtual time, {} switches; {} failed{}",
        tally.seeds,
        tally.twice,
        tally.real_ms as f64 / 1000.0,
        tally.seeds_per_second(),
        tally.virtual_ms / 1000,
        tally.switches,
        tally.failures.len(),
        if tally.interrupted { "; interrupted" } else { "" },
    );
    for (name, count) in &tally.counters {
        println!("  {name}: {count}");
    }
    for (seed, broken) in &tally.failures {
        println!("seed {seed} failed: {}\n{}", broken.kind, broken.text);
        println!("replay it with:\n  {}", replay(*seed, None, bug));
    }
}

/// The command that runs a seed again.
fn replay(seed: u64, plan: Option<&str>, bug: Option<&str>) -> String {
    let mut line = format!("cargo xtask simulate run --seed {seed}");
    if let Some(bug) = bug {
        line += &format!(" --bug {bug}");
    }
    if let Some(plan) = plan {
        line += &format!(" --plan '{plan}'");
    }
    line
}

/// Shrinks a failure, and returns the command that replays what is left.
fn smallest<S: Subject>(
    subject: &S,
    runs: &Runs,
    seed: u64,
    plan: &S::Plan,
    broken: &Broken,
    most: usize,
) -> io::Result<String> {
    eprintln!("shrinking seed {seed}: {} events", subject.events(plan));
    let mut unable = None;
    let found = shrink(subject, plan, most, |plan| match runs.run(seed, Some(plan)) {
        Ok(report) => report.kind() == Some(&broken.kind),
        Err(error) => {
            unable = Some(error);
            false
        }
    });
    if let Some(error) = unable {
        return Err(error);
    }
    eprintln!(
        "{} events are left after {} runs{}",
        subject.events(&found.plan),
        found.tried,
        if found.least {
            "; none can be left out"
        } else {
            ", which were all it may take"
        },
    );
    let text = serde_json::to_string(&found.plan)?;
    Ok(replay(seed, Some(&text), runs.bug.as_deref()))
}

fn shrink_one<S: Subject>(subject: &S, asked: &Shrink) -> io::Result<ExitCode> {
    known_bug(subject, asked.how.bug.as_deref())?;
    let runs = Runs {
        bug: asked.how.bug.clone(),
        limit: Duration::from_secs(asked.how.limit_s),
    };
    let plan = planned(subject, asked.seed, asked.plan.as_deref())?;
    let Report {
        broken: Some(broken), ..
    } = runs.run(asked.seed, Some(&plan))?
    else {
        println!("seed {} does not fail", asked.seed);
        return Ok(ExitCode::SUCCESS);
    };
    println!("seed {} failed: {}\n{}", asked.seed, broken.kind, broken.text);
    let replay = smallest(subject, &runs, asked.seed, &plan, &broken, asked.shrink_runs)?;
    println!("the smallest plan with which it still fails so:\n  {replay}");
    Ok(ExitCode::FAILURE)
}

fn teeth<S: Subject>(subject: &S, asked: &Teeth) -> io::Result<ExitCode> {
    known_bug(subject, asked.bug.as_deref())?;
    let bugs = subject.bugs();
    if bugs.is_empty() {
        return Err(io::Error::other(
            "this build has no deliberate bugs (build it with `--features deliberate-bugs`)",
        ));
    }
    let stop = interrupts()?;
    let (mut missed, mut caught) = (Vec::new(), Vec::new());
    for (bug, what) in bugs {
        if asked.bug.as_deref().is_some_and(|only| only != bug) {
            continue;
        }
        let runs = Runs {
            bug: Some(bug.to_owned()),
            limit: Duration::from_secs(asked.limit_s),
        };
        let fleet = Fleet {
            seeds: asked.seeds.clone(),
            jobs: jobs(asked.jobs),
            keep_going: false,
            twice_every: 0,
            runs,
        };
        let tally = fleet.run(&stop)?;
        if tally.interrupted {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        match tally.failures.first_key_value() {
            Some((seed, broken)) => {
                eprintln!("{bug} ({what}): caught by seed {seed} as {}", broken.kind);
                caught.push(json!({ "bug": bug, "seed": seed, "kind": broken.kind, "text": broken.text }));
            }
            None => {
                eprintln!("{bug} ({what}): not caught by {} seeds", tally.seeds);
                missed.push(bug);
            }
        }
    }
    if asked.json {
        println!("{}", json!({ "caught": caught, "missed": missed }));
    } else {
        println!("{} bugs caught, {} missed", caught.len(), missed.len());
    }
    Ok(code(!missed.is_empty()))
}
