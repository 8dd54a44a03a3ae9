//! From backup to primary.

use std::time::{Duration, Instant};

use outlive_layout::{Cursor, Finding, Recovery};

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
    /// What was found and how long it took. When it says [`ahead`](Certificate::ahead), the caller's state is
    /// newer than the unit's: save it as a snapshot before anything else.
    pub certificate: Certificate,
}

/// The unread rest, and what it means for the certificate.
struct Unread {
    sets: Vec<Set>,
    overrun: Option<Overrun>,
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
        let same_unit = granted.link.incarnation == self.cursor_incarnation;
        let cursor = self.cursor.clone();
        let start = cursor.as_ref().filter(|_| same_unit);
        let recovered = primary::recover(granted.link, &open, start);
        let (owned, recovered) =
            recovered.inspect_err(|_| primary::give_up(&self.session, &self.name, generation))?;
        let resumed = Instant::now();
        let primary = primary::start(&self.session, owned, &recovered, &open)?;
        let resume = recovered.resume + resumed.elapsed();

        let mut unread = unread(cursor.as_ref(), start.is_some(), &recovered.recovery);
        let waiting = self.ready.drain(..);
        if unread.overrun.is_none() {
            unread.sets.splice(0..0, waiting);
        }
        self.cursor = Some(recovered.recovery.cursor.clone());
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
fn unread(cursor: Option<&Cursor>, from_cursor: bool, recovery: &Recovery) -> Unread {
    let read = cursor.map_or(0, Cursor::sequence);
    let updates = recovery.updates.iter().cloned().map(Set::from);
    let snapshot = recovery.snapshot.clone().map(Set::from);
    let clear = recovery
        .cleared
        .map(|sequence| clear_mark(sequence, recovery.cursor.generation()));
    let overrun = recovery.overrun.map(|(from, to)| Overrun {
        from: from + 1,
        to: to.saturating_sub(1),
    });
    if cursor.is_none() || overrun.is_some() || from_cursor {
        let begin = if cursor.is_none() { None } else { clear };
        let sets = snapshot.into_iter().chain(begin).chain(updates).collect();
        return Unread {
            sets,
            overrun,
            ahead: None,
        };
    }
    // Everything was read again, in another incarnation of the unit.
    let held = recovery.last_sequence;
    let ahead = (read > held).then_some(Ahead {
        read_sequence: read,
        unit_sequence: held,
    });
    let snapshot = snapshot.filter(|set| set.sequence > read);
    let covered = snapshot.as_ref().map(|set| Overrun {
        from: read + 1,
        to: set.sequence.saturating_sub(1),
    });
    let clear = clear.filter(|set| set.sequence > read);
    let updates = updates.filter(|set| set.sequence > read);
    let sets = snapshot.into_iter().chain(clear).chain(updates).collect();
    Unread {
        sets,
        overrun: covered.filter(|gap| gap.from <= gap.to),
        ahead,
    }
}

/// The recovery keeps a clear mark's sequence only; of its generation nothing depends.
fn clear_mark(sequence: u64, generation: u64) -> Set {
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
        _ => None,
    });
    lost.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
}
