//! Keys of any type.

use super::{ALL_KEYS, Args, Command, NO_KEYS, ONE_KEY, Outcome, is_word, read, write};
use crate::deadline::Timeout;
use crate::error::CommandError;
use crate::glob;
use crate::number::integer;
use crate::reply::Reply;
use crate::store::{Store, View};

/// What `SCAN` visits in one step where the client does not say, as in Redis.
const DEFAULT_SCAN_COUNT: usize = 10;

pub(super) const COMMANDS: &[Command] = &[
    write("del", -2, ALL_KEYS, del),
    write("unlink", -2, ALL_KEYS, del),
    write("expire", -3, ONE_KEY, |store, args| {
        expire(store, args, Timeout::Seconds, "expire")
    }),
    write("pexpire", -3, ONE_KEY, |store, args| {
        expire(store, args, Timeout::Millis, "pexpire")
    }),
    write("expireat", -3, ONE_KEY, |store, args| {
        expire(store, args, Timeout::AtSeconds, "expireat")
    }),
    write("pexpireat", -3, ONE_KEY, |store, args| {
        expire(store, args, Timeout::AtMillis, "pexpireat")
    }),
    write("persist", 2, ONE_KEY, persist),
    write("rename", 3, (1, 2, 1), |store, args| {
        rename(store, args).map(|_| Reply::OK)
    }),
    write("renamenx", 3, (1, 2, 1), renamenx),
    read("exists", -2, ALL_KEYS, exists),
    read("touch", -2, ALL_KEYS, exists),
    read("type", 2, ONE_KEY, type_of),
    read("ttl", 2, ONE_KEY, |view, args| {
        Ok(remaining(view, args[0], |ms| ms.saturating_add(500) / 1000))
    }),
    read("pttl", 2, ONE_KEY, |view, args| {
        Ok(remaining(view, args[0], |ms| ms))
    }),
    read("expiretime", 2, ONE_KEY, |view, args| {
        Ok(deadline(view, args[0], |ms| ms / 1000))
    }),
    read("pexpiretime", 2, ONE_KEY, |view, args| {
        Ok(deadline(view, args[0], |ms| ms))
    }),
    read("keys", 2, NO_KEYS, keys),
    read("scan", -2, NO_KEYS, scan),
];

fn del(store: &mut Store, args: Args<'_>) -> Outcome {
    Ok(Reply::count(
        args.iter().filter(|key| store.remove(key).is_some()).count(),
    ))
}

/// A key that is named twice counts twice.
fn exists(view: View<'_>, args: Args<'_>) -> Outcome {
    Ok(Reply::count(
        args.iter().filter(|key| view.entry(key).is_some()).count(),
    ))
}

fn type_of(view: View<'_>, args: Args<'_>) -> Outcome {
    Ok(Reply::Status(
        view.entry(args[0])
            .map_or("none", |entry| entry.value.type_name()),
    ))
}

/// When `EXPIRE` is to be carried out.
#[derive(Default)]
struct ExpireCondition {
    has_none: bool,
    has_one: bool,
    later: bool,
    earlier: bool,
}

impl ExpireCondition {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut condition = Self::default();
        for word in args {
            match word {
                word if is_word(word, "NX") => condition.has_none = true,
                word if is_word(word, "XX") => condition.has_one = true,
                word if is_word(word, "GT") => condition.later = true,
                word if is_word(word, "LT") => condition.earlier = true,
                word => {
                    return Err(CommandError::UnsupportedOption(
                        String::from_utf8_lossy(word).into_owned(),
                    ));
                }
            }
        }
        if condition.has_none && (condition.has_one || condition.later || condition.earlier) {
            return Err(CommandError::ExpireOptions);
        }
        if condition.later && condition.earlier {
            return Err(CommandError::ExpireGtLt);
        }
        Ok(condition)
    }

    /// A key without deadline counts as one that never comes.
    fn holds(&self, old_ms: Option<u64>, moment_ms: i64) -> bool {
        let is_later = old_ms.is_some_and(|old| i128::from(moment_ms) > i128::from(old));
        let is_earlier = old_ms.is_none_or(|old| i128::from(moment_ms) < i128::from(old));
        (!self.has_none || old_ms.is_none())
            && (!self.has_one || old_ms.is_some())
            && (!self.later || is_later)
            && (!self.earlier || is_earlier)
    }
}

fn expire(store: &mut Store, args: Args<'_>, unit: Timeout, command: &'static str) -> Outcome {
    let condition = ExpireCondition::parse(&args[2..])?;
    let moment_ms = unit.moment_ms(args[1], store.now_ms(), command)?;
    let Some(entry) = store.view().entry(args[0]) else {
        return Ok(Reply::Int(0));
    };
    if !condition.holds(entry.deadline_ms, moment_ms) {
        return Ok(Reply::Int(0));
    }
    // A moment before 1970 is as past as any.
    store.set_deadline(args[0], Some(u64::try_from(moment_ms).unwrap_or(0)));
    Ok(Reply::Int(1))
}

fn persist(store: &mut Store, args: Args<'_>) -> Outcome {
    let had_one = store
        .view()
        .entry(args[0])
        .is_some_and(|entry| entry.deadline_ms.is_some());
    if had_one {
        store.set_deadline(args[0], None);
    }
    Ok(Reply::flag(had_one))
}

fn rename(store: &mut Store, args: Args<'_>) -> Result<(), CommandError> {
    let entry = store.remove(args[0]).ok_or(CommandError::NoSuchKey)?;
    store.put(args[1], entry);
    Ok(())
}

fn renamenx(store: &mut Store, args: Args<'_>) -> Outcome {
    store.view().entry(args[0]).ok_or(CommandError::NoSuchKey)?;
    let free = store.view().entry(args[1]).is_none();
    if free {
        rename(store, args)?;
    }
    Ok(Reply::flag(free))
}

fn remaining(view: View<'_>, key: &[u8], unit: fn(u64) -> u64) -> Reply {
    deadline(view, key, |ms| unit(ms.saturating_sub(view.now_ms())))
}

/// -2 for no key, -1 for a key that stays.
fn deadline(view: View<'_>, key: &[u8], unit: impl Fn(u64) -> u64) -> Reply {
    match view.entry(key).map(|entry| entry.deadline_ms) {
        None => Reply::Int(-2),
        Some(None) => Reply::Int(-1),
        Some(Some(ms)) => Reply::Int(i64::try_from(unit(ms)).unwrap_or(i64::MAX)),
    }
}

fn keys(view: View<'_>, args: Args<'_>) -> Outcome {
    Ok(Reply::bulks(
        view.iter()
            .map(|(key, _)| key)
            .filter(|key| glob::matches(args[0], key)),
    ))
}

fn scan(view: View<'_>, args: Args<'_>) -> Outcome {
    let cursor = std::str::from_utf8(args[0])
        .ok()
        .and_then(|text| text.parse().ok());
    let cursor: usize = cursor.ok_or(CommandError::InvalidCursor)?;
    let (options, []) = args[1..].as_chunks::<2>() else {
        return Err(CommandError::Syntax);
    };
    let (mut pattern, mut type_name, mut count) = (None, None, DEFAULT_SCAN_COUNT);
    for [word, value] in options {
        if is_word(word, "MATCH") {
            pattern = Some(*value);
        } else if is_word(word, "TYPE") {
            type_name = Some(*value);
        } else if is_word(word, "COUNT") {
            count = usize::try_from(integer(value)?).unwrap_or(0);
            if count == 0 {
                return Err(CommandError::Syntax);
            }
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let (found, next) = view.scan(cursor, count);
    let found = found.into_iter().filter(|(key, entry)| {
        pattern.is_none_or(|pattern| glob::matches(pattern, key))
            && type_name.is_none_or(|name| is_word(name, entry.value.type_name()))
    });
    Ok(Reply::Array(vec![
        Reply::bulk(next.to_string()),
        Reply::bulks(found.map(|(key, _)| key)),
    ]))
}
