//! What people and other programs write for us: context files, media, session ids, names. What is understood is written as
//! it was meant, and errors fit on a line and show no key.

use std::sync::OnceLock;

use outlive::Context;
use outlive_identity::Name;
use outlive_media::MediaSpec;
use outlive_pair::SessionId;

use super::folder;
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "settings",
    about: "context files, media, session ids and names",
    run,
    seeds,
    allowance_bytes: 1 << 20,
};

/// Stands for a key; no error may show it.
const SECRET: &str = "MC4CAQAwBQYDK2VwBCIEIHNlY3JldHNlY3JldHNlY3JldA";

fn run(input: &[u8]) {
    let Some((&kind, bytes)) = input.split_first() else {
        return;
    };
    if kind % 4 == 0 {
        context(bytes);
        return;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match kind % 4 {
        1 => {
            if let Ok(spec) = text.parse::<MediaSpec>() {
                assert_eq!(spec.to_string().parse(), Ok(spec));
            }
        }
        2 => {
            if let Ok(session) = text.parse::<SessionId>() {
                assert_eq!(session.to_string(), text.to_ascii_lowercase());
            }
        }
        _ => match text.parse::<Name>() {
            Ok(name) => assert_eq!(name.as_str(), text),
            Err(error) => assert!(
                !error.to_string().chars().any(char::is_control),
                "{error:?} fits on a line"
            ),
        },
    }
}

fn context(bytes: &[u8]) {
    static PATH: OnceLock<std::path::PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| folder::private("settings").join("context.json"));
    folder::write(path, bytes);
    match Context::load(path) {
        Ok(context) => {
            assert!(!format!("{context:?}").contains(SECRET));
            let saved = path.with_extension("saved");
            context.save(&saved).expect("what loads can be saved");
            let again = Context::load(&saved).expect("what was saved loads");
            assert_eq!(
                (again.control(), again.server_name()),
                (context.control(), context.server_name())
            );
        }
        Err(error) => assert!(!error.to_string().contains(SECRET), "a key is not shown"),
    }
}

fn seeds() -> Vec<Seed> {
    let with = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    let pem = |label: &str| format!("-----BEGIN {label}-----\\n{SECRET}\\n-----END {label}-----\\n");
    let context = format!(
        r#"{{"version":2,"control":"localhost:1","server_name":"a.example","authority":"{}","certificate":"{}","key":"{}"}}"#,
        pem("CERTIFICATE"),
        pem("CERTIFICATE"),
        pem("PRIVATE KEY"),
    );
    let bare =
        format!(r#"{{"version":2,"control":"h:1","authority":"a","certificate":"b","key":"{SECRET}"}}"#);
    vec![
        ("context", with(0, &context)),
        ("context-with-a-bare-key", with(0, &bare)),
        ("context-of-another-version", with(0, r#"{"version":3}"#)),
        ("media-file", with(1, "file:/var/a,b,size=1GiB")),
        ("media-memory", with(1, "memory:size=8MiB")),
        ("session", with(2, "000102030405060708090a0b0c0d0e0F")),
        ("name", with(3, "alice@example.org")),
    ]
}
