//! The store as a service of a process pair: what is journalled is the command as the client sent it.

use outlive_pair::{Moment, RestoreError, Service};

use crate::commands::{Command, Handler};
use crate::error::CommandError;
use crate::reply::Reply;
use crate::request::words;
use crate::store::Store;

/// First byte of every snapshot; raised when what follows changes.
const SNAPSHOT_VERSION: u8 = 1;

/// The key-value service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kv {
    store: Store,
}

impl Kv {
    fn change(&mut self, request: &[u8]) -> Result<Reply, CommandError> {
        let words = words(request)?;
        match Command::resolve(&words)?.handler {
            Handler::Read(read) => read(self.store.view(), &words[1..]),
            Handler::Write(write) => write(&mut self.store, &words[1..]),
        }
    }

    fn read(&self, request: &[u8], now_ms: u64) -> Result<Reply, CommandError> {
        let words = words(request)?;
        match Command::resolve(&words)?.handler {
            Handler::Read(read) => read(self.store.view_at(now_ms), &words[1..]),
            Handler::Write(_) => Err(CommandError::NotACommand),
        }
    }
}

impl Service for Kv {
    /// Whatever cannot change anything is read-only: also a request that is refused before it is run.
    fn is_read_only(&self, request: &[u8]) -> bool {
        let command = words(request).and_then(|words| Command::resolve(&words));
        !command.is_ok_and(|command| matches!(command.handler, Handler::Write(_)))
    }

    fn apply(&mut self, request: &[u8], at: Moment) -> Vec<u8> {
        self.store.advance(at.unix_ms);
        self.change(request).unwrap_or_else(Reply::from).encode().into()
    }

    fn query(&self, request: &[u8], at: Moment) -> Vec<u8> {
        self.read(request, at.unix_ms)
            .unwrap_or_else(Reply::from)
            .encode()
            .into()
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_extend(&self.store, vec![SNAPSHOT_VERSION]).expect("a vector takes any number of bytes")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.store = match snapshot {
            [] => Store::default(),
            [SNAPSHOT_VERSION, rest @ ..] => match postcard::take_from_bytes(rest) {
                Ok((store, [])) => store,
                Ok((_, more)) => return Err(RestoreError::new(format!("{} bytes too many", more.len()))),
                Err(error) => return Err(RestoreError::new(error)),
            },
            [version, ..] => {
                return Err(RestoreError::new(format!(
                    "version {version} is not known; this is {SNAPSHOT_VERSION}"
                )));
            }
        };
        Ok(())
    }
}
