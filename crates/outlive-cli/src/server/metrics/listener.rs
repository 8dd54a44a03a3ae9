//! Connections of those who scrape: few at once, and whoever holds one keeps nobody out.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// Connections at once; with one more the oldest has to go.
const MAX_CONNECTIONS: usize = 32;
/// How long one may last: a scrape takes milliseconds, and whoever holds a place longer has to come again.
const MAX_LIFE: Duration = Duration::from_secs(20);

/// A listener with that many places.
pub(super) struct Bounded {
    listener: TcpListener,
    /// In the order in which they came. What is dropped ends its connection.
    open: VecDeque<oneshot::Sender<()>>,
}

/// A connection that has a place until its time is over or others want it.
pub(super) struct Visitor {
    stream: TcpStream,
    over: Pin<Box<Sleep>>,
    evicted: oneshot::Receiver<()>,
    ended: bool,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            open: VecDeque::with_capacity(MAX_CONNECTIONS),
        }
    }

    fn place(&mut self) -> oneshot::Receiver<()> {
        self.open.retain(|held| !held.is_closed());
        if self.open.len() >= MAX_CONNECTIONS {
            self.open.pop_front();
        }
        let (held, evicted) = oneshot::channel();
        self.open.push_back(held);
        evicted
    }
}

impl Visitor {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // A receiver that has been told must not be asked again, which whoever got an error may still do.
        self.ended = self.ended
            || self.over.as_mut().poll(cx).is_ready()
            || Pin::new(&mut self.evicted).poll(cx).is_ready();
        if self.ended {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Visitor;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visitor, SocketAddr) {
        // Tries again by itself after an error.
        let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
        let visitor = Visitor {
            stream,
            over: Box::pin(tokio::time::sleep(MAX_LIFE)),
            evicted: self.place(),
            ended: false,
        };
        (visitor, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Visitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
