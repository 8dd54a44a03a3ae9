//! A counter that outlives its process. Start `outlive serve`, then this twice:
//! `cargo run -p outlive-pair --example counter -- a` and `… -- b`. Each line of input adds a number at
//! the primary; end the primary in any way, and the other goes on from the same sum.

use std::error::Error;
use std::io::BufRead;

use outlive::{Context, RegionSpec, Session};
use outlive_pair::{Member, Moment, PairConfig, Request, RestoreError, Service};

#[derive(Default)]
struct Counter {
    sum: i64,
}

impl Service for Counter {
    fn is_read_only(&self, request: &[u8]) -> bool {
        request.is_empty()
    }

    fn apply(&mut self, request: &[u8], at: Moment) -> Vec<u8> {
        match std::str::from_utf8(request).map(|text| text.trim().parse::<i64>()) {
            Ok(Ok(number)) => self.sum = self.sum.wrapping_add(number),
            _ => return b"not a number".to_vec(),
        }
        self.query(request, at)
    }

    fn query(&self, _request: &[u8], _at: Moment) -> Vec<u8> {
        self.sum.to_string().into_bytes()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.sum.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.sum = match snapshot {
            [] => 0,
            bytes => i64::from_le_bytes(bytes.try_into().map_err(RestoreError::new)?),
        };
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "a".into());
    let session = Session::connect(&Context::discover(None)?)?;
    let config = PairConfig::new("counter", name, Some(RegionSpec::checkpoint(8 << 20)));
    let member = Member::start(session, config, Counter::default())?;
    println!("{}", member.settled().await.role);
    for line in std::io::stdin().lock().lines() {
        match member.call(Request::plain(line?)).await {
            Ok(reply) => println!("{}", String::from_utf8_lossy(&reply)),
            Err(error) => println!("{error}"),
        }
    }
    member.leave().await;
    Ok(())
}
