//! `cargo vm`: boots guests and shows what the tests inside said.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use vm_tests::failure::Result;
use vm_tests::options::{HELP, Options};
use vm_tests::{session, terminal};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(failure) => {
            terminal::note(format!("error: {}", failure.chain()));
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<ExitCode> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.help {
        terminal::piece(HELP);
        return Ok(ExitCode::SUCCESS);
    }
    session::run(&options)
}
