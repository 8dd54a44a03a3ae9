//! Strings.

use bytes::Bytes;

use super::{ALL_KEYS, Args, Command, EVERY_SECOND, ONE_KEY, Outcome, is_word, read, write};
use crate::deadline::Timeout;
use crate::error::CommandError;
use crate::number::{index_range, integer};
use crate::reply::Reply;
use crate::store::{Entry, Store, View};
use crate::value::{Kind, Text};

/// Redis's own bound on a string.
const MAX_STRING_BYTES: usize = 512 << 20;

pub(super) const COMMANDS: &[Command] = &[
    write("set", -3, ONE_KEY, set),
    write("setnx", 3, ONE_KEY, setnx),
    write("setex", 4, ONE_KEY, |store, args| {
        set_for(store, args, Timeout::Seconds, "setex")
    }),
    write("psetex", 4, ONE_KEY, |store, args| {
        set_for(store, args, Timeout::Millis, "psetex")
    }),
    write("getset", 3, ONE_KEY, getset),
    write("getdel", 2, ONE_KEY, getdel),
    write("getex", -2, ONE_KEY, getex),
    write("append", 3, ONE_KEY, append),
    write("incr", 2, ONE_KEY, |store, args| add(store, args[0], 1)),
    write("decr", 2, ONE_KEY, |store, args| add(store, args[0], -1)),
    write("incrby", 3, ONE_KEY, |store, args| {
        add(store, args[0], integer(args[1])?)
    }),
    write("decrby", 3, ONE_KEY, decrby),
    write("mset", -3, EVERY_SECOND, mset),
    write("msetnx", -3, EVERY_SECOND, msetnx),
    read("get", 2, ONE_KEY, |view, args| {
        Ok(Reply::maybe(view.read::<Text>(args[0])?))
    }),
    read("mget", -2, ALL_KEYS, mget),
    read("strlen", 2, ONE_KEY, |view, args| {
        Ok(Reply::count(view.read::<Text>(args[0])?.map_or(0, Text::len)))
    }),
    read("getrange", 4, ONE_KEY, getrange),
    read("substr", 4, ONE_KEY, getrange),
];

/// What `SET`'s options ask for.
#[derive(Default)]
struct SetOptions {
    only_if: Option<Existence>,
    reply_old: bool,
    keep_deadline: bool,
    deadline_ms: Option<u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Existence {
    Missing,
    Present,
}

impl SetOptions {
    fn parse(mut args: Args<'_>, now_ms: u64) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut timeout = None;
        while let Some((&word, rest)) = args.split_first() {
            args = rest;
            if is_word(word, "NX") && options.only_if != Some(Existence::Present) {
                options.only_if = Some(Existence::Missing);
            } else if is_word(word, "XX") && options.only_if != Some(Existence::Missing) {
                options.only_if = Some(Existence::Present);
            } else if is_word(word, "GET") {
                options.reply_old = true;
            } else if is_word(word, "KEEPTTL") && timeout.is_none() {
                options.keep_deadline = true;
            } else {
                // Redis takes the same unit twice, and the last number then counts.
                let fits =
                    |unit: &Timeout| !options.keep_deadline && timeout.is_none_or(|(old, _)| old == *unit);
                let unit = Timeout::option(word).filter(fits);
                let (unit, (number, rest)) = unit.zip(args.split_first()).ok_or(CommandError::Syntax)?;
                timeout = Some((unit, *number));
                args = rest;
            }
        }
        if let Some((unit, number)) = timeout {
            options.deadline_ms = Some(unit.deadline_ms(number, now_ms, "set")?);
        }
        Ok(options)
    }
}

fn set(store: &mut Store, args: Args<'_>) -> Outcome {
    let key = args[0];
    let options = SetOptions::parse(&args[2..], store.now_ms())?;
    let entry = store.view().entry(key);
    let (exists, old_deadline_ms) = (entry.is_some(), entry.and_then(|entry| entry.deadline_ms));
    let old = if options.reply_old {
        Some(Reply::maybe(store.view().read::<Text>(key)?))
    } else {
        None
    };
    let refused = match options.only_if {
        Some(Existence::Missing) => exists,
        Some(Existence::Present) => !exists,
        None => false,
    };
    if refused {
        return Ok(old.unwrap_or(Reply::Nil));
    }
    let deadline_ms = if options.keep_deadline {
        old_deadline_ms
    } else {
        options.deadline_ms
    };
    store.put(
        key,
        Entry {
            value: Text::from(args[1]).into_value(),
            deadline_ms,
        },
    );
    Ok(old.unwrap_or(Reply::OK))
}

fn setnx(store: &mut Store, args: Args<'_>) -> Outcome {
    let missing = store.view().entry(args[0]).is_none();
    if missing {
        store.put(args[0], Entry::lasting(Text::from(args[1])));
    }
    Ok(Reply::flag(missing))
}

fn set_for(store: &mut Store, args: Args<'_>, unit: Timeout, command: &'static str) -> Outcome {
    let deadline_ms = Some(unit.deadline_ms(args[1], store.now_ms(), command)?);
    store.put(
        args[0],
        Entry {
            value: Text::from(args[2]).into_value(),
            deadline_ms,
        },
    );
    Ok(Reply::OK)
}

fn getset(store: &mut Store, args: Args<'_>) -> Outcome {
    let old = Reply::maybe(store.view().read::<Text>(args[0])?);
    store.put(args[0], Entry::lasting(Text::from(args[1])));
    Ok(old)
}

fn getdel(store: &mut Store, args: Args<'_>) -> Outcome {
    let old = Reply::maybe(store.view().read::<Text>(args[0])?);
    store.remove(args[0]);
    Ok(old)
}

fn getex(store: &mut Store, args: Args<'_>) -> Outcome {
    let timeout = match &args[1..] {
        [] => None,
        [word] if is_word(word, "PERSIST") => Some(None),
        [word, number] => Some(Some((Timeout::option(word).ok_or(CommandError::Syntax)?, number))),
        _ => return Err(CommandError::Syntax),
    };
    let Some(value) = store.view().read::<Text>(args[0])? else {
        return Ok(Reply::Nil);
    };
    let value = Reply::bulk(value);
    if let Some(timeout) = timeout {
        let now_ms = store.now_ms();
        let deadline_ms = timeout.map(|(unit, number)| unit.deadline_ms(number, now_ms, "getex"));
        store.set_deadline(args[0], deadline_ms.transpose()?);
    }
    Ok(value)
}

fn append(store: &mut Store, args: Args<'_>) -> Outcome {
    let old_len = store.view().read::<Text>(args[0])?.map_or(0, Text::len);
    if old_len + args[1].len() > MAX_STRING_BYTES {
        return Err(CommandError::TooLong);
    }
    let text = store.change_or_make::<Text>(args[0])?;
    text.extend_from_slice(args[1]);
    Ok(Reply::count(text.len()))
}

fn add(store: &mut Store, key: &[u8], by: i64) -> Outcome {
    let old = store
        .view()
        .read::<Text>(key)?
        .map_or(Ok(0), |text| integer(text))?;
    let new = old.checked_add(by).ok_or(CommandError::Overflow)?;
    *store.change_or_make::<Text>(key)? = Text::from(new.to_string().as_bytes());
    Ok(Reply::Int(new))
}

fn decrby(store: &mut Store, args: Args<'_>) -> Outcome {
    let by = integer(args[1])?
        .checked_neg()
        .ok_or(CommandError::DecrementOverflow)?;
    add(store, args[0], by)
}

fn mset(store: &mut Store, args: Args<'_>) -> Outcome {
    put_pairs(store, args, "mset")?;
    Ok(Reply::OK)
}

fn msetnx(store: &mut Store, args: Args<'_>) -> Outcome {
    let any_exists = args
        .iter()
        .step_by(2)
        .any(|key| store.view().entry(key).is_some());
    if any_exists && args.len().is_multiple_of(2) {
        return Ok(Reply::Int(0));
    }
    put_pairs(store, args, "msetnx")?;
    Ok(Reply::Int(1))
}

fn put_pairs(store: &mut Store, args: Args<'_>, command: &str) -> Result<(), CommandError> {
    let (pairs, []) = args.as_chunks::<2>() else {
        return Err(CommandError::Arity(command.to_owned()));
    };
    for [key, value] in pairs {
        store.put(key, Entry::lasting(Text::from(*value)));
    }
    Ok(())
}

/// A key of another kind counts as missing here, unlike in `GET`.
fn mget(view: View<'_>, args: Args<'_>) -> Outcome {
    let value = |key: &&[u8]| Reply::maybe(view.read::<Text>(key).ok().flatten());
    Ok(Reply::Array(args.iter().map(value).collect()))
}

fn getrange(view: View<'_>, args: Args<'_>) -> Outcome {
    let (start, stop) = (integer(args[1])?, integer(args[2])?);
    let Some(text) = view.read::<Text>(args[0])? else {
        return Ok(Reply::Bulk(Bytes::new()));
    };
    // As in Redis, and unlike in lists, a last index before the first byte stands for the first byte.
    let first = i64::try_from(text.len()).map_or(i64::MIN, |len| -len);
    let stop = if start <= stop || start >= 0 {
        stop.max(first)
    } else {
        stop
    };
    Ok(Reply::bulk(&text[index_range(start, stop, text.len())]))
}
