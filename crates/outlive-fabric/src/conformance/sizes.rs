//! Nothing, a little, and as much as there can be.

use std::io::IoSlice;

use super::Harness;
use super::bench::{Bench, collect, index, pattern, persist, read, write};
use crate::testing::KEY;
use crate::{Endpoint, OpId, Outcome, Refusal, RemoteKey, Rights};

/// The longest operation works in both directions, a longer one is refused and nothing is lost.
pub(super) fn the_longest_operations_and_longer_ones<H: Harness>() {
    let bench = Bench::<H>::new(17 << 20);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let max = endpoint.max_op_bytes();
    let bytes = pattern(5, max as usize);
    assert_eq!(write(&mut endpoint, KEY, 3, &bytes), Ok(Outcome::Placed));
    let longer = vec![0; max as usize + 1];
    let first = endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"abc")])
        .expect("posted");
    let second = endpoint
        .post_write(KEY, 0, &[IoSlice::new(&longer)])
        .expect("posted");
    let third = endpoint.post_read(KEY, 0, max + 1).expect("posted");
    let fourth = endpoint.post_read(KEY, 3, max).expect("posted");
    let completions = collect(&mut endpoint, 4);
    let ops: Vec<OpId> = completions.iter().map(|completion| completion.op).collect();
    assert_eq!(ops, [first, second, third, fourth]);
    assert_eq!(completions[0].result, Ok(Outcome::Placed));
    for refused in &completions[1..3] {
        assert!(matches!(&refused.result, Err(Refusal::Limit { limit, .. }) if *limit == u64::from(max)));
    }
    assert!(
        completions[3].result == Ok(Outcome::Read(bytes)),
        "the longest read returns what was written"
    );
}

/// One byte more and one less than every border that a provider may have inside, up to a region longer than any operation.
pub(super) fn odd_and_large_sizes<H: Harness>() {
    const LEN: usize = (17 << 20) + 13;
    let bench = Bench::<H>::new(LEN);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let max = u64::from(endpoint.max_op_bytes());
    let whole = pattern(99, LEN);
    let powers = (3..21).map(|power| 1u64 << power);
    let sizes = powers
        .flat_map(|size| [size - 1, size, size + 1])
        .chain([1, 2, max - 1, max]);
    for (seed, len) in (1..).zip(sizes) {
        let offset = seed % 9;
        let bytes = &whole[index(seed)..][..index(len)];
        assert_eq!(
            write(&mut endpoint, KEY, offset, bytes),
            Ok(Outcome::Placed),
            "{len} bytes"
        );
        let asked = u32::try_from(len).expect("one operation");
        let Ok(Outcome::Read(seen)) = read(&mut endpoint, KEY, offset, asked) else {
            panic!("{len} bytes can be read");
        };
        assert!(seen == bytes, "{len} bytes come back");
    }
    let pieces: Vec<&[u8]> = whole.chunks(index(max)).collect();
    for (offset, piece) in (0..).step_by(index(max)).zip(&pieces) {
        endpoint
            .post_write(KEY, offset, &[IoSlice::new(piece)])
            .expect("posted");
    }
    for completion in collect(&mut endpoint, pieces.len()) {
        assert_eq!(completion.result, Ok(Outcome::Placed));
    }
    assert!(bench.placed() == whole, "the whole region was written");
}

/// No byte at all is in range up to the very end, and is refused where one byte would be for another reason than its range.
pub(super) fn nothing_at_all_is_an_operation_too<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    for offset in [0, 5, 4096] {
        assert_eq!(write(&mut endpoint, KEY, offset, b""), Ok(Outcome::Placed));
        assert_eq!(read(&mut endpoint, KEY, offset, 0), Ok(Outcome::Read(Vec::new())));
        assert!(matches!(
            persist(&mut endpoint, KEY, offset, 0),
            Ok(Outcome::Persistent(_))
        ));
    }
    let beyond = |offset| Refusal::OutOfRange {
        offset,
        len: 0,
        limit: 4096,
    };
    for offset in [4097, u64::MAX] {
        assert_eq!(write(&mut endpoint, KEY, offset, b""), Err(beyond(offset)));
        assert_eq!(read(&mut endpoint, KEY, offset, 0), Err(beyond(offset)));
        assert_eq!(persist(&mut endpoint, KEY, offset, 0), Err(beyond(offset)));
    }
    let unknown = Refusal::UnknownKey { key: 8 };
    assert_eq!(write(&mut endpoint, RemoteKey(8), 0, b""), Err(unknown.clone()));
    assert_eq!(read(&mut endpoint, RemoteKey(8), 0, 0), Err(unknown));
    assert_eq!(bench.placed(), vec![0; 4096]);
}
