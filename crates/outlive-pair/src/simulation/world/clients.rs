//! The clients' messages, and the answers to them.

use super::*;

impl World {
    pub(super) fn ask(&mut self, client: usize) {
        let seen = self.check.seen;
        let Some(ask) = self.clients[client].ask(self.bug, seen) else {
            return;
        };
        let (attempt, member) = (self.clients[client].attempt, self.clients[client].target);
        if !self.random.chance(20) {
            self.after((30, 1500), Action::Request(client, member, attempt, ask));
        }
        self.after((5000, 30_000), Action::Impatient(client, attempt));
    }

    pub(super) fn ask_another(&mut self, client: usize) {
        self.clients[client].target = self.random.index(MEMBERS);
        self.clients[client].asked_again = true;
        self.ask(client);
    }

    pub(super) fn request(&mut self, client: usize, index: usize, attempt: u64, ask: crate::machine::Ask) {
        let member = &mut self.members[index];
        if member.node.is_none() {
            let refused = Err(CallError::NotPrimary { primary: None });
            return self.after((100, 3000), Action::Reply(client, attempt, refused));
        }
        let id = CallId(member.callers.len() as u64);
        member.callers.push((client, attempt));
        member.calls.push_back(Call { id, ask });
        let life = (index, member.life);
        self.after((0, 300), Action::Pump(life));
    }

    pub(super) fn reply(&mut self, client: usize, attempt: u64, result: Result<Vec<u8>, CallError>) {
        if !self.clients[client].expects(attempt, self.first_attempt[client]) {
            return;
        }
        let heard = match self.clients[client].hear(attempt, result) {
            Ok(heard) => heard,
            Err(violation) => {
                self.violation.get_or_insert(violation);
                return;
            }
        };
        match heard {
            Heard::Reply(reply) => {
                if let Err(violation) = self.check.shown(&self.clients[client], &reply) {
                    self.violation.get_or_insert(violation);
                }
                self.summary.acknowledged += 1;
                let asked = &self.clients[client];
                self.summary.reads += u64::from(asked.doing == Doing::Reading);
                self.summary.repeated += u64::from(asked.asked_again && asked.doing != Doing::Reading);
            }
            Heard::Opened => {}
            Heard::Evicted => self.summary.evicted += 1,
            Heard::Again if self.clients[client].attempt == attempt => return self.ask_another(client),
            Heard::Again => return,
        }
        self.first_attempt[client] = self.clients[client].attempt;
        let seen = self.check.seen;
        self.clients[client].next(&mut self.random, seen);
        self.ask(client);
    }
}
