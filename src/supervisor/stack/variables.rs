//! Variables in the texts of a stack file. Pure.
//!
//! | written | is |
//! |---|---|
//! | `${NAME}` | the variable, which must be set |
//! | `${NAME:-text}` | the variable, or `text` where it isn't set or is empty |
//! | `${NAME:?text}` | the variable; where it isn't set or is empty, `text` says what is wrong |
//! | `$$` | a `$` |
//!
//! A `$` before anything else stays as it is. What a variable holds isn't looked at again, and `text` has no variables of its
//! own.

use crate::policy::problem::quoted;

/// All texts of a stack with their variables put in are no longer than this, in bytes.
const LONGEST: usize = 4 << 20;

/// Puts variables in.
pub(super) struct Variables<'a> {
    /// The value of a variable, where it is set.
    of: &'a dyn Fn(&str) -> Option<String>,
    /// How much may still be put in.
    left: usize,
}

impl<'a> Variables<'a> {
    pub(super) fn new(of: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { of, left: LONGEST }
    }

    /// The text with its variables put in; `None` where it has none.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn put_into(&mut self, text: &str) -> Result<Option<String>, String> {
        if !text.contains("${") && !text.contains("$$") {
            return Ok(None);
        }
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('$') {
            out += before;
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('{') {
                let Some((inner, after)) = inner.split_once('}') else {
                    return Err("a `${` has no `}` (write `$${` for a plain `${`)".to_owned());
                };
                let value = self.value(inner)?;
                self.left = self.left.checked_sub(value.len()).ok_or_else(|| {
                    format!("with its variables it is too long (at most {LONGEST} bytes in all)")
                })?;
                out += &value;
                rest = after;
            } else {
                out.push('$');
            }
        }
        Ok(Some(out + rest))
    }

    /// What stands between the braces.
    fn value(&self, inner: &str) -> Result<String, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = inner.find(|c| !plain(c)).unwrap_or(inner.len());
        let (name, rest) = inner.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            let shown = quoted(&format!("${{{inner}}}"));
            return Err(format!("{shown} names no variable (write `$${{` for a plain `${{`)"));
        }
        let value = (self.of)(name);
        let filled = value.as_ref().is_some_and(|value| !value.is_empty());
        match (rest.get(..2), value) {
            (None, Some(value)) if rest.is_empty() => Ok(value),
            (None, None) if rest.is_empty() => Err(format!(
                "the variable `{name}` isn't set (write `${{{name}:-}}` where it needn't be)"
            )),
            (Some(":-" | ":?"), Some(value)) if filled => Ok(value),
            (Some(":-"), _) => Ok(rest[2..].to_owned()),
            (Some(":?"), _) => {
                let why = if rest.len() > 2 { &rest[2..] } else { "it must be set" };
                Err(format!(
                    "the variable `{name}` has no value: {}",
                    quoted(why).trim_matches('`')
                ))
            }
            _ => Err(format!(
                "{} is none of `${{{name}}}`, `${{{name}:-text}}` and `${{{name}:?text}}`",
                quoted(&format!("${{{inner}}}"))
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &str) -> Result<String, String> {
        let of = |name: &str| match name {
            "A" => Some("a $B ${B}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let put = Variables::new(&of).put_into(text)?;
        Ok(put.unwrap_or_else(|| text.to_owned()))
    }

    #[test]
    fn each_form_has_its_meaning() {
        for (text, expected) in [
            ("plain $HOME $1 $", "plain $HOME $1 $"),
            ("x${A}y", "xa $B ${B}y"),
            ("${EMPTY}|${EMPTY:-e}|${NONE:-n}|${A:-x}|${NONE:-}", "|e|n|a $B ${B}|"),
            ("$$ $${A} $$$$", "$ ${A} $$"),
            ("${A:?needed}", "a $B ${B}"),
        ] {
            assert_eq!(put(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_value_is_an_error() {
        for (text, expected) in [
            ("${NONE}", "the variable `NONE` isn't set (write `${NONE:-}` where it needn't be)"),
            ("${EMPTY:?say where}", "the variable `EMPTY` has no value: say where"),
            ("${NONE:?}", "the variable `NONE` has no value: it must be set"),
            ("${A", "a `${` has no `}` (write `$${` for a plain `${`)"),
            ("${}", "`${}` names no variable (write `$${` for a plain `${`)"),
            ("${1}", "`${1}` names no variable (write `$${` for a plain `${`)"),
            ("${A-x}", "`${A-x}` is none of `${A}`, `${A:-text}` and `${A:?text}`"),
            ("${A:\u{e4}}", "`${A:\u{e4}}` is none of `${A}`, `${A:-text}` and `${A:?text}`"),
        ] {
            assert_eq!(put(text).unwrap_err(), expected, "{text}");
        }
        let long = |_: &str| Some("x".repeat(1 << 20));
        let mut variables = Variables::new(&long);
        assert!(variables.put_into("${A}${A}").is_ok());
        assert!(variables.put_into("${A}${A}${A}").unwrap_err().contains("too long"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[$A{}:?\u{e4}-]{0,20}|.*") {
            drop(put(&text));
        }
    }
}
