//! `cargo verify [STEP]...`: everything that a change must pass.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use vm_tests::{terminal, verify};

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match verify::run(&names) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            terminal::note(format!("error: {}", failure.chain()));
            ExitCode::from(125)
        }
    }
}
