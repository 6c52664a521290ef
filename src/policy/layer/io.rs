//! Limits on disks: a table each in a file, `path=/data,read=50MiB/s` on the command line.

use super::super::key::{Count, Key, UNLIMITED};
use super::super::paths;
use super::super::problem::quoted;
use super::super::suggest::did_you_mean;
use super::super::value::{self, Scalar};
use super::{Draft, Layer, Note, Spot, Subject};
use crate::platform::{Bytes, IoLimit, Rate};
use std::ffi::OsStr;
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// Below, a page a second, a program only seems to hang.
const LEAST_RATE: Rate = Rate(Bytes(4096));

/// The kernel takes 1 for a mistake (block/blk-throttle.c).
pub(in crate::policy) const LEAST_IOPS: u32 = 2;

const NAMES: [&str; 5] = ["path", "read", "write", "read_iops", "write_iops"];

/// Where a checked limit goes.
type Set = fn(&mut Draft, IoLimit);

/// One field as it is written.
struct Field<'a> {
    name: &'a str,
    value: Scalar<'a>,
    spot: Spot<'a>,
}

impl Layer<'_> {
    /// One entry of the list in a file.
    pub(super) fn io_entry<'s>(
        &mut self,
        key: &'static Key,
        set: Set,
        entry: &Spanned<DeValue<'_>>,
        spot: &impl Fn(Range<usize>) -> Spot<'s>,
    ) {
        let whole = spot(entry.span());
        let DeValue::Table(fields) = entry.get_ref() else {
            let wanted = format!("a table as in {}", key.example);
            let message = value::wrong_shape(&wanted, entry.get_ref());
            return self.problem(&whole, key.path, message);
        };
        let fields = fields.iter().map(|(name, value)| Field {
            name: name.get_ref(),
            value: Scalar::Toml(value.get_ref()),
            spot: spot(value.span()),
        });
        self.put_io(key, set, fields, &whole);
    }

    /// One value of the flag.
    pub(super) fn typed_io(&mut self, key: &'static Key, set: Set, text: &OsStr) {
        let Some(text) = text.to_str() else {
            let message = format!("{} is not UTF-8", paths::shown(text));
            return self.problem(&Spot::Flag, key.path, message);
        };
        let mut fields: Vec<Field<'_>> = Vec::new();
        for part in text.split(',') {
            let Some((name, value)) = part.split_once('=') else {
                let message =
                    format!("{} has no `=` (write `path=/srv,read=50MiB/s`)", quoted(part));
                return self.problem(&Spot::Flag, key.path, message);
            };
            if fields.iter().any(|field| field.name == name) {
                let message = format!("{} is named twice", quoted(name));
                return self.problem(&Spot::Flag, key.path, message);
            }
            let value = Scalar::Typed(OsStr::new(value));
            fields.push(Field { name, value, spot: Spot::Flag });
        }
        self.put_io(key, set, fields.into_iter(), &Spot::Flag);
    }

    /// Checks the fields of one limit, and puts it onto what there is.
    fn put_io<'s>(
        &mut self,
        key: &'static Key,
        set: Set,
        fields: impl Iterator<Item = Field<'s>>,
        whole: &Spot<'_>,
    ) {
        let mut limit = IoLimit::default();
        let (mut path, mut says, mut wrong) = (None, false, false);
        for Field { name, value, spot } in fields {
            says |= name != "path";
            let checked = match name {
                "path" => value
                    .system_text()
                    .and_then(|text| paths::resolve(&text, self.base))
                    .map(|found| path = Some(found)),
                "read" => value::rate(value, LEAST_RATE).map(|rate| limit.read = rate),
                "write" => value::rate(value, LEAST_RATE).map(|rate| limit.write = rate),
                "read_iops" => iops(value).map(|number| limit.read_iops = number),
                "write_iops" => iops(value).map(|number| limit.write_iops = number),
                _ => Err(format!("unknown key{}", did_you_mean(name, NAMES))),
            };
            if let Err(message) = checked {
                wrong = true;
                let field = format!("{}.{}", key.path, quoted(name).trim_matches('`'));
                match spot {
                    Spot::Flag => self.problem(&spot, key.path, format!("{name}: {message}")),
                    spot => self.problem(&spot, &field, message),
                }
            }
        }
        if wrong {
            return;
        }
        let done = match path {
            None => Err("it names no path, so no disk (write `path` too)".to_owned()),
            Some(path) if !says => Err(format!(
                "{} has no limit (write `read`, `write`, `read_iops` or `write_iops`)",
                paths::shown(path.as_os_str())
            )),
            Some(path) => self
                .claim(key, Subject::Disk(path.clone().into()), || paths::shown(path.as_os_str()))
                .map(|()| limit.path = path),
        };
        match done {
            Ok(()) => {
                let note = Note { key, entry: limit.to_string(), place: whole.place() };
                self.findings.notes.push(note);
                set(self.draft, limit);
            }
            Err(message) => self.problem(whole, key.path, message),
        }
    }
}

/// A number of operations a second; `None` for no limit.
fn iops(value: Scalar<'_>) -> Result<Option<u32>, String> {
    let rules = Count { least: LEAST_IOPS, most: u32::MAX, off: UNLIMITED, set: |_, _| {} };
    value::count(value, &rules)
}
