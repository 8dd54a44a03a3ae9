//! The `SENTINEL` command, as far as clients use it to find a primary.
//!
//! Every member answers with the current primary's address, so a client is given the members' own
//! addresses as its sentinels and follows the primary unchanged.
//!
//! Some clients (the `redis` crate) first ask a sentinel for its `ROLE` and go on only if it says
//! `sentinel`, and ask the primary that they were told for the same and want to hear `master`. One address
//! cannot say both, so for those a member can listen on a second one, where it is nothing but a sentinel.

use outlive_pair::RoleView;

use super::Shared;
use super::clients::Peer;
use super::info::{is_primary, primary_address};
use super::local::Answer;
use crate::commands::{Args, check_arity};
use crate::error::CommandError;
use crate::reply::Reply;

pub(super) fn sentinel(shared: &Shared, _: &mut Peer, args: Args<'_>) -> Result<Answer, CommandError> {
    let view = shared.member.role();
    let (subcommand, rest) = args.split_first().ok_or(CommandError::Syntax)?;
    let lower = String::from_utf8_lossy(subcommand).to_ascii_lowercase();
    let named = || {
        check_arity(&format!("sentinel|{lower}"), 3, rest.len() + 2)?;
        match rest[0] == shared.pair.as_bytes() {
            true => Ok(()),
            false => Err(CommandError::NoSuchMaster),
        }
    };
    let reply = match &lower[..] {
        "get-master-addr-by-name" => match (named(), primary_address(&view)) {
            (Err(error @ CommandError::Arity(_)), _) => return Err(error),
            (Ok(()), Some((host, port))) => Reply::bulks([host, port]),
            _ => Reply::NilArray,
        },
        "masters" => Reply::Array(master(shared, &view).into_iter().collect()),
        "master" => named().map(|()| master(shared, &view).unwrap_or(Reply::Array(vec![])))?,
        // Clients learn the members' addresses from their own configuration.
        "sentinels" | "replicas" | "slaves" => named().map(|()| Reply::Array(vec![]))?,
        "myid" => Reply::bulk(format!("{:040x}", std::process::id())),
        "ping" => Reply::Status("PONG"),
        "ckquorum" => named().map(|()| {
            Reply::Status("OK 1 usable Sentinels. Quorum and failover authorization can be reached")
        })?,
        _ => {
            let subcommand = String::from_utf8_lossy(subcommand).into_owned();
            return Err(CommandError::UnknownSubcommand {
                command: "SENTINEL",
                subcommand,
            });
        }
    };
    Ok(Answer::Now(reply))
}

/// The primary in the form of `SENTINEL MASTERS`, with the fields that client libraries look at;
/// nothing while no primary is known.
fn master(shared: &Shared, view: &RoleView) -> Option<Reply> {
    let (host, port) = primary_address(view)?;
    // To a member that takes over, the primary is down.
    let up = is_primary(view) || view.role == outlive_pair::Role::Backup;
    let fields = [
        ("name", shared.pair.clone()),
        ("ip", host),
        ("port", port),
        ("runid", String::new()),
        ("flags", if up { "master" } else { "master,s_down" }.into()),
        ("role-reported", "master".into()),
        ("config-epoch", view.generation.to_string()),
        ("num-slaves", "0".into()),
        ("num-other-sentinels", "1".into()),
        ("quorum", "1".into()),
    ];
    Some(Reply::bulks(
        fields
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value]),
    ))
}
