//! `stockade completions|man`: the command line itself, for shells and for man(1).

use super::output;
use crate::error::Error;
use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::Path;

pub(super) fn commands() -> [Command; 2] {
    let shell = Arg::new("shell").value_name("SHELL").required(true);
    let directory = Arg::new("dir").long("dir").value_name("DIR");
    [
        Command::new("completions")
            .about("Print what a shell needs to complete this command's words")
            .after_help("Example: stockade completions bash > /usr/share/bash-completion/completions/stockade")
            .arg(shell.value_parser(value_parser!(Shell)).help("The shell")),
        Command::new("man")
            .about("Print the man page of this command, or write those of all its subcommands")
            .after_help("Example: stockade man --dir /usr/local/share/man/man1")
            .arg(
                directory
                    .value_parser(value_parser!(OsString))
                    .help("Write all pages into this directory instead"),
            ),
    ]
}

/// Runs one of them, and gives the exit code.
pub(super) fn run(mut whole: Command, name: &str, matches: &ArgMatches) -> Result<u8, Error> {
    let mut page = Vec::new();
    if name == "completions" {
        let shell = matches.get_one::<Shell>("shell").copied().unwrap_or(Shell::Bash);
        clap_complete::generate(shell, &mut whole, "stockade", &mut page);
    } else if let Some(directory) = matches.get_one::<OsString>("dir") {
        let failed = |error| Error::io("failed to write the man pages", error);
        return clap_mangen::generate_to(whole, Path::new(directory)).map(|()| 0).map_err(failed);
    } else {
        let failed = |error| Error::io("failed to make the man page", error);
        clap_mangen::Man::new(whole).render(&mut page).map_err(failed)?;
    }
    output::result(String::from_utf8_lossy(&page).trim_end())?;
    Ok(0)
}
