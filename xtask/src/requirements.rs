//! `docs/requirements.md` names only tests that exist, and every requirement has one.

use crate::references::{self, Scope};
use crate::step::Failure;

const DOCUMENT: &str = "docs/requirements.md";
/// How many requirements there are of each letter.
const REQUIREMENTS: [(char, u32); 5] = [('U', 7), ('M', 8), ('C', 9), ('P', 5), ('X', 6)];

/// Prints what the document gets wrong and fails on any.
pub(crate) fn check() -> Result<(), Failure> {
    references::check("requirements", DOCUMENT, Scope::Everything, missing_rows)
}

/// Requirements without a row that names a test.
fn missing_rows(text: &str) -> Vec<String> {
    let ids = REQUIREMENTS
        .iter()
        .flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}")));
    let proven = |id: &str| {
        let start = format!("| {id} |");
        text.lines()
            .any(|line| line.starts_with(&start) && !references::all(line).is_empty())
    };
    ids.filter(|id| !proven(id))
        .map(|id| format!("{id} has no row that names a test"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_wants_a_row_with_a_test() {
        let missing = missing_rows("| U1 | `a/tests/b.rs::c` |\n| U2 | nothing |\n");
        assert_eq!(missing.len(), 34);
        assert_eq!(missing[0], "U2 has no row that names a test");
    }
}
