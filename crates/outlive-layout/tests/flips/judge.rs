//! What must come of damage, whatever it is.

use std::collections::BTreeSet;

use outlive_layout::{
    Finding, ReadError, ReadOptions, Reader, Reading, Recovery, RecoveryOptions, Scrubbed, Set, Start,
};

use crate::damaged::{Damaged, Unreadable};
use crate::model::{Model, Use};
use crate::region::REGION;
use crate::region::primary::{state_of, update_payload};

/// What readers made of damaged bytes.
pub(crate) struct Outcome {
    pub(crate) read: Result<Reading, ReadError<Unreadable>>,
    pub(crate) consented: Result<Reading, ReadError<Unreadable>>,
    pub(crate) recovered: Result<Recovery, ReadError<Unreadable>>,
    pub(crate) scrubbed: Result<Scrubbed, ReadError<Unreadable>>,
}

impl Outcome {
    /// `None` where not even the control block can be read.
    pub(crate) fn of(source: &mut Damaged) -> Option<Self> {
        let len = source.bytes.len() as u64;
        let mut reader = Reader::open(source, REGION, len).ok()?;
        let consent = ReadOptions {
            accept_loss: true,
            ..ReadOptions::default()
        };
        let offline = RecoveryOptions {
            accept_loss: false,
            scan_whole: true,
        };
        Some(Self {
            read: reader.read(source, &ReadOptions::default()),
            consented: reader.read(source, &consent),
            recovered: reader.recover(source, Start::Everything, &offline),
            scrubbed: reader.scrub(source, &mut |_| {}),
        })
    }

    /// Everything that was found, by whoever found it.
    pub(crate) fn findings(&self) -> Vec<&Finding> {
        let scrubbed = self.scrubbed.iter().flat_map(|scrubbed| &scrubbed.findings);
        let recovered = self.recovered.iter().flat_map(|recovered| &recovered.findings);
        let refused = [self.read.as_ref().err(), self.recovered.as_ref().err()];
        let refused = refused.into_iter().flatten().filter_map(|error| match error {
            ReadError::Corrupt { finding } => Some(finding),
            _ => None,
        });
        scrubbed.chain(recovered).chain(refused).collect()
    }
}

/// What holds for all damage: whoever did not consent gets what the primary left last, or an error that says what and
/// where; whoever did gets a state that was. Returns what is wrong, for teeth to see.
pub(crate) fn served(model: &Model, outcome: &Outcome) -> Result<(), String> {
    let state = |reading: &Reading| state_as_written(reading.snapshot.as_ref(), &reading.updates);
    match &outcome.read {
        Ok(reading) if state(reading)? != model.state => return Err("another state is served".to_owned()),
        Ok(_) | Err(ReadError::Corrupt { .. }) => {}
        Err(error) => return Err(format!("reading fails with {error}")),
    }
    match &outcome.recovered {
        Ok(recovery) => {
            if state_as_written(recovery.snapshot.as_ref(), &recovery.updates)? != model.state {
                return Err("another state is recovered".to_owned());
            }
        }
        Err(ReadError::Corrupt { .. }) => {}
        Err(error) => return Err(format!("recovery fails with {error}")),
    }
    let consented = outcome
        .consented
        .as_ref()
        .map_err(|error| format!("with consent: {error}"))?;
    if !model.states.contains(&state(consented)?) {
        return Err("with consent a state is served that never was".to_owned());
    }
    if let Err(error) = &outcome.scrubbed {
        return Err(format!("scrubbing fails with {error}"));
    }
    Ok(())
}

/// The state, where every payload is byte for byte one that was written.
fn state_as_written(snapshot: Option<&Set>, updates: &[Set]) -> Result<Vec<u32>, String> {
    for set in updates {
        let item = set.payload.first_chunk().map(|item| u32::from_le_bytes(*item));
        let written = item.is_some_and(|item| set.payload == update_payload(item, set.payload.len() - 4));
        if !written {
            return Err(format!(
                "another payload than was written is served as {}",
                set.sequence
            ));
        }
    }
    Ok(state_of(snapshot, updates))
}

/// What must be found of damage to a byte that is there for this, and what must still be served.
pub(crate) fn found(model: &Model, hit: &Use, outcome: &Outcome) -> Result<(), String> {
    let findings = outcome.findings();
    let named = |wanted: &dyn Fn(&Finding) -> bool| {
        if findings.iter().any(|finding| wanted(finding)) {
            Ok(())
        } else {
            Err(format!("not found and named: {findings:?}"))
        }
    };
    let whole = outcome.read.is_ok() && outcome.recovered.is_ok();
    let stays = || {
        if whole {
            Ok(())
        } else {
            Err(format!("what is whole is not served: {findings:?}"))
        }
    };
    let stops = || {
        if outcome.read.is_err() {
            Ok(())
        } else {
            Err("served without consent".to_owned())
        }
    };
    match hit {
        Use::Control(copy) => {
            named(
                &|finding| matches!(finding, Finding::ControlCopy { copy: bad, offset } if bad == copy && *offset == 4096 * *copy as u64),
            )?;
            stays()
        }
        // News only: best floors are the highest of all that verify, and nothing else is damaged.
        Use::Floor => {
            named(&|finding| matches!(finding, Finding::FloorBroken { offset: 8256 }))?;
            stays()
        }
        Use::Seal(slot) => {
            let at = model.geometry.seal_offset(*slot);
            named(
                &|finding| matches!(finding, Finding::SealBroken { slot: bad, offset } if bad == slot && *offset == at),
            )?;
            if *slot != model.newest.slot {
                return stays();
            }
            named(
                &|finding| matches!(finding, Finding::SnapshotLost { sequence, .. } if *sequence == model.newest.sequence),
            )?;
            stops()
        }
        Use::Payload(slot) => {
            let seal = model
                .seals
                .iter()
                .find(|seal| seal.slot == *slot)
                .expect("it holds one");
            let at = model.geometry.slot_offset(*slot);
            named(&|finding| {
                matches!(finding, Finding::SnapshotCorrupt { slot: bad, offset, generation, sequence, .. }
                if bad == slot && *offset == at && (*generation, *sequence) == seal.order())
            })?;
            if *slot == model.newest.slot {
                stops()
            } else {
                stays()
            }
        }
        Use::Set(number) => set_found(model, *number, outcome, &named),
        // A word that is only compared with itself; what no reader looks at; what a snapshot covers or was never acknowledged.
        Use::Word | Use::Padding | Use::Leftover => {
            stays()?;
            let corrupt = findings.iter().find(|finding| finding.is_corruption());
            corrupt.map_or(Ok(()), |finding| Err(format!("nothing is lost, but: {finding}")))
        }
    }
}

/// Fails unless a finding is as asked for.
type Named<'a> = dyn Fn(&dyn Fn(&Finding) -> bool) -> Result<(), String> + 'a;

fn set_found(model: &Model, number: usize, outcome: &Outcome, named: &Named<'_>) -> Result<(), String> {
    let set = &model.sets[number];
    named(&|finding| match finding {
        Finding::Corrupt { offset, after, .. } if set.current => {
            *offset == set.offset as u64 && *after == set.after
        }
        Finding::Older { offset, after, .. } if !set.current => {
            *offset == set.offset as u64 && *after == set.after
        }
        _ => false,
    })?;
    if !set.current {
        return match (&outcome.read, &outcome.recovered) {
            (Ok(_), Ok(_)) => Ok(()),
            _ => Err("a snapshot covers it, yet reading stops".to_owned()),
        };
    }
    if outcome.read.is_ok() || outcome.recovered.is_ok() {
        return Err("served without consent".to_owned());
    }
    let reading = outcome.consented.as_ref().map_err(ToString::to_string)?;
    let state = state_of(reading.snapshot.as_ref(), &reading.updates);
    if state == set.before {
        Ok(())
    } else {
        Err(format!(
            "the sets before it are {:?}, served were {state:?}",
            set.before
        ))
    }
}

/// Both, for damage that hit these bytes.
pub(crate) fn judge(model: &Model, source: &mut Damaged, hit: &[usize]) -> Result<(), String> {
    let Some(outcome) = Outcome::of(source) else {
        return Err("the region cannot be opened".to_owned());
    };
    served(model, &outcome)?;
    for hit in told(model, hit) {
        found(model, &hit, &outcome).map_err(|wrong| format!("{hit:?}: {wrong}"))?;
    }
    Ok(())
}

/// What these bytes are there for: of several sets the first, since a journal is read up to its first damage, and not
/// what came before the newest snapshot where what came after is damaged, since then nobody can say what was reused.
fn told(model: &Model, hit: &[usize]) -> BTreeSet<Use> {
    let mut uses: BTreeSet<Use> = hit.iter().map(|at| model.use_of(*at).clone()).collect();
    let of = |current: bool| {
        let sets = uses.iter().filter_map(|hit| match hit {
            Use::Set(number) if model.sets[*number].current == current => Some(*number),
            _ => None,
        });
        sets.min()
    };
    let first = of(true).or(of(false));
    uses.retain(|hit| !matches!(hit, Use::Set(number) if Some(*number) != first));
    let harmful = uses
        .iter()
        .any(|hit| !matches!(hit, Use::Word | Use::Padding | Use::Leftover));
    if harmful {
        uses.retain(|hit| !matches!(hit, Use::Word | Use::Padding | Use::Leftover));
    }
    uses
}
