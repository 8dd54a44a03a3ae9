//! The data commands: a table from name to arity, kind and handler. Each type's are in a file of their
//! own; add a command by adding a line to such a file's table.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::error::CommandError;
use crate::reply::Reply;
use crate::store::{Store, View};

mod hashes;
mod keys;
mod lists;
mod server;
mod sets;
mod strings;
mod zrange;
mod zsets;

/// A command's arguments, without its name.
pub(crate) type Args<'a> = &'a [&'a [u8]];
/// What a handler returns.
pub(crate) type Outcome = Result<Reply, CommandError>;

/// What a command does with the state.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// Reads; is not journalled.
    Read(fn(View<'_>, Args<'_>) -> Outcome),
    /// May change the state; deterministic in state, arguments and the store's time.
    Write(fn(&mut Store, Args<'_>) -> Outcome),
}

/// A command.
#[derive(Clone, Copy)]
pub(crate) struct Command {
    /// In lower case.
    pub name: &'static str,
    /// Arguments with the name: exactly so many, or at least so many where negative (Redis's convention).
    pub arity: i8,
    /// Which arguments are keys: first, last (negative from the end), step; all 0 for none.
    pub keys: (i8, i8, i8),
    /// What it does.
    pub handler: Handler,
}

/// Keys at no argument, at the first only, at all, at every second.
const NO_KEYS: (i8, i8, i8) = (0, 0, 0);
const ONE_KEY: (i8, i8, i8) = (1, 1, 1);
const ALL_KEYS: (i8, i8, i8) = (1, -1, 1);
const EVERY_SECOND: (i8, i8, i8) = (1, -1, 2);

const fn read(
    name: &'static str,
    arity: i8,
    keys: (i8, i8, i8),
    handler: fn(View<'_>, Args<'_>) -> Outcome,
) -> Command {
    Command {
        name,
        arity,
        keys,
        handler: Handler::Read(handler),
    }
}

const fn write(
    name: &'static str,
    arity: i8,
    keys: (i8, i8, i8),
    handler: fn(&mut Store, Args<'_>) -> Outcome,
) -> Command {
    Command {
        name,
        arity,
        keys,
        handler: Handler::Write(handler),
    }
}

impl Command {
    /// Finds a command; capitals do not matter.
    pub(crate) fn find(name: &[u8]) -> Option<&'static Self> {
        static TABLE: LazyLock<HashMap<&'static [u8], &'static Command>> = LazyLock::new(|| {
            Command::all()
                .map(|command| (command.name.as_bytes(), command))
                .collect()
        });
        // No command's name is longer.
        let mut lower = [0; 16];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        TABLE.get(&*lower).copied()
    }

    /// Every data command.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        [
            keys::COMMANDS,
            strings::COMMANDS,
            lists::COMMANDS,
            hashes::COMMANDS,
            sets::COMMANDS,
            zsets::COMMANDS,
            server::COMMANDS,
        ]
        .into_iter()
        .flatten()
    }

    /// Finds a command and checks how many arguments it got (`words` begins with its name).
    ///
    /// # Errors
    /// [`CommandError::Unknown`], [`CommandError::Arity`], [`CommandError::NotACommand`] without words.
    pub(crate) fn resolve(words: &[&[u8]]) -> Result<&'static Self, CommandError> {
        let (name, args) = words.split_first().ok_or(CommandError::NotACommand)?;
        let command = Self::find(name).ok_or_else(|| unknown(name, args))?;
        check_arity(command.name, command.arity, words.len())?;
        Ok(command)
    }
}

/// Checks a number of words (with the command's name) against an arity.
///
/// # Errors
/// [`CommandError::Arity`].
pub(crate) fn check_arity(name: &str, arity: i8, words: usize) -> Result<(), CommandError> {
    let limit = usize::from(arity.unsigned_abs());
    if (arity >= 0 && words != limit) || words < limit {
        return Err(CommandError::Arity(name.to_owned()));
    }
    Ok(())
}

/// As Redis puts it, cut at 128 bytes.
pub(crate) fn unknown(name: &[u8], args: &[&[u8]]) -> CommandError {
    let cut =
        |bytes: &[u8], limit: usize| String::from_utf8_lossy(&bytes[..bytes.len().min(limit)]).into_owned();
    let mut shown = String::new();
    for arg in args {
        if shown.len() >= 128 {
            break;
        }
        shown += &format!("'{}' ", cut(arg, 128 - shown.len()));
    }
    CommandError::Unknown {
        name: cut(name, 128),
        args: shown,
    }
}

/// Whether an argument is this option, in capitals or not.
fn is_word(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        let mut names = std::collections::BTreeSet::new();
        for command in Command::all() {
            assert!(names.insert(command.name), "{} stands twice", command.name);
            assert_eq!(command.name, command.name.to_ascii_lowercase());
            assert!(
                Command::find(command.name.to_ascii_uppercase().as_bytes()).is_some(),
                "{}",
                command.name
            );
            assert_ne!(command.arity, 0);
        }
        assert!(Command::find(b"a name that is longer than any command").is_none());
        assert!(Command::find(b"").is_none());
    }

    #[test]
    fn an_unknown_command_is_quoted_and_cut() {
        let long = [b'x'; 300];
        let text = unknown(b"fo\xff", &[b"a", &long, b"never shown"]).to_string();
        assert!(text.starts_with("ERR unknown command 'fo\u{fffd}', with args beginning with: 'a' 'xxx"));
        assert!(text.len() < 250 && !text.contains("never"));
    }
}
