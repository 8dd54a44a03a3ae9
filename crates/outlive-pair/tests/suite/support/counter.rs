//! The service of these tests.

use outlive_pair::{Moment, RestoreError, Service};

/// A counter with ballast: `add N` returns the new value, `get` the present one, `fill N` makes snapshots N bytes
/// longer, `crash` panics.
#[derive(Debug, Default)]
pub struct Counter {
    value: i64,
    ballast: usize,
}

impl Service for Counter {
    fn is_read_only(&self, request: &[u8]) -> bool {
        request == b"get"
    }

    fn apply(&mut self, request: &[u8], _at: Moment) -> Vec<u8> {
        let text = String::from_utf8_lossy(request);
        let number = |text: &str| {
            text.split(' ')
                .next()
                .and_then(|number| number.parse::<i64>().ok())
        };
        if let Some(by) = text.strip_prefix("add ").and_then(number) {
            self.value += by;
        } else if let Some(bytes) = text.strip_prefix("fill ").and_then(number) {
            self.ballast = usize::try_from(bytes).unwrap_or(0);
        } else if text == "crash" {
            panic!("a request that the service cannot bear");
        } else {
            return b"error".to_vec();
        }
        self.value.to_string().into_bytes()
    }

    fn query(&self, _request: &[u8], _at: Moment) -> Vec<u8> {
        self.value.to_string().into_bytes()
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut bytes = self.value.to_le_bytes().to_vec();
        bytes.resize(8 + self.ballast, 0xba);
        bytes
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        *self = Self::default();
        if let Some((value, ballast)) = snapshot.split_first_chunk() {
            self.value = i64::from_le_bytes(*value);
            self.ballast = ballast.len();
        }
        Ok(())
    }
}
