//! A control connection inside the machine: bytes in order, both ways, after a while.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use outlive_identity::{Caller, Serial};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

use crate::machine;

/// One side of a connection.
pub(super) struct PipeEnd {
    pipe: Pipe,
    side: usize,
    nap: Option<Pin<Box<Sleep>>>,
}

/// The connection itself, for those who cut it.
#[derive(Clone)]
pub(super) struct Pipe {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What each side has sent.
    sent: [Way; 2],
    broken: bool,
}

#[derive(Default)]
struct Way {
    chunks: VecDeque<(Duration, Vec<u8>)>,
    held: bool,
    closed: bool,
    reader: Option<Waker>,
}

/// A connection between two: the side that called, and the other.
pub(super) fn pipe() -> (PipeEnd, PipeEnd) {
    let pipe = Pipe {
        state: Arc::default(),
    };
    let end = |side| PipeEnd {
        pipe: pipe.clone(),
        side,
        nap: None,
    };
    (end(0), end(1))
}

/// How long a control message travels: mostly well below a millisecond, seldom much longer.
pub(super) fn travel() -> Duration {
    if machine::below(50) == 0 {
        Duration::from_micros(1_000 + machine::below(30_000))
    } else {
        Duration::from_micros(10 + machine::below(90))
    }
}

impl PipeEnd {
    pub(super) fn pipe(&self) -> Pipe {
        self.pipe.clone()
    }
}

impl Pipe {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Both sides find it broken; what was on its way is lost.
    pub(super) fn cut(&self) {
        self.change(|state| state.broken = true);
    }

    /// Nothing that this side sends arrives.
    pub(super) fn hold(&self, side: usize, held: bool) {
        self.change(|state| state.sent[side].held = held);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        machine::uninterrupted(|| {
            let wakers = {
                let mut state = self.state();
                change(&mut state);
                [0, 1].map(|side| state.sent[side].reader.take())
            };
            wakers.into_iter().flatten().for_each(Waker::wake);
        });
    }
}

impl AsyncRead for PipeEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let from = 1 - self.side;
        let nap = machine::uninterrupted(|| {
            let now = machine::now();
            let mut state = self.pipe.state();
            if state.broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let way = &mut state.sent[from];
            let mut read = false;
            while !way.held && buffer.remaining() > 0 {
                let Some((due, chunk)) = way.chunks.front_mut() else {
                    break;
                };
                if *due > now {
                    break;
                }
                let piece = chunk.len().min(buffer.remaining());
                buffer.put_slice(&chunk[..piece]);
                read = true;
                if piece < chunk.len() {
                    chunk.drain(..piece);
                } else {
                    way.chunks.pop_front();
                }
            }
            if read || (way.closed && way.chunks.is_empty() && !way.held) {
                return Poll::Ready(Ok(None));
            }
            way.reader = Some(context.waker().clone());
            let due = way
                .chunks
                .front()
                .filter(|_| !way.held)
                .map(|(due, _)| *due - now);
            due.map_or(Poll::Pending, |nap| Poll::Ready(Ok(Some(nap))))
        });
        match nap {
            Poll::Ready(Ok(Some(nap))) => {
                let mut nap = Box::pin(tokio::time::sleep(nap.max(Duration::from_micros(1))));
                if nap.as_mut().poll(context).is_ready() {
                    context.waker().wake_by_ref();
                }
                self.nap = Some(nap);
                Poll::Pending
            }
            Poll::Ready(Ok(None)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for PipeEnd {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let reader = machine::uninterrupted(|| {
            let due = machine::now() + travel();
            let mut state = self.pipe.state();
            if state.broken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let way = &mut state.sent[self.side];
            let due = way.chunks.back().map_or(due, |(last, _)| due.max(*last));
            way.chunks.push_back((due, bytes.to_vec()));
            let reader = way.reader.take();
            drop(state);
            if let Some(reader) = reader {
                reader.wake();
            }
            Ok(bytes.len())
        });
        Poll::Ready(reader)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let side = self.side;
        self.pipe.change(|state| state.sent[side].closed = true);
        Poll::Ready(Ok(()))
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let side = self.side;
        self.pipe.change(|state| state.sent[side].closed = true);
    }
}

impl Connected for PipeEnd {
    type ConnectInfo = Caller;

    /// Everybody is the administrator.
    fn connect_info(&self) -> Caller {
        Caller {
            name: super::ADMINISTRATOR.parse().expect("a name"),
            serial: Serial(vec![1]),
            source: None,
        }
    }
}
