//! Those who want to own the plain region: each follows it as a backup, takes it over or opens it, and works until it is fenced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use outlive::{
    Backup, BackupOptions, Error, Level, OpenOptions, Primary, RegionSpec, Session, TakeoverOptions,
};

use super::judge::violation;
use super::ledger::{Ledger, snapshot, state_of, update};
use super::made::Made;
use super::pair::connect;
use super::place::Place;
use super::roads::Roads;
use crate::machine;

/// The region's name.
pub(super) const PLAIN: &str = "plain";
/// Small, so that the journal wraps.
const REGION_BYTES: u64 = 80 << 10;
/// It grows by so much, and up to so much.
const GROWTH_BYTES: u64 = 16 << 10;
const LARGEST_BYTES: u64 = 160 << 10;

/// What the writers share with those who watch them.
pub(super) struct Plain {
    pub(super) ledger: Ledger,
    pub(super) made: Made,
    pub(super) level: Level,
    /// Commits since the faults ended.
    pub(super) commits_since: AtomicU64,
    pub(super) takeovers: AtomicU64,
    /// A loss of power took both copies of its control block, as it may where nothing was promised to persist; only deleting it would help.
    pub(super) ruined: AtomicBool,
}

pub(super) struct Writer {
    pub(super) place: Place,
    pub(super) roads: Arc<Roads>,
    pub(super) plain: Arc<Plain>,
}

impl Writer {
    /// Its whole life, until it is killed.
    pub(super) fn live(self) {
        let session = connect(&self.roads, self.place);
        loop {
            let opened_before = self.plain.ledger.owners() > 0;
            if let Err(error) = self.try_once(&session) {
                self.judge_error(&error, opened_before);
                machine::trace(|| format!("ended: {error}"));
            }
            std::thread::sleep(Duration::from_micros(1_000 + machine::below(20_000)));
        }
    }

    fn judge_error(&self, error: &Error, opened_before: bool) {
        let lost = match error {
            Error::Corrupt { .. } | Error::Lost { .. } | Error::NotCheckpoint { .. } => true,
            // While it is being made, it exists for those who make it and not for those who open it.
            Error::NoSuchRegion { .. } => opened_before,
            _ => false,
        };
        if lost && !self.plain.ledger.is_excused() {
            violation("region-lost", format!("{}: {error:?}", self.place));
        }
        if matches!(error, Error::NotCheckpoint { .. }) {
            self.plain.ruined.store(true, Ordering::SeqCst);
        }
    }

    fn try_once(&self, session: &Session) -> Result<(), Error> {
        if machine::below(2) == 0
            && let Err(error) = self.plain.made.change(session, &self.roads.judge)
        {
            machine::trace(|| format!("no region was made or deleted: {error}"));
        }
        match session.create(PLAIN, &RegionSpec::checkpoint(REGION_BYTES)) {
            Ok(_) | Err(Error::RegionExists { .. }) => {}
            Err(error) => return Err(error),
        }
        let primary = if machine::below(3) == 0 {
            let take_over = machine::below(2) == 0;
            let options = OpenOptions {
                take_over,
                ..self.open_options()
            };
            match session.primary(PLAIN, &options) {
                Ok(primary) => primary,
                Err(Error::Owned { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        } else {
            match self.follow_and_take_over(session)? {
                Some(primary) => primary,
                None => return Ok(()),
            }
        };
        let found = loop {
            match primary.read_all() {
                Ok(sets) => break state_of(&sets),
                Err(error @ Error::Unreachable { .. }) if primary.ended().is_none() => {
                    machine::trace(|| format!("cannot read what is there: {error}"));
                }
                Err(error) => return Err(error),
            }
        };
        // What was read counts only if nobody else owned the region meanwhile.
        primary.confirm()?.wait()?;
        let generation = primary.generation();
        if !self.plain.ledger.open(generation, &found) {
            return Ok(());
        }
        machine::trace(|| format!("owns generation {generation}, found {} ids", found.len()));
        let worked = self.work(&primary, generation);
        if worked.is_ok() && machine::below(2) == 0 {
            return primary.close();
        }
        worked
    }

    fn open_options(&self) -> OpenOptions {
        OpenOptions {
            owner: self.place.to_string(),
            level: Some(self.plain.level),
            heartbeat: Duration::from_millis(15),
            accept_loss: self.plain.ledger.is_excused(),
            retry_for: Some(Duration::from_millis(700)),
            ..OpenOptions::default()
        }
    }

    fn follow_and_take_over(&self, session: &Session) -> Result<Option<Primary>, Error> {
        let options = BackupOptions {
            suspect_after: Duration::from_millis(80),
            heartbeat: Duration::from_millis(10),
            grace: Duration::from_millis(200),
            ..BackupOptions::default()
        };
        let mut backup = session.backup_with(PLAIN, &options)?;
        let until = machine::now() + Duration::from_millis(20 + machine::below(300));
        while machine::now() < until {
            backup.read_new()?;
            if backup
                .await_failure(Duration::from_millis(1 + machine::below(15)))?
                .is_some()
            {
                return self.take_over(&mut backup);
            }
        }
        // By mistake, or because somebody says so.
        if machine::below(3) == 0 {
            self.take_over(&mut backup)
        } else {
            Ok(None)
        }
    }

    fn take_over(&self, backup: &mut Backup) -> Result<Option<Primary>, Error> {
        let committed = self.plain.ledger.last_sequence();
        let options = TakeoverOptions {
            open: self.open_options(),
            accept_loss: self.plain.ledger.is_excused(),
            ..TakeoverOptions::default()
        };
        let taken = match backup.takeover(&options) {
            Ok(taken) => taken,
            Err(Error::LostRace { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.plain.takeovers.fetch_add(1, Ordering::SeqCst);
        let certificate = &taken.certificate;
        machine::trace(|| certificate.to_string());
        let wrong = certificate.generation != taken.primary.generation()
            || certificate.fenced_generation >= certificate.generation
            || certificate.unread_sets != taken.unread.len() as u64
            || (certificate.last_sequence < committed && !self.plain.ledger.is_excused())
            || certificate.accepted_loss.is_some() && !self.plain.ledger.is_excused();
        if wrong {
            violation(
                "certificate-lies",
                format!(
                    "{certificate}, with {} sets unread and sequence {committed} committed",
                    taken.unread.len()
                ),
            );
        }
        Ok(Some(taken.primary))
    }

    fn work(&self, primary: &Primary, generation: u64) -> Result<(), Error> {
        let doings = 1 + machine::below(120);
        for _ in 0..doings {
            match machine::below(40) {
                0 => self.clear(primary, generation)?,
                1 => self.save(primary, generation)?,
                5 => self.grow(primary)?,
                _ => self.append(primary, generation)?,
            }
            if machine::below(3) == 0 {
                std::thread::sleep(Duration::from_micros(machine::below(6_000)));
            }
        }
        Ok(())
    }

    /// A few appends on their way at a time.
    fn append(&self, primary: &Primary, generation: u64) -> Result<(), Error> {
        let mut commits = Vec::new();
        for _ in 0..=machine::below(4) {
            let id = self.plain.ledger.append(generation);
            let len = usize::try_from(machine::below(700)).expect("short");
            match primary.append(update(id, len)) {
                Ok(commit) => commits.push((commit, self.plain.ledger.doings(generation))),
                Err(Error::JournalFull { .. }) => {
                    self.plain.ledger.refused(generation);
                    self.finish(commits, generation)?;
                    return self.save(primary, generation);
                }
                Err(error) => return Err(error),
            }
        }
        self.finish(commits, generation)
    }

    fn finish(&self, commits: Vec<(outlive::Commit, usize)>, generation: u64) -> Result<(), Error> {
        for (commit, doings) in commits {
            let sequence = commit.sequence();
            let receipt = commit.wait()?;
            self.check(&receipt, generation, sequence);
            self.plain.ledger.committed(generation, doings, sequence);
            self.plain.commits_since.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// A snapshot, and appends that do not wait for it.
    fn save(&self, primary: &Primary, generation: u64) -> Result<(), Error> {
        let doings = self.plain.ledger.doings(generation);
        let filler = usize::try_from(machine::below(6_000)).expect("short");
        let state = self.plain.ledger.present(generation);
        let mut commits = vec![(primary.save(snapshot(&state, filler))?, doings)];
        for _ in 0..machine::below(12) {
            let id = self.plain.ledger.append(generation);
            let len = usize::try_from(machine::below(700)).expect("short");
            match primary.append(update(id, len)) {
                Ok(commit) => commits.push((commit, self.plain.ledger.doings(generation))),
                Err(Error::JournalFull { .. }) => {
                    self.plain.ledger.refused(generation);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.finish(commits, generation)
    }

    fn clear(&self, primary: &Primary, generation: u64) -> Result<(), Error> {
        self.plain.ledger.clear(generation);
        match primary.clear() {
            Ok(commit) => {
                let doings = self.plain.ledger.doings(generation);
                self.finish(vec![(commit, doings)], generation)
            }
            Err(Error::JournalFull { .. }) => {
                self.plain.ledger.refused(generation);
                self.save(primary, generation)
            }
            Err(error) => Err(error),
        }
    }

    fn grow(&self, primary: &Primary) -> Result<(), Error> {
        let usage = primary.usage();
        let size = REGION_BYTES.max(usage.capacity * 2) + GROWTH_BYTES;
        if size > LARGEST_BYTES {
            return Ok(());
        }
        match primary.resize(size) {
            // While the journal is wrapped it grows by much or not at all.
            Err(Error::Invalid { .. } | Error::NoSpace { .. } | Error::JournalFull { .. }) => Ok(()),
            other => other,
        }
    }

    fn check(&self, receipt: &outlive::Receipt, generation: u64, sequence: u64) {
        if (receipt.level, receipt.generation, receipt.sequence) != (self.plain.level, generation, sequence) {
            violation(
                "receipt-lies",
                format!("{receipt}, for set {sequence} of generation {generation}"),
            );
        }
    }
}
