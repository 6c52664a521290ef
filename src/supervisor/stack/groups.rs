//! The groups of a stack file.

use super::values::Wrong;
use super::{Group, Strategy};
use crate::policy::problem::quoted;
use crate::policy::suggest::did_you_mean;
use crate::policy::value::{self, Scalar};
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// Reads a group, and tells where each of its members stands.
pub(super) fn read(
    value: &Spanned<DeValue<'_>>,
    wrong: &mut Vec<Wrong>,
) -> (Group, Vec<(String, Range<usize>)>) {
    let mut group = Group { strategy: Strategy::default(), members: Vec::new() };
    let mut places = Vec::new();
    let DeValue::Table(table) = value.get_ref() else {
        let what = "a table such as { strategy = \"one_for_all\", members = [\"web\", \"db\"] }";
        wrong.push((Some(value.span()), value::wrong_shape(what, value.get_ref())));
        return (group, places);
    };
    for (name, value) in table {
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("strategy", given) => {
                match value::choice(Scalar::Toml(given), &Strategy::ALL.map(|(word, _)| word)) {
                    Ok(at) => group.strategy = Strategy::ALL[at].1,
                    Err(message) => wrong.push((Some(value.span()), message)),
                }
            }
            ("members", DeValue::Array(members)) => {
                for member in members.iter() {
                    match Scalar::Toml(member.get_ref()).text() {
                        Ok(name) if group.members.contains(&name.to_string()) => {
                            let message = format!("{} is named twice", quoted(&name));
                            wrong.push((Some(member.span()), message));
                        }
                        Ok(name) => {
                            group.members.push(name.to_string());
                            places.push((name.into_owned(), member.span()));
                        }
                        Err(message) => wrong.push((Some(member.span()), message)),
                    }
                }
            }
            ("members", other) => {
                let message = value::wrong_shape("a list such as [\"web\", \"db\"]", other);
                wrong.push((Some(value.span()), message));
            }
            (word, _) if word.starts_with("x-") => {}
            (word, _) => {
                let near = did_you_mean(word, ["strategy", "members"]);
                let message = format!("{} is not a key of a group{near}", quoted(word));
                wrong.push((Some(name.span()), message));
            }
        }
    }
    if !table.contains_key("members") {
        wrong.push((Some(value.span()), "it has no `members`".into()));
    }
    (group, places)
}
