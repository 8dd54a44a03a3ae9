//! After a fence or a withdrawal not one byte of those it stopped lands (P3, X1).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use outlive_fabric::tcp::frame::{Op, OpFrame};
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::testing::raw;
use outlive_fabric::{Endpoint, ExposedPart, FabricError, Refusal, RemoteKey, Ticket};
use outlive_media::Stored;
use outlive_proto::v1::ErrorCode;

use crate::controlled::Controlled;
use crate::rig::{Client, Rig, options};

const BLOCKS: u64 = 512;

/// Writes without end, whatever happens, until the connection is gone; says why it went.
fn hammer(mut client: Client) -> FabricError {
    let mut completions = Vec::new();
    let mut bytes = vec![0; 60_000];
    for round in 1_u64.. {
        bytes.fill(u8::try_from(round % 251 + 1).unwrap());
        let len = 1 + usize::try_from(round * 7919 % 60_000).unwrap();
        let offset = round * 104_729 % (client.data_len - 60_000);
        let parts = [std::io::IoSlice::new(&bytes[..len])];
        let posted = client.endpoint.post_write(client.data, offset, &parts).err();
        if let Some(error) = posted.or_else(|| client.endpoint.poll(&mut completions).err()) {
            return error;
        }
        completions.clear();
    }
    unreachable!("rounds do not end")
}

#[test]
fn no_byte_of_a_hammering_writer_lands_after_the_fence() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 100), (200, BLOCKS)]);
    for generation in 1..=20 {
        let writer = rig.open(region, true, generation);
        let mut reader = rig.open(region, false, generation);
        let before = rig.unit.totals().bytes_written;
        let hammering = thread::spawn(move || hammer(writer));
        while rig.unit.totals().bytes_written < before + 1_000_000 {
            thread::yield_now();
        }
        assert_eq!(rig.fence(region, generation + 1, false).unwrap(), 1);
        let fenced = reader.all();
        let ended = hammering.join().unwrap();
        assert!(reader.all() == fenced, "a byte landed after the fence");
        // Where the writer was in the middle of sending, the reason may be lost with the connection.
        match ended {
            FabricError::Stopped(refusal) => assert_eq!(
                refusal,
                Refusal::Fenced {
                    generation: generation + 1
                }
            ),
            FabricError::Lost(_) => {}
            other => panic!("{other}"),
        }
    }
}

/// A writer that falls silent in the middle of a large write, as one that was stopped by SIGSTOP.
struct Stalled {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Stalled {
    const LEN: usize = 1 << 20;

    fn begin(rig: &Rig, ticket: &Ticket) -> Self {
        let mut stream = TcpStream::connect(rig.address()).unwrap();
        let key = welcome(&mut stream, ticket);
        let op = Op::Write {
            key,
            offset: 0,
            len: Self::LEN as u64,
        };
        stream.write_all(&OpFrame { tag: 1, op }.encode()).unwrap();
        let payload = vec![0x5A; Self::LEN];
        let (sent, unsent) = payload.split_at(Self::LEN / 2);
        stream.write_all(sent).unwrap();
        Self {
            stream,
            unsent: unsent.to_vec(),
        }
    }

    /// Sends the rest and waits for the unit to end the connection.
    fn wake_up(mut self) {
        // May fail: the unit is free to have closed the connection.
        let _ = self.stream.write_all(&self.unsent);
        let mut answers = Vec::new();
        let _ = self.stream.read_to_end(&mut answers);
    }
}

/// The key of the data.
fn welcome(stream: &mut TcpStream, ticket: &Ticket) -> RemoteKey {
    match raw::greet(stream, ticket).unwrap() {
        Reply::Welcome { session, .. } => {
            session
                .access
                .iter()
                .find(|info| info.part == ExposedPart::Data)
                .unwrap()
                .key
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_writer_that_stalled_in_a_large_write_is_fenced_at_once_and_changes_nothing_later() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 100), (200, BLOCKS)]);
    let writer = Stalled::begin(&rig, &rig.admit(region, true, 1, 10_000).unwrap());
    while rig.unit.totals().bytes_written < Stalled::LEN as u64 / 4 {
        thread::yield_now();
    }
    assert_eq!(rig.fence(region, 2, false).unwrap(), 1);

    let mut successor = rig.open(region, true, 2);
    successor
        .write(successor.data, 0, &vec![1; 2 * Stalled::LEN - 4096])
        .unwrap();
    writer.wake_up();
    assert_eq!(
        successor.all()[..2 * Stalled::LEN - 4096],
        vec![1; 2 * Stalled::LEN - 4096]
    );
    assert_eq!(rig.live().len(), 1);
}

#[test]
fn readers_and_other_regions_go_on() {
    let rig = Rig::memory();
    let (region, other) = (rig.region(1, &[(0, 4)]), rig.region(2, &[(8, 4)]));
    let mut writer = rig.open(region, true, 1);
    let mut reader = rig.open(region, false, 1);
    let mut elsewhere = rig.open(other, true, 1);
    assert_eq!(rig.fence(region, 2, false).unwrap(), 1);
    assert!(matches!(
        writer.end(),
        FabricError::Stopped(Refusal::Fenced { generation: 2 })
    ));
    reader.read(reader.data, 0, 1).unwrap();
    elsewhere.write(elsewhere.data, 0, b"x").unwrap();
}

#[test]
fn a_fence_stops_the_present_generation_only_when_asked_to() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 4)]);
    let mut writer = rig.open(region, true, 3);
    assert_eq!(rig.fence(region, 3, false).unwrap(), 0);
    writer.write(writer.data, 0, b"x").unwrap();
    assert_eq!(rig.fence(region, 3, true).unwrap(), 1);
    assert!(matches!(
        writer.end(),
        FabricError::Stopped(Refusal::Fenced { generation: 3 })
    ));
    let mut again = rig.open(region, true, 3);
    again.write(again.data, 0, b"y").unwrap();
    let late = rig.fence(region, 2, false).unwrap_err();
    assert_eq!((late.code, late.generation), (ErrorCode::Fenced, 3));
    again.write(again.data, 0, b"z").unwrap();
}

#[test]
fn nothing_is_granted_after_a_fence_that_was_not_confirmed() {
    let media = Controlled::new();
    let mut options = options();
    options.stop_timeout = Duration::from_millis(50);
    let rig = Rig::on(media.volume(Stored::New), options);
    let region = rig.region(1, &[(0, 4)]);
    let early = rig.admit(region, false, 1, 10_000).unwrap();
    let mut writer = rig.open(region, true, 1);
    media.hold(rig.attached.allocatable_start);
    let writing = thread::spawn(move || {
        // Ends with the connection; its outcome is unknown.
        let parts = [std::io::IoSlice::new(b"held up in the medium")];
        writer.endpoint.post_write(writer.data, 0, &parts).unwrap();
        writer.end()
    });
    media.await_held();

    assert_eq!(
        rig.fence(region, 2, false).unwrap_err().code,
        ErrorCode::FenceUnconfirmed
    );
    for writable in [true, false] {
        let refused = rig.admit(region, writable, 2, 1000).unwrap_err();
        assert_eq!(refused.code, ErrorCode::FenceUnconfirmed);
    }
    assert!(matches!(
        rig.connect(&early).err(),
        Some(FabricError::Refused(Refusal::Ticket))
    ));
    assert_eq!(
        rig.fence(region, 2, false).unwrap_err().code,
        ErrorCode::FenceUnconfirmed
    );
    assert_eq!(
        rig.withdraw(region).unwrap_err().code,
        ErrorCode::FenceUnconfirmed
    );
    let taken = rig.prepare(rig.extents(&[(0, 4)]), Vec::new()).unwrap_err();
    assert_eq!(taken.code, ErrorCode::Invalid, "its extents are not free yet");

    media.release();
    assert!(matches!(
        writing.join().unwrap(),
        FabricError::Stopped(Refusal::Fenced { generation: 2 })
    ));
    rig.withdraw(region).unwrap();
    let region = rig.region(1, &[(0, 4)]);
    rig.open(region, true, 2);
}

#[test]
fn a_connection_that_confirms_late_makes_the_region_grantable_again() {
    let media = Controlled::new();
    let mut options = options();
    options.stop_timeout = Duration::from_millis(50);
    let rig = Rig::on(media.volume(Stored::New), options);
    let region = rig.region(1, &[(0, 4)]);
    let mut writer = rig.open(region, true, 1);
    media.hold(rig.attached.allocatable_start);
    let parts = [std::io::IoSlice::new(b"held up in the medium")];
    writer.endpoint.post_write(writer.data, 0, &parts).unwrap();
    writer.endpoint.flush().unwrap();
    media.await_held();
    rig.fence(region, 2, false).unwrap_err();
    media.release();
    writer.end();
    while !rig.live().is_empty() {
        thread::yield_now();
    }
    rig.open(region, true, 2);
}

#[test]
fn a_region_whose_withdrawal_was_not_confirmed_can_be_programmed_again_once_it_is() {
    let media = Controlled::new();
    let mut options = options();
    options.stop_timeout = Duration::from_millis(50);
    let rig = Rig::on(media.volume(Stored::New), options);
    let region = rig.region(1, &[(0, 4)]);
    let mut writer = rig.open(region, true, 1);
    media.hold(rig.attached.allocatable_start);
    let parts = [std::io::IoSlice::new(b"held up in the medium")];
    writer.endpoint.post_write(writer.data, 0, &parts).unwrap();
    writer.endpoint.flush().unwrap();
    media.await_held();
    rig.withdraw(region).unwrap_err();
    let refused = rig.program(region, rig.extents(&[(0, 4)]), 1).unwrap_err();
    assert_eq!(refused.code, ErrorCode::FenceUnconfirmed);
    media.release();
    writer.end();
    while !rig.live().is_empty() {
        thread::yield_now();
    }
    rig.program(region, rig.extents(&[(0, 4)]), 1).unwrap();
    rig.open(region, true, 1);
}

#[test]
fn a_withdrawal_stops_everybody_and_frees_the_extents() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 4)]);
    let mut writer = rig.open(region, true, 1);
    let mut reader = rig.open(region, false, 1);
    let ticket = rig.admit(region, false, 1, 10_000).unwrap();
    assert_eq!(rig.withdraw(region).unwrap(), 2);
    for client in [&mut writer, &mut reader] {
        assert!(matches!(client.end(), FabricError::Stopped(Refusal::Withdrawn)));
    }
    assert!(rig.connect(&ticket).is_err());
    assert_eq!(
        rig.admit(region, false, 1, 1000).unwrap_err().code,
        ErrorCode::NoSuchRegion
    );
    assert_eq!(rig.withdraw(region).unwrap(), 0);
    assert_eq!(
        rig.fence(region, 9, false).unwrap_err().code,
        ErrorCode::NoSuchRegion
    );
    rig.region(2, &[(0, 4)]);
}
