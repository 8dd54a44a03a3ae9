//! One client's connection: commands in, replies out in the same order.
//!
//! The reading side hands each command to the pair without waiting for the reply of the one before, so
//! everything that a client pipelines goes into the same group commit. The writing side awaits the
//! replies in order. Between them is a bounded queue: a client that asks and does not read is read from
//! no more, which bounds what it can make us hold.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use outlive_pair::{CallError, Request};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

use super::Shared;
use super::clients::{Face, Peer};
use super::local::{self, Answer};
use super::resp3::Shape;
use super::{failure, info};
use crate::commands::{Command, unknown};
use crate::reply::Reply;
use crate::request::{Framer, words};

/// Commands of one client that are under way at a time. A deeper pipeline gains nothing (they share
/// commits long before), and each may hold a large reply that its client does not take.
const MAX_PIPELINE: usize = 128;
/// What is read at a time at most.
const READ_BYTES: usize = 64 << 10;
/// Replies are sent when so much has gathered, or when the next one is not there yet.
const WRITE_BYTES: usize = 64 << 10;

/// After so long in silence the kernel asks whether the client's host is still there: one that vanished must not
/// hold its place for ever. Redis's default.
const KEEPALIVE: Duration = Duration::from_secs(300);

type FutureReply = Pin<Box<dyn Future<Output = Bytes> + Send>>;

/// A reply that is owed.
enum Owed {
    Now(Bytes),
    Later(FutureReply),
}

impl Owed {
    fn in_resp3(self, request: &Bytes) -> Self {
        let shape = words(request).map_or(Shape::Plain, |words| Shape::of(&words));
        match self {
            Self::Now(bytes) => Self::Now(shape.apply(bytes)),
            Self::Later(reply) => Self::Later(Box::pin(async move { shape.apply(reply.await) })),
        }
    }
}

/// Serves one client until it goes, breaks the protocol, or the server stops.
pub(super) async fn run(
    stream: TcpStream,
    address: SocketAddr,
    face: Face,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    // Replies are gathered here; the kernel need not wait for more.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
    let local_address = stream.local_addr().unwrap_or(address);
    let (input, output) = stream.into_split();
    let (owe, owed) = mpsc::channel(MAX_PIPELINE);
    let writing = tokio::spawn(write(output, owed));
    let peer = shared.clients.enter(address, local_address, face);
    let mut reader = Reader {
        input,
        owe,
        peer,
        shared: shared.clone(),
    };
    let id = reader.peer.id;
    tokio::select! {
        ended = reader.run() => if let Err(error) = ended {
            tracing::debug!(client = %address, %error, "connection lost");
        },
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    shared.clients.leave(id);
    // No more are owed; the writer gives those that are, then closes.
    drop(reader);
    let _ = writing.await;
    // `stopped` lives until here: the server waits for it to go.
    drop(stopped);
}

struct Reader {
    input: OwnedReadHalf,
    owe: mpsc::Sender<Owed>,
    peer: Peer,
    shared: Arc<Shared>,
}

impl Reader {
    async fn run(&mut self) -> std::io::Result<()> {
        let (mut framer, mut buffer) = (Framer::default(), BytesMut::new());
        loop {
            loop {
                match framer.next(&mut buffer) {
                    Ok(Some(request)) => {
                        let (owed, go_on) = self.carry_out(request.clone()).await;
                        // `HELLO 3` itself is answered in RESP3.
                        let owed = if self.peer.resp3 {
                            owed.in_resp3(&request)
                        } else {
                            owed
                        };
                        if self.owe.send(owed).await.is_err() || !go_on {
                            return Ok(());
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        let _ = self
                            .owe
                            .send(Owed::Now(Reply::Error(error.to_string()).encode()))
                            .await;
                        return Ok(());
                    }
                }
            }
            // Only what was sent is held: the buffer grows with the bytes that arrive.
            buffer.reserve(READ_BYTES / 4);
            if (&mut self.input)
                .take(READ_BYTES as u64)
                .read_buf(&mut buffer)
                .await?
                == 0
            {
                return Ok(());
            }
        }
    }

    /// The reply that is owed for one command, and whether the connection goes on.
    async fn carry_out(&mut self, request: Bytes) -> (Owed, bool) {
        let reply = match self.answer(&request) {
            Ok(Answer::Now(reply)) => reply,
            Ok(Answer::Close(reply)) => return (Owed::Now(reply.encode()), false),
            Ok(Answer::Send(request)) => return (self.send(request).await, true),
            Ok(Answer::OpenSession) => match self.shared.member.open_session().await {
                Ok(id) => {
                    self.peer.session = Some(id);
                    Reply::bulk(id.to_string())
                }
                Err(error) => failure::reply(error),
            },
            Ok(Answer::Info(sections)) => info::reply(&self.shared, &sections).await,
            Err(error) => error.into(),
        };
        (Owed::Now(reply.encode()), true)
    }

    fn answer(&mut self, request: &Bytes) -> Result<Answer, crate::CommandError> {
        let words = words(request)?;
        if let Some(command) = local::find(words[0]) {
            return command.answer(&self.shared, &mut self.peer, &words);
        }
        if self.peer.face == Face::Sentinel {
            return Err(unknown(words[0], &words[1..]));
        }
        Command::resolve(&words)?;
        Ok(Answer::Send(Request::plain(&request[..])))
    }

    async fn send(&mut self, request: Request) -> Owed {
        match self.shared.member.send(request).await {
            Ok(reply) => Owed::Later(Box::pin(async move { bytes(reply.await) })),
            Err(error) => Owed::Now(bytes(Err(error))),
        }
    }
}

fn bytes(outcome: Result<Vec<u8>, CallError>) -> Bytes {
    outcome.map_or_else(|error| failure::reply(error).encode(), Bytes::from)
}

/// Sends the replies in order until none can follow, or the client takes no more.
async fn write(mut output: OwnedWriteHalf, mut owed: mpsc::Receiver<Owed>) {
    let mut gathered = BytesMut::new();
    while let Some(next) = owed.recv().await {
        match next {
            Owed::Now(bytes) => gathered.extend_from_slice(&bytes),
            Owed::Later(mut reply) => {
                let ready = match poll_fn(|context| Poll::Ready(reply.as_mut().poll(context))).await {
                    Poll::Ready(bytes) => bytes,
                    Poll::Pending => {
                        if send(&mut output, &mut gathered).await.is_err() {
                            return;
                        }
                        reply.await
                    }
                };
                gathered.extend_from_slice(&ready);
            }
        }
        if (owed.is_empty() || gathered.len() >= WRITE_BYTES)
            && send(&mut output, &mut gathered).await.is_err()
        {
            return;
        }
    }
}

async fn send(output: &mut OwnedWriteHalf, gathered: &mut BytesMut) -> std::io::Result<()> {
    output.write_all(gathered).await?;
    // A single large reply must not be held on to for the connection's life.
    if gathered.capacity() > 4 * WRITE_BYTES {
        *gathered = BytesMut::new();
    }
    gathered.clear();
    Ok(())
}
