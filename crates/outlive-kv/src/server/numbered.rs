//! `OUTLIVE …`: what the Redis protocol has no words for.
//!
//! - `OUTLIVE SESSION`: opens a client session, binds the connection to it, replies its id.
//! - `OUTLIVE SESSION id`: binds the connection to a session that was opened earlier, perhaps through
//!   another member.
//! - `OUTLIVE REQ number command …`: a data command that is carried out once, however often it is sent
//!   and whichever member is primary; the reply is the command's.
//! - `OUTLIVE STATUS`: how this member is.

use outlive_pair::{Request, SessionId};

use super::clients::Peer;
use super::local::Answer;
use super::{Shared, info};
use crate::commands::{Args, check_arity};
use crate::error::CommandError;
use crate::number::integer;
use crate::reply::Reply;
use crate::request;

pub(super) fn outlive(shared: &Shared, peer: &mut Peer, args: Args<'_>) -> Result<Answer, CommandError> {
    let (subcommand, rest) = args.split_first().ok_or(CommandError::Syntax)?;
    match (&subcommand.to_ascii_lowercase()[..], rest) {
        (b"session", []) => Ok(Answer::OpenSession),
        (b"session", [id]) => {
            let id = std::str::from_utf8(id)
                .ok()
                .and_then(|id| id.parse::<SessionId>().ok());
            peer.session = Some(id.ok_or(CommandError::SessionId)?);
            Ok(Answer::Now(Reply::OK))
        }
        (b"session", _) => Err(CommandError::Arity("outlive|session".into())),
        (b"req", rest) => {
            check_arity("outlive|req", -4, rest.len() + 2)?;
            let session = peer.session.ok_or(CommandError::NoSession)?;
            let number = u64::try_from(integer(rest[0])?).map_err(|_| CommandError::NotAnInteger)?;
            // Also a command that does not exist uses up its number, so that both sides count alike.
            let body = request::encode(&rest[1..]);
            Ok(Answer::Send(Request::numbered(session, number, &body[..])))
        }
        (b"status", []) => {
            let fields = info::status(shared).into_iter();
            Ok(Answer::Now(Reply::bulks(
                fields.flat_map(|(name, value)| [name.to_owned(), value]),
            )))
        }
        _ => {
            let subcommand = String::from_utf8_lossy(subcommand).into_owned();
            Err(CommandError::UnknownSubcommand {
                command: "OUTLIVE",
                subcommand,
            })
        }
    }
}
