//! A backup that looks often for what is new pays for a set's header, not for the journal and the region's head.

use outlive::{BackupOptions, Follow};

use crate::support::{Server, primary_of};

/// One header of the layout is 112 bytes.
const LOOK_BYTES: u64 = 128;

#[test]
fn looks_at_an_idle_region_read_a_header_each_and_the_next_set_ends_them() {
    let server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    let options = BackupOptions {
        follow: Follow::Updates,
        ..BackupOptions::default()
    };
    let mut backup = session.backup_with("r", &options).expect("opened");
    assert!(!backup.is_quiet().expect("read"), "nothing was read yet");
    let append = |text: &str| primary.append(text).expect("appended").wait().expect("committed");
    append("one");
    // The first call reads everything, the second finds the end.
    assert_eq!(backup.read_new().expect("read").sets.len(), 1);
    assert!(backup.read_new().expect("read").sets.is_empty());

    let bytes_read = || session.status().expect("status").units[0].bytes_read;
    let before = bytes_read();
    for _ in 0..1000 {
        assert!(backup.is_quiet().expect("read"));
    }
    let each = (bytes_read() - before) / 1000;
    assert!(each <= LOOK_BYTES, "{each} bytes a look");
    let before = bytes_read();
    for _ in 0..100 {
        assert!(backup.read_new().expect("read").sets.is_empty());
    }
    let each = (bytes_read() - before) / 100;
    assert!(
        each <= 28 << 10,
        "{each} bytes for the head and a piece of the journal"
    );

    append("two");
    assert!(!backup.is_quiet().expect("read"));
    assert_eq!(backup.read_new().expect("read").sets[0].bytes, b"two");
    assert!(backup.is_quiet().expect("read"));
}
