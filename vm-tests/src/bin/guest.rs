//! What runs inside a guest: pid 1, its runner, and the step from the runner to a test.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use vm_tests::failure::{Failure, Result};
use vm_tests::{guest, identity};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut stderr = std::io::stderr().lock();
            // Nobody may be there to read it; the exit code still says it.
            writeln!(stderr, "guest: {}", failure.chain()).ok();
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<()> {
    if std::process::id() == 1 {
        return guest::init();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((word, [job, frames])) if word == "work" => {
            guest::work(Path::new(job), Path::new(frames))
        }
        Some((word, rest)) if word == "enter" => identity::enter(rest),
        _ => Err(Failure::new("this program is started by `cargo vm`, inside a guest")),
    }
}
