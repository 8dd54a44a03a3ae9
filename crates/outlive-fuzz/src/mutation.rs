//! Cheap seeded changes to inputs: what a replay does beside the corpus. libFuzzer does it better; this one needs nothing,
//! and does the same for the same seed.

/// Numbers that lengths and counts break at.
const EDGES: [u64; 12] = [
    0,
    1,
    7,
    8,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fff8,
    u64::MAX,
];

/// The longest input that is made.
pub const MAX_INPUT_BYTES: usize = 8 << 10;

/// Makes inputs from others.
pub struct Mutator(u64);

impl Mutator {
    /// Begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One of `inputs`, changed in one to four ways.
    pub fn next(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = match inputs {
            [] => Vec::new(),
            some => some[self.below(some.len())].clone(),
        };
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(MAX_INPUT_BYTES);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        if bytes.is_empty() {
            let count = self.below(64);
            bytes.extend((0..count).map(|_| self.byte()));
            return;
        }
        let at = self.below(bytes.len());
        match self.below(8) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.byte(),
            2 => self.place_number(bytes, at),
            3 => bytes.truncate(at),
            4 => {
                let end = (at + 1 + self.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let end = (at + 1 + self.below(32)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            6 => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let count = 1 + self.below(16);
                bytes.splice(at..at, (0..count).map(|_| self.byte()).collect::<Vec<_>>());
            }
        }
    }

    /// A number at which something may break, in one of the widths that our formats have.
    fn place_number(&mut self, bytes: &mut [u8], at: usize) {
        let number = EDGES[self.below(EDGES.len())].to_le_bytes();
        let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at);
        bytes[at..at + width].copy_from_slice(&number[..width]);
    }

    fn byte(&mut self) -> u8 {
        self.random().to_le_bytes()[3]
    }

    fn below(&mut self, bound: usize) -> usize {
        let at = self.random() % (bound.max(1) as u64);
        usize::try_from(at).expect("below a usize")
    }

    /// Xorshift: any sequence does that is long and the same each time.
    fn random(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_leads_to_the_same_inputs_again() {
        let inputs = [b"one input".to_vec(), b"and another".to_vec()];
        let some = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..50).map(|_| mutator.next(&inputs)).collect::<Vec<_>>()
        };
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
    }
}
