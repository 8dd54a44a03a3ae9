//! A run: the system is started, faults come and go while clients work, everything heals, everything is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clients::{Crew, Lie, Outcomes, Workload};
use crate::error::ChaosError;
use crate::fault::{Kind, Planned, plan};
use crate::history::Entry;
use crate::ledger::Ledger;
use crate::linearizable::{Linearizable, check};
use crate::random::Random;
use crate::report::{Report, Verdict};
use crate::system::{Shape, System, prepare};

/// How often faults begin and end, and processes are looked at.
const STEP: Duration = Duration::from_millis(5);
/// How often a run says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);
const LONGEST_WAIT_FOR_REPLIES: Duration = Duration::from_secs(60);
/// A plan that is full of killed writers kills so many of a thousand.
const KILLED_WRITERS_PERMILLE: u32 = 200;
/// Findings of one kind that are shown.
const SHOWN: usize = 5;

/// What is run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The `outlive` program under test.
    pub program: PathBuf,
    /// Where the plan of faults comes from.
    pub seed: u64,
    /// How long faults are made.
    pub time: Duration,
    /// Goes on, without more faults, until so many requests were acknowledged, but no longer than a minute.
    pub least_replies: u64,
    /// Kinds of faults.
    pub faults: Vec<Kind>,
    /// Clients of the pair.
    pub clients: usize,
    /// What they do.
    pub workloads: Vec<Workload>,
    /// Members of the pair: one primary and its backups.
    pub members: usize,
    /// One process (`outlive serve`) instead of unit and manager.
    pub serve: bool,
    /// Hosts of their own (needs root); without it everything is on this host's loopback.
    pub network: bool,
    /// A small disk of its own that can be filled (needs root).
    pub disk: bool,
    /// Keep logs and histories also when everything holds.
    pub keep: bool,
    /// Keep them when something does not hold.
    pub keep_failures: bool,
    /// Say on standard error how far it is.
    pub tell: bool,
    /// Falsify what clients do or are told, to see that it is noticed.
    pub lie: Option<Lie>,
}

impl Options {
    /// Twenty seconds of everything, with six clients of a pair of three.
    pub fn new(program: impl Into<PathBuf>, seed: u64) -> Self {
        Self {
            program: program.into(),
            seed,
            time: Duration::from_secs(20),
            least_replies: 0,
            faults: Kind::ALL.to_vec(),
            clients: 6,
            workloads: Workload::ALL.to_vec(),
            members: 3,
            serve: false,
            network: true,
            disk: true,
            keep: false,
            keep_failures: true,
            tell: false,
            lie: None,
        }
    }
}

/// Runs it. No process, namespace or file system stays behind, whatever happens.
///
/// # Errors
/// [`ChaosError`] if it could not be carried out; what was found wrong stands in the report.
pub fn run(options: &Options, interrupted: &AtomicBool) -> Result<Report, ChaosError> {
    let folder = prepare(options.disk)?;
    let mut performed = perform(options, folder.path(), interrupted);
    let keep = match &performed {
        Ok(report) => options.keep || (options.keep_failures && !report.holds()),
        Err(ChaosError::Interrupted) => options.keep,
        Err(error) => !error.is_missing_something(),
    };
    if keep {
        let path = folder.keep();
        match &mut performed {
            Ok(report) => report.kept = Some(path),
            Err(_) => eprintln!("logs are in {}", path.display()),
        }
    }
    performed
}

fn perform(options: &Options, folder: &Path, interrupted: &AtomicBool) -> Result<Report, ChaosError> {
    let teller = Teller::new(options.tell);
    teller.say(&format!("seed {}: starting", options.seed));
    let shape = Shape {
        program: options.program.clone(),
        folder: folder.to_owned(),
        members: options.members,
        separate_manager: !options.serve,
        network: options.network,
        disk: options.disk,
        seed: options.seed,
    };
    let mut system = System::start(shape)?;
    let crew = Crew::new(system.addresses(), &options.workloads, options.seed, options.lie);
    let ledger = Mutex::new(Ledger::default());
    let with_ledger = options.workloads.contains(&Workload::Checkpoints);
    if with_ledger {
        system.create_ledger()?;
    }
    let hosts: Vec<_> = (0..options.clients)
        .map(|client| system.client_host(client))
        .collect();
    let template = system.client_program(&[]);
    let command = move |arguments: &[&str]| {
        let mut program = template.clone();
        program.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        program
    };
    let mut counted = BTreeMap::new();
    let mut timeline = Timeline::new(folder, &teller)?;
    let recovered = std::thread::scope(|scope| {
        for (number, host) in hosts.iter().enumerate() {
            let crew = &crew;
            scope.spawn(move || crew.work(number, host.as_ref()));
        }
        let (crew, ledger, command) = (&crew, &ledger, &command);
        let killing = options.faults.contains(&Kind::KillWriter);
        if with_ledger {
            scope.spawn(move || write_checkpoints(crew, ledger, command, options.seed, killing));
        }
        let endured = endure(
            &mut system,
            options,
            crew,
            &mut timeline,
            interrupted,
            &mut counted,
        );
        teller.say("no more faults: waiting until everything is there again");
        system.heal();
        let recovered = endured.and_then(|()| recover(&mut system, interrupted));
        crew.end();
        recovered
    });
    let mut ledger = ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
    counted.insert(Kind::KillWriter.name(), ledger.killed);
    let takeovers = system.takeovers();
    let mut verdicts = vec![recovery_verdict(&recovered)];
    match recovered {
        Err(ChaosError::Stuck { .. }) => {}
        Err(error) => return Err(error),
        Ok(()) => verdicts.extend(judge(
            &mut system,
            &crew,
            &mut ledger,
            with_ledger,
            &command,
            &teller,
        )?),
    }
    verdicts.push(no_panics(&system));
    let histories = File::create(folder.join("history.jsonl"))?;
    crew.history.write(BufWriter::new(histories))?;
    let (tried, ok) = (ledger.sent, ledger.acknowledged);
    Ok(Report {
        seed: options.seed,
        seconds: options.time.as_secs_f64(),
        faults: counted.into_iter().filter(|(_, count)| *count > 0).collect(),
        requests: crew.outcomes(),
        checkpoints: Outcomes {
            ok,
            refused: 0,
            unknown: tried.saturating_sub(ok),
        },
        takeovers,
        longest_silence_ms: u64::try_from(crew.longest_silence().as_millis()).unwrap_or(u64::MAX),
        ended_by_themselves: count_each(system.ended_by_themselves()),
        verdicts,
        kept: None,
    })
}

/// Makes the plan's faults until the time is over.
fn endure(
    system: &mut System,
    options: &Options,
    crew: &Crew,
    timeline: &mut Timeline<'_>,
    interrupted: &AtomicBool,
    counted: &mut BTreeMap<&'static str, u64>,
) -> Result<(), ChaosError> {
    let planned = plan(options.seed, options.time, &options.faults, &system.targets());
    let mut coming = planned.iter().peekable();
    let mut present: Vec<&Planned> = Vec::new();
    let begun = Instant::now();
    let mut told = begun;
    let is_over = |elapsed: Duration| {
        let enough = crew.outcomes().ok >= options.least_replies || elapsed >= LONGEST_WAIT_FOR_REPLIES;
        elapsed >= options.time && enough
    };
    while !is_over(begun.elapsed()) {
        if interrupted.load(Ordering::Acquire) {
            return Err(ChaosError::Interrupted);
        }
        let now_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (over, still): (Vec<&Planned>, Vec<&Planned>) =
            present.into_iter().partition(|fault| fault.ends_ms() <= now_ms);
        present = still;
        for fault in over {
            system.end(fault);
            timeline.note(now_ms, &format!("end of {}", fault.kind))?;
        }
        while let Some(fault) = coming.next_if(|fault| fault.at_ms <= now_ms) {
            let target = system.begin(fault);
            timeline.note(
                now_ms,
                &format!("{} for {} ms: {target}", fault.kind, fault.for_ms),
            )?;
            *counted.entry(fault.kind.name()).or_insert(0) += 1;
            present.push(fault);
        }
        system.tend()?;
        for (from, to) in crew.new_silences() {
            let from_ms = from.saturating_duration_since(begun).as_millis();
            timeline.note(
                now_ms,
                &format!("no reply from {from_ms} ms on for {} ms", (to - from).as_millis()),
            )?;
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            timeline.teller.say(&format!(
                "{} faults, {} replies, {} takeovers",
                counted.values().sum::<u64>(),
                crew.outcomes().ok,
                system.takeovers()
            ));
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

fn recover(system: &mut System, interrupted: &AtomicBool) -> Result<(), ChaosError> {
    if interrupted.load(Ordering::Acquire) {
        return Err(ChaosError::Interrupted);
    }
    system.await_pair()
}

fn write_checkpoints(
    crew: &Crew,
    ledger: &Mutex<Ledger>,
    command: &dyn Fn(&[&str]) -> crate::process::Program,
    seed: u64,
    killing: bool,
) {
    let mut random = Random::new(seed, 500);
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    while !crew.has_ended() {
        let kill = killing && random.permille(KILLED_WRITERS_PERMILLE);
        let kill_after = kill.then(|| Duration::from_millis(random.between(1, 80)));
        ledger.step(command, &mut random, kill_after);
    }
}

/// Reads everything, kills everybody, reads everything again from what the medium holds, and judges what clients saw.
fn judge(
    system: &mut System,
    crew: &Crew,
    ledger: &mut Ledger,
    with_ledger: bool,
    command: &dyn Fn(&[&str]) -> crate::process::Program,
    teller: &Teller,
) -> Result<Vec<Verdict>, ChaosError> {
    let host = system.client_host(0);
    let mut reads: Vec<BTreeSet<u64>> = Vec::new();
    let mut unread = Vec::new();
    for restart in [false, true] {
        teller.say(if restart {
            "killing everybody, and reading again"
        } else {
            "reading everything"
        });
        if restart && let Err(error) = system.restart_everything() {
            unread.push(error.to_string());
            break;
        }
        match crew.read_everything(host.as_ref()) {
            Ok(read) => reads.push(read),
            Err(error) => unread.push(error.to_string()),
        }
        if with_ledger {
            ledger.last_look(command);
        }
    }
    teller.say("stopping everybody, and checking the medium");
    let wrong = system.stop_and_check()?;
    let mut verdicts = vec![Verdict {
        what: "everything could be read, before and after everybody was killed",
        holds: unread.is_empty(),
        details: shown(&unread, "both times"),
    }];
    verdicts.push(linearizable(crew, teller));
    verdicts.push(sets(crew, &reads));
    verdicts.push(replies(crew));
    if with_ledger {
        verdicts.push(Verdict {
            what: "every checkpoint with a receipt is there, once and in order",
            holds: ledger.wrong.is_empty(),
            details: shown(&ledger.wrong, &format!("{} receipts", ledger.acknowledged)),
        });
    }
    verdicts.push(Verdict {
        what: "everybody ends cleanly, and fsck finds nothing",
        holds: wrong.is_empty(),
        details: shown(&wrong, "nothing"),
    });
    Ok(verdicts)
}

fn recovery_verdict(recovered: &Result<(), ChaosError>) -> Verdict {
    Verdict {
        what: "without faults the pair is there again within a minute",
        holds: recovered.is_ok(),
        details: match recovered {
            Ok(()) => "it is".to_owned(),
            Err(error) => error.to_string(),
        },
    }
}

/// Searches an order for every key, on all processors.
fn linearizable(crew: &Crew, teller: &Teller) -> Verdict {
    let keys: Vec<(String, Vec<Entry>)> = crew.history.by_key().into_iter().collect();
    teller.say(&format!(
        "searching an order of the operations on each of {} keys",
        keys.len()
    ));
    let next = AtomicUsize::new(0);
    let wrong: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((key, entries)) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = match check(entries) {
                        Linearizable::Yes => continue,
                        Linearizable::No => "no order explains its history",
                        Linearizable::Undecided => "could not be decided",
                    };
                    let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
                    wrong.push(format!("{key}: {verdict}"));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    let operations: usize = keys.iter().map(|(_, entries)| entries.len()).sum();
    Verdict {
        what: "registers and counters are linearizable",
        holds: wrong.is_empty(),
        details: shown(&wrong, &format!("{operations} operations on {} keys", keys.len())),
    }
}

fn sets(crew: &Crew, reads: &[BTreeSet<u64>]) -> Verdict {
    let verdicts: Vec<_> = reads.iter().map(|read| crew.adds.judge(read)).collect();
    let wrong: Vec<String> = verdicts
        .iter()
        .filter(|verdict| !verdict.holds())
        .map(|verdict| format!("{verdict:?}"))
        .collect();
    let fine = verdicts.first().map_or(String::new(), |verdict| {
        format!(
            "{} acknowledged, 0 lost, 0 unexpected, {} recovered",
            verdict.acknowledged, verdict.recovered
        )
    });
    Verdict {
        what: "every acknowledged addition is in the sets, once, and nothing else is",
        holds: wrong.is_empty() && !reads.is_empty(),
        details: shown(&wrong, &fine),
    }
}

fn replies(crew: &Crew) -> Verdict {
    let odd = crew.odd();
    Verdict {
        what: "every reply makes sense",
        holds: odd.is_empty() && crew.outcomes().ok > 0,
        details: shown(&odd, &format!("{} replies", crew.outcomes().ok)),
    }
}

fn no_panics(system: &System) -> Verdict {
    let panics = system.panics();
    Verdict {
        what: "no process panicked",
        holds: panics.is_empty(),
        details: shown(&panics, "none"),
    }
}

/// The first findings, or what is said where there are none.
fn shown(findings: &[String], none: &str) -> String {
    if findings.is_empty() {
        return none.to_owned();
    }
    let mut text = findings
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if findings.len() > SHOWN {
        text += &format!("; and {} more", findings.len() - SHOWN);
    }
    text
}

fn count_each(all: Vec<String>) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for one in all {
        *counted.entry(one).or_insert(0) += 1;
    }
    counted
}

/// What was done when, for whoever looks for a cause afterwards.
struct Timeline<'a> {
    file: File,
    teller: &'a Teller,
}

impl<'a> Timeline<'a> {
    fn new(folder: &Path, teller: &'a Teller) -> Result<Self, ChaosError> {
        let file = File::create(folder.join("timeline.log"))?;
        let mut timeline = Self { file, teller };
        let unix_ms = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.as_millis());
        timeline.note(0, &format!("begun at {unix_ms} (unix, ms)"))?;
        Ok(timeline)
    }

    fn note(&mut self, at_ms: u64, what: &str) -> Result<(), ChaosError> {
        use io::Write;
        writeln!(self.file, "{at_ms:8} ms  {what}")?;
        Ok(())
    }
}

/// Says on standard error how far a run is.
struct Teller {
    begun: Option<Instant>,
}

impl Teller {
    fn new(tell: bool) -> Self {
        Self {
            begun: tell.then(Instant::now),
        }
    }

    fn say(&self, what: &str) {
        use io::Write;
        if let Some(begun) = self.begun {
            // Nobody is left to be told if it is closed.
            let _ = writeln!(io::stderr(), "{:7.1} s  {what}", begun.elapsed().as_secs_f64());
        }
    }
}

/// A flag that Ctrl-C and SIGTERM set.
///
/// # Errors
/// Of the system.
pub fn on_interrupt() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    Ok(interrupted)
}
