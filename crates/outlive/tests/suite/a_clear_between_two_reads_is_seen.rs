//! A follower loses nothing when the primary clears, and goes on, between any two of its reads.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outlive::{Backup, Connecting, ControlStream, Primary, Session, SessionOptions, Set, SetKind, Transport};
use outlive_fabric::tcp::{self, ConnectOptions};
use outlive_fabric::{Completion, Endpoint, FabricError, OpId, RemoteKey, SessionInfo, Ticket};
use outlive_identity::{ClientTls, connector};

use crate::support::{Server, primary_of};

type Hook = Arc<Mutex<Option<(u32, Box<dyn FnOnce() + Send>)>>>;

/// Sockets, and something that happens before a certain read.
struct Interrupted {
    tls: ClientTls,
    control: String,
    hook: Hook,
}

impl Transport for Interrupted {
    fn control(&self, timeout: Duration) -> Connecting {
        let connector = connector(self.tls.clone(), self.control.as_str(), timeout);
        Box::pin(async move {
            let stream = connector.connect().await?;
            Ok(Box::new(stream) as Box<dyn ControlStream>)
        })
    }

    fn data(
        &self,
        address: &str,
        ticket: &Ticket,
        options: &ConnectOptions,
    ) -> Result<Box<dyn Endpoint>, FabricError> {
        let (inner, hook) = (tcp::connect(address, ticket, options)?, Arc::clone(&self.hook));
        Ok(Box::new(Reading {
            inner: Box::new(inner),
            hook,
        }))
    }
}

struct Reading {
    inner: Box<dyn Endpoint>,
    hook: Hook,
}

impl Endpoint for Reading {
    fn session(&self) -> &SessionInfo {
        self.inner.session()
    }

    fn post_write(
        &mut self,
        key: RemoteKey,
        offset: u64,
        parts: &[IoSlice<'_>],
    ) -> Result<OpId, FabricError> {
        self.inner.post_write(key, offset, parts)
    }

    fn post_read(&mut self, key: RemoteKey, offset: u64, len: u32) -> Result<OpId, FabricError> {
        let due = {
            let mut hook = self.hook.lock().expect("nobody panicked");
            if let Some((left, _)) = hook.as_mut() {
                *left -= 1;
            }
            hook.take_if(|(left, _)| *left == 0)
        };
        if let Some((_, act)) = due {
            act();
        }
        self.inner.post_read(key, offset, len)
    }

    fn post_persist(&mut self, key: RemoteKey, offset: u64, len: u64) -> Result<OpId, FabricError> {
        self.inner.post_persist(key, offset, len)
    }

    fn flush(&mut self) -> Result<(), FabricError> {
        self.inner.flush()
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<usize, FabricError> {
        self.inner.poll(completions)
    }

    fn wait(&mut self, completions: &mut Vec<Completion>, timeout: Duration) -> Result<usize, FabricError> {
        self.inner.wait(completions, timeout)
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.inner.readiness()
    }

    fn max_op_bytes(&self) -> u32 {
        self.inner.max_op_bytes()
    }
}

fn apply(state: &mut Vec<u8>, set: &Set) {
    match set.kind {
        SetKind::Snapshot => state.clone_from(&set.bytes),
        SetKind::Clear => state.clear(),
        _ => state.extend(&set.bytes),
    }
}

fn catch_up(backup: &mut Backup, state: &mut Vec<u8>) {
    loop {
        let fresh = backup.read_new().expect("read");
        fresh.sets.iter().for_each(|set| apply(state, set));
        if fresh.sets.is_empty() && !fresh.more {
            return;
        }
    }
}

fn append(primary: &Primary, bytes: &[u8]) {
    primary.append(bytes).expect("sent").wait().expect("committed");
}

#[test]
fn whichever_two_reads_they_are() {
    let server = Server::in_memory("16MiB");
    let context = server.context();
    let hook = Hook::default();
    let transport = Interrupted {
        tls: context.client_tls(),
        control: context.control().to_owned(),
        hook: Arc::clone(&hook),
    };
    let follower = Session::connect_over(Arc::new(transport), context.control(), SessionOptions::default());
    let follower = follower.expect("a session");
    let mut reached = 0;
    for read in 1..12 {
        let region = format!("r{read}");
        let (_, primary) = primary_of(&server, &region);
        let primary = Arc::new(primary);
        append(&primary, b"a");
        let mut backup = follower.backup(&region).expect("opened");
        let mut state = Vec::new();
        catch_up(&mut backup, &mut state);
        primary.save("ab").expect("sent").wait().expect("committed");
        append(&primary, b"c");
        let clearing = Arc::clone(&primary);
        let act = move || {
            clearing.clear().expect("sent").wait().expect("committed");
            append(&clearing, b"d");
        };
        *hook.lock().expect("nobody panicked") = Some((read, Box::new(act)));
        catch_up(&mut backup, &mut state);
        if hook.lock().expect("nobody panicked").take().is_some() {
            // There are not so many reads.
            break;
        }
        catch_up(&mut backup, &mut state);
        assert_eq!(state, b"d", "when the primary cleared before read {read}");
        reached = read;
    }
    assert!(reached > 2, "only {reached} reads");
}
