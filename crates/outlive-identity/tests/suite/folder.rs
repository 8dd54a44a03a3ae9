//! Trust folders: made once, kept, checked.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use outlive_identity::{Certificate, Folder, IdentityError, Party};

use crate::support::local_hosts;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_first_start_makes_everything_and_the_next_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/trust");
    let trust = Folder::prepare(&path, &Party::ALL, &local_hosts()).unwrap();
    assert_eq!(mode(&path), 0o700);
    let contents = || {
        let mut files: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "pem"))
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let first = contents();
    assert_eq!(first.len(), 10);
    for (path, _) in &first {
        if path.to_string_lossy().ends_with(".key.pem") {
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
    }
    for party in Party::ALL {
        assert_eq!(trust.certificate(party).unwrap().name, party.name());
    }
    Folder::prepare(&path, &Party::ALL, &local_hosts()).unwrap();
    assert_eq!(contents(), first);
}

#[test]
fn a_server_certificate_is_made_anew_when_it_does_not_cover_a_host() {
    let folder = tempfile::tempdir().unwrap();
    let parties = [Party::Server, Party::Administrator];
    let trust = Folder::prepare(folder.path(), &parties, &local_hosts()).unwrap();
    let before = parties.map(|party| trust.certificate(party).unwrap());
    let mut hosts = local_hosts();
    hosts.push("unit.example".to_owned());
    hosts.push("::1".to_owned());
    let trust = Folder::prepare(folder.path(), &parties, &hosts).unwrap();
    let after = parties.map(|party| trust.certificate(party).unwrap());
    assert!(after[0].covers(&hosts) && after[0].serial != before[0].serial);
    assert_eq!(after[1], before[1], "clients are reached nowhere");
}

#[test]
fn a_first_start_that_was_cut_off_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let trust = Folder::prepare(folder.path(), &Party::ALL, &local_hosts()).unwrap();
    // Cut off between key and certificate, of the last party or of the authority itself.
    fs::remove_file(folder.path().join("administrator.pem")).unwrap();
    let trust_again = Folder::prepare(folder.path(), &Party::ALL, &local_hosts()).unwrap();
    trust_again.credentials(Party::Administrator).unwrap();
    assert_eq!(trust.roots_pem().unwrap(), trust_again.roots_pem().unwrap());

    let empty = tempfile::tempdir().unwrap();
    fs::copy(
        folder.path().join("authority.key.pem"),
        empty.path().join("authority.key.pem"),
    )
    .unwrap();
    let trust = Folder::prepare(empty.path(), &Party::ALL, &local_hosts()).unwrap();
    trust.authority().unwrap().unwrap();
}

#[test]
fn ones_own_authority_is_only_read() {
    let made = tempfile::tempdir().unwrap();
    Folder::prepare(made.path(), &Party::ALL, &local_hosts()).unwrap();
    let own = tempfile::tempdir().unwrap();
    let parties = [Party::Server, Party::Administrator];
    let take = |name: &str| fs::copy(made.path().join(name), own.path().join(name)).unwrap();
    take("authority.pem");
    let error = Folder::prepare(own.path(), &parties, &local_hosts()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, IdentityError::Missing { .. }));
    for name in ["server.pem", "server.key.pem", "administrator.pem"] {
        assert!(text.contains(name), "{text}");
    }
    assert!(!text.contains("administrator.key.pem"), "{text}");
    for name in ["server.pem", "server.key.pem", "administrator.pem"] {
        take(name);
    }
    let trust = Folder::prepare(own.path(), &parties, &["elsewhere.example".to_owned()]).unwrap();
    assert!(trust.authority().unwrap().is_none() && !trust.has_key(Party::Administrator));
    let kept = Certificate::from_pem(&fs::read_to_string(made.path().join("server.pem")).unwrap());
    assert_eq!(trust.certificate(Party::Server).unwrap(), kept.unwrap());

    fs::remove_file(own.path().join("authority.pem")).unwrap();
    let error = Folder::prepare(own.path(), &parties, &local_hosts()).unwrap_err();
    assert!(matches!(error, IdentityError::NoAuthority { .. }), "{error}");
}

#[test]
fn what_others_can_read_or_change_is_refused_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    Folder::prepare(folder.path(), &[Party::Server], &local_hosts()).unwrap();
    let key = folder.path().join("server.key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Folder::prepare(folder.path(), &[Party::Server], &local_hosts()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, IdentityError::Exposed { .. }), "{text}");
    assert!(text.contains(&format!("chmod 600 {}", key.display())), "{text}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let authority = folder.path().join("authority.pem");
    fs::set_permissions(&authority, fs::Permissions::from_mode(0o666)).unwrap();
    let error = Folder::prepare(folder.path(), &[Party::Server], &local_hosts()).unwrap_err();
    assert!(error.to_string().contains("chmod o-w"), "{error}");
    fs::set_permissions(&authority, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = Folder::prepare(folder.path(), &[Party::Server], &local_hosts()).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[test]
fn what_belongs_to_somebody_else_is_not_trusted() {
    const SOMEBODY: u32 = 12_345;
    let parties = [Party::Server];
    let folder = tempfile::tempdir().unwrap();
    Folder::prepare(folder.path(), &parties, &local_hosts()).unwrap();
    let key = folder.path().join("server.key.pem");
    for path in [folder.path(), &key] {
        let before = fs::metadata(path).unwrap().uid();
        if chown(path, Some(SOMEBODY), None).is_err() {
            // Only the superuser gives files away; the decision itself is tested beside it.
            assert_ne!(before, 0);
            return;
        }
        for trust in [
            Folder::prepare(folder.path(), &parties, &local_hosts()),
            Folder::open(folder.path(), &parties),
        ] {
            let error = trust.unwrap_err();
            assert!(
                matches!(&error, IdentityError::Foreign { path: of, owner: SOMEBODY, .. } if of == path),
                "{error}"
            );
        }
        chown(path, Some(before), None).unwrap();
    }
    Folder::open(folder.path(), &parties).unwrap();
}

#[test]
fn nothing_is_written_into_what_stands_in_a_temporarys_place() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    fs::write(&theirs, "theirs").unwrap();
    let trap = format!(".authority.key.pem.{}", std::process::id());
    let path = folder.path().join("trust");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(&theirs, path.join(&trap)).unwrap();
    Folder::prepare(&path, &[Party::Server], &local_hosts()).unwrap();
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    assert!(!path.join(trap).exists());
}

#[test]
fn two_first_starts_at_once_make_one_authority() {
    let folder = tempfile::tempdir().unwrap();
    let roots = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let trust = Folder::prepare(folder.path(), &Party::ALL, &local_hosts()).unwrap();
                    trust.roots_pem().unwrap()
                })
            })
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(roots.iter().all(|one| *one == roots[0]));
}
