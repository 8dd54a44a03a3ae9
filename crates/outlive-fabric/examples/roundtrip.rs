//! Measures the TCP provider against a raw TCP echo in the same run, and prints the ratios. The
//! machine drifts: trust the ratios, not the figures. Run with `--release`.

use std::error::Error;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use outlive_fabric::tcp::{ConnectOptions, Limits, Listener, TcpEndpoint, connect};
use outlive_fabric::testing::{KEY, Memory, TestTarget};
use outlive_fabric::{Endpoint, Rights};

type Outcome<T> = Result<T, Box<dyn Error>>;

const PINGS: usize = 20_000;
const PIPELINED: u64 = 2_000_000;
const BATCH: u64 = 256;
const STREAM_BYTES: usize = 2 << 30;
const LARGE: usize = 1 << 20;
/// Request and acknowledgement of a 64-byte write on the wire.
const REQUEST_BYTES: usize = 96;
const ANSWER_BYTES: usize = 16;

fn main() -> Outcome<()> {
    let target = TestTarget::new(Memory::new(64 << 20, true));
    let listener = Listener::bind(
        "127.0.0.1:0",
        Arc::<TestTarget>::clone(&target) as _,
        Limits::default(),
    )?;
    let address = listener.local_addr().to_string();
    let mut endpoint = connect(
        &address,
        &target.issue(Rights::ReadWrite),
        &ConnectOptions::default(),
    )?;
    for round in 1..=3 {
        println!("round {round}");
        let (raw, ours) = (raw_ping()?, ping(&mut endpoint, 64)?);
        println!(
            "  64 B round trip p50: raw {raw:?}, ours {ours:?}, ratio {:.2}",
            ratio(ours, raw)
        );
        let ours = ping(&mut endpoint, 4096)?;
        println!(
            "  4 KiB round trip p50: ours {ours:?}, ratio to raw 64 B {:.2}",
            ratio(ours, raw)
        );
        let (raw, ours) = (raw_pipelined()?, pipelined(&mut endpoint)?);
        println!(
            "  64 B pipelined: raw {raw:.0} k/s, ours {ours:.0} k/s, ratio {:.2}",
            ours / raw
        );
        let (raw, ours) = (raw_stream()?, stream(&mut endpoint)?);
        println!(
            "  1 MiB writes: raw {raw:.2} GB/s, ours {ours:.2} GB/s, ratio {:.2}",
            ours / raw
        );
    }
    Ok(())
}

fn ratio(ours: Duration, raw: Duration) -> f64 {
    ours.as_secs_f64() / raw.as_secs_f64()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ping(endpoint: &mut TcpEndpoint, len: usize) -> Outcome<Duration> {
    let bytes = vec![1; len];
    let mut completions = Vec::new();
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let begun = Instant::now();
        endpoint.post_write(KEY, 64, &[IoSlice::new(&bytes)])?;
        while endpoint.wait(&mut completions, Duration::from_secs(1))? == 0 {}
        times.push(begun.elapsed());
        completions.clear();
    }
    Ok(median(times))
}

fn pipelined(endpoint: &mut TcpEndpoint) -> Outcome<f64> {
    let mut completions = Vec::new();
    let begun = Instant::now();
    for number in 0..PIPELINED {
        endpoint.post_write(KEY, (number % 4096) * 64, &[IoSlice::new(&[1; 64])])?;
        if number % BATCH == BATCH - 1 {
            completions.clear();
            endpoint.poll(&mut completions)?;
        }
    }
    drain(endpoint)?;
    Ok(PIPELINED as f64 / begun.elapsed().as_secs_f64() / 1e3)
}

fn stream(endpoint: &mut TcpEndpoint) -> Outcome<f64> {
    let bytes = vec![1; LARGE];
    let begun = Instant::now();
    for number in 0..STREAM_BYTES / LARGE {
        let offset = (number % 32) * LARGE;
        endpoint.post_write(KEY, offset as u64, &[IoSlice::new(&bytes)])?;
    }
    drain(endpoint)?;
    Ok(STREAM_BYTES as f64 / begun.elapsed().as_secs_f64() / 1e9)
}

fn drain(endpoint: &mut TcpEndpoint) -> Outcome<()> {
    let mut completions = Vec::new();
    while endpoint.outstanding() > 0 {
        endpoint.wait(&mut completions, Duration::from_secs(1))?;
    }
    Ok(())
}

/// A raw server that answers every `request` bytes with `answer` bytes, coalescing what it has.
fn raw_server(request: usize, answer: usize, spins: bool) -> Outcome<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(spins)?;
    }
    thread::spawn(move || {
        let mut buffer = vec![0; LARGE];
        let answers = vec![0; LARGE];
        let mut unanswered = 0;
        loop {
            match server.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => unanswered += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => return,
            }
            let due = unanswered / request;
            unanswered %= request;
            if due > 0 && server.write_all(&answers[..due.min(1) * answer]).is_err() {
                return;
            }
        }
    });
    Ok(client)
}

fn raw_ping() -> Outcome<Duration> {
    let mut client = raw_server(REQUEST_BYTES, ANSWER_BYTES, true)?;
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let begun = Instant::now();
        client.write_all(&[1; REQUEST_BYTES])?;
        let mut left = ANSWER_BYTES;
        while left > 0 {
            match client.read(&mut [0; ANSWER_BYTES][..left]) {
                Ok(count) => left -= count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        times.push(begun.elapsed());
    }
    Ok(median(times))
}

/// The same bytes in the same batches, one small answer for what was drained.
fn raw_pipelined() -> Outcome<f64> {
    let mut client = raw_server(REQUEST_BYTES, ANSWER_BYTES, false)?;
    let mut reader = client.try_clone()?;
    let drain = thread::spawn(move || while matches!(reader.read(&mut [0; 4096]), Ok(1..)) {});
    let batch = vec![1; REQUEST_BYTES * usize::try_from(BATCH)?];
    let begun = Instant::now();
    for _ in 0..PIPELINED / BATCH {
        client.write_all(&batch)?;
    }
    client.shutdown(std::net::Shutdown::Write)?;
    drain.join().map_err(|_| "the reader panicked")?;
    Ok(PIPELINED as f64 / begun.elapsed().as_secs_f64() / 1e3)
}

fn raw_stream() -> Outcome<f64> {
    let mut client = raw_server(LARGE, ANSWER_BYTES, false)?;
    let bytes = vec![1; LARGE];
    let begun = Instant::now();
    for _ in 0..STREAM_BYTES / LARGE {
        client.write_all(&bytes)?;
    }
    client.shutdown(std::net::Shutdown::Write)?;
    while client.read(&mut [0; 4096])? > 0 {}
    Ok(STREAM_BYTES as f64 / begun.elapsed().as_secs_f64() / 1e9)
}
