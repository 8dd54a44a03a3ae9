//! A volume on a file, from its making to its next opening.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use outlive_media::superblock::FORMATTING;
use outlive_media::{FileMedia, MediaError, MediaSpec, Medium, Stored, Superblock};

const SIZE: u64 = 8 << 20;

fn spec(folder: &tempfile::TempDir, size: Option<u64>) -> MediaSpec {
    MediaSpec::File {
        path: folder.path().join("m"),
        size,
    }
}

#[test]
fn it_is_made_on_first_use_and_opened_later() {
    let folder = tempfile::tempdir().unwrap();
    let first = spec(&folder, Some(SIZE)).open_volume().unwrap();
    let unit = first.geometry().unit;
    let at = first.geometry().allocatable_start;
    first.medium().store(at, b"kept").unwrap();
    first.raise_manager_generation().unwrap();
    drop(first);
    let second = spec(&folder, None).open_volume().unwrap();
    assert_eq!(
        (
            second.geometry().unit,
            second.incarnation(),
            second.manager_generation()
        ),
        (unit, 2, 1)
    );
    let mut found = [0; 4];
    second.medium().load(at, &mut found).unwrap();
    assert_eq!(&found, b"kept");
    drop(second);
    assert_eq!(spec(&folder, Some(SIZE)).open_volume().unwrap().incarnation(), 3);
}

#[test]
fn another_size_than_it_has_is_refused_and_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    spec(&folder, Some(SIZE)).open_volume().unwrap();
    let error = spec(&folder, Some(2 * SIZE)).open_volume().unwrap_err();
    assert!(
        matches!(error, MediaError::SizeMismatch { asked, found, .. } if (asked, found) == (2 * SIZE, SIZE))
    );
    assert_eq!(spec(&folder, None).open_volume().unwrap().incarnation(), 2);
}

#[test]
fn a_truncated_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    spec(&folder, Some(SIZE)).open_volume().unwrap();
    let file = OpenOptions::new()
        .write(true)
        .open(folder.path().join("m"))
        .unwrap();
    file.set_len(SIZE / 2).unwrap();
    let error = spec(&folder, Some(SIZE)).open_volume().unwrap_err();
    assert!(
        matches!(error, MediaError::WrongLength { found, expected, .. } if (found, expected) == (SIZE / 2, SIZE))
    );
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    for content in [&b"a letter"[..], &[0; 20_000]] {
        std::fs::write(&path, content).unwrap();
        for size in [None, Some(SIZE)] {
            assert!(matches!(
                spec(&folder, size).open_volume(),
                Err(MediaError::NotOurs { .. })
            ));
        }
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_making_that_was_interrupted_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(spec(&folder, Some(SIZE)).open_volume().unwrap());
    // As it was before the first copy of the superblock was written.
    let file = OpenOptions::new()
        .write(true)
        .open(folder.path().join("m"))
        .unwrap();
    file.write_all_at(&FORMATTING, 0).unwrap();
    let again = spec(&folder, Some(2 * SIZE)).open_volume().unwrap();
    assert_eq!((again.incarnation(), again.geometry().media_len), (1, 2 * SIZE));
}

#[test]
fn an_empty_file_may_be_used() {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("m")).unwrap();
    assert!(matches!(
        spec(&folder, None).open_volume(),
        Err(MediaError::Missing { .. })
    ));
    spec(&folder, Some(SIZE)).open_volume().unwrap();
}

#[test]
fn checking_needs_no_write_access_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    spec(&folder, Some(SIZE)).open_volume().unwrap();
    let path = folder.path().join("m");
    let before = std::fs::read(&path).unwrap();
    let medium = Medium::new(Box::new(FileMedia::open_for_check(&path, false).unwrap()));
    assert_eq!(Superblock::read(&medium).unwrap().incarnation, 1);
    assert!(matches!(medium.store(0, b"x"), Err(MediaError::Store { .. })));
    drop(medium);
    assert!(std::fs::read(&path).unwrap() == before);
    let (_, stored) = spec(&folder, None).open().unwrap();
    assert_eq!(stored, Stored::Before);
}

#[test]
fn a_new_medium_holds_an_empty_catalog() {
    use outlive_layout::{MetadataPage, RegionId, control};

    for size in [SIZE, 1 << 30] {
        let volume = MediaSpec::Memory { size }.open_volume().unwrap();
        let geometry = volume.geometry();
        let mut bytes = vec![0; usize::try_from(geometry.catalog_len).unwrap()];
        volume.medium().load(geometry.catalog_start, &mut bytes).unwrap();
        let (page, data) = bytes.split_at(4096);
        let region = RegionId(geometry.catalog_region);
        let page = MetadataPage::decode(page).unwrap();
        assert_eq!((page.region, page.size), (region, geometry.catalog_data_len()));
        let block = control::ControlBlock::decode(region, geometry.catalog_data_len(), data).unwrap();
        assert_eq!(block.geometry.max_snapshot, page.max_snapshot);
        assert!(block.geometry.max_snapshot >= geometry.catalog_data_len() / 3);
    }
}
