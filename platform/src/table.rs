//! The table of README: what each backend can do for each control at best, from what the backends themselves answer.

use crate::linux::detect;
use crate::{Availability, Control};
use std::path::Path;

const BEGIN: &str = "<!-- The table is made by platform/src/table.rs. -->\n";
const END: &str = "<!-- Here it ends. -->\n";
/// Has the test write the table instead of looking at it.
const UPDATE: &str = "STOCKADE_UPDATE_README";

const COLUMNS: [&str; 4] = ["Linux", "Linux without controllers", "macOS", "Windows"];

/// What one control has in each column.
fn answers(control: Control) -> [Availability; COLUMNS.len()] {
    let [linux, without] = detect::at_best(control);
    let posix = crate::posix::at_best(control);
    [linux, without, posix, crate::windows::at_best(control)]
}

/// The table, with controls that have the same answers in one row, and what is done instead below it.
fn table() -> String {
    let mut rows: Vec<(Vec<&str>, [String; COLUMNS.len()])> = Vec::new();
    let mut notes: Vec<String> = Vec::new();
    for control in Control::all() {
        let cells = answers(control).map(|answer| match answer {
            Availability::Enforced => "enforced".to_owned(),
            Availability::Unavailable { .. } => "no".to_owned(),
            Availability::Degraded { how, .. } => {
                let known = notes.iter().position(|note| *note == how);
                let at = known.unwrap_or_else(|| {
                    notes.push(how);
                    notes.len() - 1
                });
                format!("less ({})", at + 1)
            }
        });
        match rows.iter_mut().find(|(_, known)| *known == cells) {
            Some((names, _)) => names.push(control.name()),
            None => rows.push((vec![control.name()], cells)),
        }
    }
    let mut text =
        format!("| control | {} |\n|{}\n", COLUMNS.join(" | "), "---|".repeat(COLUMNS.len() + 1));
    for (names, cells) in rows {
        text += &format!("| `{}` | {} |\n", names.join("`, `"), cells.join(" | "));
    }
    text.push('\n');
    for (at, note) in notes.iter().enumerate() {
        text += &format!("{}. {note}\n", at + 1);
    }
    text
}

#[test]
fn readme_has_this_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README has the table's beginning");
    let (present, after) = rest.split_once(END).expect("README has the table's end");
    let table = format!("\n{}\n", table());
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(present == table, "`{UPDATE}=1 cargo test` writes it anew:\n{table}");
}
