//! Data connections under TLS, as a unit's options ask for them (M6).

use outlive_fabric::tcp::{ConnectOptions, PinnedCertificate, connect};
use outlive_fabric::{FabricError, Refusal};
use outlive_media::MediaSpec;
use outlive_proto::v1::DataTls;
use outlive_unit::{TlsPolicy, Unit, UnitOptions};

use crate::rig::{Rig, options};

fn rig(change: impl FnOnce(&mut UnitOptions)) -> Rig {
    let mut options = options();
    change(&mut options);
    let spec = MediaSpec::Memory { size: 16 << 20 };
    Rig::on(spec.open_volume().unwrap(), options)
}

#[test]
fn a_unit_that_requires_encryption_tells_its_manager_the_certificate() {
    let rig = rig(|options| options.data_tls = Some(TlsPolicy::Require));
    assert_eq!(rig.attached.data_tls(), DataTls::Require);
    let region = rig.region(1, &[(0, 4)]);
    let ticket = rig.admit(region, true, 1, 10_000).unwrap();
    let refused = rig.connect(&ticket).err().unwrap();
    assert!(
        matches!(refused, FabricError::Refused(Refusal::Unencrypted)),
        "{refused}"
    );
    let encrypted = ConnectOptions {
        tls: Some(PinnedCertificate::new(rig.attached.data_certificate.clone())),
        ..ConnectOptions::default()
    };
    // The ticket was not used up by that.
    connect(&rig.address().to_string(), &ticket, &encrypted).unwrap();
    assert_ne!(
        rig.attached.data_certificate,
        self::rig(|options| options.data_tls = Some(TlsPolicy::Require))
            .attached
            .data_certificate,
        "each start has a certificate of its own"
    );
}

#[test]
fn what_leaves_the_host_is_encrypted_unless_that_is_turned_off() {
    let by_default = |advertise: Option<&str>| {
        rig(|options| options.advertise = advertise.map(str::to_owned))
            .attached
            .data_tls()
    };
    assert_eq!(by_default(None), DataTls::Off);
    assert_eq!(by_default(Some("localhost:7781")), DataTls::Off);
    assert_eq!(by_default(Some("unit.example:7781")), DataTls::Require);
    let off = rig(|options| {
        options.advertise = Some("unit.example:7781".into());
        options.data_tls = Some(TlsPolicy::Off);
    });
    assert_eq!(off.attached.data_tls(), DataTls::Off);
}

#[test]
fn a_listener_on_every_address_encrypts() {
    let unit = Unit::open(&"memory:size=16MiB".parse().unwrap(), options()).unwrap();
    let address = unit.serve_data("0.0.0.0:0".parse().unwrap()).unwrap();
    let ticket = crate::rig::unknown(1);
    let local = format!("127.0.0.1:{}", address.port());
    let refused = connect(&local, &ticket, &ConnectOptions::default())
        .err()
        .unwrap();
    assert!(
        matches!(refused, FabricError::Refused(Refusal::Unencrypted)),
        "{refused}"
    );
}
