//! A stream to a server that has let us in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Longest first piece: the server's settings fit many times.
const FIRST_BYTES: usize = 512;

/// An encrypted stream to a server. It is made once the server has answered something: in TLS 1.3 a client's side of
/// the handshake ends before the server has looked at the client's certificate, and only what comes then tells
/// whether it was let in.
#[derive(Debug)]
pub struct ClientStream {
    stream: TlsStream<TcpStream>,
    /// What came first, until it is read.
    first: Vec<u8>,
}

impl ClientStream {
    /// Waits for the server's first bytes, which an HTTP/2 server sends unasked.
    pub(super) async fn let_in(mut stream: TlsStream<TcpStream>) -> io::Result<Self> {
        let mut first = vec![0; FIRST_BYTES];
        let len = stream.read(&mut first).await?;
        if len == 0 {
            let gone = "the server closed the connection before it said anything";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, gone));
        }
        first.truncate(len);
        Ok(Self { stream, first })
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let len = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..len]);
        self.first.drain(..len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
