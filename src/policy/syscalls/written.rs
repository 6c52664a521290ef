//! Rules of policies as they are written: a call, tests of its arguments, and what it gets.

use super::{constants, known};
use crate::platform::{ArgumentTest, Compare, Errno, SyscallAnswer};
use crate::policy::problem::quoted;
use crate::policy::suggest::did_you_mean;

/// A rule that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallRule {
    /// The call, or a group with its `@`.
    pub(super) name: String,
    /// It holds when all tests of one of these hold.
    pub(super) when: Vec<Vec<ArgumentTest>>,
    /// What the call gets when it holds. Without one the call may be made when it holds, and only then.
    pub(super) action: Option<SyscallAnswer>,
    /// As on a command line.
    text: String,
}

/// One field of a rule, with its values; in a file it may be a list.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

/// What is wrong with a rule, and in which field; `None` is the whole.
pub(crate) type Wrong = (Option<usize>, String);

/// More alternatives are a mistake: each is a piece of the filter.
const MOST_ALTERNATIVES: usize = 64;

/// What may follow `arg0` to `arg5`, with what it means.
pub(crate) const TESTS: [(&str, &str); 6] = [
    ("", "the argument is one of these"),
    ("_not", "the argument is none of these"),
    ("_has", "all these bits are set"),
    ("_any", "at least one of these bits is set"),
    ("_none", "none of these bits is set"),
    ("_mask", "bits that count for the values of the argument"),
];

/// What a rule can give, as it is written.
pub(crate) const ACTIONS: [(&str, &str); 4] = [
    ("allow", "the call is carried out, whatever else is said of it"),
    ("deny", "the call gets what every forbidden call gets"),
    ("kill", "the call ends the process"),
    ("log", "the call is carried out, and the kernel's log tells of it"),
];

/// What a rule says of one argument.
#[derive(Debug, Default)]
struct Argument {
    is: Vec<u64>,
    mask: Option<u64>,
    tests: Vec<Compare>,
}

impl CallRule {
    /// A rule of these fields.
    pub(crate) fn new(fields: &[Field]) -> Result<Self, Wrong> {
        let wide = match one(fields, "wide")? {
            None | Some((_, "false")) => false,
            Some((_, "true")) => true,
            Some((at, other)) => {
                return Err((Some(at), format!("{} is neither `true` nor `false`", quoted(other))));
            }
        };
        let Some((at, name)) = one(fields, "name")? else {
            return Err((None, "it names no system call (write `name` too)".into()));
        };
        checked_name(name).map_err(|message| (Some(at), message))?;
        let action = match one(fields, "action")? {
            None => None,
            Some((at, word)) => Some(action(word).map_err(|message| (Some(at), message))?),
        };
        let mut arguments: [Argument; 6] = Default::default();
        for (at, Field { name, values }) in fields.iter().enumerate() {
            if ["name", "action", "wide"].contains(&name.as_str()) {
                continue;
            }
            let told = |message| (Some(at), message);
            let (index, test) = tested(name).map_err(told)?;
            let values: Result<Vec<u64>, String> =
                values.iter().map(|text| narrowed(number_of(text)?, wide, text)).collect();
            let values = values.map_err(told)?;
            if values.is_empty() {
                return Err(told("an empty list tests nothing".into()));
            }
            arguments[usize::from(index)].add(test, &values);
        }
        let tests = when(&arguments, wide).map_err(|message| (None, message))?;
        if name.starts_with('@') && tests != [[]] {
            let message = "the arguments of a group's calls differ (name one call)";
            return Err((Some(at), message.into()));
        }
        Ok(Self { name: name.to_owned(), when: tests, action, text: text(fields) })
    }

    /// The call or group that it is about.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// As it is written on a command line.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it forbids.
    pub(super) fn denies(&self) -> bool {
        let passes = [SyscallAnswer::Allow, SyscallAnswer::Log];
        self.action.is_some_and(|action| !passes.contains(&action))
    }
}

impl Argument {
    fn add(&mut self, test: &str, values: &[u64]) {
        let bits = values.iter().fold(0, |bits, value| bits | value);
        match test {
            "" => self.is.extend(values),
            "_mask" => self.mask = Some(bits),
            "_not" => self.tests.extend(values.iter().copied().map(Compare::NotEqual)),
            "_has" => self.tests.push(Compare::Masked { mask: bits, value: bits }),
            "_any" => self.tests.push(Compare::Any(bits)),
            _ => self.tests.push(Compare::Masked { mask: bits, value: 0 }),
        }
    }
}

/// The alternatives: every combination of the values that arguments may be.
fn when(arguments: &[Argument; 6], wide: bool) -> Result<Vec<Vec<ArgumentTest>>, String> {
    let mut all: Vec<Vec<ArgumentTest>> = vec![Vec::new()];
    for (index, argument) in (0..).zip(arguments) {
        let test = |compare| ArgumentTest { index, compare, wide };
        for tests in &mut all {
            tests.extend(argument.tests.iter().copied().map(test));
        }
        if argument.is.is_empty() {
            if argument.mask.is_some() {
                return Err(format!("`arg{index}_mask` goes with `arg{index}` only"));
            }
            continue;
        }
        let mut each = Vec::new();
        for value in &argument.is {
            let compare = match argument.mask {
                Some(mask) if value & !mask != 0 => {
                    let (value, mask) = (constants::number(*value), constants::number(mask));
                    return Err(format!("`{value}` has bits that the mask `{mask}` leaves out"));
                }
                Some(mask) => Compare::Masked { mask, value: *value },
                None => Compare::Equal(*value),
            };
            each.extend(all.iter().map(|tests| [&tests[..], &[test(compare)]].concat()));
        }
        all = each;
        if all.len() > MOST_ALTERNATIVES {
            return Err(format!(
                "its lists have more than {MOST_ALTERNATIVES} combinations (write several rules)"
            ));
        }
    }
    Ok(all)
}

/// The one value of a field that can't have many.
fn one<'f>(fields: &'f [Field], name: &str) -> Result<Option<(usize, &'f str)>, Wrong> {
    let found = fields.iter().position(|field| field.name == name);
    let Some(at) = found else { return Ok(None) };
    match fields[at].values.as_slice() {
        [value] => Ok(Some((at, value))),
        _ => Err((Some(at), "expected one value".into())),
    }
}

fn checked_name(name: &str) -> Result<(), String> {
    if name.ends_with(":any") {
        return Err(format!(
            "{} is for `syscalls.allow`: a rule says itself which arguments",
            quoted(name)
        ));
    }
    if known(name) { Ok(()) } else { Err(super::unknown(name)) }
}

/// What `errno NAME` and the other words mean.
fn action(word: &str) -> Result<SyscallAnswer, String> {
    match word {
        "allow" => Ok(SyscallAnswer::Allow),
        "deny" => Ok(SyscallAnswer::Violation),
        "kill" => Ok(SyscallAnswer::Kill),
        "log" => Ok(SyscallAnswer::Log),
        _ => match word.strip_prefix("errno ") {
            Some(name) => name.parse().map(SyscallAnswer::Error).map_err(|_| {
                let near = did_you_mean(name, Errno::names());
                format!("{} is not the name of an error{near}", quoted(name))
            }),
            None => {
                let near = match word.parse::<Errno>() {
                    Ok(_) => format!(" (write `errno {word}`)"),
                    Err(_) => did_you_mean(word, ACTIONS.map(|(word, _)| word)),
                };
                Err(format!(
                    "{} is not one of `allow`, `deny`, `kill`, `log`, `errno NAME`{near}",
                    quoted(word)
                ))
            }
        },
    }
}

/// The argument and the kind of test that a field's name means.
fn tested(name: &str) -> Result<(u8, &str), String> {
    let argument = name.strip_prefix("arg").and_then(|rest| {
        let (digit, test) = rest.split_at_checked(1)?;
        Some((digit.parse::<u8>().ok()?, test))
    });
    match argument {
        Some((index, _)) if index > 5 => {
            Err(format!("there is no argument {index}: they are counted from 0 to 5"))
        }
        Some((index, test)) if TESTS.iter().any(|(known, _)| *known == test) => Ok((index, test)),
        _ => {
            let of_arguments =
                (0..6).flat_map(|index| TESTS.map(|(test, _)| format!("arg{index}{test}")));
            let names: Vec<String> = ["name", "action", "wide"]
                .map(str::to_owned)
                .into_iter()
                .chain(of_arguments)
                .collect();
            Err(format!("unknown key{}", did_you_mean(name, names.iter().map(String::as_str))))
        }
    }
}

/// A value as it is written: names and numbers, joined with `|`.
pub(super) fn number_of(text: &str) -> Result<u64, String> {
    if let Some(negative) = text.strip_prefix('-') {
        // As the register has it.
        let value: Option<i64> = negative.parse().ok().and_then(i64::checked_neg);
        return value.map(i64::cast_unsigned).ok_or_else(|| not_a_number(text));
    }
    text.split('|').try_fold(0, |bits, part| Ok(bits | part_of(part.trim())?))
}

fn part_of(text: &str) -> Result<u64, String> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return constants::value(text);
    }
    let (digits, radix) = match text.split_at_checked(2) {
        Some(("0x", digits)) => (digits, 16),
        Some(("0o", digits)) => (digits, 8),
        Some(("0b", digits)) => (digits, 2),
        _ => (text, 10),
    };
    u64::from_str_radix(&digits.replace('_', ""), radix).map_err(|_| not_a_number(text))
}

fn not_a_number(text: &str) -> String {
    format!("{} is not a number of at most 64 bits", quoted(text))
}

/// The value as far as it is looked at. A wider one could never be met, or would be met by another: both are mistakes.
fn narrowed(value: u64, wide: bool, text: &str) -> Result<u64, String> {
    let low = value & u64::from(u32::MAX);
    // A negative number has all the high bits.
    let is_narrow = value == low || value >> 31 == u64::MAX >> 31;
    match wide {
        true => Ok(value),
        false if is_narrow => Ok(low),
        false => Err(format!(
            "{} is wider than 32 bits (write `wide = true` to look at all 64)",
            quoted(text)
        )),
    }
}

/// The fields as on a command line, the call first.
fn text(fields: &[Field]) -> String {
    let (name, rest): (Vec<&Field>, Vec<&Field>) =
        fields.iter().partition(|field| field.name == "name");
    let pairs = name
        .into_iter()
        .chain(rest)
        .flat_map(|field| field.values.iter().map(move |value| format!("{}={value}", field.name)));
    pairs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<CallRule, Wrong> {
        let mut fields: Vec<Field> = Vec::new();
        for (name, value) in text.split(',').filter_map(|part| part.split_once('=')) {
            match fields.iter_mut().find(|field| field.name == name) {
                Some(field) => field.values.push(value.into()),
                None => fields.push(Field { name: name.into(), values: vec![value.into()] }),
            }
        }
        CallRule::new(&fields)
    }

    fn test(index: u8, compare: Compare) -> ArgumentTest {
        ArgumentTest { index, compare, wide: false }
    }

    #[test]
    fn several_values_are_alternatives_and_several_arguments_go_together() {
        let rule = rule("name=socket,arg0=AF_UNIX,arg0=AF_INET,arg2_not=132").unwrap();
        let of = |family| vec![test(0, Compare::Equal(family)), test(2, Compare::NotEqual(132))];
        assert_eq!((rule.when, rule.action), (vec![of(1), of(2)], None));
    }

    #[test]
    fn each_word_is_a_test() {
        let when = |text| rule(&format!("name=socket,{text}")).unwrap().when.concat();
        let masked = |mask, value| Compare::Masked { mask, value };
        assert_eq!(
            when("arg0_not=1,arg0_not=2"),
            [test(0, Compare::NotEqual(1)), test(0, Compare::NotEqual(2)),]
        );
        assert_eq!(when("arg0_has=CLONE_VM|CLONE_FS"), [test(0, masked(0x300, 0x300))]);
        assert_eq!(when("arg0_any=1,arg0_any=0x10"), [test(0, Compare::Any(0x11))]);
        assert_eq!(when("arg0_none=0o7"), [test(0, masked(7, 0))]);
        assert_eq!(when("arg1=SOCK_STREAM,arg1_mask=0xf"), [test(1, masked(0xf, 1))]);
        assert_eq!(when("arg0=-100"), [test(0, Compare::Equal(0xffff_ff9c))]);
        let wide = rule("name=mmap,arg0=0x1_0000_0000,wide=true").unwrap().when.concat();
        assert_eq!(wide, [ArgumentTest { index: 0, compare: Compare::Equal(1 << 32), wide: true }]);
    }

    #[test]
    fn mistakes_are_told_where_they_are() {
        for (text, place, message) in [
            ("arg0=1", None, "it names no system call (write `name` too)"),
            ("name=mout", Some(0), "`mout` is not a system call (did you mean `mount`?)"),
            (
                "name=@debgu",
                Some(0),
                "`@debgu` is not a group of system calls (did you mean `@debug`?)",
            ),
            (
                "name=@debug,arg0=1",
                Some(0),
                "the arguments of a group's calls differ (name one call)",
            ),
            (
                "name=socket:any",
                Some(0),
                "`socket:any` is for `syscalls.allow`: a rule says itself which arguments",
            ),
            ("name=socket,arg6=1", Some(1), "there is no argument 6: they are counted from 0 to 5"),
            ("name=socket,arg0_nto=1", Some(1), "unknown key (did you mean `arg0_not`?)"),
            (
                "name=socket,arg0=AF_VSCK",
                Some(1),
                "`AF_VSCK` is not the name of a value (did you mean `AF_VSOCK`?)",
            ),
            ("name=socket,arg0=0x", Some(1), "`0x` is not a number of at most 64 bits"),
            (
                "name=socket,arg0=0x100000000",
                Some(1),
                "`0x100000000` is wider than 32 bits (write `wide = true` to look at all 64)",
            ),
            (
                "name=socket,action=kil",
                Some(1),
                "`kil` is not one of `allow`, `deny`, `kill`, `log`, `errno NAME` (did you mean `kill`?)",
            ),
            (
                "name=socket,action=EACCES",
                Some(1),
                "`EACCES` is not one of `allow`, `deny`, `kill`, `log`, `errno NAME` (write `errno EACCES`)",
            ),
            (
                "name=socket,action=errno EACESS",
                Some(1),
                "`EACESS` is not the name of an error (did you mean `EACCES`?)",
            ),
            ("name=socket,arg0_mask=1", None, "`arg0_mask` goes with `arg0` only"),
            ("name=socket,arg0=2,arg0_mask=1", None, "`2` has bits that the mask `1` leaves out"),
            ("name=socket,wide=yes", Some(1), "`yes` is neither `true` nor `false`"),
        ] {
            assert_eq!(rule(text).unwrap_err(), (place, message.into()), "{text}");
        }
    }
}
