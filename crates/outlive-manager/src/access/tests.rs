use outlive_identity::Serial;
use outlive_layout::RegionId as LayoutId;
use outlive_layout::catalog::{AccessList, EXTENT_ALIGN, Extent, IdentityEntry, Record};

use super::*;

const REGION: &str = "r";
const GENERATION: u64 = 4;

/// Who calls: each differs from the others in what the catalog says of it.
const CALLERS: [&str; 8] = [
    "nobody",
    "reader",
    "owner",
    "holder",
    "administrator",
    "administrator-who-holds",
    "revoked",
    "replaced",
];

fn catalog() -> Catalog {
    let mut catalog = Catalog::new(Extent {
        start: 0,
        len: 16 * EXTENT_ALIGN,
    });
    let names = |of: &[&str]| of.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let owners = names(&[
        "owner",
        "holder",
        "administrator-who-holds",
        "revoked",
        "replaced",
    ]);
    let access = AccessList::new(owners, names(&["reader"])).unwrap();
    let region = LayoutId([1; 16]);
    let created = Record::RegionCreated {
        region,
        name: REGION.into(),
        kind: outlive_layout::RegionKind::Raw,
        size: EXTENT_ALIGN,
        slots: 0,
        max_snapshot: 0,
        extents: vec![Extent {
            start: 0,
            len: 2 * EXTENT_ALIGN,
        }],
        created_ms: 1,
        access,
    };
    let known = |name: &str, administrator, revoked, serials: &[u8]| Record::IdentitySet {
        identity: IdentityEntry {
            name: name.into(),
            administrator,
            revoked,
            serials: serials.iter().map(|&serial| vec![serial]).collect(),
            ..IdentityEntry::default()
        },
    };
    let records = [
        created,
        known("administrator", true, false, &[]),
        known("administrator-who-holds", true, false, &[9, 1]),
        known("revoked", true, true, &[]),
        known("replaced", true, false, &[9]),
        known("holder", false, false, &[1]),
    ];
    for record in records {
        catalog.apply(&record).unwrap();
    }
    catalog
}

/// The same with a primary.
fn held_by(identity: &str) -> Catalog {
    let mut catalog = catalog();
    let opened = Record::Opened {
        region: LayoutId([1; 16]),
        generation: GENERATION,
        owner: "label".into(),
        identity: identity.into(),
    };
    catalog.apply(&opened).unwrap();
    catalog
}

fn caller(name: &str) -> Caller {
    Caller {
        name: name.parse().unwrap(),
        serial: Serial(vec![1]),
        source: None,
    }
}

/// One letter for each verdict, in the order of [`CALLERS`].
fn row(catalog: &Catalog, want: Want<'_>) -> String {
    let letter = |name: &&str| match decide(catalog, &caller(name), &want) {
        Verdict::Allowed => '+',
        Verdict::Hidden => '.',
        Verdict::Missing(Right::Reader) => 'r',
        Verdict::Missing(Right::Owner) => 'o',
        Verdict::Missing(Right::Holder) => 'h',
        Verdict::Missing(Right::Administrator) => 'a',
        Verdict::Revoked => 'R',
        Verdict::Replaced => 'S',
    };
    CALLERS.iter().map(letter).collect()
}

#[test]
fn every_want_is_decided_for_every_caller() {
    let catalog = held_by("holder");
    let table = [
        // nobody, reader, owner, holder, administrator, administrator who holds, revoked, replaced
        (Want::Answer, "++++++RS"),
        (Want::Administer, "aaaa++RS"),
        (Want::See(REGION), ".+++++RS"),
        (Want::Read(REGION), ".+++r+RS"),
        (Want::Own(REGION), ".o++o+RS"),
        (Want::Hold(REGION, GENERATION), ".oh+ohRS"),
        (Want::Hold(REGION, GENERATION - 1), ".o++o+RS"),
        (Want::Grow(REGION, GENERATION), ".aaaohRS"),
        (Want::HandOver(REGION), ".o++++RS"),
        (Want::Manage(REGION), ".aaa++RS"),
    ];
    for (want, expected) in table {
        assert_eq!(row(&catalog, want), expected, "{want:?}");
        // What does not exist is hidden from everybody who may call at all.
        if want.region().is_some() {
            let elsewhere = match want {
                Want::See(_) => Want::See("x"),
                Want::Read(_) => Want::Read("x"),
                Want::Own(_) => Want::Own("x"),
                Want::Hold(_, generation) => Want::Hold("x", generation),
                Want::Grow(_, generation) => Want::Grow("x", generation),
                Want::HandOver(_) => Want::HandOver("x"),
                Want::Manage(_) | Want::Answer | Want::Administer => Want::Manage("x"),
            };
            assert_eq!(row(&catalog, elsewhere), "......RS", "{elsewhere:?}");
        }
    }
}

#[test]
fn only_who_opened_a_generation_goes_on_in_it() {
    let held = held_by("administrator-who-holds");
    assert_eq!(row(&held, Want::Hold(REGION, GENERATION)), ".ohho+RS");
    assert_eq!(row(&held, Want::Grow(REGION, GENERATION)), ".aaao+RS");
    // A closed region is nobody's: the operation says so.
    let mut closed = held;
    let record = Record::Closed {
        region: LayoutId([1; 16]),
        generation: GENERATION,
    };
    closed.apply(&record).unwrap();
    assert_eq!(row(&closed, Want::Hold(REGION, GENERATION)), ".o++o+RS");
}

#[test]
fn a_primary_that_was_taken_out_of_the_list_goes_on_no_more() {
    let mut catalog = held_by("holder");
    let mut change = |identity: &str, right, allowed| {
        let record = Record::AccessChanged {
            region: LayoutId([1; 16]),
            identity: identity.into(),
            right,
            allowed,
        };
        catalog.apply(&record).unwrap();
        decide(&catalog, &caller("holder"), &Want::Hold(REGION, GENERATION))
    };
    assert_eq!(change("holder", AccessRight::Reader, true), Verdict::Allowed);
    assert_eq!(
        change("holder", AccessRight::Owner, false),
        Verdict::Missing(Right::Owner)
    );
    assert_eq!(change("holder", AccessRight::Reader, false), Verdict::Hidden);
}

#[test]
fn connections_keep_what_the_lists_still_give() {
    let catalog = held_by("holder");
    let region = Some(RegionId([1; 16]));
    let of = |name| (leave(&catalog, name, region), leave(&catalog, name, None));
    assert_eq!(of("owner"), (Leave::All, Leave::Nothing));
    assert_eq!(of("reader"), (Leave::Readers, Leave::Nothing));
    assert_eq!(of("nobody"), (Leave::Nothing, Leave::Nothing));
    assert_eq!(of("administrator"), (Leave::Nothing, Leave::Readers));
    assert_eq!(of("administrator-who-holds"), (Leave::All, Leave::Readers));
    assert_eq!(of("revoked"), (Leave::Nothing, Leave::Nothing));
    assert_eq!(leave(&catalog, "owner", Some(RegionId([2; 16]))), Leave::Nothing);
}

#[test]
fn lists_show_what_may_be_seen() {
    let catalog = catalog();
    assert_eq!(sight(&catalog, &caller("administrator")), Sight::All);
    assert_eq!(sight(&catalog, &caller("owner")), Sight::Listed("owner"));
}

#[test]
fn what_is_hidden_reads_as_what_does_not_exist() {
    let catalog = catalog();
    let answer = |caller: &Caller, catalog: &Catalog| {
        let want = Want::Own(REGION);
        decide(catalog, caller, &want).check(caller, &want).unwrap_err()
    };
    let nowhere = Catalog::new(catalog.allocatable());
    assert_eq!(
        answer(&caller("nobody"), &catalog),
        answer(&caller("owner"), &nowhere)
    );
}

#[test]
fn a_missing_right_is_named_with_what_gives_it() {
    let catalog = catalog();
    let answer = |name: &str, want: Want<'_>| {
        let caller = caller(name);
        decide(&catalog, &caller, &want)
            .check(&caller, &want)
            .unwrap_err()
    };
    let reader = answer("reader", Want::Own(REGION));
    assert_eq!(
        (reader.code, reader.missing_right.as_str()),
        (ErrorCode::NoAccess, "owner")
    );
    assert!(
        reader.message.contains("region grant r --owner reader"),
        "{reader}"
    );
    let owner = answer("owner", Want::Administer);
    assert_eq!(owner.missing_right, "administrator");
    assert!(
        owner.message.contains("access admit owner --administrator"),
        "{owner}"
    );
    assert_eq!(answer("revoked", Want::Answer).missing_right, "");
}

#[test]
fn both_crates_mean_the_same_by_a_name() {
    let long = "n".repeat(65);
    for name in [
        "a",
        "9",
        "system/unit",
        "a b",
        "",
        "-a",
        ".a",
        "a.b_c-d@e+f:g/h",
        "é",
        &long,
        &long[1..],
    ] {
        assert_eq!(
            name.parse::<outlive_identity::Name>().is_ok(),
            outlive_layout::catalog::valid_identity(name),
            "{name:?}"
        );
    }
}
