//! Commands that concern the connection or this member; they are answered without the pair.

use super::clients::{self, Face, Peer};
use super::{Shared, command, info, numbered, sentinel};
use crate::commands::{Args, check_arity};
use crate::error::CommandError;
use crate::glob;
use crate::number::integer;
use crate::reply::Reply;

/// What is to be done about a command.
pub(super) enum Answer {
    /// Reply.
    Now(Reply),
    /// Reply and close the connection.
    Close(Reply),
    /// Hand it to the pair.
    Send(outlive_pair::Request),
    /// Open a client session and bind this connection to it.
    OpenSession,
    /// Tell these sections about this member.
    Info(Vec<String>),
}

/// A command of a connection.
pub(super) struct LocalCommand {
    pub(super) name: &'static str,
    /// As [`Command::arity`](crate::commands::Command::arity).
    pub(super) arity: i8,
    handler: fn(&Shared, &mut Peer, Args<'_>) -> Result<Answer, CommandError>,
}

pub(super) const LOCAL_COMMANDS: &[LocalCommand] = &[
    LocalCommand {
        name: "ping",
        arity: -1,
        handler: ping,
    },
    LocalCommand {
        name: "echo",
        arity: 2,
        handler: |_, _, args| now(Reply::bulk(args[0])),
    },
    LocalCommand {
        name: "select",
        arity: 2,
        handler: select,
    },
    LocalCommand {
        name: "quit",
        arity: -1,
        handler: |_, _, _| Ok(Answer::Close(Reply::OK)),
    },
    LocalCommand {
        name: "reset",
        arity: 1,
        handler: reset,
    },
    LocalCommand {
        name: "auth",
        arity: -2,
        handler: |_, _, _| Err(CommandError::NoPassword),
    },
    LocalCommand {
        name: "hello",
        arity: -1,
        handler: hello,
    },
    LocalCommand {
        name: "client",
        arity: -2,
        handler: clients::client,
    },
    LocalCommand {
        name: "command",
        arity: -1,
        handler: command::command,
    },
    LocalCommand {
        name: "config",
        arity: -2,
        handler: config,
    },
    LocalCommand {
        name: "info",
        arity: -1,
        handler: info::info,
    },
    LocalCommand {
        name: "role",
        arity: 1,
        handler: role,
    },
    LocalCommand {
        name: "sentinel",
        arity: -2,
        handler: sentinel::sentinel,
    },
    LocalCommand {
        name: "outlive",
        arity: -2,
        handler: numbered::outlive,
    },
];

/// Finds a command of a connection; capitals do not matter.
pub(super) fn find(name: &[u8]) -> Option<&'static LocalCommand> {
    LOCAL_COMMANDS
        .iter()
        .find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
}

impl LocalCommand {
    pub(super) fn answer(
        &self,
        shared: &Shared,
        peer: &mut Peer,
        words: &[&[u8]],
    ) -> Result<Answer, CommandError> {
        check_arity(self.name, self.arity, words.len())?;
        (self.handler)(shared, peer, &words[1..])
    }
}

fn now(reply: Reply) -> Result<Answer, CommandError> {
    Ok(Answer::Now(reply))
}

fn ping(_: &Shared, _: &mut Peer, args: Args<'_>) -> Result<Answer, CommandError> {
    match args {
        [] => now(Reply::Status("PONG")),
        [text] => now(Reply::bulk(text)),
        _ => Err(CommandError::Arity("ping".into())),
    }
}

fn select(_: &Shared, _: &mut Peer, args: Args<'_>) -> Result<Answer, CommandError> {
    match integer(args[0])? {
        0 => now(Reply::OK),
        _ => Err(CommandError::DatabaseIndex),
    }
}

fn reset(shared: &Shared, peer: &mut Peer, _: Args<'_>) -> Result<Answer, CommandError> {
    peer.session = None;
    peer.resp3 = false;
    shared.clients.set_name(peer.id, b"")?;
    now(Reply::Status("RESET"))
}

fn role(shared: &Shared, peer: &mut Peer, _: Args<'_>) -> Result<Answer, CommandError> {
    now(match peer.face {
        Face::Member => info::role(&shared.member.role()),
        Face::Sentinel => Reply::Array(vec![Reply::bulk("sentinel"), Reply::bulks([&shared.pair])]),
    })
}

fn hello(shared: &Shared, peer: &mut Peer, mut args: Args<'_>) -> Result<Answer, CommandError> {
    let mut version_asked = None;
    if let Some((version, options)) = args.split_first() {
        match integer(version).map_err(|_| CommandError::ProtocolVersion)? {
            asked @ (2 | 3) => (args, version_asked) = (options, Some(asked)),
            _ => return Err(CommandError::NoProtocol),
        }
    }
    match args {
        [] => {}
        [word, name] if word.eq_ignore_ascii_case(b"SETNAME") => shared.clients.set_name(peer.id, name)?,
        [word, _, _, ..] if word.eq_ignore_ascii_case(b"AUTH") => return Err(CommandError::NoPassword),
        [word, ..] => {
            return Err(CommandError::HelloOption(
                String::from_utf8_lossy(word).into_owned(),
            ));
        }
    }
    // Only when nothing of it is refused.
    if let Some(version) = version_asked {
        peer.resp3 = version == 3;
    }
    let role = if info::is_primary(&shared.member.role()) {
        "master"
    } else {
        "replica"
    };
    now(Reply::Array(vec![
        Reply::bulk("server"),
        Reply::bulk("redis"),
        Reply::bulk("version"),
        Reply::bulk(info::REDIS_VERSION),
        Reply::bulk("proto"),
        Reply::Int(if peer.resp3 { 3 } else { 2 }),
        Reply::bulk("id"),
        Reply::Int(i64::try_from(peer.id).unwrap_or(i64::MAX)),
        Reply::bulk("mode"),
        Reply::bulk("standalone"),
        Reply::bulk("role"),
        Reply::bulk(role),
        Reply::bulk("modules"),
        Reply::Array(vec![]),
    ]))
}

/// What `CONFIG GET` knows: what common clients ask for.
const CONFIGURATION: &[(&str, &str)] = &[
    ("appendonly", "yes"),
    ("databases", "1"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("proto-max-bulk-len", "1048576"),
    ("save", ""),
    ("timeout", "0"),
];

fn config(_: &Shared, _: &mut Peer, args: Args<'_>) -> Result<Answer, CommandError> {
    match args {
        [word, patterns @ ..] if word.eq_ignore_ascii_case(b"GET") => {
            check_arity("config|get", -3, args.len() + 1)?;
            let asked = |name: &str| {
                patterns
                    .iter()
                    .any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
            };
            let known = CONFIGURATION.iter().filter(|(name, _)| asked(name));
            now(Reply::bulks(known.flat_map(|(name, value)| [name, value])))
        }
        [word, rest @ ..] if word.eq_ignore_ascii_case(b"SET") => {
            check_arity("config|set", -4, args.len() + 1)?;
            Err(CommandError::ConfigSet(
                String::from_utf8_lossy(rest[0]).into_owned(),
            ))
        }
        [word] if word.eq_ignore_ascii_case(b"RESETSTAT") => now(Reply::OK),
        [word, ..] => {
            let subcommand = String::from_utf8_lossy(word).into_owned();
            Err(CommandError::UnknownSubcommand {
                command: "CONFIG",
                subcommand,
            })
        }
        [] => Err(CommandError::Syntax),
    }
}
