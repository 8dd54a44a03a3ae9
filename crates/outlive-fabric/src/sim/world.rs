//! Virtual time and everything that happens in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::link::{End, InFlight, Link, Progress, Request};
use super::{SimAddress, SimOptions, Way, nanos};
use crate::proof::Nonce;
use crate::{Admission, Admitted, CloseReason, Completion, ConnectionId, OpId, Refusal};

pub(super) struct World {
    options: SimOptions,
    random: u64,
    now_ns: u64,
    targets: BTreeMap<u64, Arc<dyn Admission>>,
    links: BTreeMap<ConnectionId, Link>,
    last_id: u64,
    notices: Vec<Notice>,
}

/// A connection that ended, for its admission to know.
pub(super) struct Notice {
    pub(super) admission: Arc<dyn Admission>,
    pub(super) connection: ConnectionId,
    pub(super) reason: CloseReason,
}

/// What an endpoint hears.
pub(super) enum News {
    Completion(Completion),
    Ended(End),
    Nothing,
}

impl World {
    pub(super) fn new(options: SimOptions) -> Self {
        Self {
            random: options.seed,
            options,
            now_ns: 0,
            targets: BTreeMap::new(),
            links: BTreeMap::new(),
            last_id: 0,
            notices: Vec::new(),
        }
    }

    pub(super) fn options(&self) -> &SimOptions {
        &self.options
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    pub(super) fn add_target(&mut self, admission: Arc<dyn Admission>) -> SimAddress {
        self.last_id += 1;
        self.targets.insert(self.last_id, admission);
        SimAddress(self.last_id)
    }

    /// A number for a connection that its target may or may not let in.
    pub(super) fn reserve(&mut self, address: SimAddress) -> Option<(Arc<dyn Admission>, ConnectionId)> {
        let admission = Arc::clone(self.targets.get(&address.0)?);
        self.last_id += 1;
        let id = ConnectionId(self.last_id);
        self.links
            .insert(id, Link::new(address.0, Arc::clone(&admission)));
        Some((admission, id))
    }

    pub(super) fn forget(&mut self, id: ConnectionId) {
        self.links.remove(&id);
    }

    pub(super) fn open(&mut self, id: ConnectionId, admitted: Admitted) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        match &link.end {
            None => link.admitted = Some(admitted),
            // Stopped already, while it was being admitted: its admission still hears of the end.
            Some((_, end)) => {
                let reason = match end {
                    End::Stopped(reason) => CloseReason::Stopped(reason.clone()),
                    End::Lost => CloseReason::Closed,
                };
                let admission = Arc::clone(&link.admission);
                self.notices.push(Notice {
                    admission,
                    connection: id,
                    reason,
                });
            }
        }
    }

    /// Sends a request; into nothing, once the connection has ended.
    pub(super) fn post(&mut self, id: ConnectionId, op: OpId, request: Request) {
        let due_ns = self.now_ns + self.travel_ns();
        if let Some(link) = self.links.get_mut(&id).filter(|link| !link.ended()) {
            link.last_request_ns = due_ns.max(link.last_request_ns);
            link.requests.push_back(InFlight {
                due_ns: link.last_request_ns,
                op,
                request,
            });
        }
    }

    pub(super) fn hear(&mut self, id: ConnectionId) -> News {
        let now = self.now_ns;
        let Some(link) = self.links.get_mut(&id) else {
            return News::Ended(End::Lost);
        };
        if link.next_news_ns().is_none_or(|due| due > now) {
            return News::Nothing;
        }
        match (link.answers.pop_front(), &link.end) {
            (Some((_, completion)), _) => News::Completion(completion),
            (None, Some((_, end))) => News::Ended(end.clone()),
            (None, None) => News::Nothing,
        }
    }

    /// Lets one thing happen: a step of one connection that has work, or time passing until the next
    /// thing is due, at most until `until_ns`.
    pub(super) fn step(&mut self, until_ns: u64) {
        let now = self.now_ns;
        let due = |link: &Link| link.next_due_ns().is_some_and(|due| due <= now);
        let able: Vec<ConnectionId> = self
            .links
            .iter()
            .filter(|(_, link)| due(link))
            .map(|(id, _)| *id)
            .collect();
        if able.is_empty() {
            let later = self
                .links
                .values()
                .flat_map(|link| [link.next_due_ns(), link.next_news_ns()]);
            let next = later.flatten().filter(|due| *due > now).min();
            self.now_ns = next.map_or(until_ns, |next| next.min(until_ns)).max(now);
            return;
        }
        let chosen = self.below(able.len() as u64);
        let id = able[usize::try_from(chosen).expect("an index")];
        let piece = 8 * (1 + self.below((self.options.piece_bytes / 8).max(1)));
        let answer_ns = now + self.travel_ns();
        self.now_ns += nanos(self.options.step).max(1);
        self.carry_out(id, piece, answer_ns);
    }

    /// Carries out what is due by `clock_ns`. What takes several steps may go on at the next call.
    pub(super) fn catch_up(&mut self, clock_ns: u64) {
        while self.now_ns <= clock_ns {
            let is_due = |link: &Link| link.next_due_ns().is_some_and(|due| due <= self.now_ns);
            if self.now_ns == clock_ns && !self.links.values().any(is_due) {
                break;
            }
            self.step(clock_ns);
        }
    }

    /// When something next happens on a connection: a request is carried out or the initiator hears.
    pub(super) fn next_of(&self, id: ConnectionId) -> Option<u64> {
        let link = self.links.get(&id)?;
        let due = link.next_due_ns().map(|due| due.max(self.now_ns));
        [due, link.next_news_ns()].into_iter().flatten().min()
    }

    fn carry_out(&mut self, id: ConnectionId, piece: u64, answer_ns: u64) {
        let max_op_bytes = self.options.max_op_bytes;
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        match link.carry_out(piece, max_op_bytes) {
            Progress::Going => {}
            Progress::Lost => self.lose(id),
            Progress::Done(result) => {
                link.done = 0;
                link.partial_read.clear();
                if let Some(request) = link.requests.pop_front() {
                    link.last_answer_ns = answer_ns.max(link.last_answer_ns);
                    link.answers.push_back((
                        link.last_answer_ns,
                        Completion {
                            op: request.op,
                            result,
                        },
                    ));
                }
                if link.closing && link.requests.is_empty() {
                    self.end(id, End::Lost, CloseReason::Closed);
                }
            }
        }
    }

    /// The initiator closed it, or died. What it had sent arrives up to a point that is left to chance.
    pub(super) fn close(&mut self, id: ConnectionId) {
        if self.has_ended(id) {
            // Nobody hears of it any more.
            self.links.remove(&id);
            return;
        }
        let sent = self.links.get(&id).map_or(0, |link| link.requests.len());
        let arriving = usize::try_from(self.below(sent as u64 + 1)).expect("a length");
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.closing = true;
        link.requests.truncate(arriving);
        if link.requests.is_empty() {
            self.end(id, End::Lost, CloseReason::Closed);
        }
    }

    pub(super) fn stop(&mut self, id: ConnectionId, reason: Refusal) {
        self.end(id, End::Stopped(reason.clone()), CloseReason::Stopped(reason));
    }

    pub(super) fn lose(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.answers.clear();
        }
        self.end(
            id,
            End::Lost,
            CloseReason::Broken("the connection was lost".into()),
        );
    }

    pub(super) fn lose_after(&mut self, id: ConnectionId, bytes: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            link.bytes_until_lost = Some(bytes);
        }
    }

    pub(super) fn hold(&mut self, id: ConnectionId, way: Way) {
        let now = self.now_ns;
        if let Some(link) = self.links.get_mut(&id) {
            match way {
                Way::ToTarget => drop(link.requests_held_ns.get_or_insert(now)),
                Way::ToInitiator => link.answers_held = true,
            }
        }
    }

    pub(super) fn heal(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.requests_held_ns = None;
            link.answers_held = false;
        }
    }

    pub(super) fn shut_down(&mut self, address: SimAddress) {
        self.targets.remove(&address.0);
        let of_target = |link: &Link| link.target == address.0;
        let ids: Vec<ConnectionId> = self
            .links
            .iter()
            .filter(|(_, link)| of_target(link))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.stop(id, Refusal::ShuttingDown);
        }
    }

    pub(super) fn has_ended(&self, id: ConnectionId) -> bool {
        self.links.get(&id).is_none_or(Link::ended)
    }

    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Nothing of the connection is carried out any more. The first end is the one that counts.
    fn end(&mut self, id: ConnectionId, end: End, reason: CloseReason) {
        let heard_ns = self.now_ns + self.travel_ns();
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.ended()) else {
            return;
        };
        link.requests.clear();
        link.end = Some((heard_ns.max(link.last_answer_ns), end));
        let abandoned = link.closing;
        if link.admitted.take().is_some() {
            let admission = Arc::clone(&link.admission);
            self.notices.push(Notice {
                admission,
                connection: id,
                reason,
            });
        }
        if abandoned {
            self.links.remove(&id);
        }
    }

    pub(super) fn travel_ns(&mut self) -> u64 {
        let one_in = self.options.stray.as_ref().map_or(0, |stray| stray.one_in);
        let strays = one_in > 0 && self.below(one_in) == 0;
        let latency = match &self.options.stray {
            Some(stray) if strays => &stray.latency,
            _ => &self.options.latency,
        };
        let (least, most) = (nanos(*latency.start()), nanos(*latency.end()));
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// What the two sides of a handshake use as their random bytes.
    pub(super) fn nonces(&mut self) -> [Nonce; 2] {
        let mut nonces = [Nonce::default(); 2];
        for word in nonces.iter_mut().flat_map(|nonce| nonce.chunks_mut(8)) {
            word.copy_from_slice(&self.below(u64::MAX).to_le_bytes());
        }
        nonces
    }

    /// A number from 0 up to, not including, `bound`. SplitMix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
