//! Commands of the key-value service, carried out: whatever is asked for, two members that carry out the same requests answer
//! alike and hold the same state, reads change nothing, and a snapshot is all of the state.

use outlive_kv::Kv;
use outlive_pair::{Moment, Service};

use super::resp_requests::requests;
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "kv_commands",
    about: "commands of the key-value service, carried out",
    run,
    seeds,
    // A command may make a value of up to this by an offset or a count that it names.
    allowance_bytes: 64 << 20,
};

/// Bytes of an input that say how time goes on between requests, in milliseconds.
const STEP_BYTES: usize = 2;

fn run(input: &[u8]) {
    let (steps, stream) = input.split_at(input.len().min(STEP_BYTES));
    let (requests, _) = requests(&[stream]);
    let (mut primary, mut backup) = (Kv::default(), Kv::default());
    let mut at = Moment { unix_ms: 1_000_000 };
    for (request, step) in requests.iter().zip(steps.iter().cycle()) {
        at.unix_ms += u64::from(*step);
        if primary.is_read_only(request) {
            let reply = primary.query(request, at);
            assert_eq!(primary, backup, "a read changes nothing");
            assert_eq!(backup.query(request, at), reply);
            continue;
        }
        assert_eq!(
            primary.apply(request, at),
            backup.apply(request, at),
            "members answer alike"
        );
        assert_eq!(primary, backup, "members hold the same state");
    }
    let snapshot = primary.snapshot();
    let mut restored = Kv::default();
    restored.restore(&snapshot).expect("its own snapshot");
    assert_eq!(restored, primary, "a snapshot is all of the state");
    assert_eq!(restored.snapshot(), snapshot);
}

fn seeds() -> Vec<Seed> {
    let scripts: [(&'static str, &[u8]); 7] = [
        (
            "strings",
            b"SET a 1 EX 10\nINCRBY a 5\nAPPEND a xy\nGETRANGE a 0 -2\nSETRANGE a 9 z\nSTRLEN a\nMSET b 2 c 3\nMGET a b c d\nGETDEL b\nSET c 4 NX GET\nINCRBYFLOAT c 1.5\nDECR c\nGETEX a PX 5\nSETNX q 1\n",
        ),
        (
            "keys",
            b"SET a 1\nEXPIRE a 1\nTTL a\nPEXPIREAT a 1000500\nPERSIST a\nRENAME a b\nCOPY b c\nTYPE b\nKEYS *[a-c]?\nSCAN 0 MATCH * COUNT 5\nDEL a b\nEXISTS b c c\nRANDOMKEY\nDBSIZE\nFLUSHALL\nTOUCH a\nUNLINK c\n",
        ),
        (
            "lists",
            b"RPUSH l a b c d\nLPUSH l z\nLRANGE l 0 -1\nLPOP l 2\nRPOP l\nLINDEX l -1\nLSET l 0 q\nLINSERT l BEFORE c x\nLREM l 0 c\nLTRIM l 0 1\nLLEN l\nLMOVE l m LEFT RIGHT\nRPOPLPUSH m l\nLPOS l a\n",
        ),
        (
            "hashes",
            b"HSET h a 1 b 2\nHGET h a\nHGETALL h\nHINCRBY h a 3\nHINCRBYFLOAT h a 0.5\nHDEL h b\nHKEYS h\nHVALS h\nHLEN h\nHEXISTS h a\nHSETNX h c 1\nHMGET h a z\nHSCAN h 0\nHSTRLEN h a\nHRANDFIELD h 2\n",
        ),
        (
            "sets",
            b"SADD s a b c 1 2\nSADD t b c\nSINTER s t\nSUNION s t\nSDIFF s t\nSREM s a\nSISMEMBER s b\nSMISMEMBER s b z\nSMEMBERS s\nSCARD s\nSPOP s\nSRANDMEMBER s -3\nSMOVE s t c\nSUNIONSTORE u s t\nSSCAN u 0\n",
        ),
        (
            "zsets",
            b"ZADD z 1 a 2.5 b -inf c +inf d\nZADD z NX GT CH 3 a\nZINCRBY z 1 a\nZRANGE z 0 -1 WITHSCORES\nZRANGE z (1 +inf BYSCORE LIMIT 0 2\nZRANGEBYSCORE z -inf 5\nZRANGEBYLEX z - +\nZREVRANGE z 0 1\nZRANK z a\nZSCORE z b\nZCOUNT z 0 9\nZREM z d\nZPOPMIN z\nZPOPMAX z 1\nZCARD z\nZREMRANGEBYRANK z 0 0\nZSCAN z 0\n",
        ),
        ("arrays", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*4\r\n$8\r\nSETRANGE\r\n$1\r\nk\r\n$6\r\n100000\r\n$1\r\nx\r\n"),
    ];
    let timed = |(name, script): (&'static str, &[u8])| (name, [&[1, 250], script].concat());
    scripts.into_iter().map(timed).collect()
}
