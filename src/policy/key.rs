//! What a key of a policy is: its names, its kind of value, and where the value goes.

use super::draft::Draft;
use super::syscalls::CallRule;
use crate::platform::{Bytes, Cores, IdRange, IdSet, IoLimit, PortSet, Rate};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

/// One key of a policy.
#[derive(Debug)]
pub(crate) struct Key {
    /// Section and name, such as `limits.memory`.
    pub(crate) path: &'static str,
    /// The flag of `stockade run` that overrides it, without dashes; empty for what has none.
    pub(crate) flag: &'static str,
    /// What is written, and where it goes.
    pub(super) kind: Kind,
    /// One line of meaning, without a full stop.
    pub(crate) doc: &'static str,
    /// A value as it is written in a file.
    pub(crate) example: &'static str,
    /// Its value in a draft, for people; nothing when it isn't set.
    pub(super) show: fn(&Draft) -> Vec<String>,
}

/// What kind of value a key has, and where it goes once it is checked.
#[derive(Debug)]
pub(super) enum Kind {
    /// Another policy that this one adds to.
    Extends,
    Text(fn(&mut Draft, &str)),
    HostName(fn(&mut Draft, &str)),
    Size(Size),
    Cores(fn(&mut Draft, Option<Cores>)),
    Count(Count),
    /// Bytes per second, at least so many, with `None` for `unlimited`.
    Rate(Rate, fn(&mut Draft, Option<Rate>)),
    /// CPUs or memory nodes, with `None` for `all`.
    Ids(fn(&mut Draft, Option<IdSet>)),
    /// TCP ports, with `None` for `all`.
    Ports(fn(&mut Draft, Option<PortSet>)),
    /// With `None` for `unlimited`.
    Time(fn(&mut Draft, Option<Duration>)),
    /// A time that may be zero and can't be unlimited.
    Grace(fn(&mut Draft, Duration)),
    /// Numbers of users and groups of the host.
    Range(fn(&mut Draft, IdRange)),
    /// Bits of permissions, in octal.
    Mode(fn(&mut Draft, u32)),
    /// Whole seconds with a sign.
    Offset(fn(&mut Draft, i64)),
    Switch(fn(&mut Draft, bool)),
    Choice(&'static [Choice]),
    Path(fn(&mut Draft, PathBuf)),
    /// A path, or a word that stands for none.
    PathOr(&'static str, fn(&mut Draft, Option<PathBuf>)),
    /// A list of host paths.
    Paths(fn(&mut Draft, PathBuf)),
    /// A list of names.
    Names(Names, fn(&mut Draft, &str)),
    /// A list of tables: rates of disks, by path.
    Io(fn(&mut Draft, IoLimit)),
    /// A list of tables: rules about system calls.
    Rules(fn(&mut Draft, CallRule)),
    /// A table of names and values.
    Pairs(Names, Values, fn(&mut Draft, &str, &OsStr)),
}

#[derive(Debug)]
pub(super) struct Size {
    pub(super) least: Bytes,
    /// The word for `None`.
    pub(super) off: &'static str,
    pub(super) set: fn(&mut Draft, Option<Bytes>),
}

#[derive(Debug)]
pub(super) struct Count {
    pub(super) least: u32,
    pub(super) most: u32,
    /// The word for `None`; empty when there is none.
    pub(super) off: &'static str,
    pub(super) set: fn(&mut Draft, Option<u32>),
}

/// A word, its meaning, and what it does.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) word: &'static str,
    pub(super) doc: &'static str,
    pub(super) set: fn(&mut Draft),
}

/// What the names of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Names {
    SystemCalls,
    Capabilities,
    Controls,
    Variables,
    /// What a filtered network lets out to.
    Destinations,
    /// Ports that lead inside.
    Published,
    /// Places of files inside.
    Files,
    Secrets,
}

/// What the values of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// Of variables.
    Texts,
    /// Whole files.
    Contents,
    /// Host paths.
    Paths,
    /// Names of variables.
    Variables,
}

/// No limit on CPUs, memory nodes or ports.
pub(super) const ALL: &str = "all";

/// No limit.
pub(super) const UNLIMITED: &str = "unlimited";

impl Key {
    /// The part of the path before the dot; empty for a key of the file itself.
    pub(crate) fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The part of the path after the dot.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// What stands for its value in the help of the command line.
    pub(crate) fn placeholder(&self) -> &'static str {
        match &self.kind {
            Kind::Extends | Kind::Text(_) => "TEXT",
            Kind::HostName(_) => "NAME",
            Kind::Mode(_) => "MODE",
            Kind::Size(_) => "SIZE",
            Kind::Cores(_) => "CORES",
            Kind::Count(_) => "NUMBER",
            Kind::Rate(..) => "RATE",
            Kind::Ids(_) | Kind::Ports(_) => "LIST",
            Kind::Range(_) => "FIRST-LAST",
            Kind::Time(_) | Kind::Grace(_) => "TIME",
            Kind::Offset(_) => "OFFSET",
            Kind::Switch(_) => "true|false",
            Kind::Choice(_) => "WORD",
            Kind::Path(_) | Kind::Paths(_) => "PATH",
            Kind::Names(Names::Destinations, _) => "HOST[:PORT]",
            Kind::Names(Names::Published, _) => "[ADDRESS:]PORT:PORT",
            Kind::PathOr("discard", _) => "discard|PATH",
            Kind::PathOr(..) => "PATH",
            Kind::Names(..) => "NAME",
            Kind::Io(_) => "path=PATH,LIMIT=VALUE",
            Kind::Rules(_) => "name=CALL,arg0=VALUE,action=WORD",
            Kind::Pairs(_, Values::Texts, _) => "NAME=VALUE",
            Kind::Pairs(_, Values::Contents, _) => "PATH=TEXT",
            Kind::Pairs(_, Values::Paths, _) => "NAME=PATH",
            Kind::Pairs(_, Values::Variables, _) => "NAME=VARIABLE",
        }
    }

    /// The word that switches it off; none for what can't be switched off.
    pub(super) fn off(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::Size(size) => Some(size.off),
            Kind::Count(count) => Some(count.off).filter(|off| !off.is_empty()),
            Kind::Cores(_) | Kind::Time(_) | Kind::Rate(..) => Some(UNLIMITED),
            Kind::Ids(_) | Kind::Ports(_) => Some(ALL),
            _ => None,
        }
    }

    /// Whether its value may begin with a minus sign.
    pub(crate) fn is_signed(&self) -> bool {
        matches!(self.kind, Kind::Offset(_))
    }

    /// Whether it has many values: a list or a table.
    pub(crate) fn is_many(&self) -> bool {
        matches!(
            self.kind,
            Kind::Paths(_) | Kind::Names(..) | Kind::Io(_) | Kind::Rules(_) | Kind::Pairs(..)
        )
    }
}
