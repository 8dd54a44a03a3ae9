//! The pair's clients, and the history of what they were told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outlive_pair::{CallError, Member, Request, SessionId};

use super::block_on_for;
use super::judge::violation;
use super::lists::{Ask, numbers};
use super::pair::Handles;
use super::pipe::travel;
use super::place::MEMBERS;
use crate::machine;

/// Lists that there are.
pub(super) const KEYS: u8 = 3;
/// How long a client waits for an answer before it asks again, perhaps somebody else.
const PATIENCE: Duration = Duration::from_millis(150);

/// One call that was answered.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) client: usize,
    pub(super) ask: Ask,
    pub(super) began: Duration,
    pub(super) ended: Duration,
    pub(super) answer: Vec<u64>,
}

/// What the clients share.
pub(super) struct Clients {
    handles: Handles,
    history: Mutex<Vec<Done>>,
    next_value: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) resent: AtomicU64,
    ending: AtomicBool,
    waiting: Vec<Mutex<String>>,
}

impl Clients {
    pub(super) fn new(handles: Handles, count: usize) -> Arc<Self> {
        Arc::new(Self {
            handles,
            history: Mutex::default(),
            next_value: AtomicU64::new(1),
            answered: AtomicU64::new(0),
            resent: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            waiting: (0..count).map(|_| Mutex::new("beginning".to_owned())).collect(),
        })
    }

    /// The process of all clients; each is a thread. They end after one more call each once they are told to.
    pub(super) fn live(self: &Arc<Self>) {
        let clients = (0..self.waiting.len()).map(|number| {
            let shared = Arc::clone(self);
            std::thread::spawn(move || Client::new(number, shared).live())
        });
        for client in clients.collect::<Vec<_>>() {
            let _ = client.join();
        }
    }

    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// Who still waits, and for what.
    pub(super) fn waiting(&self) -> Vec<String> {
        let waiting = self.waiting.iter().map(|what| lock(what).clone());
        waiting.filter(|what| !what.is_empty()).collect()
    }

    pub(super) fn history(&self) -> Vec<Done> {
        lock(&self.history).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Client {
    number: usize,
    shared: Arc<Clients>,
    believed: usize,
    session: Option<SessionId>,
    request: u64,
}

impl Client {
    fn new(number: usize, shared: Arc<Clients>) -> Self {
        Self {
            number,
            shared,
            believed: 0,
            session: None,
            request: 0,
        }
    }

    fn live(mut self) {
        loop {
            let ending = self.shared.ending.load(Ordering::SeqCst);
            let key = u8::try_from(machine::below(KEYS.into())).expect("few keys");
            let ask = if machine::below(3) == 0 {
                Ask::Read { key }
            } else {
                let value = self.shared.next_value.fetch_add(1, Ordering::SeqCst);
                Ask::Add { key, value }
            };
            self.call(ask);
            if ending {
                // Each list as it is in the end.
                for key in 0..KEYS {
                    self.call(Ask::Read { key });
                }
                break;
            }
            std::thread::sleep(Duration::from_micros(200 + machine::below(12_000)));
        }
        lock(&self.shared.waiting[self.number]).clear();
    }

    fn call(&mut self, ask: Ask) {
        self.wait_for(format!("client {} for the answer to {ask:?}", self.number));
        if machine::below(3) == 0 {
            // Somebody who was told of another primary, or remembers one.
            self.believed = usize::try_from(machine::below(MEMBERS.into())).expect("few members");
        }
        let began = machine::now();
        let request = match ask {
            Ask::Read { .. } => Request::plain(ask.encode()),
            Ask::Add { .. } => {
                let session = self.session();
                self.request += 1;
                Request::numbered(session, self.request, ask.encode())
            }
        };
        let answer = self.ask_until_answered(|member| {
            let request = request.clone();
            async move { member.call(request).await }
        });
        let done = Done {
            client: self.number,
            ask,
            began,
            ended: machine::now(),
            answer: numbers(&answer),
        };
        machine::trace(|| format!("client {} got {done:?}", self.number));
        self.shared.answered.fetch_add(1, Ordering::SeqCst);
        lock(&self.shared.history).push(done);
    }

    fn session(&mut self) -> SessionId {
        if let Some(session) = self.session {
            return session;
        }
        let session = self.ask_until_answered(|member| async move { member.open_session().await });
        self.session = Some(session);
        session
    }

    fn wait_for(&self, what: String) {
        *lock(&self.shared.waiting[self.number]) = what;
    }

    /// Asks whom it believes to be primary, and the others in turn, until one answers.
    fn ask_until_answered<T, F: Future<Output = Result<T, CallError>>>(
        &mut self,
        ask: impl Fn(Member) -> F,
    ) -> T {
        loop {
            std::thread::sleep(travel());
            if let Some(member) = self.shared.handles.member(self.believed) {
                match block_on_for(ask(member), PATIENCE) {
                    // An answer that gets lost is as good as none; the question is asked again.
                    Some(Ok(answer)) if machine::below(40) > 0 => {
                        std::thread::sleep(travel());
                        return answer;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error))
                        if error.is_retryable() || matches!(error, CallError::Stopped { .. }) => {}
                    Some(Err(error)) => {
                        violation("client-refused", format!("client {}: {error}", self.number))
                    }
                    None => {}
                }
            }
            self.shared.resent.fetch_add(1, Ordering::SeqCst);
            self.believed += 1;
            std::thread::sleep(Duration::from_micros(500 + machine::below(3_000)));
        }
    }
}
