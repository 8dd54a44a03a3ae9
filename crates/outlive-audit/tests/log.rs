//! What somebody who reads the log finds in it (U5, M7).

use std::fs;
use std::path::Path;
use std::time::Duration;

use outlive_audit::{Act, Audit, AuditOptions, Entry, RefusalBounds};
use serde_json::Value;

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("readable");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line is one object"))
        .collect()
}

fn options(burst: u32) -> AuditOptions {
    AuditOptions {
        refusals: RefusalBounds {
            burst,
            // Longer than any test: nothing grows meanwhile.
            every: Duration::from_secs(3600),
            max_sources: 16,
        },
        ..AuditOptions::default()
    }
}

#[test]
fn a_flood_of_refusals_is_counted_and_hides_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let audit = Audit::open(&path, options(3)).expect("opened");
    for number in 0..1000 {
        audit.record(&Entry::refused(Act::Connect, "wrong ticket").from("10.0.0.66:4000"));
        if number == 500 {
            audit.record(&Entry::done(Act::Connect).by("tenant").from("10.0.0.66:1"));
            audit.record(&Entry::refused(Act::Open, "no").from("10.0.0.7:1"));
        }
    }
    assert_eq!(lines(&path).len(), 3 + 2);
    drop(audit);
    let lines = lines(&path);
    let last = lines.last().expect("told at the end");
    assert_eq!(lines.len(), 3 + 2 + 1);
    assert_eq!(
        (&last["source"], &last["suppressed"]),
        (&"10.0.0.66:4000".into(), &996.into())
    );
}

#[test]
fn lines_of_many_threads_are_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let options = AuditOptions {
        max_bytes: 20_000,
        keep: 100,
        ..AuditOptions::default()
    };
    let audit = Audit::open(&path, options).expect("opened");
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let audit = audit.clone();
            scope.spawn(move || {
                for number in 0..500 {
                    let entry = Entry::done(Act::Open).generation(number).connection(thread);
                    audit.record(&entry);
                }
            });
        }
    });
    let mut seen = [0_u64; 4];
    let files = fs::read_dir(folder.path()).expect("readable");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    assert!(files.len() > 2, "files were renamed");
    // The highest number is the oldest.
    files.sort_by_key(|path| {
        let number = path
            .extension()
            .and_then(|text| text.to_str()?.parse::<i64>().ok());
        -number.unwrap_or(0)
    });
    for file in files {
        for line in lines(&file) {
            let thread = usize::try_from(line["connection"].as_u64().expect("a number")).expect("small");
            assert_eq!(line["generation"], seen[thread], "in the order of the calls");
            seen[thread] += 1;
        }
    }
    assert_eq!(seen, [500; 4]);
    assert_eq!(audit.lost(), 0);
}

#[test]
fn what_cannot_be_written_is_counted_and_told_when_writing_works_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).expect("made");
    let path = inner.join("audit.jsonl");
    let audit = Audit::open(&path, options(3)).expect("opened");
    audit.record(&Entry::done(Act::Attach));
    fs::remove_dir_all(&inner).expect("removed");
    for _ in 0..2 {
        audit.record(&Entry::done(Act::Open));
    }
    assert_eq!(audit.lost(), 2);
    fs::create_dir(&inner).expect("made");
    for _ in 0..2 {
        audit.record(&Entry::done(Act::Close));
    }
    let lines = lines(&path);
    assert_eq!((lines.len(), &lines[0]["lost"]), (2, &2.into()));
    assert_eq!(lines[1].get("lost"), None);
    assert_eq!(audit.lost(), 2);
}

#[test]
fn a_log_that_was_renamed_goes_on_in_a_new_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, old) = (folder.path().join("audit.jsonl"), folder.path().join("old"));
    let audit = Audit::open(&path, options(3)).expect("opened");
    audit.record(&Entry::done(Act::Open));
    fs::rename(&path, &old).expect("moved");
    audit.reopen().expect("made anew");
    assert_eq!(lines(&path), [] as [Value; 0]);
    audit.record(&Entry::done(Act::Close));
    assert_eq!((lines(&old).len(), lines(&path).len()), (1, 1));
    Audit::off().reopen().expect("nothing to do");
}
