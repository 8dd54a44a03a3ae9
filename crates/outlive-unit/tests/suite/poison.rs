//! A failed flush poisons the medium for everybody, until it is opened anew.

use outlive_fabric::Refusal;
use outlive_media::Stored;
use outlive_proto::v1::unit_event::Event;
use outlive_proto::v1::{ErrorCode, EventsRequest};
use tokio_stream::StreamExt;

use crate::controlled::Controlled;
use crate::rig::{Rig, options};

#[test]
fn everything_is_refused_after_a_failed_flush() {
    let media = Controlled::new();
    let rig = Rig::on(media.volume(Stored::New), options());
    let (region, other) = (rig.region(1, &[(0, 2)]), rig.region(2, &[(4, 2)]));
    let (mut client, mut bystander) = (rig.open(region, true, 1), rig.open(other, true, 1));
    let request = EventsRequest {
        manager_generation: rig.generation,
    };
    let mut events = rig.call(async |mut admin| admin.events(request).await).unwrap();
    client.write(client.data, 0, b"committed").unwrap();
    client.persist().unwrap();
    client.write(client.data, 0, b"not sure!").unwrap();

    media.fail_flushes(true);
    let failed = |outcome: Result<(), Refusal>| match outcome {
        Err(Refusal::Media(reason)) => assert!(reason.contains("the device is gone"), "{reason}"),
        other => panic!("{other:?}"),
    };
    failed(client.persist());
    // The device works again, but what it lost it does not say.
    media.fail_flushes(false);
    failed(client.persist());
    failed(bystander.persist());
    failed(bystander.write(bystander.data, 0, b"x"));
    failed(bystander.write(bystander.data, 0, &vec![0; 4096]));
    failed(bystander.read(bystander.data, 0, 1).map(|_| ()));
    assert_eq!(
        rig.prepare(rig.extents(&[(9, 1)]), Vec::new()).unwrap_err().code,
        ErrorCode::MediaFailed
    );
    assert!(rig.state().poisoned.contains("the device is gone"));
    let told = rig.runtime.block_on(events.next()).unwrap().unwrap().event;
    assert!(matches!(told, Some(Event::MediaFailed(reason)) if reason.contains("the device is gone")));
    assert!(rig.unit.close().is_err());

    let anew = Rig::on(media.volume(Stored::Before), options());
    anew.program(region, anew.extents(&[(0, 2)]), 0).unwrap();
    let mut client = anew.open(region, true, 1);
    client.persist().unwrap();
    assert_eq!(anew.state().poisoned, "");
}
