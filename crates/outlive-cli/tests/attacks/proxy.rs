//! Somebody on the path between clients and the unit, who sees every byte and may change it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use outlive_fabric::tcp::hello::HELLO_BYTES;

use crate::support::{Serve, World};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the unit.
    Up,
    /// From the unit to the client.
    Down,
}

/// What it does, and saw.
#[derive(Default)]
struct State {
    /// Said to each later connection in the unit's stead.
    instead: Option<Vec<u8>>,
    /// How many bytes each of those sent after its hello.
    heard: Vec<usize>,
    /// The byte of each later connection whose bits are turned round.
    flipped: Option<(Way, usize)>,
    up: Vec<u8>,
    down: Vec<u8>,
}

/// Relays connections to the unit.
pub(crate) struct Proxy {
    address: SocketAddr,
    unit: String,
    state: Arc<Mutex<State>>,
}

/// Numbers the units of this process, so that each has an address of its own.
static UNITS: AtomicU16 = AtomicU16::new(1);

impl Proxy {
    /// Listens, and chooses where the unit is to listen.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // All of 127/8 is this machine: an address that nobody else thinks of, on any port.
        let [high, low] = UNITS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let process = std::process::id() % 250 + 1;
        let unit = format!("127.{process}.{high}.{low}:{}", address.port());
        let state = Arc::<Mutex<State>>::default();
        thread::spawn({
            let (state, unit) = (Arc::clone(&state), unit.clone());
            // Ends with the test's process: nothing but this thread holds the listener.
            move || {
                for client in listener.incoming().map_while(Result::ok) {
                    let instead = lock(&state).instead.clone();
                    match instead {
                        Some(said) => answer(client, &said, &state),
                        None => relay(client, &unit, &state),
                    }
                }
            }
        });
        Self { address, unit, state }
    }

    /// A server whose clients, its own manager among them, come through here.
    pub(crate) fn serve(&self, world: &World, more: &[&str]) -> Serve {
        let advertised = self.address.to_string();
        world.serve_at(&self.unit, &[&["--advertise-data", &advertised], more].concat())
    }

    /// Where clients are to connect.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Says this to each later connection in the unit's stead, or lets them through again.
    pub(crate) fn impersonate(&self, said: Option<Vec<u8>>) {
        self.state().instead = said;
    }

    /// How many bytes each of those sent after its hello, once there is one.
    pub(crate) fn heard(&self) -> Vec<usize> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let heard = std::mem::take(&mut self.state().heard);
            if !heard.is_empty() {
                return heard;
            }
            assert!(Instant::now() < deadline, "nobody came");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Changes one byte of each later connection, or none any more.
    pub(crate) fn flip(&self, byte: Option<(Way, usize)>) {
        self.state().flipped = byte;
    }

    /// What went that way on all connections since the last time this was asked, in the order in which it came.
    pub(crate) fn taken(&self, way: Way) -> Vec<u8> {
        let mut state = self.state();
        std::mem::take(match way {
            Way::Up => &mut state.up,
            Way::Down => &mut state.down,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a hello, says something to it, and counts what comes then.
fn answer(mut client: TcpStream, said: &[u8], state: &Mutex<State>) {
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    if client.read_exact(&mut [0; HELLO_BYTES]).is_err() {
        return;
    }
    let _ = client.write_all(said);
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    lock(state).heard.push(rest.len());
}

fn relay(client: TcpStream, unit: &str, state: &Arc<Mutex<State>>) {
    let flipped = lock(state).flipped;
    let Ok(unit) = TcpStream::connect(unit) else {
        return;
    };
    for stream in [&client, &unit] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    }
    let (back_from, back_to) = (unit.try_clone().unwrap(), client.try_clone().unwrap());
    for (way, from, to) in [(Way::Up, client, unit), (Way::Down, back_from, back_to)] {
        let flipped = flipped.filter(|(flipped, _)| *flipped == way).map(|(_, at)| at);
        let state = Arc::clone(state);
        thread::spawn(move || copy(way, from, to, flipped, &state));
    }
}

fn copy(way: Way, mut from: TcpStream, mut to: TcpStream, flipped: Option<usize>, state: &Mutex<State>) {
    let (mut bytes, mut seen) = (vec![0; 64 << 10], 0);
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        if let Some(at) = flipped.and_then(|at| at.checked_sub(seen)).filter(|at| *at < len) {
            bytes[at] = !bytes[at];
        }
        seen += len;
        let mut state = lock(state);
        match way {
            Way::Up => state.up.extend(&bytes[..len]),
            Way::Down => state.down.extend(&bytes[..len]),
        }
        drop(state);
        if to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    // Either end may be gone already.
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
