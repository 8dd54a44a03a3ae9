//! Sets.

use bytes::Bytes;

use super::{Args, Command, ONE_KEY, Outcome, read, write};
use crate::error::CommandError;
use crate::number::count;
use crate::reply::Reply;
use crate::store::{Store, View};
use crate::value::Set;

pub(super) const COMMANDS: &[Command] = &[
    write("sadd", -3, ONE_KEY, sadd),
    write("srem", -3, ONE_KEY, srem),
    write("spop", -2, ONE_KEY, spop),
    read("smembers", 2, ONE_KEY, smembers),
    read("scard", 2, ONE_KEY, |view, args| {
        Ok(Reply::count(view.read::<Set>(args[0])?.map_or(0, Set::len)))
    }),
    read("sismember", 3, ONE_KEY, |view, args| {
        Ok(Reply::flag(
            view.read::<Set>(args[0])?
                .is_some_and(|set| set.contains(args[1])),
        ))
    }),
    read("smismember", -3, ONE_KEY, smismember),
];

fn sadd(store: &mut Store, args: Args<'_>) -> Outcome {
    let set = store.change_or_make::<Set>(args[0])?;
    let added = args[1..]
        .iter()
        .filter(|member| set.insert(Bytes::copy_from_slice(member)))
        .count();
    Ok(Reply::count(added))
}

fn srem(store: &mut Store, args: Args<'_>) -> Outcome {
    let Some(set) = store.change::<Set>(args[0])? else {
        return Ok(Reply::Int(0));
    };
    let removed = args[1..]
        .iter()
        .filter(|member| set.swap_remove(**member))
        .count();
    store.remove_if_empty(args[0]);
    Ok(Reply::count(removed))
}

/// Which members go is as good as random to a client, and the same in every member of the pair: the
/// place is derived from the journalled time and the set's size.
fn spop(store: &mut Store, args: Args<'_>) -> Outcome {
    let wanted = match args {
        [_] => None,
        [_, number] => Some(count(number)?),
        _ => return Err(CommandError::Syntax),
    };
    let now_ms = store.now_ms();
    let Some(set) = store.change::<Set>(args[0])? else {
        return Ok(if wanted.is_some() {
            Reply::Array(vec![])
        } else {
            Reply::Nil
        });
    };
    let mut take = || match set.len() as u64 {
        0 => None,
        len => set.swap_remove_index(usize::try_from(mix(now_ms ^ (len << 42)) % len).unwrap_or(0)),
    };
    let reply = match wanted {
        None => take().map_or(Reply::Nil, Reply::Bulk),
        Some(wanted) => Reply::Array(
            std::iter::from_fn(&mut take)
                .take(wanted)
                .map(Reply::Bulk)
                .collect(),
        ),
    };
    store.remove_if_empty(args[0]);
    Ok(reply)
}

fn smembers(view: View<'_>, args: Args<'_>) -> Outcome {
    let members = view.read::<Set>(args[0])?.into_iter().flatten().cloned();
    Ok(Reply::Array(members.map(Reply::Bulk).collect()))
}

fn smismember(view: View<'_>, args: Args<'_>) -> Outcome {
    let set = view.read::<Set>(args[0])?;
    let found = args[1..]
        .iter()
        .map(|member| Reply::flag(set.is_some_and(|set| set.contains(*member))));
    Ok(Reply::Array(found.collect()))
}

/// Spreads bits evenly (the finaliser of `SplitMix64`).
fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
