//! What runs inside a guest: pid 1, its runner, and the step from the runner to a test. On the host:
//! the keeper of a machine.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use vm_tests::failure::{Failure, Result};
use vm_tests::{guest, identity, keeper};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(failure) => {
            let mut stderr = std::io::stderr().lock();
            // Nobody may be there to read it; the exit code still says it.
            writeln!(stderr, "guest: {}", failure.chain()).ok();
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    if std::process::id() == 1 {
        return guest::init().map(done);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((word, rest)) = arguments.split_first() else {
        return Err(Failure::new("this program is started by `cargo vm`"));
    };
    match (word.as_str(), rest) {
        ("work", [job, frames]) => guest::work(Path::new(job), Path::new(frames)).map(done),
        ("enter", rest) => identity::enter(rest).map(done),
        ("keep", rest) => keeper::keep(rest).map(ExitCode::from),
        _ => Err(Failure::new(format!("`{word}` isn't a word of this program"))),
    }
}
