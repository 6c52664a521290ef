//! Adding to the text of a policy file, with its comments, its order and its formatting kept. Pure.

use super::paths::{self, Base};
use super::widening::Addition;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use toml_edit::{Array, DocumentMut, Item, RawString, Table, TableLike, TomlError, Value};

/// Where a list that is new has more entries, each gets a line of its own.
const SHORT: usize = 4;

/// How a value is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The whole value of a key, a text.
    Text(String),
    /// The whole value of a key, a number.
    Number(i64),
    /// One more entry of a list.
    Entry(String),
}

/// The text with these added. `directory` is where its relative paths start.
///
/// # Errors
/// When it isn't TOML.
pub(super) fn add(
    text: &str,
    additions: &[Addition],
    directory: &Path,
) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let mut new = BTreeSet::new();
    for Addition { key, written, .. } in additions {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        let Some(section) = section_of(&mut document, section) else { continue };
        match written {
            Written::Text(text) => set(section, name, text.as_str().into()),
            Written::Number(number) => set(section, name, (*number).into()),
            Written::Entry(entry) => {
                // A layer may name a path once: what is widened moves.
                let lists: &[&str] =
                    if *key == "filesystem.write" { &["read", "read_optional"] } else { &[] };
                let moved = lists.iter().find_map(|list| {
                    let list = section.get_mut(list).and_then(Item::as_array_mut)?;
                    take(list, entry, directory)
                });
                if !section.contains_key(name) {
                    insert(section, name, Array::new().into());
                    new.insert(*key);
                }
                if let Some(list) = section.get_mut(name).and_then(Item::as_array_mut) {
                    append(list, moved.unwrap_or_else(|| entry.as_str().into()));
                }
            }
        }
    }
    for (section, name) in new.iter().filter_map(|key| key.split_once('.')) {
        let section = document.get_mut(section).and_then(Item::as_table_mut);
        if let Some(list) = section.and_then(|it| it.get_mut(name)).and_then(Item::as_array_mut)
            && list.len() > SHORT
        {
            list.iter_mut().for_each(|entry| entry.decor_mut().set_prefix("\n  "));
            list.set_trailing("\n");
            list.set_trailing_comma(true);
        }
    }
    Ok(document.to_string())
}

/// A section as the file has it: a table, a table in a line, or keys with dots. A new one is a table at the end.
fn section_of<'d>(document: &'d mut DocumentMut, name: &str) -> Option<&'d mut dyn TableLike> {
    let before = if document.is_empty() { "" } else { "\n" };
    let item = document.entry(name).or_insert_with(|| {
        let mut table = Table::new();
        table.decor_mut().set_prefix(before);
        Item::Table(table)
    });
    if let Item::Table(table) = item
        && table.is_implicit()
    {
        // Only the headers of tables below named it so far.
        table.set_implicit(false);
    }
    item.as_table_like_mut()
}

/// Puts a value in the place of another, whose comments stay.
fn set(section: &mut dyn TableLike, name: &str, mut value: Value) {
    match section.get_mut(name).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => insert(section, name, value),
    }
}

/// A new key behind the last. In a table in a line, the space before the brace stays there.
fn insert(section: &mut dyn TableLike, name: &str, mut value: Value) {
    let last = section.iter_mut().last().and_then(|(_, last)| last.as_value_mut());
    if let Some(last) = last
        && text_of(last.decor().suffix()).trim().is_empty()
    {
        let space = text_of(last.decor().suffix()).to_owned();
        last.decor_mut().set_suffix("");
        value.decor_mut().set_suffix(space);
    }
    section.insert(name, Item::Value(value));
}

/// Adds an entry behind the last, written as those are.
fn append(list: &mut Array, mut entry: Value) {
    let prefixes = list.iter().map(|entry| text_of(entry.decor().prefix()));
    let indent = prefixes.filter_map(|prefix| prefix.rsplit_once('\n')).last();
    let indent = indent.map(|(_, indent)| indent.to_owned());
    // What stands before the bracket, such as a comment behind the last entry, stays before the new one.
    let mut between = list.trailing().as_str().unwrap_or_default().to_owned();
    let last = list.len().checked_sub(1).and_then(|last| list.get_mut(last));
    let is_first = last.is_none();
    if let Some(last) = last {
        between.insert_str(0, text_of(last.decor().suffix()));
        last.decor_mut().set_suffix("");
    }
    let (prefix, closing) = match (between.rsplit_once('\n'), indent) {
        (Some((before, closing)), indent) => {
            let indent = indent.unwrap_or_else(|| format!("{closing}  "));
            (format!("{before}\n{indent}"), format!("\n{closing}"))
        }
        (None, Some(indent)) => (format!("\n{indent}"), between),
        (None, None) if is_first => (between.clone(), between),
        (None, None) => (" ".into(), between),
    };
    entry.decor_mut().set_prefix(prefix);
    entry.decor_mut().set_suffix("");
    list.push_formatted(entry);
    list.set_trailing(closing);
}

/// Takes the entry out that means this path. The comments around it stay where they are.
fn take(list: &mut Array, path: &str, directory: &Path) -> Option<Value> {
    let base = Base { directory, may_climb: false };
    let meant = |text: &str| paths::resolve(OsStr::new(text), base).ok();
    let wanted = meant(path)?;
    let means = |entry: &Value| entry.as_str().and_then(meant).as_ref() == Some(&wanted);
    let at = list.iter().position(means)?;
    let mut entry = list.remove(at);
    let (prefix, suffix) = (text_of(entry.decor().prefix()), text_of(entry.decor().suffix()));
    let stays = if suffix.contains('#') { format!("{prefix}{suffix}") } else { prefix.to_owned() };
    match list.get_mut(at) {
        Some(next) if stays.contains('#') || at == 0 => {
            let own = text_of(next.decor().prefix());
            let own = if stays.contains('#') { own } else { "" };
            let whole = format!("{}{own}", stays.trim_end_matches([' ', '\t', '\n']));
            next.decor_mut().set_prefix(if stays.contains('#') { whole } else { stays });
        }
        None if stays.contains('#') => {
            let trailing = list.trailing().as_str().unwrap_or_default().to_owned();
            list.set_trailing(format!("{}{trailing}", stays.trim_end_matches([' ', '\t', '\n'])));
        }
        _ => {}
    }
    entry.decor_mut().clear();
    Some(entry)
}

fn text_of(raw: Option<&RawString>) -> &str {
    raw.and_then(RawString::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &'static str, entry: &str) -> Addition {
        Addition {
            key,
            written: Written::Entry(entry.into()),
            shown: String::new(),
            why: String::new(),
        }
    }

    fn after(text: &str, additions: &[Addition]) -> String {
        let edited = add(text, additions, Path::new("/srv/app")).unwrap();
        // Whatever was a comment is one still, and the same number of times.
        for comment in text.lines().filter_map(|line| line.split_once('#')) {
            let count = |text: &str| text.matches(comment.1).count();
            assert_eq!(count(text), count(&edited), "{edited}");
        }
        edited
    }

    #[test]
    fn each_form_of_a_list_is_kept() {
        let read = |name| entry("filesystem.read", name);
        for (before, expected) in [
            ("read = []", "read = [\"/x\", \"/y\"]"),
            ("read = [ ]", "read = [ \"/x\", \"/y\" ]"),
            ("read = ['/a', \"/b\"] # two", "read = ['/a', \"/b\", \"/x\", \"/y\"] # two"),
            ("read = [ \"/a\" ]", "read = [ \"/a\", \"/x\", \"/y\" ]"),
            (
                "read = [\n    \"/a\",   # about a\n    # before b\n    \"/b\", # about b\n  ]",
                "read = [\n    \"/a\",   # about a\n    # before b\n    \"/b\", # about b\n    \"/x\",\n    \"/y\",\n  ]",
            ),
            (
                "read = [\n\t\"/a\" # about a\n]",
                "read = [\n\t\"/a\", # about a\n\t\"/x\",\n\t\"/y\"\n]",
            ),
            (
                "read = [\n  \"/a\", \"/b\",\n  # more to come\n]",
                "read = [\n  \"/a\", \"/b\",\n  # more to come\n  \"/x\",\n  \"/y\",\n]",
            ),
            ("read = [\n  # none yet\n]", "read = [\n  # none yet\n  \"/x\",\n  \"/y\"\n]"),
        ] {
            let text = format!("[filesystem]\n{before}\n");
            let edited = after(&text, &[read("/x"), read("/y")]);
            assert_eq!(edited, format!("[filesystem]\n{expected}\n"));
        }
    }

    #[test]
    fn each_form_of_a_section_is_kept() {
        let additions = [entry("filesystem.write", "/x"), entry("syscalls.allow", "mount")];
        for (before, expected) in [
            ("", "[filesystem]\nwrite = [\"/x\"]\n\n[syscalls]\nallow = [\"mount\"]\n"),
            (
                "filesystem = { read = [\"/a\"] }\n",
                "filesystem = { read = [\"/a\"], write = [\"/x\"] }\n\n[syscalls]\nallow = [\"mount\"]\n",
            ),
            (
                "filesystem.read = [\"/a\"]\nsyscalls.allow = [\"chmod:any\"]\n",
                "filesystem.read = [\"/a\"]\nfilesystem.write = [\"/x\"]\nsyscalls.allow = [\"chmod:any\", \"mount\"]\n",
            ),
            (
                "[filesystem.files]\n\"/a\" = \"\"\n",
                "[filesystem]\nwrite = [\"/x\"]\n[filesystem.files]\n\"/a\" = \"\"\n\n[syscalls]\nallow = [\"mount\"]\n",
            ),
            (
                "# mine\nextends = \"base\"\n\n[syscalls] # calls\nbase = \"none\"\n\n[filesystem]\ntmp = \"1MiB\"\n# the end\n",
                "# mine\nextends = \"base\"\n\n[syscalls] # calls\nbase = \"none\"\nallow = [\"mount\"]\n\n[filesystem]\ntmp = \"1MiB\"\nwrite = [\"/x\"]\n# the end\n",
            ),
        ] {
            assert_eq!(after(before, &additions), expected, "{before}");
        }
    }

    #[test]
    fn a_new_list_that_is_long_has_lines() {
        let additions: Vec<Addition> =
            (0..5).map(|number| entry("filesystem.read", &format!("/{number}"))).collect();
        let expected =
            "[filesystem]\nread = [\n  \"/0\",\n  \"/1\",\n  \"/2\",\n  \"/3\",\n  \"/4\",\n]\n";
        assert_eq!(after("", &additions), expected);
    }

    #[test]
    fn values_are_replaced_beside_their_comments() {
        let addition =
            |key, written| Addition { key, written, shown: String::new(), why: String::new() };
        let additions = [
            addition("limits.memory", Written::Text("32MiB".into())),
            addition("limits.pids", Written::Number(12)),
            addition("limits.wall_time", Written::Text("10s".into())),
        ];
        let text = "[limits]\nmemory   =   '16MiB' # little\npids = 3# few\n";
        let expected =
            "[limits]\nmemory   =   \"32MiB\" # little\npids = 12# few\nwall_time = \"10s\"\n";
        assert_eq!(after(text, &additions), expected);
    }

    #[test]
    fn what_was_for_reading_moves_and_comments_stay() {
        let write = [entry("filesystem.write", "/srv/app/out")];
        for (before, expected) in [
            ("read = [\"./out\", \"/b\"]", "read = [\"/b\"]\nwrite = [\"./out\"]"),
            ("read = [\"/b\", \"out/\"]", "read = [\"/b\"]\nwrite = [\"out/\"]"),
            (
                "read = [\n  \"/a\", # about a\n  \"./out\", # about out\n  \"/b\", # about b\n]\nwrite = [\"/c\"]",
                "read = [\n  \"/a\", # about a # about out\n  \"/b\", # about b\n]\nwrite = [\"/c\", \"./out\"]",
            ),
            (
                "read_optional = [\n  \"./out\", # about out\n]",
                "read_optional = [ # about out\n]\nwrite = [\"./out\"]",
            ),
        ] {
            let edited = after(&format!("[filesystem]\n{before}\n"), &write);
            assert_eq!(edited, format!("[filesystem]\n{expected}\n"));
        }
    }
}
