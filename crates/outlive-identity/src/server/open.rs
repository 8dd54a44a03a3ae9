//! Connections that were let in: how many, whose, and until when.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::oneshot;

use crate::Name;

/// Connections that had to go for others and are not closed yet: told to end, they do so at once, so that only a crowd of
/// newcomers in one moment finds as many.
const MAX_LEAVING: usize = 256;
/// What a connection is told that has to go for another's.
const DISPLACED: &str = "every place was taken, and its identity held most of them";

/// The table of open connections.
#[derive(Debug, Default)]
pub(super) struct Open {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// By number: the oldest comes first.
    connections: BTreeMap<u64, Entry>,
    of_identity: HashMap<Name, usize>,
    /// Not among the connections any more, though their places are not dropped yet.
    leaving: usize,
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
    /// Takes a place for a connection; the receiver tells when and why it has to end. When every place is taken the
    /// oldest connection of the identity that holds most has to go, if that is more than the newcomer's identity
    /// holds: identities that take all they may lock nobody out.
    pub(super) fn enter(
        self: &Arc<Self>,
        name: &Name,
        expires: SystemTime,
        chain: Vec<CertificateDer<'static>>,
        limits: (usize, usize),
    ) -> Result<(Place, oneshot::Receiver<&'static str>), Full> {
        let (in_all, per_identity) = limits;
        let mut table = self.lock();
        let held = table.of_identity.get(name).copied().unwrap_or(0);
        if held >= per_identity {
            return Err(Full::OfIdentity(per_identity));
        }
        if table.connections.len() >= in_all && !table.displace(held) {
            return Err(Full::InAll(in_all));
        }
        table.of_identity.insert(name.clone(), held + 1);
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
            entry.end_if_untrusted(verifier);
        }
    }

    /// Ends that one if its certificate does not count any more.
    pub(super) fn end_if_untrusted(&self, number: u64, verifier: &dyn ClientCertVerifier) {
        if let Some(entry) = self.lock().connections.get_mut(&number) {
            entry.end_if_untrusted(verifier);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Ends the oldest connection of the identity that holds most, if it holds more than `held`.
    fn displace(&mut self, held: usize) -> bool {
        let Some(most) = self.of_identity.values().copied().max() else {
            return false;
        };
        if most <= held || self.leaving >= MAX_LEAVING {
            return false;
        }
        let mut from_oldest = self.connections.iter();
        let oldest = from_oldest.find(|(_, entry)| self.of_identity.get(&entry.name) == Some(&most));
        let Some((&number, _)) = oldest else {
            return false;
        };
        if let Some(mut entry) = self.remove(number) {
            entry.end(DISPLACED);
            self.leaving += 1;
        }
        true
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.connections.remove(&number)?;
        if let Some(held) = self.of_identity.get_mut(&entry.name) {
            *held -= 1;
            if *held == 0 {
                self.of_identity.remove(&entry.name);
            }
        }
        Some(entry)
    }
}

impl Entry {
    fn end_if_untrusted(&mut self, verifier: &dyn ClientCertVerifier) {
        let Some((first, rest)) = self.chain.split_first() else {
            return;
        };
        if verifier.verify_client_cert(first, rest, UnixTime::now()).is_err() {
            self.end("the client's certificate is not trusted any more");
        }
    }

    fn end(&mut self, why: &'static str) {
        if let Some(end) = self.end.take() {
            // The connection may have ended by itself.
            let _ = end.send(why);
        }
    }
}

impl Place {
    /// Which one it is.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.open.lock();
        if table.remove(self.number).is_none() {
            table.leaving -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::server::WebPkiClientVerifier;

    use super::*;
    use crate::Authority;
    use crate::credentials::certificates;

    fn later() -> SystemTime {
        SystemTime::now() + std::time::Duration::from_secs(60)
    }

    #[test]
    fn places_are_bounded_in_all_and_for_each_identity_and_come_free() {
        let open = Arc::new(Open::default());
        let enter = |name: &str| open.enter(&name.parse().unwrap(), later(), Vec::new(), (3, 2));
        let (first, _) = enter("a").unwrap();
        let _second = enter("a").unwrap();
        assert_eq!(enter("a").unwrap_err(), Full::OfIdentity(2));
        let _b = enter("b").unwrap();
        drop(first);
        let _c = enter("c").unwrap();
        assert_eq!(
            enter("c").unwrap_err(),
            Full::InAll(3),
            "nobody holds more than c does"
        );
        assert_eq!(open.lock().of_identity.len(), 3);
    }

    #[test]
    fn the_oldest_of_the_identity_that_holds_most_goes_for_a_newcomer() {
        let open = Arc::new(Open::default());
        let enter = |name: &str| open.enter(&name.parse().unwrap(), later(), Vec::new(), (4, 3));
        let (_modest, mut modest_ended) = enter("modest").unwrap();
        let mut greedy: Vec<_> = (0..3).map(|_| enter("greedy").unwrap()).collect();
        let (_newcomer, mut newcomer_ended) = enter("newcomer").unwrap();
        assert!(greedy[0].1.try_recv().unwrap().contains("held most"));
        assert!(greedy[1].1.try_recv().is_err() && modest_ended.try_recv().is_err());
        // It counts no more, though it is still closing; its end frees nothing a second time.
        assert_eq!(open.lock().leaving, 1);
        drop(greedy.remove(0));
        assert_eq!(open.lock().leaving, 0);
        assert_eq!(open.lock().connections.len(), 4);
        // Whoever holds as much as everybody else displaces nobody.
        let (_second, _) = enter("newcomer").unwrap();
        assert_eq!(enter("newcomer").unwrap_err(), Full::InAll(4));
        assert!(newcomer_ended.try_recv().is_err());
    }

    #[test]
    fn connections_that_are_told_to_end_and_do_not_are_bounded() {
        let open = Arc::new(Open::default());
        let limits = (2 * MAX_LEAVING, 2 * MAX_LEAVING);
        let enter = |name: &str| open.enter(&name.parse().unwrap(), later(), Vec::new(), limits);
        let mut held: Vec<_> = (0..limits.0).map(|_| enter("greedy").unwrap()).collect();
        for number in 0..MAX_LEAVING / 2 {
            held.push(enter(&format!("a{number}")).unwrap());
            held.push(enter(&format!("b{number}")).unwrap());
        }
        assert_eq!(enter("one-more").unwrap_err(), Full::InAll(limits.0));
        held.remove(0);
        enter("one-more").unwrap();
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

    #[test]
    fn what_was_reloaded_during_a_handshake_is_asked_about_the_newcomer_alone() {
        let (before, after) = (Authority::generate().unwrap(), Authority::generate().unwrap());
        let credentials = before
            .issue_client(&"a".parse().unwrap(), crate::DEFAULT_VALIDITY)
            .unwrap();
        let chain = certificates("it", &credentials.certificate_pem).unwrap();
        let roots = crate::tls::roots("it", after.certificate_pem()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, crate::tls::provider());
        let verifier = verifier.build().unwrap();
        let open = Arc::new(Open::default());
        let enter = || {
            open.enter(&"a".parse().unwrap(), later(), chain.clone(), (2, 2))
                .unwrap()
        };
        let (_other, mut of_other) = enter();
        let (newcomer, mut of_newcomer) = enter();
        open.end_if_untrusted(newcomer.number(), &*verifier);
        assert!(of_newcomer.try_recv().unwrap().contains("not trusted"));
        assert!(of_other.try_recv().is_err(), "others are the sweep's");
        open.end_untrusted(&*verifier);
        assert!(of_other.try_recv().unwrap().contains("not trusted"));
    }
}
