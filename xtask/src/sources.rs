//! Rules on our own sources that no lint knows: where `unsafe` may be opened, and that
//! every package takes the workspace's lints.

use std::fs;
use std::path::{Path, PathBuf};

use crate::policy;
use crate::step::{Failure, root};

/// Prints findings and fails on any.
pub(crate) fn check() -> Result<(), Failure> {
    let mut findings = Vec::new();
    let mut files = 0;
    for path in files_with(&["rs", "toml"])? {
        let name = relative(&path);
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::check(format!("cannot read {name}"), error))?;
        files += 1;
        findings.extend(findings_in(&name, &text));
    }
    for finding in &findings {
        println!("error: {finding}");
    }
    println!("{files} files, {} finding(s)", findings.len());
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Failure::Findings {
            check: "sources",
            count: findings.len(),
        })
    }
}

/// Every file below the root with one of these extensions, outside build folders and hidden ones.
pub(crate) fn files_with(extensions: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = |error| Failure::check(format!("cannot list {}", folder.display()), error);
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            if path.is_dir() && !path.is_symlink() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The path below the root, with slashes.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .to_string_lossy()
        .replace('\\', "/")
}

fn findings_in(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if name.ends_with("Cargo.toml")
        && text.contains("[package]")
        && !takes_workspace_lints(text)
        && !name.starts_with("fuzz/")
    {
        findings.push(format!("{name}: does not take the workspace's lints"));
    }
    if name.ends_with(".rs")
        && !policy::UNSAFE_FILES.contains(&name)
        && !name.starts_with("xtask/src/sources.rs")
    {
        for (number, line) in text.lines().enumerate() {
            if opens_unsafe(line) {
                findings.push(format!(
                    "{name}:{}: opens `unsafe` outside the files that may",
                    number + 1
                ));
            }
        }
    }
    findings
}

fn takes_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.any(|line| line == "[lints]") && lines.next() == Some("workspace = true")
}

/// Whether the line's attribute allows unsafe code. (That `unsafe` itself does not stand anywhere else is the
/// compiler's part: the workspace denies it.)
fn opens_unsafe(line: &str) -> bool {
    let line = line.trim_start();
    let attribute = line.starts_with("#[") || line.starts_with("#![");
    attribute
        && line.contains("unsafe_code")
        && (line.contains("allow") || line.contains("expect") || line.contains("warn"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_opened_only_where_it_may() {
        let text = "//! Head.\n#![allow(unsafe_code)]\n";
        assert_eq!(
            findings_in("crates/outlive-media/src/mapping.rs", text),
            Vec::<String>::new()
        );
        let findings = findings_in("crates/outlive/src/lib.rs", text);
        assert_eq!(
            findings,
            ["crates/outlive/src/lib.rs:2: opens `unsafe` outside the files that may"]
        );
        assert_eq!(
            findings_in("crates/outlive/src/lib.rs", "#![deny(unsafe_code)]"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_package_without_the_lints_is_found() {
        let bare = "[package]\nname = \"x\"\n";
        assert_eq!(findings_in("crates/x/Cargo.toml", bare).len(), 1);
        let good = format!("{bare}\n[lints]\nworkspace = true\n");
        assert_eq!(findings_in("crates/x/Cargo.toml", &good), Vec::<String>::new());
    }

    #[test]
    fn the_walk_finds_this_file_and_no_build_output() {
        let files = files_with(&["rs"]).expect("the workspace can be listed");
        assert!(files.iter().any(|path| relative(path) == "xtask/src/sources.rs"));
        assert!(files.iter().all(|path| !relative(path).starts_with("target/")));
    }
}
