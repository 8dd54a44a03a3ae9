//! Sorted sets: members and scores. Ranges are in `zrange`.

use bytes::Bytes;

use super::{Args, Command, ONE_KEY, Outcome, is_word, read, write, zrange};
use crate::error::CommandError;
use crate::number::{count, float, float_text};
use crate::reply::Reply;
use crate::store::{Store, View};
use crate::zset::ZSet;

pub(super) const COMMANDS: &[Command] = &[
    write("zadd", -4, ONE_KEY, zadd),
    write("zincrby", 4, ONE_KEY, zincrby),
    write("zrem", -3, ONE_KEY, zrem),
    write("zpopmin", -2, ONE_KEY, |store, args| pop(store, args, false)),
    write("zpopmax", -2, ONE_KEY, |store, args| pop(store, args, true)),
    read("zscore", 3, ONE_KEY, |view, args| {
        Ok(score(view.read(args[0])?, args[1]))
    }),
    read("zmscore", -3, ONE_KEY, zmscore),
    read("zcard", 2, ONE_KEY, |view, args| {
        Ok(Reply::count(view.read::<ZSet>(args[0])?.map_or(0, ZSet::len)))
    }),
    read("zrank", 3, ONE_KEY, |view, args| rank(view, args, false)),
    read("zrevrank", 3, ONE_KEY, |view, args| rank(view, args, true)),
    read("zcount", 4, ONE_KEY, zrange::zcount),
    read("zrange", -4, ONE_KEY, zrange::zrange),
    read("zrevrange", -4, ONE_KEY, zrange::zrevrange),
    read("zrangebyscore", -4, ONE_KEY, zrange::zrangebyscore),
    read("zrevrangebyscore", -4, ONE_KEY, zrange::zrevrangebyscore),
];

/// What `ZADD`'s options ask for.
#[derive(Clone, Copy, Default)]
struct AddOptions {
    only_new: bool,
    only_existing: bool,
    only_greater: bool,
    only_less: bool,
    count_changed: bool,
    increment: bool,
}

impl AddOptions {
    /// The options, and how many words they are.
    fn parse(args: Args<'_>) -> (Self, usize) {
        let mut options = Self::default();
        for (place, word) in args.iter().enumerate() {
            match word {
                word if is_word(word, "NX") => options.only_new = true,
                word if is_word(word, "XX") => options.only_existing = true,
                word if is_word(word, "GT") => options.only_greater = true,
                word if is_word(word, "LT") => options.only_less = true,
                word if is_word(word, "CH") => options.count_changed = true,
                word if is_word(word, "INCR") => options.increment = true,
                _ => return (options, place),
            }
        }
        (options, args.len())
    }

    fn check(self, pairs: usize) -> Result<(), CommandError> {
        if self.only_new && self.only_existing {
            return Err(CommandError::ZaddNxXx);
        }
        if (self.only_greater && self.only_less) || (self.only_new && (self.only_greater || self.only_less)) {
            return Err(CommandError::ZaddGtLtNx);
        }
        if self.increment && pairs > 1 {
            return Err(CommandError::ZaddIncrPairs);
        }
        Ok(())
    }

    /// The score that the member is to have, or `None` where it stays as it is.
    fn new_score(self, old: Option<f64>, given: f64) -> Result<Option<f64>, CommandError> {
        let new = match old {
            Some(old) if self.increment => old + given,
            _ => given,
        };
        if new.is_nan() {
            return Err(CommandError::NotANumber);
        }
        let wanted = match old {
            None => !self.only_existing,
            Some(old) => {
                !self.only_new && (!self.only_greater || new > old) && (!self.only_less || new < old)
            }
        };
        Ok(wanted.then_some(new))
    }
}

fn zadd(store: &mut Store, args: Args<'_>) -> Outcome {
    let (options, used) = AddOptions::parse(&args[1..]);
    let pairs = match args[1 + used..].as_chunks::<2>() {
        (pairs, []) if !pairs.is_empty() => pairs,
        _ => return Err(CommandError::Syntax),
    };
    options.check(pairs.len())?;
    // All scores are checked before the first takes effect.
    let scores = pairs
        .iter()
        .map(|[score, _]| float(score))
        .collect::<Result<Vec<_>, _>>()?;
    let mut zset_score = None;
    let (mut added, mut changed) = (0, 0);
    for ([_, member], given) in pairs.iter().zip(scores) {
        let old = store
            .view()
            .read::<ZSet>(args[0])?
            .and_then(|zset| zset.score(member));
        zset_score = options.new_score(old, given)?;
        if let Some(new) = zset_score.filter(|new| old != Some(*new)) {
            store
                .change_or_make::<ZSet>(args[0])?
                .insert(Bytes::copy_from_slice(member), new);
            added += usize::from(old.is_none());
            changed += 1;
        }
    }
    if options.increment {
        return Ok(zset_score.map_or(Reply::Nil, |score| Reply::bulk(float_text(score))));
    }
    Ok(Reply::count(if options.count_changed { changed } else { added }))
}

fn zincrby(store: &mut Store, args: Args<'_>) -> Outcome {
    zadd(store, &[args[0], b"INCR", args[1], args[2]])
}

fn zrem(store: &mut Store, args: Args<'_>) -> Outcome {
    let Some(zset) = store.change::<ZSet>(args[0])? else {
        return Ok(Reply::Int(0));
    };
    let removed = args[1..].iter().filter(|member| zset.remove(member)).count();
    store.remove_if_empty(args[0]);
    Ok(Reply::count(removed))
}

fn pop(store: &mut Store, args: Args<'_>, highest: bool) -> Outcome {
    let wanted = match args {
        [_] => 1,
        [_, number] => count(number)?,
        _ => return Err(CommandError::Syntax),
    };
    let Some(zset) = store.change::<ZSet>(args[0])? else {
        return Ok(Reply::Array(vec![]));
    };
    let popped = std::iter::from_fn(|| zset.pop(highest)).take(wanted);
    let reply = popped
        .flat_map(|(member, score)| [Reply::Bulk(member), Reply::bulk(float_text(score))])
        .collect();
    store.remove_if_empty(args[0]);
    Ok(Reply::Array(reply))
}

fn zmscore(view: View<'_>, args: Args<'_>) -> Outcome {
    let zset = view.read::<ZSet>(args[0])?;
    Ok(Reply::Array(
        args[1..].iter().map(|member| score(zset, member)).collect(),
    ))
}

fn score(zset: Option<&ZSet>, member: &[u8]) -> Reply {
    Reply::maybe(zset.and_then(|zset| zset.score(member)).map(float_text))
}

fn rank(view: View<'_>, args: Args<'_>, from_highest: bool) -> Outcome {
    let Some(zset) = view.read::<ZSet>(args[0])? else {
        return Ok(Reply::Nil);
    };
    let rank = zset
        .rank(args[1])
        .map(|rank| if from_highest { zset.len() - 1 - rank } else { rank });
    Ok(rank.map_or(Reply::Nil, Reply::count))
}
