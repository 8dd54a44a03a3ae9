//! A unit that lost power comes back without what was only placed: its primary writes that again, or says what is lost.

use outlive::{Error, Level, OpenOptions, RegionSpec};

use crate::support::Device;

const MEDIUM: u64 = 16 << 20;

#[test]
fn sets_that_were_acknowledged_as_placed_and_lost_are_named() {
    let (device, mut server) = Device::new(MEDIUM);
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let placing = OpenOptions {
        level: Some(Level::Placed),
        ..OpenOptions::default()
    };
    let primary = session.primary("r", &placing).expect("opened");
    let kept = primary
        .append(b"kept")
        .expect("appended")
        .wait()
        .expect("committed");
    device.media().medium().persist().expect("the device works");
    let lost = primary
        .append(b"lost")
        .expect("appended")
        .wait()
        .expect("committed");
    assert_eq!((lost.level, lost.method), (Level::Placed, None));
    let left = device.media().persistent();
    server.stop();
    device.replace(left);
    server.resume();
    let outcome = primary.append(b"more").and_then(outlive::Commit::wait);
    let Err(Error::Lost { from, to, .. }) = outcome else {
        panic!("{:?}", outcome.map(drop))
    };
    assert_eq!((from, to), (kept.sequence + 1, lost.sequence));
}
