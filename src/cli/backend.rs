//! `--backend`: which of the platform's ways to launch is taken.

use crate::error::Error;
use crate::platform::{BACKENDS, Backend, named, native};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches};
use std::sync::Arc;

/// The flag.
pub(super) fn flag() -> Arg {
    Arg::new("backend")
        .long("backend")
        .value_name("NAME")
        .value_parser(PossibleValuesParser::new(BACKENDS))
        .help("How it is launched: `posix` has limits of processes and no walls; else by the first of these, or another where the first can't and the policy accepts all that is missing there")
}

/// The backend that is asked for by name.
///
/// # Errors
/// When the platform has none of this name.
pub(super) fn asked(matches: &ArgMatches) -> Result<Option<Arc<dyn Backend>>, Error> {
    let name = matches.get_one::<String>("backend");
    Ok(name.map(|name| named(name).map(Arc::from)).transpose()?)
}

/// The backend that is asked for, or the platform's own.
///
/// # Errors
/// When the platform has none.
pub(super) fn chosen(matches: &ArgMatches) -> Result<Box<dyn Backend>, Error> {
    Ok(match matches.get_one::<String>("backend") {
        Some(name) => named(name)?,
        None => native()?,
    })
}
