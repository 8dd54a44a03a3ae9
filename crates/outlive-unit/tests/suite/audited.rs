//! What the unit writes into the audit log (U5, M7).

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use outlive_audit::{Audit, AuditOptions};
use outlive_fabric::testing::raw;
use outlive_fabric::{Endpoint, RemoteKey, TicketSecret};
use outlive_media::{MediaSpec, Stored};
use outlive_proto::v1::{AttachRequest, ErrorCode};
use outlive_unit::{TlsPolicy, UnitOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::controlled::Controlled;
use crate::rig::{PATIENCE, Rig, SECRET, options, unknown};

struct Log {
    folder: TempDir,
}

impl Log {
    fn new() -> (Self, UnitOptions) {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options();
        options.audit = Audit::open(&folder.path().join("audit.jsonl"), AuditOptions::default()).unwrap();
        (Self { folder }, options)
    }

    /// The lines of one act. Looked at anew until there are as many: a connection's end is written by its own thread.
    fn await_lines(&self, act: &str, count: usize) -> Vec<Value> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            let text = fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
            let lines = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            let lines: Vec<Value> = lines.filter(|line| line["act"] == act).collect();
            if lines.len() >= count {
                assert_eq!(lines.len(), count, "{act}: {lines:?}");
                return lines;
            }
            std::thread::yield_now();
        }
        panic!("fewer than {count} lines of {act}");
    }
}

fn rig() -> (Log, Rig) {
    let (log, options) = Log::new();
    let spec = MediaSpec::Memory { size: 16 << 20 };
    (log, Rig::on(spec.open_volume().unwrap(), options))
}

/// The named fields of a line.
fn fields(line: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| line[*name].clone()).collect()
}

#[test]
fn who_attaches_and_who_may_not() {
    let (log, rig) = rig();
    let request = AttachRequest {
        proof: b"guess".to_vec(),
        manager: "impostor".into(),
    };
    rig.call(async |mut admin| admin.attach(request).await)
        .unwrap_err();
    let lines = log.await_lines("attach", 2);
    let names = ["outcome", "identity", "generation"];
    assert_eq!(fields(&lines[0], &names), json!(["done", "test", 1]));
    assert_eq!(fields(&lines[1], &names), json!(["refused", "impostor", null]));
    let whole = lines[0].to_string();
    assert!(!whole.contains(std::str::from_utf8(SECRET).unwrap()));
}

#[test]
fn who_connects_to_what_with_which_right_and_how_it_ends() {
    let (log, rig) = rig();
    let region = rig.region(1, &[(0, 4)]);
    let reader = rig.open_as("backup", region, false);
    let _writer = rig.open_as("primary", region, true);
    let lines = log.await_lines("connect", 2);
    let names = ["outcome", "identity", "right", "region", "generation"];
    let id = region.to_string();
    assert_eq!(
        fields(&lines[0], &names),
        json!(["done", "backup", "read", id, 1])
    );
    assert_eq!(
        fields(&lines[1], &names),
        json!(["done", "primary", "write", id, 1])
    );
    assert!(lines[0]["source"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_ne!(lines[0]["connection"], lines[1]["connection"]);

    drop(reader);
    let closed = log.await_lines("disconnect", 1).remove(0);
    let names = ["outcome", "identity", "connection", "reason"];
    assert_eq!(
        fields(&closed, &names),
        json!(["done", "backup", lines[0]["connection"], null])
    );

    rig.fence(region, 2, false).unwrap();
    let fenced = log.await_lines("disconnect", 2).remove(1);
    let reason = "fenced: the region is now at generation 2";
    assert_eq!(
        fields(&fenced, &names),
        json!(["done", "primary", lines[1]["connection"], reason])
    );
    let names = ["outcome", "region", "generation", "count"];
    // Attaching fences the catalog.
    let fences = log.await_lines("fence", 2);
    assert_eq!(fields(&fences[1], &names), json!(["done", id, 2, 1]));
}

#[test]
fn who_is_not_let_in() {
    let (log, rig) = rig();
    rig.connect(&unknown(7)).err().unwrap();
    let refused = log.await_lines("connect", 1).remove(0);
    assert_eq!(refused["outcome"], "refused");
    assert!(refused["source"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(refused["reason"].as_str().unwrap().contains("ticket"));
}

#[test]
fn who_breaks_the_encryption() {
    let (log, mut options) = Log::new();
    options.data_tls = Some(TlsPolicy::Require);
    let spec = MediaSpec::Memory { size: 16 << 20 };
    let rig = Rig::on(spec.open_volume().unwrap(), options);
    let mut stream = TcpStream::connect(rig.address()).unwrap();
    // A record of a handshake that holds none.
    stream
        .write_all(&[0x16, 3, 1, 0, 4, 0xff, 0xff, 0xff, 0xff])
        .unwrap();
    let broken = log.await_lines("connect", 1).remove(0);
    assert_eq!(broken["outcome"], "refused");
    assert_eq!(broken["source"], stream.local_addr().unwrap().to_string());
    assert!(broken["reason"].as_str().unwrap().contains("TLS"), "{broken}");
}

#[test]
fn who_speaks_no_protocol_and_who_answers_wrongly() {
    let (log, rig) = rig();
    let region = rig.region(1, &[(0, 4)]);
    let mut stream = TcpStream::connect(rig.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let garbage = log.await_lines("connect", 1).remove(0);
    assert_eq!(garbage["outcome"], "refused");
    assert_eq!(garbage["source"], stream.local_addr().unwrap().to_string());
    assert!(garbage["reason"].as_str().unwrap().contains("protocol"));

    let mut guessed = rig.admit_for("tenant", region, false, 1, 10_000).unwrap();
    guessed.secret = TicketSecret::new([0; 32]);
    raw::greet(&mut TcpStream::connect(rig.address()).unwrap(), &guessed).unwrap();
    let lines = log.await_lines("connect", 2);
    let names = ["outcome", "identity"];
    assert_eq!(fields(&lines[1], &names), json!(["refused", "tenant"]));
    assert!(!lines[1].to_string().contains("secret\":"));
}

#[test]
fn what_is_stopped_and_what_could_not_be() {
    let media = Controlled::new();
    let (log, mut options) = Log::new();
    options.stop_timeout = Duration::from_millis(50);
    let rig = Rig::on(media.volume(Stored::New), options);
    let (held, free) = (rig.region(1, &[(0, 4)]), rig.region(2, &[(8, 4)]));
    let mut writer = rig.open_as("tenant", held, true);
    let _reader = rig.open_as("tenant", free, false);
    media.hold(rig.attached.allocatable_start);
    let parts = [std::io::IoSlice::new(b"held up in the medium")];
    writer.endpoint.post_write(writer.data, 0, &parts).unwrap();
    writer.endpoint.flush().unwrap();
    media.await_held();

    rig.revoke("tenant", Some(free), false).unwrap();
    let unconfirmed = rig.revoke("tenant", None, true).unwrap_err();
    assert_eq!(unconfirmed.code, ErrorCode::FenceUnconfirmed);
    let lines = log.await_lines("revoke", 2);
    let names = ["outcome", "subject", "region", "right", "count"];
    let expected = json!(["done", "tenant", free.to_string(), "read", 1]);
    assert_eq!(fields(&lines[0], &names), expected);
    assert_eq!(
        fields(&lines[1], &names),
        json!(["failed", "tenant", null, "write", null])
    );
    assert!(lines[1]["reason"].as_str().unwrap().contains("did not confirm"));

    media.release();
    writer.end();
    rig.withdraw(held).unwrap();
    let withdrawn = log.await_lines("withdraw", 1).remove(0);
    let names = ["outcome", "region"];
    assert_eq!(fields(&withdrawn, &names), json!(["done", held.to_string()]));
}

#[test]
fn the_first_refused_operations_are_told_and_the_rest_is_counted() {
    let (log, rig) = rig();
    let region = rig.region(1, &[(0, 4)]);
    let mut reader = rig.open_as("tenant", region, false);
    let data = reader.data;
    reader.write(data, 8, b"four").unwrap_err();
    reader.read(data, 4000, 9000).unwrap_err();
    reader.read(RemoteKey(1), 0, 3).unwrap_err();
    // What is allowed is told nowhere.
    reader.read(data, 0, 8).unwrap();
    for _ in 0..10 {
        reader.write(data, 0, b"x").unwrap_err();
    }
    drop(reader);

    let end = log.await_lines("disconnect", 1).remove(0);
    assert_eq!(end["count"], 13 - 8);
    let names = ["outcome", "identity", "region", "offset", "len", "right"];
    let id = region.to_string();
    let writes = log.await_lines("write", 6);
    assert_eq!(
        fields(&writes[0], &names),
        json!(["refused", "tenant", id, 8, 4, "write"])
    );
    let reads = log.await_lines("read", 2);
    assert_eq!(
        fields(&reads[0], &names),
        json!(["refused", "tenant", id, 4000, 9000, null])
    );
    assert!(
        reads[0]["reason"]
            .as_str()
            .unwrap()
            .contains("12288 bytes that the key exposes")
    );
    assert!(
        reads[1]["reason"]
            .as_str()
            .unwrap()
            .contains("not in this connection's table")
    );
}
