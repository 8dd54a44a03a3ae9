//! Hashes.

use bytes::Bytes;

use super::{Args, Command, ONE_KEY, Outcome, read, write};
use crate::error::CommandError;
use crate::number::integer;
use crate::reply::Reply;
use crate::store::{Store, View};
use crate::value::Hash;

pub(super) const COMMANDS: &[Command] = &[
    write("hset", -4, ONE_KEY, |store, args| {
        put_fields(store, args, "hset").map(Reply::count)
    }),
    write("hmset", -4, ONE_KEY, |store, args| {
        put_fields(store, args, "hmset").map(|_| Reply::OK)
    }),
    write("hsetnx", 4, ONE_KEY, hsetnx),
    write("hdel", -3, ONE_KEY, hdel),
    write("hincrby", 4, ONE_KEY, hincrby),
    read("hget", 3, ONE_KEY, hget),
    read("hmget", -3, ONE_KEY, hmget),
    read("hgetall", 2, ONE_KEY, |view, args| {
        fields(view, args, |field, value| vec![field, value])
    }),
    read("hkeys", 2, ONE_KEY, |view, args| {
        fields(view, args, |field, _| vec![field])
    }),
    read("hvals", 2, ONE_KEY, |view, args| {
        fields(view, args, |_, value| vec![value])
    }),
    read("hlen", 2, ONE_KEY, |view, args| {
        Ok(Reply::count(view.read::<Hash>(args[0])?.map_or(0, Hash::len)))
    }),
    read("hexists", 3, ONE_KEY, |view, args| {
        Ok(Reply::flag(
            view.read::<Hash>(args[0])?
                .is_some_and(|hash| hash.contains_key(args[1])),
        ))
    }),
    read("hstrlen", 3, ONE_KEY, |view, args| {
        let hash = view.read::<Hash>(args[0])?;
        Ok(Reply::count(
            hash.and_then(|hash| hash.get(args[1])).map_or(0, Bytes::len),
        ))
    }),
];

/// How many fields are new.
fn put_fields(store: &mut Store, args: Args<'_>, command: &str) -> Result<usize, CommandError> {
    let (pairs, []) = args[1..].as_chunks::<2>() else {
        return Err(CommandError::Arity(command.to_owned()));
    };
    let hash = store.change_or_make::<Hash>(args[0])?;
    let before = hash.len();
    for [field, value] in pairs {
        hash.insert(Bytes::copy_from_slice(field), Bytes::copy_from_slice(value));
    }
    Ok(hash.len() - before)
}

fn hsetnx(store: &mut Store, args: Args<'_>) -> Outcome {
    let hash = store.change_or_make::<Hash>(args[0])?;
    let missing = !hash.contains_key(args[1]);
    if missing {
        hash.insert(Bytes::copy_from_slice(args[1]), Bytes::copy_from_slice(args[2]));
    }
    Ok(Reply::flag(missing))
}

fn hdel(store: &mut Store, args: Args<'_>) -> Outcome {
    let Some(hash) = store.change::<Hash>(args[0])? else {
        return Ok(Reply::Int(0));
    };
    let removed = args[1..]
        .iter()
        .filter(|field| hash.swap_remove(**field).is_some())
        .count();
    store.remove_if_empty(args[0]);
    Ok(Reply::count(removed))
}

fn hincrby(store: &mut Store, args: Args<'_>) -> Outcome {
    let by = integer(args[2])?;
    let old = store
        .view()
        .read::<Hash>(args[0])?
        .and_then(|hash| hash.get(args[1]));
    let old = old
        .map_or(Ok(0), |value| integer(value))
        .map_err(|_| CommandError::HashNotAnInteger)?;
    let new = old.checked_add(by).ok_or(CommandError::Overflow)?;
    let hash = store.change_or_make::<Hash>(args[0])?;
    hash.insert(Bytes::copy_from_slice(args[1]), Bytes::from(new.to_string()));
    Ok(Reply::Int(new))
}

fn hget(view: View<'_>, args: Args<'_>) -> Outcome {
    Ok(Reply::maybe(
        view.read::<Hash>(args[0])?.and_then(|hash| hash.get(args[1])),
    ))
}

fn hmget(view: View<'_>, args: Args<'_>) -> Outcome {
    let hash = view.read::<Hash>(args[0])?;
    let values = args[1..]
        .iter()
        .map(|field| Reply::maybe(hash.and_then(|hash| hash.get(*field))));
    Ok(Reply::Array(values.collect()))
}

fn fields<'a>(view: View<'a>, args: Args<'_>, part: fn(&'a Bytes, &'a Bytes) -> Vec<&'a Bytes>) -> Outcome {
    let hash = view.read::<Hash>(args[0])?;
    let parts = hash
        .into_iter()
        .flatten()
        .flat_map(|(field, value)| part(field, value));
    Ok(Reply::Array(parts.cloned().map(Reply::Bulk).collect()))
}
