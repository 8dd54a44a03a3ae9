//! Who is connected, and the `CLIENT` command.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use outlive_pair::SessionId;

use super::Shared;
use super::local::Answer;
use crate::commands::{Args, check_arity};
use crate::error::CommandError;
use crate::reply::Reply;

/// As what the server shows itself, by the address that the client chose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    /// A Redis server.
    Member,
    /// A Redis sentinel: tells where the primary is, holds no data.
    Sentinel,
}

/// A connection, as its own side knows it.
pub(super) struct Peer {
    /// Unique in this process.
    pub(super) id: u64,
    pub(super) face: Face,
    /// The client session that its numbered requests belong to.
    pub(super) session: Option<SessionId>,
    /// It asked for RESP3.
    pub(super) resp3: bool,
}

/// Every connection.
#[derive(Default)]
pub(super) struct Clients {
    next: AtomicU64,
    connected: Mutex<BTreeMap<u64, Connected>>,
}

struct Connected {
    address: SocketAddr,
    local_address: SocketAddr,
    since: Instant,
    name: Bytes,
    library: Bytes,
    library_version: Bytes,
}

impl Clients {
    pub(super) fn enter(&self, address: SocketAddr, local_address: SocketAddr, face: Face) -> Peer {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let connected = Connected {
            address,
            local_address,
            since: Instant::now(),
            name: Bytes::new(),
            library: Bytes::new(),
            library_version: Bytes::new(),
        };
        self.lock().insert(id, connected);
        Peer {
            id,
            face,
            session: None,
            resp3: false,
        }
    }

    pub(super) fn leave(&self, id: u64) {
        self.lock().remove(&id);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn set_name(&self, id: u64, name: &[u8]) -> Result<(), CommandError> {
        let text = printable(name).ok_or(CommandError::ClientName)?;
        self.change(id, |client| client.name = text);
        Ok(())
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Connected)) {
        if let Some(client) = self.lock().get_mut(&id) {
            change(client);
        }
    }

    /// The map is whole after every statement that changes it, so a panic elsewhere does no harm.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Connected>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `CLIENT …`, as far as clients need it to connect and operators to see who is there.
pub(super) fn client(shared: &Shared, peer: &mut Peer, args: Args<'_>) -> Result<Answer, CommandError> {
    let (subcommand, args) = args.split_first().ok_or(CommandError::Syntax)?;
    let lower = subcommand.to_ascii_lowercase();
    let arity = |arity| {
        let name = format!("client|{}", String::from_utf8_lossy(&lower));
        check_arity(&name, arity, args.len() + 2)
    };
    let reply =
        match &lower[..] {
            b"id" => arity(2).map(|()| Reply::Int(i64::try_from(peer.id).unwrap_or(i64::MAX)))?,
            b"getname" => {
                arity(2)?;
                let clients = shared.clients.lock();
                let name = clients
                    .get(&peer.id)
                    .map(|client| client.name.clone())
                    .filter(|name| !name.is_empty());
                name.map_or(Reply::Nil, Reply::Bulk)
            }
            b"setname" => {
                arity(3)?;
                shared.clients.set_name(peer.id, args[0])?;
                Reply::OK
            }
            b"setinfo" => {
                arity(4)?;
                set_info(shared, peer, args[0], args[1])?
            }
            b"list" => Reply::bulk(shared.clients.lock().iter().fold(
                String::new(),
                |mut text, (id, client)| {
                    client.describe(*id, &mut text);
                    text
                },
            )),
            b"info" => {
                arity(2)?;
                let mut text = String::new();
                if let Some(client) = shared.clients.lock().get(&peer.id) {
                    client.describe(peer.id, &mut text);
                }
                Reply::bulk(text)
            }
            b"no-evict" | b"no-touch" => {
                arity(3)?;
                Reply::OK
            }
            _ => {
                let subcommand = String::from_utf8_lossy(subcommand).into_owned();
                return Err(CommandError::UnknownSubcommand {
                    command: "CLIENT",
                    subcommand,
                });
            }
        };
    Ok(Answer::Now(reply))
}

fn set_info(shared: &Shared, peer: &Peer, attribute: &[u8], value: &[u8]) -> Result<Reply, CommandError> {
    let lower = attribute.to_ascii_lowercase();
    let text = printable(value);
    match (&lower[..], text) {
        (b"lib-name", Some(text)) => shared.clients.change(peer.id, |client| client.library = text),
        (b"lib-ver", Some(text)) => shared
            .clients
            .change(peer.id, |client| client.library_version = text),
        (b"lib-name" | b"lib-ver", None) => {
            return Err(CommandError::ClientAttribute(
                String::from_utf8_lossy(&lower).into_owned(),
            ));
        }
        _ => {
            let attribute = String::from_utf8_lossy(attribute).into_owned();
            return Err(CommandError::UnknownClientAttribute(attribute));
        }
    }
    Ok(Reply::OK)
}

impl Connected {
    fn describe(&self, id: u64, text: &mut String) {
        let lossy = String::from_utf8_lossy;
        let _ = writeln!(
            text,
            "id={id} addr={} laddr={} name={} age={} db=0 user=default resp=2 lib-name={} lib-ver={}",
            self.address,
            self.local_address,
            lossy(&self.name),
            self.since.elapsed().as_secs(),
            lossy(&self.library),
            lossy(&self.library_version),
        );
    }
}

/// Text that cannot break the lines of `CLIENT LIST`; long names are refused, they stay in memory.
fn printable(text: &[u8]) -> Option<Bytes> {
    const MAX_NAME_BYTES: usize = 1024;
    let fine = text.len() <= MAX_NAME_BYTES && text.iter().all(u8::is_ascii_graphic);
    fine.then(|| Bytes::copy_from_slice(text))
}
