//! The members: their cores, and what their effects become.

use super::*;

impl World {
    pub(super) fn start(&mut self, index: usize) {
        let member = &mut self.members[index];
        if member.node.is_some() {
            return;
        }
        let limits = Limits {
            batch_requests: 4,
            batch_bytes: 400,
            snapshot_at: 0.5,
            // Members need not agree: what the primary goes by is journalled.
            replies: ReplyBounds {
                sessions: REPLIES.sessions - index,
                ..REPLIES
            },
            takeovers: 200,
            window_ms: 1_000_000,
        };
        member.node = Some(Node::new(Tally::default(), limits));
        let life = (index, member.life);
        member.events.push_back(Event::Start);
        self.pump(life);
    }

    pub(super) fn crash(&mut self, index: usize) {
        let member = &mut self.members[index];
        if member.node.is_none() {
            return;
        }
        let link = member.die();
        if let Link::Primary(tenure) = link {
            self.after((500, 60_000), Action::Gone(tenure.conn));
        }
        self.after((1000, 50_000), Action::Start(index));
    }

    pub(super) fn resume(&mut self, index: usize) {
        self.members[index].paused = false;
        for action in std::mem::take(&mut self.members[index].frozen) {
            self.after((0, 300), action);
        }
    }

    /// Lets a member's core do what there is to do.
    pub(super) fn pump(&mut self, life: Life) {
        while self.lives(life) && !self.members[life.0].blocked {
            let member = &mut self.members[life.0];
            let Some(node) = &member.node else {
                return;
            };
            let event = match member.events.pop_front() {
                Some(event) => event,
                None if !member.calls.is_empty() && (node.role() != Role::Primary || node.takes_calls()) => {
                    let take = self.random.index(member.calls.len().min(8)) + 1;
                    let calls = self.members[life.0].calls.drain(..take).collect();
                    Event::Calls {
                        calls,
                        journal: self.journal(),
                    }
                }
                None => return,
            };
            self.feed(life, event);
        }
    }

    pub(super) fn feed(&mut self, life: Life, event: Event) {
        let event = match event {
            Event::Saved { .. } => Event::Saved {
                journal: self.journal(),
            },
            event => event,
        };
        let now = self.clock(life.0);
        let member = &mut self.members[life.0];
        let Some(node) = &mut member.node else {
            return;
        };
        let before = node.role();
        let effects = node.handle(now, event);
        let after = node.role();
        let stopped = node.stopped().map(str::to_owned);
        if self.trace && before != after {
            eprintln!("{:>8}   member {life:?}: {before} -> {after}", self.now_us);
        }
        if before == Role::TakingOver && after == Role::Primary {
            self.summary.takeovers += 1;
        }
        if let Some(why) = stopped {
            self.violation
                .get_or_insert(format!("member {life:?} stopped: {why}"));
        }
        for effect in effects {
            self.perform(life, effect);
        }
    }

    pub(super) fn perform(&mut self, life: Life, effect: Effect) {
        match effect {
            Effect::OpenPrimary => self.ask_manager(life, Ask::Open),
            Effect::OpenBackup => self.ask_manager(life, Ask::OpenBackup),
            Effect::TakeOver => {
                let expected = match &self.members[life.0].link {
                    Link::Backup(_, generation) => *generation,
                    _ => 0,
                };
                self.ask_manager(life, Ask::TakeOver { expected });
            }
            Effect::Append { set, answers } => self.append(life, set, answers),
            Effect::Confirm { answers } => {
                let Link::Primary(tenure) = &mut self.members[life.0].link else {
                    return;
                };
                let number = tenure.output.hold_for_confirm(answers);
                if self.bug == Bug::ReadUnconfirmed {
                    let answers = tenure.output.confirmed(number);
                    return self.release(life, answers);
                }
                self.send(life, Op::Confirm { number });
            }
            Effect::Save { snapshot } => {
                let Link::Primary(tenure) = &mut self.members[life.0].link else {
                    return;
                };
                let sequence = tenure.next_sequence;
                tenure.next_sequence += 1;
                self.send(life, Op::Save { sequence, snapshot });
            }
            Effect::Answer(answers) => self.release(life, answers),
            Effect::Drain => {
                if let Link::Primary(tenure) = &mut self.members[life.0].link {
                    tenure.draining = true;
                }
                self.drained(life);
            }
            Effect::Close => {
                let generation = self.members[life.0].node.as_ref().map_or(0, Node::generation);
                self.drop_link(life);
                self.ask_manager(life, Ask::Close { generation });
            }
            Effect::Abandon => self.drop_link(life),
            Effect::Rest { ms } => {
                let at_us = self.now_us + ms * 1000;
                self.at(at_us, Action::Tell(life, Event::Tick));
            }
        }
    }

    pub(super) fn append(&mut self, life: Life, set: Vec<u8>, answers: Vec<Answer>) {
        let Link::Primary(tenure) = &mut self.members[life.0].link else {
            return;
        };
        let sequence = tenure.next_sequence;
        tenure.next_sequence += 1;
        self.check.appended(life, sequence, tenure.generation, &answers);
        tenure.output.hold_for_commit(sequence, answers);
        let early = match self.bug {
            Bug::ReplyBeforeCommit => tenure.output.committed(sequence),
            _ => vec![],
        };
        self.release(life, early);
        self.send(life, Op::Append { sequence, set });
    }

    /// Sends an operation on a primary's write connection.
    pub(super) fn send(&mut self, life: Life, op: Op) {
        let delay_us = self.random.between(20, 400);
        let now_us = self.now_us;
        let Link::Primary(tenure) = &mut self.members[life.0].link else {
            return;
        };
        tenure.unacknowledged.push_back(op.clone());
        tenure.last_arrival_us = (now_us + delay_us).max(tenure.last_arrival_us + 1);
        let (at_us, conn, generation) = (tenure.last_arrival_us, tenure.conn, tenure.generation);
        self.at(at_us, Action::Unit(life, conn, generation, op));
    }

    pub(super) fn release(&mut self, life: Life, answers: Vec<Answer>) {
        let generation = self.members[life.0].node.as_ref().map_or(0, Node::generation);
        for answer in answers {
            if let Err(violation) = self.check.left(life, generation, &answer, &self.region) {
                self.violation.get_or_insert(violation);
            }
            if matches!(answer.result, Err(CallError::OutcomeUnknown { .. })) {
                self.summary.unknown_outcomes += 1;
            }
            let index = usize::try_from(answer.call.0).expect("an index");
            let (client, attempt) = self.members[life.0].callers[index];
            if !self.random.chance(20) {
                self.after((30, 2000), Action::Reply(client, attempt, answer.result));
            }
        }
    }

    pub(super) fn drained(&mut self, life: Life) {
        if let Link::Primary(tenure) = &mut self.members[life.0].link
            && tenure.draining
            && tenure.output.is_empty()
            && !tenure
                .unacknowledged
                .iter()
                .any(|op| matches!(op, Op::Append { .. }))
        {
            tenure.draining = false;
            let generation = tenure.generation;
            self.after((1, 50), Action::TellOwner(life, generation, Event::Drained));
        }
    }

    pub(super) fn drop_link(&mut self, life: Life) {
        // What the old link still would have told must not be taken for its successor's.
        self.members[life.0]
            .events
            .retain(|event| !matches!(event, Event::Saved { .. } | Event::Lost { .. } | Event::Drained));
        if let Link::Primary(mut tenure) = std::mem::replace(&mut self.members[life.0].link, Link::None) {
            let answers = tenure.output.fail(None);
            self.release(life, answers);
            self.after((100, 5000), Action::Gone(tenure.conn));
        }
    }

    pub(super) fn poll(&mut self, life: Life) {
        self.after((800, 3000), Action::Poll(life));
        let paused_owner = self.region.owner.is_some_and(|owner| self.members[owner].paused);
        let suspected = if self.region.owner.is_none() {
            Some(Cause::Closed)
        } else if self.region.writer.is_none() && self.now_us >= self.grace_until_us {
            Some(Cause::OwnerLost)
        } else if self.random.chance(if paused_owner { 100 } else { 2 }) {
            Some(Cause::Silent)
        } else {
            None
        };
        let generation = self.region.generation;
        let late = self.random.chance(300);
        let member = &mut self.members[life.0];
        if member.blocked {
            return;
        }
        let Link::Backup(reader, expected) = &mut member.link else {
            return;
        };
        if !late {
            *expected = generation;
            let fed = self.region.read(reader).fed;
            member.events.push_back(Event::Fresh(fed));
        }
        member
            .events
            .push_back(suspected.map_or(Event::Reassured, Event::Suspected));
        self.pump(life);
    }
}
