//! Rules about system calls: a table each in a file, `name=socket,arg0=AF_UNIX,arg0=AF_INET` on the command line.

use super::super::key::Key;
use super::super::paths;
use super::super::problem::quoted;
use super::super::syscalls::{CallRule, Field};
use super::super::value;
use super::{Draft, Layer, Note, Spot};
use std::ffi::OsStr;
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// Where a checked rule goes.
type Set = fn(&mut Draft, CallRule);

impl Layer<'_> {
    /// One entry of the list in a file.
    pub(super) fn rule_entry<'s>(
        &mut self,
        key: &'static Key,
        set: Set,
        entry: &Spanned<DeValue<'_>>,
        spot: &impl Fn(Range<usize>) -> Spot<'s>,
    ) {
        let whole = spot(entry.span());
        let DeValue::Table(written) = entry.get_ref() else {
            let message = value::wrong_shape(
                "a table such as { name = \"socket\", arg0 = \"AF_UNIX\" }",
                entry.get_ref(),
            );
            return self.problem(&whole, key.path, message);
        };
        let mut fields = Vec::new();
        let mut spots = Vec::new();
        for (name, value) in written {
            let values = match value.get_ref() {
                DeValue::Array(values) => {
                    values.iter().map(|value| text_of(value.get_ref())).collect::<Option<Vec<_>>>()
                }
                single => text_of(single).map(|text| vec![text]),
            };
            let Some(values) = values else {
                let wanted = "a name, a number, or a list of them";
                let message = value::wrong_shape(wanted, value.get_ref());
                let field = format!("{}.{}", key.path, quoted(name.get_ref()).trim_matches('`'));
                return self.problem(&spot(value.span()), &field, message);
            };
            fields.push(Field { name: name.get_ref().as_ref().to_owned(), values });
            spots.push(spot(value.span()));
        }
        self.put_rule(key, set, &fields, |at| {
            at.map_or_else(|| whole.clone(), |at| spots[at].clone())
        });
    }

    /// One value of the flag.
    pub(super) fn typed_rule(&mut self, key: &'static Key, set: Set, text: &OsStr) {
        let Some(text) = text.to_str() else {
            let message = format!("{} is not UTF-8", paths::shown(text));
            return self.problem(&Spot::Flag, key.path, message);
        };
        let mut fields: Vec<Field> = Vec::new();
        for part in text.split(',') {
            let Some((name, value)) = part.split_once('=') else {
                let message =
                    format!("{} has no `=` (write `name=socket,arg0=AF_UNIX`)", quoted(part));
                return self.problem(&Spot::Flag, key.path, message);
            };
            // Said again it is one more value.
            match fields.iter_mut().find(|field| field.name == name) {
                Some(field) => field.values.push(value.to_owned()),
                None => {
                    fields.push(Field { name: name.to_owned(), values: vec![value.to_owned()] })
                }
            }
        }
        self.put_rule(key, set, &fields, |_| Spot::Flag);
    }

    fn put_rule<'s>(
        &mut self,
        key: &'static Key,
        set: Set,
        fields: &[Field],
        spot: impl Fn(Option<usize>) -> Spot<'s>,
    ) {
        match CallRule::new(fields) {
            Ok(rule) => {
                let place = spot(None).place();
                self.findings.notes.push(Note { key, entry: rule.text().to_owned(), place });
                set(self.draft, rule);
            }
            Err((at, message)) => {
                let field = at.map(|at| quoted(&fields[at].name).trim_matches('`').to_owned());
                match (spot(at), field) {
                    (Spot::Flag, Some(field)) => {
                        self.problem(&Spot::Flag, key.path, format!("{field}: {message}"));
                    }
                    (spot, Some(field)) => {
                        self.problem(&spot, &format!("{}.{field}", key.path), message);
                    }
                    (spot, None) => self.problem(&spot, key.path, message),
                }
            }
        }
    }
}

/// A value as it is typed; `None` for what has no place in a rule.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.as_ref().to_owned()),
        DeValue::Integer(number) => {
            let radix = match number.radix() {
                16 => "0x",
                8 => "0o",
                2 => "0b",
                _ => "",
            };
            Some(format!("{radix}{}", number.as_str()))
        }
        DeValue::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}
