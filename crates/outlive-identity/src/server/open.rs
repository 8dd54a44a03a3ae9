//! Connections that were let in: how many, whose, and until when.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::oneshot;

use crate::Name;

/// The table of open connections.
#[derive(Debug, Default)]
pub(super) struct Open {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    connections: HashMap<u64, Entry>,
    of_identity: HashMap<Name, usize>,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    expires: SystemTime,
    chain: Vec<CertificateDer<'static>>,
    end: Option<oneshot::Sender<&'static str>>,
}

/// Why one more is too many.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    InAll(usize),
    OfIdentity(usize),
}

/// One connection's place; given up when dropped.
#[derive(Debug)]
pub(super) struct Place {
    open: Arc<Open>,
    number: u64,
}

impl Open {
    /// Takes a place for a connection; the receiver tells when and why it has to end.
    pub(super) fn enter(
        self: &Arc<Self>,
        name: &Name,
        expires: SystemTime,
        chain: Vec<CertificateDer<'static>>,
        limits: (usize, usize),
    ) -> Result<(Place, oneshot::Receiver<&'static str>), Full> {
        let (in_all, per_identity) = limits;
        let mut table = self.lock();
        if table.connections.len() >= in_all {
            return Err(Full::InAll(in_all));
        }
        let held = table.of_identity.entry(name.clone()).or_default();
        if *held >= per_identity {
            return Err(Full::OfIdentity(per_identity));
        }
        *held += 1;
        table.next += 1;
        let number = table.next;
        let (end, ended) = oneshot::channel();
        let entry = Entry {
            name: name.clone(),
            expires,
            chain,
            end: Some(end),
        };
        table.connections.insert(number, entry);
        let place = Place {
            open: Arc::clone(self),
            number,
        };
        Ok((place, ended))
    }

    /// Ends those whose certificate has expired.
    pub(super) fn end_expired(&self, now: SystemTime) {
        for entry in self.lock().connections.values_mut() {
            if entry.expires <= now {
                entry.end("the client's certificate has expired");
            }
        }
    }

    /// Ends those whose certificate does not count any more.
    pub(super) fn end_untrusted(&self, verifier: &dyn ClientCertVerifier) {
        for entry in self.lock().connections.values_mut() {
            let Some((first, rest)) = entry.chain.split_first() else {
                continue;
            };
            if verifier.verify_client_cert(first, rest, UnixTime::now()).is_err() {
                entry.end("the client's certificate is not trusted any more");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn end(&mut self, why: &'static str) {
        if let Some(end) = self.end.take() {
            // The connection may have ended by itself.
            let _ = end.send(why);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.open.lock();
        let Some(entry) = table.connections.remove(&self.number) else {
            return;
        };
        if let Some(held) = table.of_identity.get_mut(&entry.name) {
            *held -= 1;
            if *held == 0 {
                table.of_identity.remove(&entry.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_for_each_identity_and_come_free() {
        let open = Arc::new(Open::default());
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        let enter = |name: &str| open.enter(&name.parse().unwrap(), later, Vec::new(), (3, 2));
        let (first, _) = enter("a").unwrap();
        let _second = enter("a").unwrap();
        assert_eq!(enter("a").unwrap_err(), Full::OfIdentity(2));
        let _other = enter("b").unwrap();
        assert_eq!(enter("c").unwrap_err(), Full::InAll(3));
        drop(first);
        let _again = enter("a").unwrap();
        assert!(!open.lock().of_identity.contains_key(&"c".parse().unwrap()));
    }

    #[test]
    fn expiry_ends_a_connection() {
        let open = Arc::new(Open::default());
        let now = SystemTime::now();
        let (_place, mut ended) = open
            .enter(&"a".parse().unwrap(), now, Vec::new(), (1, 1))
            .unwrap();
        open.end_expired(now - std::time::Duration::from_secs(1));
        assert!(ended.try_recv().is_err());
        open.end_expired(now);
        assert!(ended.try_recv().unwrap().contains("expired"));
    }
}
