//! From backup to primary.

use std::time::{Duration, Instant};

use outlive_layout::{Cursor, Finding, Recovery, Start};

use super::{Backup, Overrun, TakeoverOptions};
#[cfg(doc)]
use crate::Error;
use crate::primary::{self, Recovered};
use crate::{Ahead, Certificate, Primary, Result, Set, SetKind};

/// What a takeover gives.
#[non_exhaustive]
pub struct TakenOver {
    /// The region's new owner.
    pub primary: Primary,
    /// What the backup had not read yet, in order, as [`Fresh::sets`](crate::Fresh::sets).
    pub unread: Vec<Set>,
    /// Sets that were overwritten before they were read; then `unread` begins with a snapshot.
    pub overrun: Option<Overrun>,
    /// Sets that were read and that the region does not hold any more: the unit had lost them (they were only
    /// placed) and a later primary went on without. Then `unread` is everything there is: it begins with the
    /// snapshot if there is one, else with a clear.
    pub diverged: Option<Overrun>,
    /// What was found and how long it took. When it says [`ahead`](Certificate::ahead), the caller's state is
    /// newer than the unit's: save it as a snapshot before anything else.
    pub certificate: Certificate,
}

/// The unread rest, and what it means for the certificate.
struct Unread {
    sets: Vec<Set>,
    overrun: Option<Overrun>,
    diverged: Option<Overrun>,
    ahead: Option<Ahead>,
}

impl Backup {
    /// Takes the region over: the old primary is fenced, the rest is read and made persistent at the
    /// region's level, and this process owns the region.
    ///
    /// ```
    /// # mod server { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/support/server.rs")); }
    /// # fn main() -> Result<(), outlive::Error> {
    /// # use outlive::{OpenOptions, RegionSpec, TakeoverOptions, RawOptions};
    /// # let server = server::Server::in_memory("64MiB");
    /// # let session = server.session();
    /// # session.create("r", &RegionSpec::checkpoint(1 << 20))?;
    /// let old = session.primary("r", &OpenOptions::default())?;
    /// let mut backup = session.backup("r")?;
    /// old.append(b"read")?.wait()?;
    /// assert_eq!(backup.read_new()?.sets.len(), 1);
    /// old.append(b"not read yet")?.wait()?;
    ///
    /// let taken = backup.takeover(&TakeoverOptions::owner("10.0.0.2:6379"))?;
    /// assert_eq!(taken.unread.len(), 1);
    /// println!("{}", taken.certificate);
    /// let late = old.append(b"too late").and_then(|commit| commit.wait());
    /// assert!(late.is_err_and(|error| error.is_fenced()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::LostRace`] when another one was faster (this one stays backup and can go on);
    /// [`Error::FenceUnconfirmed`]; [`Error::Corrupt`] unless `accept_loss` (then the region is owned by nobody
    /// and can be taken over again).
    pub fn takeover(&mut self, options: &TakeoverOptions) -> Result<TakenOver> {
        let mut open = options.open.clone();
        open.accept_loss |= options.accept_loss;
        let retry_for = open.retry_for.unwrap_or(self.session.options().retry_for);
        let expected = self
            .liveness
            .suspected
            .unwrap_or_else(|| self.region().generation);
        let detect = options.detect.unwrap_or(self.liveness.detect);
        let began = Instant::now();
        let granted = self
            .session
            .take_over(&self.name, expected, &open.owner, retry_for);
        let granted = granted.inspect_err(|_| self.liveness.forget())?;
        let generation = granted.link.data.generation;
        let fence = granted.fence;
        let access = began.elapsed().saturating_sub(fence);

        // What was read in another incarnation may be gone: then everything is read again.
        let incarnation = granted.link.incarnation;
        let cursor = self.cursor.clone();
        let start = match &cursor {
            None => Start::Everything,
            Some(cursor) if incarnation == self.cursor_incarnation => Start::Cursor(cursor),
            Some(cursor) => Start::Again(cursor),
        };
        let recovered = primary::recover(granted.link, &open, start);
        let (owned, recovered) =
            recovered.map_err(|error| primary::give_up(&self.session, &self.name, generation, error))?;
        let resumed = Instant::now();
        let primary = primary::start(&self.session, owned, &recovered, &open)?;
        let resume = recovered.resume + resumed.elapsed();

        let mut unread = unread(start, &recovered.recovery);
        let waiting = self.ready.drain(..);
        if unread.overrun.is_none() && unread.diverged.is_none() {
            unread.sets.splice(0..0, waiting);
        }
        self.cursor = Some(recovered.recovery.cursor.clone());
        self.cursor_incarnation = incarnation;
        self.liveness.forget();
        let certificate = certificate(
            &unread,
            &recovered,
            Durations {
                detect,
                fence,
                read: access + recovered.read,
                persist: recovered.persist,
                resume,
            },
            (granted.fenced_generation.max(expected), generation),
            primary.region(),
        );
        tracing::info!(region = self.name, %certificate, "taken over");
        Ok(TakenOver {
            primary,
            unread: unread.sets,
            overrun: unread.overrun,
            diverged: unread.diverged,
            certificate,
        })
    }
}

struct Durations {
    detect: Duration,
    fence: Duration,
    read: Duration,
    persist: Duration,
    resume: Duration,
}

fn certificate(
    unread: &Unread,
    recovered: &Recovered,
    durations: Durations,
    (fenced_generation, generation): (u64, u64),
    region: crate::RegionId,
) -> Certificate {
    let recovery = &recovered.recovery;
    Certificate {
        region,
        fenced_generation,
        generation,
        last_sequence: recovery.last_sequence,
        unread_sets: unread.sets.len() as u64,
        unread_bytes: unread.sets.iter().map(|set| set.bytes.len() as u64).sum(),
        torn_sets: recovery.torn_sets + recovery.void_sets,
        accepted_loss: accepted_loss(&recovery.findings),
        ahead: unread.ahead,
        detect: durations.detect,
        fence: durations.fence,
        read: durations.read,
        persist: durations.persist,
        resume: durations.resume,
    }
}

/// What of the recovery the backup had not read before.
fn unread(start: Start<'_>, recovery: &Recovery) -> Unread {
    let overrun = recovery.overrun.map(|(from, to)| Overrun {
        from: from + 1,
        to: to.saturating_sub(1),
    });
    match start {
        Start::Everything => Unread {
            sets: everything(recovery, 0)
                .filter(|set| set.kind != SetKind::Clear)
                .collect(),
            overrun: None,
            diverged: None,
            ahead: None,
        },
        Start::Cursor(_) => Unread {
            sets: everything(recovery, 0).collect(),
            overrun,
            diverged: None,
            ahead: None,
        },
        Start::Again(cursor) => read_again(cursor, recovery),
    }
}

/// Everything was read again, in another incarnation of the unit, which may have lost what was read before.
fn read_again(cursor: &Cursor, recovery: &Recovery) -> Unread {
    let (read, end) = (cursor.sequence(), &recovery.cursor);
    let mut unread = Unread {
        sets: Vec::new(),
        overrun: None,
        diverged: None,
        ahead: None,
    };
    let covering = recovery
        .snapshot
        .as_ref()
        .filter(|set| set.logical > cursor.logical());
    if recovery.passed {
        unread.sets = everything(recovery, read).collect();
    } else if let Some(snapshot) = covering {
        unread.sets = everything(recovery, 0).collect();
        let gap = Overrun {
            from: read + 1,
            to: snapshot.sequence.saturating_sub(1),
        };
        unread.overrun = Some(gap);
    } else if end.logical() < cursor.logical() && end.generation() <= cursor.generation() {
        unread.ahead = Some(Ahead {
            read_sequence: read,
            unit_sequence: recovery.last_sequence,
        });
    } else {
        let emptied = (recovery.snapshot.is_none() && recovery.cleared.is_none())
            .then(|| clear_mark(read, cursor.generation()));
        unread.sets = emptied.into_iter().chain(everything(recovery, 0)).collect();
        let common = recovery
            .updates
            .iter()
            .filter(|set| set.generation <= cursor.generation());
        let common = common.map(|set| set.sequence).max().unwrap_or(0);
        unread.diverged = Some(Overrun {
            from: common.min(read) + 1,
            to: read,
        });
    }
    unread
}

/// What was recovered behind a sequence, in order.
fn everything(recovery: &Recovery, after: u64) -> impl Iterator<Item = Set> {
    let snapshot = recovery.snapshot.clone().map(Set::from);
    let clear = recovery
        .cleared
        .map(|sequence| clear_mark(sequence, recovery.cursor.generation()));
    let updates = recovery.updates.iter().cloned().map(Set::from);
    let sets = snapshot.into_iter().chain(clear).chain(updates);
    sets.filter(move |set| set.sequence > after)
}

/// Empties whoever applies the sets in turn. On its generation nothing depends.
pub(super) fn clear_mark(sequence: u64, generation: u64) -> Set {
    Set {
        kind: SetKind::Clear,
        generation,
        sequence,
        unix_ms: 0,
        bytes: Vec::new(),
    }
}

fn accepted_loss(findings: &[Finding]) -> Option<(u64, u64)> {
    let lost = findings.iter().filter_map(|finding| match finding {
        Finding::Corrupt { after, floor, .. } => Some((after + 1, (*floor).max(after + 1))),
        Finding::SnapshotCorrupt { sequence, .. } | Finding::SnapshotLost { sequence, .. } => {
            Some((*sequence, *sequence))
        }
        Finding::SealLost { newest, .. } => Some((newest + 1, newest + 1)),
        _ => None,
    });
    lost.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
}
