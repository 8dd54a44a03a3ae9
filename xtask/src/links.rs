//! Relative links in Markdown documents lead to files that exist.

use std::fs;

use crate::sources::{files_with, relative};
use crate::step::Failure;

/// Prints broken links and fails on any.
pub(crate) fn check() -> Result<(), Failure> {
    let mut broken = 0;
    let mut checked = 0;
    for path in files_with(&["md"])? {
        let name = relative(&path);
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::check(format!("cannot read {name}"), error))?;
        for (line, target) in targets(&text) {
            checked += 1;
            let folder = path.parent().unwrap_or(&path);
            if !folder.join(&target).exists() {
                println!("error: {name}:{line}: the link to {target} leads nowhere");
                broken += 1;
            }
        }
    }
    println!("{checked} relative links, {broken} broken");
    if broken == 0 {
        Ok(())
    } else {
        Err(Failure::Findings {
            check: "links in documents",
            count: broken,
        })
    }
}

/// Relative link targets without their fragments, with the line they stand on. Code blocks are skipped.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let Some((target, _)) = part.split_once(')') else {
                continue;
            };
            let target = target.split('#').next().unwrap_or_default();
            let elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !elsewhere {
                found.push((index + 1, target.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_targets_are_found_and_others_left_alone() {
        let text = "see [a](docs/a.md#part) and [b](https://example.org/b) and [c](#here)\n```\n[d](nowhere)\n```\n[e](e.md)";
        assert_eq!(
            targets(text),
            [(1, "docs/a.md".to_owned()), (5, "e.md".to_owned())]
        );
    }
}
