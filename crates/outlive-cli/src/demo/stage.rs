//! The play: unit and manager in this process, members as processes of their own, clients as threads.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use outlive::Context;
use outlive_audit::Audit;
use outlive_identity::{Folder, Party};
use outlive_media::MediaSpec;
use tempfile::TempDir;

use super::client::Crew;
use super::member::{Member, MemberOptions};
use super::random::Random;
use super::report::{Report, Takeover};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::count;
use crate::progress;
use crate::server::manager::ControlOptions;
use crate::server::scrub::ScrubArguments;
use crate::server::{self, Server, ServerOptions};
use crate::views::{duration_text, micros};

/// Room for everything that a run writes between two snapshots, and little enough for any laptop.
const MEDIUM_BYTES: u64 = 256 << 20;
const REGION_BYTES: u64 = 192 << 20;
/// All clients are answered within this time, takeover included, or something is stuck.
const ALL_ANSWERED: Duration = Duration::from_secs(60);
/// Longest time in which Ctrl-C goes unnoticed.
const NOTICE_INTERRUPT: Duration = Duration::from_millis(50);

/// What is played.
#[derive(Clone, Debug)]
pub(crate) struct DemoOptions {
    pub(crate) kills: u32,
    /// How long the load runs, checks and restarts not counted.
    pub(crate) load_for: Duration,
    pub(crate) clients: u64,
    pub(crate) seed: u64,
    pub(crate) keep: bool,
}

/// Plays it. Whatever happens, no process and (unless it is to be kept) no file stays behind.
///
/// # Errors
/// Where the play could not be finished; what was lost or duplicated stands in the report.
pub(crate) fn perform(options: &DemoOptions, interrupt: &Interrupt) -> Result<Report, Failure> {
    let folder = TempDir::with_prefix("outlive-demo-")
        .map_err(|error| Failure::file("make a folder in", &std::env::temp_dir(), &error))?;
    let spinner = progress::spinner("starting");
    let teller = Teller {
        spinner: spinner.clone(),
        started: Instant::now(),
    };
    let played = play(options, folder.path(), &teller, interrupt);
    spinner.finish_and_clear();
    let kept = options.keep.then(|| folder.keep());
    let mut report = played.map_err(|failure| match &kept {
        Some(folder) => failure.and(&format!("kept in {}", folder.display())),
        None => failure,
    })?;
    report.folder = kept;
    Ok(report)
}

fn play(
    options: &DemoOptions,
    folder: &Path,
    teller: &Teller,
    interrupt: &Interrupt,
) -> Result<Report, Failure> {
    teller.say("starting a unit and its manager on a file");
    let server = start_server(folder)?;
    let context = folder.join("context.json");
    let members = MemberOptions {
        folder,
        context: &context,
        region_bytes: REGION_BYTES,
        kills: options.kills,
    };
    let played = Play::begin(options, &members, teller, interrupt).and_then(|play| play.finish());
    // Members are gone now; the unit ends last.
    let stopped = server.stop();
    let report = played?;
    stopped?;
    Ok(report)
}

fn start_server(folder: &Path) -> Result<Server, Failure> {
    let any = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    let parties = [Party::Server, Party::Administrator];
    let trust = Folder::prepare(&folder.join("trust"), &parties, &server::hosts::of([any], []))?;
    let path: PathBuf = folder.join("unit.media");
    let options = ServerOptions {
        media: MediaSpec::File {
            path,
            size: Some(MEDIUM_BYTES),
        },
        data: any,
        advertise_data: None,
        data_tls: None,
        scrub: ScrubArguments::default(),
    };
    let server = Server::start(options, || {
        Ok(ControlOptions {
            control: any,
            tls: trust.server_tls(Party::Server)?,
            administrators: vec![Party::Administrator.name()],
            authority: None,
            metrics: None,
            audit: Audit::off(),
        })
    })?;
    let administrator = trust.credentials(Party::Administrator)?;
    Context::new(server.control().to_string(), trust.roots_pem()?, administrator)
        .save(&folder.join("context.json"))?;
    Ok(server)
}

struct Play<'a> {
    options: &'a DemoOptions,
    members: &'a MemberOptions<'a>,
    teller: &'a Teller,
    interrupt: &'a Interrupt,
    primary: Member,
    backup: Member,
    crew: std::sync::Arc<Crew>,
    clients: Vec<std::thread::JoinHandle<()>>,
    random: Random,
    started: u32,
    takeovers: Vec<Takeover>,
    begun: Instant,
}

impl<'a> Play<'a> {
    fn begin(
        options: &'a DemoOptions,
        members: &'a MemberOptions<'a>,
        teller: &'a Teller,
        interrupt: &'a Interrupt,
    ) -> Result<Self, Failure> {
        let begun = Instant::now();
        let primary = Member::start(1, "127.0.0.1:0", members, interrupt)?;
        primary.await_primary(interrupt)?;
        teller.say(&format!(
            "primary is process {} at {}",
            primary.process_id(),
            primary.address()
        ));
        let backup = Member::start(2, "127.0.0.1:0", members, interrupt)?;
        backup.await_backup(interrupt)?;
        teller.say(&format!(
            "backup is process {} at {}",
            backup.process_id(),
            backup.address()
        ));
        let addresses = [&primary, &backup].map(|member| member.address().to_owned());
        let crew = Crew::new(addresses.to_vec(), options.clients, options.seed);
        let clients = crew
            .start()
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot start threads: {error}")))?;
        teller.say(&format!("{} clients write", options.clients));
        let random = Random::new(options.seed);
        Ok(Self {
            options,
            members,
            teller,
            interrupt,
            primary,
            backup,
            crew,
            clients,
            random,
            started: 2,
            takeovers: Vec::new(),
            begun,
        })
    }

    fn finish(mut self) -> Result<Report, Failure> {
        let played = self.all_acts();
        self.crew.gate.end();
        played?;
        for client in self.clients.drain(..) {
            // A client that failed has said why; one that panicked has printed it.
            let _ = client.join();
        }
        self.crew.check()?;
        Ok(Report {
            acknowledged: self.crew.acknowledged(),
            tally: self.crew.tally(),
            takeovers: self.takeovers,
            took: self.begun.elapsed(),
            clients: self.options.clients,
            seed: self.options.seed,
            folder: None,
        })
    }

    fn all_acts(&mut self) -> Result<(), Failure> {
        // Each act has the same time; the kill falls anywhere into it. After the last check nobody writes any more.
        let act = self.options.load_for / (self.options.kills + 1);
        for number in 1..=self.options.kills {
            let before_kill = self.part_of(act);
            self.load(before_kill)?;
            self.kill(number)?;
            self.load(act.saturating_sub(before_kill))?;
        }
        self.load(act)?;
        self.check_everything().map(|_| ())
    }

    /// Kills the primary in the middle of its work; then the backup is primary, a new backup is there, and
    /// everything is checked.
    fn kill(&mut self, number: u32) -> Result<(), Failure> {
        self.crew.begin_measuring();
        let (process, address) = (self.primary.process_id(), self.primary.address().to_owned());
        let killed = Instant::now();
        self.primary.kill();
        let (served, figures) = self.backup.await_primary(self.interrupt)?;
        let figures = figures
            .unwrap_or_default()
            .detected_after_kill(served.saturating_duration_since(killed));
        let (acknowledged, pid) = (self.crew.acknowledged(), self.backup.process_id());
        self.teller.say(&format!(
            "kill {number} of {}: process {process} after {acknowledged} writes; process {pid} took over, {} unread, detect {}, fence {}, read {}, resume {}",
            self.options.kills,
            count(figures.unread_sets, "set"),
            duration_text(figures.detect_us),
            duration_text(figures.fence_us),
            duration_text(figures.read_us),
            duration_text(figures.resume_us),
        ));
        self.started += 1;
        // At the same place, where clients look for a member.
        let next = Member::start(self.started, &address, self.members, self.interrupt)?;
        self.primary = std::mem::replace(&mut self.backup, next);
        self.backup.await_backup(self.interrupt)?;
        let silence = self.check_everything()?;
        self.crew.gate.open();
        self.takeovers.push(Takeover { figures, silence });
        Ok(())
    }

    /// Reads everything back while the clients wait, and leaves them waiting. Returns for how long they had got no
    /// reply before.
    fn check_everything(&mut self) -> Result<Duration, Failure> {
        self.await_clients()?;
        let silence = self.crew.longest_silence();
        self.crew.audit(self.primary.address())?;
        let tally = self.crew.tally();
        self.teller.say(&format!(
            "checked {} acknowledged writes: {} lost, {} duplicated (no replies for at most {})",
            self.crew.acknowledged(),
            tally.lost,
            tally.duplicated,
            duration_text(micros(silence)),
        ));
        Ok(silence)
    }

    /// Waits until each client has the reply that it waits for, and none sends the next request.
    fn await_clients(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + ALL_ANSWERED;
        while !self.crew.gate.close(NOTICE_INTERRUPT) {
            self.interrupt.check()?;
            self.crew.check()?;
            if Instant::now() > deadline {
                let message = format!("clients got no reply within {} s", ALL_ANSWERED.as_secs());
                return Err(Failure::new(Exit::Failure, message));
            }
        }
        self.crew.check()
    }

    /// Lets the load run.
    fn load(&self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        loop {
            self.interrupt.check()?;
            self.crew.check()?;
            self.teller
                .progress(&format!("{} writes acknowledged", self.crew.acknowledged()));
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(NOTICE_INTERRUPT));
        }
    }

    fn part_of(&mut self, time: Duration) -> Duration {
        Duration::from_micros(self.random.below(micros(time)))
    }
}

/// Tells on standard error how far the play is.
struct Teller {
    spinner: ProgressBar,
    started: Instant,
}

impl Teller {
    fn say(&self, what: &str) {
        let line = format!("{:6.2} s  {what}", self.started.elapsed().as_secs_f64());
        // Above the spinner on a terminal; nobody is left to be told if standard error is closed.
        self.spinner.suspend(|| {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "{line}");
        });
    }

    /// Only where a person sees it change.
    fn progress(&self, what: &str) {
        self.spinner.set_message(what.to_owned());
    }
}
