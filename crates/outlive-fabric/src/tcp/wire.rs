//! What the bytes of a connection go through: a socket, or TLS over a socket. Nothing here blocks or grows.
//!
//! The plain way is the socket and nothing else. With TLS a wire holds bytes of its own, and whoever waits has to
//! know of them: plaintext that was decrypted and not yet taken ([`has_unread`](Wire::has_unread)) while the socket
//! has nothing more, and ciphertext that the socket did not take yet ([`has_unsent`](Wire::has_unsent)).
//! [`await_ready`](Wire::await_ready) looks after both.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, Connection, ServerConnection};

use super::socket::{self, Interest, Received, Wake};
use super::tls;
use crate::proof::{ChannelBinding, UNBOUND};

/// Ciphertext that one receive takes from the socket: four records in one system call.
const CIPHER_BYTES: usize = 64 << 10;
/// Ciphertext that waits for the socket; beyond it nothing more is taken to be sent.
const UNSENT_BYTES: usize = 128 << 10;

/// One connection's bytes.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsWire>),
}

pub(super) struct TlsWire {
    stream: TcpStream,
    session: Connection,
    /// Came from the socket and was not yet decrypted.
    cipher: Vec<u8>,
    start: usize,
    end: usize,
    /// Decrypted and not yet taken.
    plaintext: usize,
    /// The other side sends no more.
    ended: bool,
    /// What came cannot be decrypted; nothing behind it counts.
    failed: Option<rustls::Error>,
}

impl Wire {
    pub(super) fn client(stream: TcpStream, session: ClientConnection) -> Self {
        Self::Tls(Box::new(TlsWire::new(stream, session.into())))
    }

    pub(super) fn server(stream: TcpStream, session: ServerConnection) -> Self {
        Self::Tls(Box::new(TlsWire::new(stream, session.into())))
    }

    /// Carries a TLS handshake out; `wait` waits for the socket, or ends it. Nothing to do without TLS.
    ///
    /// # Errors
    /// What `wait` says, or what is wrong with the other side.
    pub(super) fn handshake<E: From<io::Error>>(
        &mut self,
        mut wait: impl FnMut(&mut Self, Interest) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let Self::Tls(tls) = self else { return Ok(()) };
            tls.push()?;
            let interest = if tls.session.wants_write() {
                Interest::Output
            } else if !tls.session.is_handshaking() {
                return Ok(());
            } else if tls.ended {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            } else if tls.take_in()? || tls.ended {
                continue;
            } else {
                Interest::Input
            };
            wait(self, interest)?;
        }
    }

    /// What proofs over this wire are bound to. After the handshake.
    pub(super) fn binding(&self) -> io::Result<ChannelBinding> {
        match self {
            Self::Plain(_) => Ok(UNBOUND),
            Self::Tls(tls) => tls::binding(&tls.session).map_err(broken),
        }
    }

    /// Receives once, without waiting.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> io::Result<Received> {
        match self {
            Self::Plain(stream) => socket::receive(stream, into),
            Self::Tls(tls) => tls.receive(into),
        }
    }

    /// Sends what is taken of `parts`; 0 when nothing is taken now.
    pub(super) fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => socket::send(stream, parts),
            Self::Tls(tls) => tls.send(parts),
        }
    }

    /// Whether a receive brings something though the socket has nothing.
    pub(super) fn has_unread(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.has_unread(),
        }
    }

    /// Whether something that was taken has not reached the socket.
    pub(super) fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.session.wants_write(),
        }
    }

    /// The socket, where payload may be received from it straight into memory.
    pub(super) fn direct(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Plain(stream) => Some(stream.as_fd()),
            Self::Tls(_) => None,
        }
    }

    /// Waits until something can be received or sent, or `wake` was woken, or `timeout` has passed (`None`:
    /// never). Returns false after the timeout. Meanwhile what TLS still has to send is sent.
    pub(super) fn await_ready(
        &mut self,
        interest: Interest,
        wake: Option<&Wake>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        match self {
            Self::Plain(stream) => socket::await_ready(stream, interest, wake, timeout),
            Self::Tls(tls) => tls.await_ready(interest, wake, timeout),
        }
    }

    /// Says that nothing more will be sent, as far as that is possible without waiting.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            tls.session.send_close_notify();
            tls.push()?;
        }
        self.stream().shutdown(Shutdown::Write)
    }

    /// The socket underneath.
    pub(super) fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &tls.stream,
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream().as_fd()
    }
}

impl TlsWire {
    fn new(stream: TcpStream, mut session: Connection) -> Self {
        session.set_buffer_limit(Some(UNSENT_BYTES));
        Self {
            stream,
            session,
            cipher: vec![0; CIPHER_BYTES],
            start: 0,
            end: 0,
            plaintext: 0,
            ended: false,
            failed: None,
        }
    }

    fn has_unread(&self) -> bool {
        self.plaintext > 0 || self.start < self.end
    }

    /// Fills `into` as far as there is something, with a bounded number of looks at the socket: records may be empty.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<Received> {
        let mut filled = 0;
        let looks = 1 + into.len().div_ceil(CIPHER_BYTES);
        for _ in 0..looks {
            loop {
                filled += self.take_plaintext(&mut into[filled..])?;
                if filled == into.len() || self.start == self.end {
                    break;
                }
                match self.decrypt() {
                    Ok(()) => {}
                    // Told again by the next receive, when what came before it was taken.
                    Err(_) if filled > 0 => return Ok(Received::Bytes(filled)),
                    Err(error) => return Err(error),
                }
            }
            if filled == into.len() || self.ended {
                break;
            }
            match self.refill() {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if filled > 0 {
            return Ok(Received::Bytes(filled));
        }
        if let Some(error) = &self.failed {
            return Err(broken(error.clone()));
        }
        if self.ended && !self.has_unread() {
            return Ok(Received::End);
        }
        // Nobody waits while it spins, so what is unsent goes on its way here.
        self.push()?;
        Ok(Received::Nothing)
    }

    fn take_plaintext(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = self.plaintext.min(into.len());
        let mut taken = 0;
        while taken < wanted {
            let count = self.session.reader().read(&mut into[taken..wanted])?;
            if count == 0 {
                break;
            }
            taken += count;
        }
        self.plaintext -= taken;
        Ok(taken)
    }

    /// Receives ciphertext where there is none. False when the socket has nothing.
    fn refill(&mut self) -> io::Result<bool> {
        match socket::receive(&self.stream, &mut self.cipher)? {
            Received::Bytes(count) => {
                (self.start, self.end) = (0, count);
                Ok(true)
            }
            Received::Nothing => Ok(false),
            // With or without a farewell: every frame tells its own length, so none can be cut short unnoticed.
            Received::End => {
                self.ended = true;
                Ok(false)
            }
        }
    }

    /// Decrypts a part of the ciphertext that is there. Plaintext before it must have been taken.
    fn decrypt(&mut self) -> io::Result<()> {
        let mut unread = &self.cipher[self.start..self.end];
        let before = unread.len();
        let taken = self.session.read_tls(&mut unread);
        self.start += before - unread.len();
        if taken? == 0 {
            self.start = self.end;
            self.ended = true;
            return Ok(());
        }
        match self.session.process_new_packets() {
            Ok(state) => {
                self.plaintext = state.plaintext_bytes_to_read();
                self.ended |= state.peer_has_closed();
                Ok(())
            }
            Err(error) => {
                // The alert that says what was wrong, as far as the socket takes it.
                let _ = self.push();
                self.failed = Some(error.clone());
                Err(broken(error))
            }
        }
    }

    /// Receives and decrypts once, for the handshake. False when there was nothing.
    fn take_in(&mut self) -> io::Result<bool> {
        if self.start == self.end && !self.refill()? {
            return Ok(false);
        }
        self.decrypt()?;
        Ok(true)
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.push()?;
        let taken = self.session.writer().write_vectored(parts)?;
        self.push()?;
        Ok(taken)
    }

    /// Sends what the socket takes of what is unsent.
    fn push(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Socket(&self.stream)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn await_ready(
        &mut self,
        interest: Interest,
        wake: Option<&Wake>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let begun = Instant::now();
        loop {
            let is_unsent = self.session.wants_write();
            if interest.wants_input() && self.has_unread() || interest.wants_output() && !is_unsent {
                return Ok(true);
            }
            let asked = if is_unsent {
                interest.and_output()
            } else {
                interest
            };
            let left = timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
            let ready = socket::poll(&self.stream, asked, wake, left)?;
            if !ready.any() {
                return Ok(false);
            }
            if ready.output {
                self.push()?;
            }
            if ready.woken || ready.input || interest.wants_output() {
                return Ok(true);
            }
        }
    }
}

/// The socket as TLS writes to it.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match socket::send(self.0, parts)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What TLS says is wrong, kept whole: whoever connects tells a wrong certificate from other troubles.
fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
