//! The `COMMAND` command: what there is.

use super::Shared;
use super::clients::Peer;
use super::local::{Answer, LOCAL_COMMANDS};
use crate::commands::{Args, Command, Handler};
use crate::error::CommandError;
use crate::reply::Reply;

pub(super) fn command(_: &Shared, _: &mut Peer, args: Args<'_>) -> Result<Answer, CommandError> {
    let Some((subcommand, names)) = args.split_first() else {
        return Ok(Answer::Now(Reply::Array(
            everything().map(|(_, reply)| reply).collect(),
        )));
    };
    let reply = match &subcommand.to_ascii_lowercase()[..] {
        b"count" => Reply::count(everything().count()),
        b"list" => Reply::bulks(everything().map(|(name, _)| name)),
        b"info" if names.is_empty() => Reply::Array(everything().map(|(_, reply)| reply).collect()),
        b"info" => Reply::Array(names.iter().map(|name| one(name)).collect()),
        // There are none here; clients then use their own.
        b"docs" => Reply::Array(vec![]),
        _ => {
            let subcommand = String::from_utf8_lossy(subcommand).into_owned();
            return Err(CommandError::UnknownSubcommand {
                command: "COMMAND",
                subcommand,
            });
        }
    };
    Ok(Answer::Now(reply))
}

fn everything() -> impl Iterator<Item = (&'static str, Reply)> {
    let data = Command::all().map(|command| {
        let flag = match command.handler {
            Handler::Read(_) => "readonly",
            Handler::Write(_) => "write",
        };
        (
            command.name,
            describe(command.name, command.arity, flag, command.keys),
        )
    });
    let local = LOCAL_COMMANDS.iter();
    data.chain(local.map(|command| {
        (
            command.name,
            describe(command.name, command.arity, "loading", (0, 0, 0)),
        )
    }))
}

fn one(name: &[u8]) -> Reply {
    let found = everything().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
    found.map_or(Reply::NilArray, |(_, reply)| reply)
}

fn describe(name: &str, arity: i8, flag: &'static str, (first, last, step): (i8, i8, i8)) -> Reply {
    let int = |n: i8| Reply::Int(n.into());
    let flags = Reply::Array(vec![Reply::Status(flag)]);
    Reply::Array(vec![
        Reply::bulk(name),
        int(arity),
        flags,
        int(first),
        int(last),
        int(step),
    ])
}
