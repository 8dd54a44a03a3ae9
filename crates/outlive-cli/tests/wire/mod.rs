//! A connection of the data plane spoken by hand, so that it can do what no well-behaved client does. Its ticket
//! comes from the manager as everybody's does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use outlive_fabric::tcp::frame::{ANSWER_HEADER_BYTES, Answer, Op, OpFrame};
use outlive_fabric::tcp::hello::{Hello, REPLY_HEAD_BYTES, Reply, ReplyHead};
use outlive_fabric::tcp::reason;
use outlive_fabric::{ExposedPart, RemoteKey, TicketId};
use outlive_proto::v1::manager_client::ManagerClient;
use outlive_proto::v1::{OpenRegionRequest, Opened, Role};

use crate::support::World;

/// One admitted connection that may read a region's data under `key`.
pub(crate) struct Wire {
    stream: TcpStream,
    ticket: TicketId,
    posted: u32,
    pub(crate) key: u64,
}

impl Wire {
    /// Opens a region as a backup does.
    pub(crate) fn reader(world: &World, region: &str) -> Self {
        let opened = open(world, region);
        let mut stream = TcpStream::connect(&opened.data_address).expect("the unit listens");
        let ticket = TicketId(opened.ticket_id.try_into().expect("sixteen bytes"));
        let Reply::Welcome { session, .. } = greet(&mut stream, ticket) else {
            panic!("not let in");
        };
        let mut access = session.access.iter();
        let data = access.find(|info| info.part == ExposedPart::Data);
        Self {
            stream,
            ticket,
            posted: 0,
            key: data.expect("access to the data").key.0,
        }
    }

    /// Why its ticket does not let in a second time.
    pub(crate) fn refused_again(&self) -> String {
        let unit = self.stream.peer_addr().expect("connected");
        let mut stream = TcpStream::connect(unit).expect("the unit listens");
        match greet(&mut stream, self.ticket) {
            Reply::Refused(why) => why.to_string(),
            Reply::Welcome { .. } => panic!("let in twice"),
        }
    }

    /// Asks for bytes and does not read them.
    pub(crate) fn ask_for(&mut self, offset: u64, len: u64) {
        let key = RemoteKey(self.key);
        self.post(Op::Read { key, offset, len }, &[]);
    }

    pub(crate) fn read(&mut self, offset: u64, len: u64) -> Vec<u8> {
        self.ask_for(offset, len);
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

    pub(crate) fn send_garbage(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("taken");
    }

    fn post(&mut self, op: Op, payload: &[u8]) {
        self.posted += 1;
        let header = OpFrame { tag: self.posted, op }.encode();
        self.stream
            .write_all(&[&header[..], payload].concat())
            .expect("taken");
    }

    fn refusal(&mut self) -> String {
        match self.answer() {
            (Answer::Refused { .. }, why) => reason::decode(&why).expect("a reason").to_string(),
            other => panic!("not refused: {other:?}"),
        }
    }

    fn answer(&mut self) -> (Answer, Vec<u8>) {
        let mut header = [0; ANSWER_HEADER_BYTES];
        self.stream.read_exact(&mut header).expect("an answer comes");
        let answer = Answer::decode(&header)
            .expect("the protocol")
            .expect("a whole header");
        let len = match answer {
            Answer::ReadPart { len, .. } | Answer::Refused { len, .. } | Answer::Stopped { len } => len,
            Answer::Placed { .. } | Answer::Persistent { .. } => 0,
        };
        let mut payload = vec![0; len as usize];
        self.stream.read_exact(&mut payload).expect("its payload comes");
        (answer, payload)
    }
}

/// Says hello and reads what the unit answers.
fn greet(stream: &mut TcpStream, ticket: TicketId) -> Reply {
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time-out can be set");
    stream
        .write_all(&Hello { ticket }.encode())
        .expect("the hello is taken");
    let mut head = [0; REPLY_HEAD_BYTES];
    stream.read_exact(&mut head).expect("a reply comes");
    let head = ReplyHead::decode(&head)
        .expect("the protocol")
        .expect("a whole head");
    let mut body = vec![0; head.body_len];
    stream.read_exact(&mut body).expect("its body comes");
    head.with_body(&body).expect("the protocol")
}

/// Asks the manager for a ticket.
fn open(world: &World, region: &str) -> Opened {
    let context = outlive::Context::load(&world.path("context.json")).expect("a context file");
    let mut request = tonic::Request::new(OpenRegionRequest {
        name: region.to_owned(),
        role: Role::Backup.into(),
        ..OpenRegionRequest::default()
    });
    let token = format!("Bearer {}", context.token);
    let token = token.parse().expect("a token is plain text");
    request.metadata_mut().insert("authorization", token);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let opened = runtime.block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", context.control));
        let channel = endpoint.expect("an address").connect().await;
        let mut client = ManagerClient::new(channel.expect("the manager listens"));
        client.open_region(request).await
    });
    opened.expect("let in").into_inner()
}
