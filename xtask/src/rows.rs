//! Rows of the tables that stand below a heading of a document.

/// The tables' rows below `heading`, up to the next heading of its rank; without the tables' heads.
pub(crate) fn below<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let below = text.lines().skip_while(|line| *line != heading).skip(1);
    let rows: Vec<&str> = below.take_while(|line| !line.starts_with("## ")).collect();
    let is_rule = |line: &str| line.starts_with("|-");
    let of_table = |at: usize| {
        let head = rows.get(at + 1).is_some_and(|next| is_rule(next));
        rows[at].starts_with('|') && !is_rule(rows[at]) && !head
    };
    (0..rows.len())
        .filter(|at| of_table(*at))
        .map(|at| rows[at])
        .collect()
}
