//! A connection of the data plane spoken by hand, so that it can do what no well-behaved client does. Its ticket
//! comes from the manager as everybody's does.

#![allow(dead_code, reason = "each test file uses a part of it")]

mod control;

pub(crate) use control::Control;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use outlive_fabric::tcp::frame::{ANSWER_HEADER_BYTES, Answer, Op, OpFrame};
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::tcp::reason;
use outlive_fabric::testing::raw;
use outlive_fabric::{
    ExposedPart, RegionId, RemoteKey, Rights, SessionInfo, Terms, Ticket, TicketId, TicketSecret,
};
use outlive_proto::v1::{Opened, Role};

use crate::support::World;

/// One admitted connection that may read a region's data under `key`.
pub(crate) struct Wire {
    stream: TcpStream,
    ticket: Ticket,
    posted: u32,
    pub(crate) key: u64,
    pub(crate) metadata_key: u64,
    pub(crate) generation: u64,
}

impl Wire {
    /// Opens a region as a backup does.
    pub(crate) fn reader(world: &World, region: &str) -> Self {
        Self::admitted(Control::of(world).open(region, Role::Backup))
    }

    /// Opens a region as a primary does, taking it over from whoever has it.
    pub(crate) fn writer(world: &World, region: &str) -> Self {
        Self::admitted(Control::of(world).open(region, Role::Primary))
    }

    /// Uses a ticket up.
    pub(crate) fn admitted(opened: Opened) -> Self {
        let mut stream = connect(&opened.data_address);
        let ticket = ticket_of(&opened);
        let session = match raw::greet(&mut stream, &ticket).expect("the handshake") {
            Reply::Welcome { session, .. } => session,
            other => panic!("not let in: {other:?}"),
        };
        Self::welcomed(stream, ticket, &session)
    }

    /// A connection that was let in.
    pub(crate) fn welcomed(stream: TcpStream, ticket: Ticket, session: &SessionInfo) -> Self {
        let key = |part| {
            let info = session.access.iter().find(|info| info.part == part);
            info.expect("access to the part").key.0
        };
        Self {
            stream,
            ticket,
            posted: 0,
            key: key(ExposedPart::Data),
            metadata_key: key(ExposedPart::Metadata),
            generation: session.access[0].generation,
        }
    }

    /// The same connection again, for a thread that only takes answers.
    pub(crate) fn answers(&self) -> Self {
        Self {
            stream: self.stream.try_clone().expect("a descriptor"),
            ticket: self.ticket.clone(),
            ..*self
        }
    }

    /// Where the unit listens.
    pub(crate) fn unit(&self) -> SocketAddr {
        self.stream.peer_addr().expect("connected")
    }

    /// Why its ticket does not let in a second time.
    pub(crate) fn refused_again(&self) -> String {
        let mut stream = connect(&self.unit().to_string());
        match raw::greet(&mut stream, &self.ticket).expect("the handshake") {
            Reply::Refused(why) => why.to_string(),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Asks for bytes and does not read them.
    pub(crate) fn ask_for(&mut self, offset: u64, len: u64) {
        let key = RemoteKey(self.key);
        self.post(Op::Read { key, offset, len }, &[]);
    }

    pub(crate) fn read(&mut self, offset: u64, len: u64) -> Vec<u8> {
        self.read_under(self.key, offset, len)
    }

    /// The region's metadata page.
    pub(crate) fn read_metadata(&mut self) -> Vec<u8> {
        self.read_under(self.metadata_key, 0, 4096)
    }

    fn read_under(&mut self, key: u64, offset: u64, len: u64) -> Vec<u8> {
        let key = RemoteKey(key);
        self.post(Op::Read { key, offset, len }, &[]);
        let mut bytes = Vec::new();
        loop {
            match self.answer() {
                (Answer::ReadPart { last, .. }, part) => {
                    bytes.extend(part);
                    if last {
                        return bytes;
                    }
                }
                other => panic!("no part of a read: {other:?}"),
            }
        }
    }

    /// Why a read was refused.
    pub(crate) fn refused_read(&mut self, key: u64, offset: u64, len: u64) -> String {
        let key = RemoteKey(key);
        self.post(Op::Read { key, offset, len }, &[]);
        self.refusal()
    }

    /// Why a write was refused.
    pub(crate) fn refused_write(&mut self, key: u64, offset: u64, bytes: &[u8]) -> String {
        let (key, len) = (RemoteKey(key), bytes.len() as u64);
        self.post(Op::Write { key, offset, len }, bytes);
        self.refusal()
    }

    /// Why a persist was refused.
    pub(crate) fn refused_persist(&mut self, key: u64, offset: u64, len: u64) -> String {
        let key = RemoteKey(key);
        self.post(Op::Persist { key, offset, len }, &[]);
        self.refusal()
    }

    pub(crate) fn send_garbage(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("taken");
    }

    /// Sends an operation and what is to stand behind its header.
    pub(crate) fn post(&mut self, op: Op, payload: &[u8]) {
        assert!(self.try_post(op, payload), "taken");
    }

    /// The same as [`post`](Self::post), on a connection that may be gone: whether it was taken.
    pub(crate) fn try_post(&mut self, op: Op, payload: &[u8]) -> bool {
        self.posted = self.posted.wrapping_add(1);
        let header = OpFrame { tag: self.posted, op }.encode();
        self.stream.write_all(&[&header[..], payload].concat()).is_ok()
    }

    /// Writes, and waits for the answer: whether it was placed.
    pub(crate) fn try_write(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let (key, len) = (RemoteKey(self.key), bytes.len() as u64);
        self.try_post(Op::Write { key, offset, len }, bytes)
            && matches!(self.try_answer(), Some((Answer::Placed { .. }, _)))
    }

    /// The same as [`post`](Self::post), one byte at a time.
    pub(crate) fn dribble(&mut self, op: Op, payload: &[u8]) {
        self.posted += 1;
        self.stream.set_nodelay(true).expect("an option");
        let header = OpFrame { tag: self.posted, op }.encode();
        for byte in [&header[..], payload].concat() {
            self.stream.write_all(&[byte]).expect("taken");
        }
    }

    /// Sends nothing more, and waits until the unit has closed the connection, too.
    pub(crate) fn hang_up(mut self) {
        self.stream.shutdown(Shutdown::Write).expect("half-closed");
        // Whatever it still says.
        let _ = std::io::copy(&mut self.stream, &mut std::io::sink());
    }

    fn refusal(&mut self) -> String {
        match self.answer() {
            (Answer::Refused { .. }, why) => reason::decode(&why).expect("a reason").to_string(),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The next answer and its payload.
    pub(crate) fn answer(&mut self) -> (Answer, Vec<u8>) {
        self.try_answer().expect("an answer comes")
    }

    /// The next answer, unless the connection is gone.
    pub(crate) fn try_answer(&mut self) -> Option<(Answer, Vec<u8>)> {
        let mut header = [0; ANSWER_HEADER_BYTES];
        self.stream.read_exact(&mut header).ok()?;
        let answer = Answer::decode(&header)
            .expect("the protocol")
            .expect("a whole header");
        let len = match answer {
            Answer::ReadPart { len, .. } | Answer::Refused { len, .. } | Answer::Stopped { len } => len,
            Answer::Placed { .. } | Answer::Persistent { .. } => 0,
        };
        let mut payload = vec![0; len as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some((answer, payload))
    }
}

/// The ticket that the manager gave, and told the unit of.
pub(crate) fn ticket_of(opened: &Opened) -> Ticket {
    let region = opened.region.as_ref().expect("which region");
    let secret = TicketSecret::take_from(opened.ticket_secret.clone());
    Ticket {
        id: TicketId(opened.ticket_id.as_slice().try_into().expect("sixteen bytes")),
        secret: secret.expect("thirty-two bytes"),
        terms: Terms {
            identity: opened.identity.clone(),
            region: RegionId(region.id.as_slice().try_into().expect("sixteen bytes")),
            generation: opened.generation,
            rights: if opened.writable {
                Rights::ReadWrite
            } else {
                Rights::Read
            },
            incarnation: opened.incarnation,
        },
    }
}

fn connect(unit: &str) -> TcpStream {
    let stream = TcpStream::connect(unit).expect("the unit listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time-out can be set");
    stream
}
