//! What a service manager is told (`sd_notify`), where one runs this process.

use sd_notify::NotifyState;

/// It serves: whoever waited for it may go on.
pub(crate) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It ends, because it was asked to.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Does nothing where nobody asked to be told. What cannot be told changes nothing here: the service manager will say
/// that it heard nothing.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::path::Path;

    use crate::usage;

    /// What each process of ours can do without, and must, with the values that matter.
    const HARDENED: [(&str, &str); 34] = [
        ("Type", "notify"),
        ("DynamicUser", "yes"),
        ("StateDirectoryMode", "0700"),
        ("UMask", "0077"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("AmbientCapabilities", ""),
        ("RestrictSUIDSGID", "yes"),
        ("RemoveIPC", "yes"),
        ("KeyringMode", "private"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("DevicePolicy", "closed"),
        ("PrivateUsers", "yes"),
        ("ProtectProc", "invisible"),
        ("ProcSubset", "pid"),
        ("ProtectClock", "yes"),
        ("ProtectControlGroups", "yes"),
        ("ProtectHostname", "yes"),
        ("ProtectKernelLogs", "yes"),
        ("ProtectKernelModules", "yes"),
        ("ProtectKernelTunables", "yes"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("RestrictNamespaces", "yes"),
        ("RestrictRealtime", "yes"),
        ("LockPersonality", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("SystemCallArchitectures", "native"),
        ("SystemCallFilter", "@system-service ~@privileged @resources"),
        ("SystemCallErrorNumber", "EPERM"),
        ("LimitCORE", "0"),
        ("Restart", "on-failure"),
    ];
    /// What must be set, to whatever suits the process.
    const BOUNDED: [&str; 4] = ["LimitNOFILE", "TasksMax", "TimeoutStartSec", "TimeoutStopSec"];

    /// The settings of the section `[Service]`; a setting that stands more than once has all its values.
    fn settings(text: &str) -> BTreeMap<&str, String> {
        let mut settings: BTreeMap<&str, String> = BTreeMap::new();
        let section = text.split("\n[Service]\n").nth(1).expect("a section [Service]");
        for line in section.lines().take_while(|line| !line.starts_with('[')) {
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let (key, value) = line.split_once('=').expect("a setting");
            let values = settings.entry(key).or_default();
            *values = format!("{values} {value}").trim().to_owned();
        }
        settings
    }

    fn check(name: &str, text: &str) {
        let settings = settings(text);
        for (key, value) in HARDENED {
            assert_eq!(
                settings.get(key).map(String::as_str),
                Some(value),
                "{name}: {key}"
            );
        }
        for key in BOUNDED {
            assert!(settings.contains_key(key), "{name}: {key}");
        }
        let account = &settings["User"];
        assert_eq!(&settings["StateDirectory"], account, "{name}: a place of its own");
        assert_ne!(account, "root", "{name}");

        let line: Vec<OsString> = settings["ExecStart"].split(' ').map(OsString::from).collect();
        assert_eq!(line[0], "/usr/bin/outlive");
        let arguments = usage::parse(&line).unwrap_or_else(|wrong| panic!("{name}: {wrong:?}"));
        let command = name.trim_start_matches("outlive-").trim_end_matches(".service");
        assert!(line[1] == *command, "{name} starts {line:?}: {arguments:?}");
        let state = format!("/var/lib/{account}/");
        for word in line[2..].iter().filter_map(|word| word.to_str()) {
            let path = word
                .split(',')
                .next()
                .map(|word| word.trim_start_matches("file:"));
            if let Some(path) = path.filter(|path| path.starts_with('/')) {
                assert!(path.starts_with(&state), "{name}: {path} is not below {state}");
            }
        }
    }

    #[test]
    fn the_service_files_are_hardened_and_start_what_there_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
        let mut names = Vec::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            check(&name, &std::fs::read_to_string(&path).unwrap());
            names.push(name);
        }
        names.sort();
        let expected = [
            "outlive-manager.service",
            "outlive-serve.service",
            "outlive-unit.service",
        ];
        assert_eq!(names, expected);
    }
}
