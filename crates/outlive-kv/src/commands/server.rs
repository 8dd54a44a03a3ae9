//! Commands on the whole keyspace.

use super::{Args, Command, NO_KEYS, Outcome, is_word, read, write};
use crate::error::CommandError;
use crate::reply::Reply;
use crate::store::Store;

pub(super) const COMMANDS: &[Command] = &[
    read("dbsize", 1, NO_KEYS, |view, _| Ok(Reply::count(view.len()))),
    // What `INFO keyspace` says; the rest of INFO is the connection's to tell.
    read("outlive.keyspace", 1, NO_KEYS, |view, _| {
        Ok(Reply::Array(vec![
            Reply::count(view.len()),
            Reply::count(view.len_with_deadline()),
        ]))
    }),
    write("flushall", -1, NO_KEYS, flush),
    write("flushdb", -1, NO_KEYS, flush),
];

/// `ASYNC` and `SYNC` are accepted and make no difference.
fn flush(store: &mut Store, args: Args<'_>) -> Outcome {
    match args {
        [] => {}
        [word] if is_word(word, "ASYNC") || is_word(word, "SYNC") => {}
        _ => return Err(CommandError::Syntax),
    }
    store.clear();
    Ok(Reply::OK)
}
