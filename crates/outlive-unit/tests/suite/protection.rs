//! A connection reaches what it was granted and nothing else, and is told why (U5, M6).

use outlive_fabric::{Refusal, RemoteKey};

use crate::rig::{BLOCK, Rig};

#[test]
fn a_key_of_another_connection_is_worthless() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 4)]);
    let mut writer = rig.open(region, true, 1);
    let mut reader = rig.open(region, false, 1);
    assert_ne!(writer.data, reader.data);
    let unknown = |key: RemoteKey| Refusal::UnknownKey { key: key.0 };
    assert_eq!(reader.read(writer.data, 0, 1), Err(unknown(writer.data)));
    assert_eq!(reader.write(writer.data, 0, b"x"), Err(unknown(writer.data)));
    assert_eq!(writer.read(reader.data, 0, 1), Err(unknown(reader.data)));
    // Both go on.
    writer.write(writer.data, 0, b"fine").unwrap();
    assert_eq!(reader.read(reader.data, 0, 4).unwrap(), b"fine");
    assert_eq!(rig.state().refusals, 3);
}

#[test]
fn a_backup_only_reads_and_nobody_writes_metadata() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 4)]);
    let mut reader = rig.open(region, false, 1);
    assert_eq!(reader.write(reader.data, 0, b"x"), Err(Refusal::ReadOnly));
    assert_eq!(reader.persist(), Err(Refusal::ReadOnly));
    let mut writer = rig.open(region, true, 1);
    assert_eq!(writer.write(writer.metadata, 0, b"x"), Err(Refusal::ReadOnly));
    let large = vec![1; 1 << 20];
    assert_eq!(reader.write(reader.data, 0, &large), Err(Refusal::ReadOnly));
    assert_eq!(reader.all(), vec![0; usize::try_from(3 * BLOCK).unwrap()]);
    assert_eq!(writer.read(writer.metadata, 0, 4096).unwrap(), vec![0; 4096]);
}

#[test]
fn nothing_outside_the_region_is_reached() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2), (8, 1)]);
    let mut client = rig.open(region, true, 1);
    let limit = client.data_len;
    let outside = |offset, len| Refusal::OutOfRange { offset, len, limit };
    for offset in [
        limit,
        limit - 1,
        limit + 1,
        u64::MAX,
        u64::MAX - 1,
        u64::MAX - BLOCK,
    ] {
        assert_eq!(client.write(client.data, offset, b"ab"), Err(outside(offset, 2)));
        assert_eq!(client.read(client.data, offset, 2), Err(outside(offset, 2)));
    }
    client.write(client.data, limit - 2, b"ab").unwrap();
    assert_eq!(client.read(client.data, limit - 2, 2).unwrap(), b"ab");
}

#[test]
fn memory_media_does_not_promise_persistence() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    let mut client = rig.open(region, true, 1);
    assert_eq!(client.persist(), Err(Refusal::NotPersistent));
}

#[test]
fn a_region_has_one_writer_at_most() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    let first = rig.open(region, true, 1);
    let ticket = rig.admit(region, true, 2, 10_000).unwrap();
    let refused = rig.connect(&ticket).err().unwrap();
    assert!(refused.to_string().contains("writers of one region"), "{refused}");
    drop(first);
    assert_eq!(rig.fence(region, 1, true).err(), None);
    rig.open(region, true, 2);
}
