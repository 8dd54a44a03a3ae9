//! Measures what encrypting a data connection costs: the same work plain and under TLS 1.3, taking turns in the
//! same run, and prints the ratios. The machine drifts: trust the ratios, not the figures. Run with `--release`.

use std::error::Error;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outlive_fabric::tcp::{
    ConnectOptions, DataCertificate, Encryption, Limits, Listener, TcpEndpoint, TlsPolicy, connect,
};
use outlive_fabric::testing::{KEY, Memory, TestTarget};
use outlive_fabric::{Endpoint, Rights};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 5;
const PINGS: usize = 10_000;
const CONNECTS: usize = 200;
const STREAM_BYTES: usize = 512 << 20;
const LARGE: usize = 1 << 20;
/// Reads of this size that are in flight at a time.
const READS_AHEAD: usize = 8;

fn main() -> Outcome<()> {
    let target = TestTarget::new(Memory::new(64 << 20, true));
    let certificate = DataCertificate::ephemeral()?;
    let encryption = Encryption {
        policy: TlsPolicy::Allow,
        certificate: certificate.clone(),
    };
    let listener = Listener::bind_with(
        "127.0.0.1:0",
        Arc::<TestTarget>::clone(&target) as _,
        Limits::default(),
        Some(encryption),
    )?;
    let address = listener.local_addr().to_string();
    let plain_options = ConnectOptions::default();
    let tls_options = ConnectOptions {
        tls: Some(certificate.pinned()),
        ..ConnectOptions::default()
    };
    let open = |options: &ConnectOptions| connect(&address, &target.issue(Rights::ReadWrite), options);
    let (mut plain, mut tls) = (open(&plain_options)?, open(&tls_options)?);
    println!("medians of {ROUNDS} rounds, plain and TLS in turns");
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let rates = |endpoint: &mut TcpEndpoint, work: fn(&mut TcpEndpoint) -> Outcome<()>| -> Outcome<f64> {
        let begun = Instant::now();
        work(endpoint)?;
        Ok(STREAM_BYTES as f64 / begun.elapsed().as_secs_f64() / 1e9)
    };
    compare("connect and handshake, µs", || {
        let time = |options: &ConnectOptions| -> Outcome<f64> {
            let begun = Instant::now();
            for _ in 0..CONNECTS {
                open(options)?;
            }
            Ok(micros(begun.elapsed()) / CONNECTS as f64)
        };
        Ok((time(&plain_options)?, time(&tls_options)?))
    })?;
    compare("64 B write round trip, µs p50", || {
        Ok((micros(ping(&mut plain, 64)?), micros(ping(&mut tls, 64)?)))
    })?;
    compare("4 KiB write round trip, µs p50", || {
        Ok((micros(ping(&mut plain, 4096)?), micros(ping(&mut tls, 4096)?)))
    })?;
    compare("1 MiB writes, GB/s", || {
        Ok((rates(&mut plain, writes)?, rates(&mut tls, writes)?))
    })?;
    compare("1 MiB reads, GB/s", || {
        Ok((rates(&mut plain, reads)?, rates(&mut tls, reads)?))
    })
}

fn compare(what: &str, mut round: impl FnMut() -> Outcome<(f64, f64)>) -> Outcome<()> {
    let rounds = (0..ROUNDS).map(|_| round()).collect::<Outcome<Vec<_>>>()?;
    let plain = median(rounds.iter().map(|(plain, _)| *plain));
    let tls = median(rounds.iter().map(|(_, tls)| *tls));
    let ratio = median(rounds.iter().map(|(plain, tls)| tls / plain));
    println!("{what:<32} plain {plain:>8.2}  TLS {tls:>8.2}  TLS/plain {ratio:.2}");
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn writes(endpoint: &mut TcpEndpoint) -> Outcome<()> {
    let bytes = vec![1; LARGE];
    let mut completions = Vec::new();
    for number in 0..STREAM_BYTES / LARGE {
        let offset = (number % 32) * LARGE;
        endpoint.post_write(KEY, offset as u64, &[IoSlice::new(&bytes)])?;
    }
    while endpoint.outstanding() > 0 {
        endpoint.wait(&mut completions, Duration::from_secs(1))?;
    }
    Ok(())
}

fn reads(endpoint: &mut TcpEndpoint) -> Outcome<()> {
    let mut completions = Vec::new();
    for number in 0..STREAM_BYTES / LARGE {
        let offset = (number % 32) * LARGE;
        endpoint.post_read(KEY, offset as u64, u32::try_from(LARGE)?)?;
        while endpoint.outstanding() >= READS_AHEAD {
            endpoint.wait(&mut completions, Duration::from_secs(1))?;
            completions.clear();
        }
    }
    while endpoint.outstanding() > 0 {
        endpoint.wait(&mut completions, Duration::from_secs(1))?;
        completions.clear();
    }
    Ok(())
}
