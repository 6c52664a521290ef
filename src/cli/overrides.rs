//! The flags that override single keys of a policy, one for each key.

use crate::policy::Override;
use crate::policy::keys::{self, Key};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use std::ffi::OsString;

/// Heading of the help under which the flags stand.
const HEADING: &str = "Policy overrides";

/// The flags of the limits alone.
pub(super) fn limit_flags() -> impl Iterator<Item = Arg> {
    flags().filter(|flag| flag.get_id().as_str().starts_with("limits."))
}

/// The flag of what else can be changed while a program runs.
pub(super) fn allow_flag() -> impl Iterator<Item = Arg> {
    flags().filter(|flag| flag.get_id() == "network.allow")
}

fn keys() -> impl Iterator<Item = &'static Key> {
    keys::all().filter(|key| !key.flag.is_empty())
}

/// One flag for each key.
pub(crate) fn flags() -> impl Iterator<Item = Arg> {
    keys().map(|key| {
        Arg::new(key.path)
            .long(key.flag)
            .value_name(key.placeholder())
            .help(key.doc)
            .help_heading(HEADING)
            // Of single values the last one counts, as people expect of flags.
            .action(ArgAction::Append)
            // Negative clock offsets look like flags.
            .allow_hyphen_values(key.is_signed())
            .value_parser(value_parser!(OsString))
            .hide_short_help(true)
    })
}

/// The values of those flags that are given.
pub(crate) fn overrides(matches: &ArgMatches) -> Vec<Override> {
    let mut found = Vec::new();
    for key in keys() {
        // A subcommand may have a part of the flags.
        let Ok(Some(values)) = matches.try_get_many::<OsString>(key.path) else { continue };
        let skip = if key.is_many() { 0 } else { values.len() - 1 };
        found.extend(values.skip(skip).map(|value| Override::of(key, value.clone())));
    }
    found
}
