//! Two members that apply the same requests hold, answer and snapshot the same bytes.

use outlive_kv::{Kv, request};
use outlive_pair::{Moment, Service};
use proptest::prelude::*;

/// A command, and how long after the one before it comes.
fn steps() -> impl Strategy<Value = Vec<(Vec<String>, u64)>> {
    let key = || prop_oneof!["k[0-4]", "gone[0-9]"];
    let value = || "[a-d]{0,3}|-?[0-9]{1,3}";
    let number = || (-5_i64..60).prop_map(|n| n.to_string());
    let line = prop_oneof![
        (
            "SET|GETSET|SETNX|APPEND|SADD|SREM|LPUSH|RPUSH|HDEL|ZREM",
            key(),
            value()
        )
            .prop_map(|(c, k, v)| vec![c, k, v]),
        ("INCR|LPOP|RPOP|SPOP|DEL|GETDEL|PERSIST|ZPOPMIN|ZPOPMAX", key()).prop_map(|(c, k)| vec![c, k]),
        ("PEXPIRE|INCRBY|EXPIRE|SPOP|LPOP", key(), number()).prop_map(|(c, k, n)| vec![c, k, n]),
        ("HSET|HSETNX", key(), value(), value()).prop_map(|(c, k, f, v)| vec![c, k, f, v]),
        ("ZADD|ZINCRBY|PSETEX", key(), number(), value()).prop_map(|(c, k, n, v)| vec![c, k, n, v]),
        ("RENAME|RENAMENX", key(), key()).prop_map(|(c, a, b)| vec![c, a, b]),
        Just(vec!["FLUSHALL".to_owned()]),
    ];
    proptest::collection::vec((line, 0_u64..20), 0..120)
}

fn apply(kv: &mut Kv, steps: &[(Vec<String>, u64)], from_ms: u64) -> (Vec<Vec<u8>>, u64) {
    let mut now_ms = from_ms;
    let replies = steps.iter().map(|(words, after_ms)| {
        now_ms += after_ms;
        kv.apply(&request::encode(words), Moment { unix_ms: now_ms })
    });
    (replies.collect(), now_ms)
}

proptest! {
    #[test]
    fn the_same_requests_give_the_same_replies_and_bytes(steps in steps()) {
        let (mut one, mut other) = (Kv::default(), Kv::default());
        prop_assert_eq!(apply(&mut one, &steps, 1000), apply(&mut other, &steps, 1000));
        prop_assert_eq!(one.snapshot(), other.snapshot());
    }

    /// A backup that began from a snapshot goes on exactly as the primary.
    #[test]
    fn a_restored_member_goes_on_as_the_other(before in steps(), after in steps()) {
        let mut primary = Kv::default();
        let (_, now_ms) = apply(&mut primary, &before, 1000);
        let mut backup = Kv::default();
        backup.restore(&primary.snapshot()).expect("restores");
        prop_assert_eq!(&backup, &primary);
        prop_assert_eq!(backup.snapshot(), primary.snapshot());
        prop_assert_eq!(apply(&mut backup, &after, now_ms), apply(&mut primary, &after, now_ms));
        prop_assert_eq!(backup.snapshot(), primary.snapshot());
    }

    #[test]
    fn a_query_changes_nothing(steps in steps(), later_ms in 0_u64..100) {
        let mut kv = Kv::default();
        let (_, now_ms) = apply(&mut kv, &steps, 1000);
        let before = kv.snapshot();
        for words in [vec!["GET", "k1"], vec!["KEYS", "*"], vec!["SCAN", "0"], vec!["DBSIZE"], vec!["NONSENSE"]] {
            let request = request::encode(&words);
            prop_assert!(kv.is_read_only(&request));
            kv.query(&request, Moment { unix_ms: now_ms + later_ms });
        }
        prop_assert_eq!(kv.snapshot(), before);
    }

    #[test]
    fn bytes_that_are_no_snapshot_are_refused(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        let mut kv = Kv::default();
        // Whatever is taken for one must be one.
        if kv.restore(&bytes).is_ok() {
            let mut again = Kv::default();
            again.restore(&kv.snapshot()).expect("its own snapshot restores");
            prop_assert_eq!(again, kv);
        }
    }
}

#[test]
fn a_snapshot_names_its_version_and_ends_where_it_ends() {
    let mut kv = Kv::default();
    kv.apply(&request::encode(&["SET", "k", "v"]), Moment { unix_ms: 1 });
    let snapshot = kv.snapshot();
    let mut other = Kv::default();
    let mut newer = snapshot.clone();
    newer[0] += 1;
    assert!(
        other
            .restore(&newer)
            .expect_err("a newer version")
            .to_string()
            .contains("version 2")
    );
    assert!(other.restore(&[&snapshot[..], b"x"].concat()).is_err());
    assert!(other.restore(&snapshot[..snapshot.len() - 1]).is_err());
    assert_eq!(other, Kv::default());
    other.restore(&snapshot).expect("restores");
    other
        .restore(&[])
        .expect("nothing is the state before the first request");
    assert_eq!(other, Kv::default());
}
