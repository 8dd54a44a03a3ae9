//! Opening and reading the pair's region, and what its errors mean for a member.

use std::time::Duration;

use outlive::{
    Backup, BackupOptions, Error, Follow, JournalUsage, OpenOptions, Primary, Session, Set, SetKind,
    TakeoverOptions,
};

use crate::PairConfig;
use crate::machine::{Event, Fed, Journal};

/// For how long a backup tries an unreachable unit before it looks after other things. It tries again afterwards.
const BACKUP_RETRY: Duration = Duration::from_millis(200);

/// Most bytes that a backup reads at once, so that it looks up between a long catch-up's parts.
const READ_BYTES: u64 = 16 << 20;

/// Opens the region as primary, making it where it does not exist and the configuration says how, and reads it.
pub(super) fn open_primary(session: &Session, config: &PairConfig) -> Result<(Primary, Event), Event> {
    let options = open_options(config);
    let opened = match (session.primary(&config.pair, &options), &config.region) {
        (Err(Error::NoSuchRegion { .. }), Some(spec)) => {
            create(session, config, spec).and_then(|()| session.primary(&config.pair, &options))
        }
        (opened, _) => opened,
    };
    let failed = |error| open_failed(error, config);
    let primary = opened.map_err(failed)?;
    let sets = primary.read_all().map_err(failed)?;
    let event = Event::Opened {
        generation: primary.generation(),
        sets: sets
            .snapshot
            .into_iter()
            .chain(sets.updates)
            .filter_map(fed)
            .collect(),
        journal: journal(primary.usage()),
    };
    Ok((primary, event))
}

/// Opens the region as backup.
pub(super) fn open_backup(session: &Session, config: &PairConfig) -> Result<Backup, Event> {
    let options = BackupOptions {
        follow: Follow::Updates,
        suspect_after: config.suspect_after,
        heartbeat: config.heartbeat,
        grace: config.restart_grace,
        retry_for: Some(BACKUP_RETRY),
        batch_bytes: READ_BYTES,
    };
    session
        .backup_with(&config.pair, &options)
        .map_err(|error| open_failed(error, config))
}

/// How this member takes over.
pub(super) fn takeover_options(config: &PairConfig) -> TakeoverOptions {
    TakeoverOptions {
        open: open_options(config),
        ..TakeoverOptions::default()
    }
}

/// What a failed takeover means.
pub(super) fn takeover_failed(error: &Error) -> Event {
    match error {
        Error::LostRace { .. } => Event::LostRace,
        _ => Event::TakeoverFailed {
            why: error.to_string(),
            fatal: is_fatal(error),
        },
    }
}

/// Whether trying again is pointless.
pub(super) fn is_fatal(error: &Error) -> bool {
    matches!(
        error,
        Error::NoSuchRegion { .. }
            | Error::NotCheckpoint { .. }
            | Error::Corrupt { .. }
            | Error::Lost { .. }
            | Error::Level { .. }
            | Error::NoAccess { .. }
            | Error::NoSpace { .. }
            | Error::Invalid { .. }
    )
}

/// A set as the node takes it; takeover marks mean nothing to it.
pub(super) fn fed(set: Set) -> Option<Fed> {
    match set.kind {
        SetKind::Snapshot => Some(Fed::Snapshot(set.bytes)),
        SetKind::Update => Some(Fed::Update(set.bytes)),
        SetKind::Clear => Some(Fed::Clear),
        _ => None,
    }
}

/// The journal's usage as the node takes it.
pub(super) fn journal(usage: JournalUsage) -> Journal {
    Journal {
        used: usage.used,
        capacity: usage.capacity,
    }
}

fn open_options(config: &PairConfig) -> OpenOptions {
    OpenOptions {
        owner: config.advertise.clone(),
        level: config.level,
        heartbeat: config.heartbeat,
        ..OpenOptions::default()
    }
}

fn create(session: &Session, config: &PairConfig, spec: &outlive::RegionSpec) -> Result<(), Error> {
    match session.create(&config.pair, spec) {
        // The other member was faster.
        Ok(_) | Err(Error::RegionExists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn open_failed(error: Error, config: &PairConfig) -> Event {
    match error {
        Error::Owned { .. } => Event::Owned,
        // Another member is making it just now.
        Error::NoSuchRegion { .. } if config.region.is_some() => Event::OpenFailed {
            fatal: false,
            why: error.to_string(),
        },
        error => Event::OpenFailed {
            fatal: is_fatal(&error),
            why: error.to_string(),
        },
    }
}
