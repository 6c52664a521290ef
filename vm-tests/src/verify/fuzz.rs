//! Parsers under bytes that nobody would write: a minute for each target, guided by what the bytes reach.
//!
//! The flags are the stable compiler's own: they make the code count where it has been, for libFuzzer to see.

use crate::checkout::Checkout;
use crate::failure::{Attempt, Failure, Result};
use crate::tally::{Counts, Failed};
use crate::terminal;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Every target has its file in `vm-tests/fuzz/targets` and its seeds in `vm-tests/fuzz/corpus`.
const TARGETS: [&str; 6] = ["kernel_files", "units", "policy", "requests", "proxy", "syscalls"];

/// How many run side by side.
const AT_ONCE: usize = 2;

const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares";

pub(super) fn fuzz(checkout: &Checkout) -> Result<Counts> {
    let home = checkout.root.join("vm-tests/fuzz");
    let target = checkout.root.join("target/fuzz");
    let triple = triple()?;
    let mut build = checkout.cargo();
    build.args(["build", "--quiet", "--release", "--locked", "--target", &triple]);
    build.arg("--manifest-path").arg(home.join("Cargo.toml"));
    build.arg("--target-dir").arg(&target).env("RUSTFLAGS", FLAGS).stdin(Stdio::null());
    let status = build.status().attempt(|| "failed to build the fuzz targets".to_owned())?;
    if !status.success() {
        return Err(Failure::new("the fuzz targets don't build".to_owned()));
    }
    let mut counts = Counts::default();
    for some in TARGETS.chunks(AT_ONCE) {
        let started = some.iter().map(|name| {
            let program = target.join(&triple).join("release").join(name);
            start(name, &program, &home, &target)
        });
        for (name, child) in some.iter().zip(started.collect::<Result<Vec<_>>>()?) {
            let output =
                child.wait_with_output().attempt(|| format!("failed to wait for {name}"))?;
            let text = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                counts.passed += 1;
                let done = text.lines().rfind(|line| line.starts_with("Done ")).unwrap_or("");
                terminal::line(format!("{name}: {done}"));
            } else {
                terminal::line(format!("{name}: FAILED"));
                let told = told(&text);
                told.iter().for_each(terminal::line);
                counts.failed.push(Failed {
                    name: (*name).to_owned(),
                    reason: output.status.to_string(),
                    output: told.join("\n"),
                });
            }
        }
    }
    Ok(counts)
}

/// Of what a target printed, what tells why it ended: what panicked, what libFuzzer says of it, and the input.
fn told(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let after = |index: usize| {
        let before = lines.get(index.wrapping_sub(1));
        before.is_some_and(|line| line.contains("panicked at "))
    };
    let tells = |(index, line): (usize, &&'_ str)| {
        let libfuzzer = ["ERROR: ", "SUMMARY: ", "Base64: "].iter().any(|word| line.contains(word));
        libfuzzer || line.contains("panicked at ") || after(index)
    };
    lines.iter().enumerate().filter(|it| tells(*it)).map(|(_, line)| *line).collect()
}

/// Begins one target. What it finds out about inputs stays below `target`, and is where the next run begins.
fn start(name: &str, program: &Path, home: &Path, target: &Path) -> Result<Child> {
    let found = target.join("corpus").join(name);
    fs::create_dir_all(&found).attempt(|| format!("failed to make `{}`", found.display()))?;
    let mut command = Command::new(program);
    command.args(["-max_total_time=60", "-timeout=10", "-rss_limit_mb=1024", "-max_len=4096"]);
    command.arg(format!("-artifact_prefix={}/", found.display()));
    command.arg(&found).arg(home.join("corpus").join(name));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().attempt(|| format!("failed to run `{}`", program.display()))
}

/// What this machine's compiler builds for. Named, so that the flags don't reach build scripts.
fn triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.attempt(|| "failed to ask rustc for its target".to_owned())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().find_map(|line| line.strip_prefix("host: ").map(str::to_owned));
    found.ok_or_else(|| Failure::new("rustc doesn't tell its target".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panicked_and_on_which_input_is_told() {
        let text = "#2\tINITED\nthread '<unnamed>' panicked at src/a.rs:1:2:\nno such thing\nnote: x\n\
                    ==7== ERROR: libFuzzer: deadly signal\n    #0 0x1\nBase64: QUE=\n";
        let expected = [
            "thread '<unnamed>' panicked at src/a.rs:1:2:",
            "no such thing",
            "==7== ERROR: libFuzzer: deadly signal",
            "Base64: QUE=",
        ];
        assert_eq!(told(text), expected);
    }
}
