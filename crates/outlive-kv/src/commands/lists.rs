//! Lists.

use bytes::Bytes;

use super::{Args, Command, ONE_KEY, Outcome, is_word, read, write};
use crate::error::CommandError;
use crate::number::{count, index_range, integer};
use crate::reply::Reply;
use crate::store::{Store, View};
use crate::value::List;

pub(super) const COMMANDS: &[Command] = &[
    write("lpush", -3, ONE_KEY, |store, args| push(store, args, End::Left)),
    write("rpush", -3, ONE_KEY, |store, args| push(store, args, End::Right)),
    write("lpushx", -3, ONE_KEY, |store, args| {
        push_to_existing(store, args, End::Left)
    }),
    write("rpushx", -3, ONE_KEY, |store, args| {
        push_to_existing(store, args, End::Right)
    }),
    write("lpop", -2, ONE_KEY, |store, args| {
        pop(store, args, End::Left, "lpop")
    }),
    write("rpop", -2, ONE_KEY, |store, args| {
        pop(store, args, End::Right, "rpop")
    }),
    write("lset", 4, ONE_KEY, lset),
    write("lrem", 4, ONE_KEY, lrem),
    write("ltrim", 4, ONE_KEY, ltrim),
    write("linsert", 5, ONE_KEY, linsert),
    read("llen", 2, ONE_KEY, |view, args| {
        Ok(Reply::count(view.read::<List>(args[0])?.map_or(0, List::len)))
    }),
    read("lrange", 4, ONE_KEY, lrange),
    read("lindex", 3, ONE_KEY, lindex),
];

#[derive(Clone, Copy)]
enum End {
    Left,
    Right,
}

fn push(store: &mut Store, args: Args<'_>, end: End) -> Outcome {
    let list = store.change_or_make::<List>(args[0])?;
    for element in &args[1..] {
        let element = Bytes::copy_from_slice(element);
        match end {
            End::Left => list.push_front(element),
            End::Right => list.push_back(element),
        }
    }
    Ok(Reply::count(list.len()))
}

fn push_to_existing(store: &mut Store, args: Args<'_>, end: End) -> Outcome {
    match store.view().read::<List>(args[0])? {
        Some(_) => push(store, args, end),
        None => Ok(Reply::Int(0)),
    }
}

fn pop(store: &mut Store, args: Args<'_>, end: End, command: &'static str) -> Outcome {
    let wanted = match args {
        [_] => None,
        [_, number] => Some(count(number)?),
        _ => return Err(CommandError::Arity(command.to_owned())),
    };
    let Some(list) = store.change::<List>(args[0])? else {
        return Ok(if wanted.is_some() {
            Reply::NilArray
        } else {
            Reply::Nil
        });
    };
    let mut take = || match end {
        End::Left => list.pop_front(),
        End::Right => list.pop_back(),
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

fn lset(store: &mut Store, args: Args<'_>) -> Outcome {
    let list = store.change::<List>(args[0])?.ok_or(CommandError::NoSuchKey)?;
    let place = place(integer(args[1])?, list.len()).ok_or(CommandError::IndexOutOfRange)?;
    list[place] = Bytes::copy_from_slice(args[2]);
    Ok(Reply::OK)
}

/// Removes that many equal elements: from the left, from the right where negative, all where zero.
fn lrem(store: &mut Store, args: Args<'_>) -> Outcome {
    let number = integer(args[1])?;
    let Some(list) = store.change::<List>(args[0])? else {
        return Ok(Reply::Int(0));
    };
    let mut left = if number == 0 {
        u64::MAX
    } else {
        number.unsigned_abs()
    };
    let before = list.len();
    let mut keep = |element: &Bytes| {
        let goes = left > 0 && element == args[2];
        left -= u64::from(goes);
        !goes
    };
    if number < 0 {
        list.make_contiguous().reverse();
        list.retain(&mut keep);
        list.make_contiguous().reverse();
    } else {
        list.retain(&mut keep);
    }
    let removed = before - list.len();
    store.remove_if_empty(args[0]);
    Ok(Reply::count(removed))
}

fn ltrim(store: &mut Store, args: Args<'_>) -> Outcome {
    let (start, stop) = (integer(args[1])?, integer(args[2])?);
    if let Some(list) = store.change::<List>(args[0])? {
        let kept = index_range(start, stop, list.len());
        list.truncate(kept.end);
        list.drain(..kept.start);
        store.remove_if_empty(args[0]);
    }
    Ok(Reply::OK)
}

fn linsert(store: &mut Store, args: Args<'_>) -> Outcome {
    let after = match args[1] {
        word if is_word(word, "BEFORE") => false,
        word if is_word(word, "AFTER") => true,
        _ => return Err(CommandError::Syntax),
    };
    let Some(list) = store.change::<List>(args[0])? else {
        return Ok(Reply::Int(0));
    };
    let Some(pivot) = list.iter().position(|element| element == args[2]) else {
        return Ok(Reply::Int(-1));
    };
    list.insert(pivot + usize::from(after), Bytes::copy_from_slice(args[3]));
    Ok(Reply::count(list.len()))
}

fn lrange(view: View<'_>, args: Args<'_>) -> Outcome {
    let (start, stop) = (integer(args[1])?, integer(args[2])?);
    let Some(list) = view.read::<List>(args[0])? else {
        return Ok(Reply::Array(vec![]));
    };
    let elements = list.range(index_range(start, stop, list.len())).cloned();
    Ok(Reply::Array(elements.map(Reply::Bulk).collect()))
}

fn lindex(view: View<'_>, args: Args<'_>) -> Outcome {
    let Some(list) = view.read::<List>(args[0])? else {
        return Ok(Reply::Nil);
    };
    let element = place(integer(args[1])?, list.len()).map(|place| list[place].clone());
    Ok(element.map_or(Reply::Nil, Reply::Bulk))
}

/// The position of an index, negative ones from the end.
fn place(index: i64, len: usize) -> Option<usize> {
    let range = index_range(index, index, len);
    // A range clamps; one place does not.
    let in_range = usize::try_from(index).map_or(index.unsigned_abs() <= len as u64, |index| index < len);
    in_range.then_some(range.start)
}
