//! The product for Windows: that it compiles without warnings, and its tests, run by Wine.
//!
//! Wine does what this needs of processes, pipes and the life of jobs. It takes most limits of a job and holds none of them: that the
//! product says so is tested, that Windows holds them can't be. Each such limit is counted as skipped, by its name.

use super::cargo::{count_tests, must_succeed};
use crate::checkout::Checkout;
use crate::failure::{Attempt, Failure, Result};
use crate::job::Ending;
use crate::process;
use crate::tally::Counts;
use crate::terminal;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

const TARGET: &str = "x86_64-pc-windows-gnu";
const COMPILER: &str = "x86_64-w64-mingw32-gcc";
/// Debian's and Ubuntu's place for the program itself: the one in `PATH` is a script that speaks of what isn't installed.
const WINE: &str = "/usr/lib/wine/wine64";
const SERVER: &str = "/usr/lib/wine/wineserver";

/// How the product begins to say that a job doesn't hold a limit, and a token a wall.
const LOST: [&str; 2] = ["a job doesn't keep it", "no token is lowered"];

pub(super) fn windows(checkout: &Checkout) -> Result<Counts> {
    let mut add = Command::new("rustup");
    add.args(["target", "add", TARGET]).current_dir(&checkout.root).stdin(Stdio::null());
    if !add.status().is_ok_and(|status| status.success()) {
        return Ok(skipped(format!("rustup can't add {TARGET}: nothing is known of Windows")));
    }
    if !there(COMPILER) {
        let missing = format!("there is no {COMPILER}: nothing is known of Windows");
        return Ok(skipped(format!("{missing} (`cargo verify packages` installs it)")));
    }
    let mut lint = checkout.cargo();
    lint.args(["clippy", "--quiet", "--package", "stockade", "--package", "stockade-platform"]);
    lint.args(["--lib", "--bins", "--test", "windows", "--test", "outsider"]);
    lint.args(["--target", TARGET, "--", "-D", "warnings"]);
    let linted = must_succeed(&mut lint)?;
    if !Path::new(WINE).is_file() {
        let missing = format!("there is no {WINE}: no test of Windows' is run");
        let missing = format!("{missing} (`cargo verify packages` installs wine64)");
        return Ok(linted.and(skipped(missing)));
    }
    let wine = Wine::start(checkout)?;
    let below = ["test", "--package", "stockade-platform", "--lib", "--no-fail-fast"];
    let outside = ["test", "--package", "stockade", "--test", "windows", "--test", "outsider"];
    let outside = [&outside[..], &["--no-fail-fast"]].concat();
    let mut counts = linted;
    for arguments in [&below[..], &outside] {
        let mut tests = checkout.cargo();
        wine.surround(tests.args(arguments).args(["--target", TARGET]));
        counts = counts.and(count_tests(&mut tests)?);
    }
    let program = built(checkout)?;
    Ok(counts.and(wine.shows_top(&program)?).and(wine.unchecked(&program)?))
}

/// The product itself.
fn built(checkout: &Checkout) -> Result<PathBuf> {
    let mut build = checkout.cargo();
    build.args(["build", "--quiet", "--package", "stockade", "--bin", "stockade"]);
    must_succeed(build.args(["--target", TARGET]))?;
    Ok(checkout.root.join("target").join(TARGET).join("debug/stockade.exe"))
}

fn skipped(why: String) -> Counts {
    terminal::line(format!("SKIP: {why}"));
    Counts { skipped: 1, ..Counts::default() }
}

fn there(program: &str) -> bool {
    let tried = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// A system of Wine's of these tests' own, with its server, which goes when this is dropped.
struct Wine {
    prefix: PathBuf,
}

impl Wine {
    /// Makes it where it is missing, and starts its server.
    fn start(checkout: &Checkout) -> Result<Self> {
        let prefix = checkout.root.join("target/wine");
        fs::create_dir_all(&prefix).attempt(|| format!("failed to make `{}`", prefix.display()))?;
        let wine = Self { prefix };
        // Were it started by the first program, it would keep that one's streams, and who reads them would wait for ever. It fails
        // where one runs already.
        wine.quietly(Command::new(SERVER).arg("--persistent"))?;
        let system = wine.prefix.join("drive_c/windows/system32");
        if !system.join("kernel32.dll").is_file() {
            wine.quietly(Command::new(WINE).args(["wineboot", "--init"]))?;
        }
        let library = system.join("bcryptprimitives.dll");
        if !library.is_file() {
            let source = checkout.root.join("vm-tests/wine/bcryptprimitives.c");
            let mut compile = Command::new(COMPILER);
            compile.args(["-O2", "-shared", "-o"]).arg(&library).arg(&source).arg("-ladvapi32");
            let compiled = compile.stdin(Stdio::null()).status();
            if !compiled.is_ok_and(|status| status.success()) {
                return Err(Failure::new(format!("failed to compile `{}`", source.display())));
            }
        }
        Ok(wine)
    }

    /// Has a command, and what it starts, use this system.
    fn surround<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let runner = format!("CARGO_TARGET_{}_RUNNER", TARGET.replace('-', "_").to_uppercase());
        command.env(runner, WINE).env("WINEPREFIX", &self.prefix);
        // No messages of its own, and nobody asks for a browser or .NET.
        command.env("WINEDEBUG", "-all").env("WINEDLLOVERRIDES", "mscoree,mshtml=")
    }

    fn quietly(&self, command: &mut Command) -> Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        self.surround(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().attempt(|| format!("failed to run `{program}`")).map(drop)
    }

    /// Whether `stockade top` shows its screen in a console, and ends when it is told to. Wine has one in a terminal, which script(1)
    /// makes.
    fn shows_top(&self, program: &Path) -> Result<Counts> {
        const PATIENCE: Duration = Duration::from_secs(60);
        let line = format!("stty rows 30 columns 120 && exec {WINE} '{}' top", program.display());
        let mut top = Command::new("script");
        top.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        self.surround(&mut top).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut top = top.spawn().attempt(|| "failed to run `script`")?;
        let (tell, told) = channel();
        if let Some(mut screen) = top.stdout.take() {
            thread::spawn(move || {
                let mut some = [0; 4096];
                // It ends with the terminal, or with who listens.
                while let Ok(count @ 1..) = screen.read(&mut some) {
                    let Ok(()) = tell.send(some[..count].to_vec()) else { return };
                }
            });
        }
        let mut seen = Vec::new();
        let shows = |seen: &[u8]| String::from_utf8_lossy(seen).contains("sandboxes,");
        while !shows(&seen) {
            let Ok(some) = told.recv_timeout(PATIENCE) else { break };
            seen.extend(some);
        }
        let asked = top.stdin.take().map(|mut keys| keys.write_all(b"q").map(|()| keys));
        let ending = process::wait(&mut top, PATIENCE);
        drop(asked);
        if shows(&seen) && ending == Ending::Exited(0) {
            return Ok(Counts { passed: 1, ..Counts::default() });
        }
        let seen = String::from_utf8_lossy(&seen).escape_debug().to_string();
        Err(Failure::new(format!("`stockade top` on Windows ended with {ending:?}: {seen}")))
    }

    /// The limits that no job holds here, by name.
    fn unchecked(&self, program: &Path) -> Result<Counts> {
        let mut doctor = Command::new(WINE);
        doctor.arg(program).args(["doctor", "--json"]).stdin(Stdio::null());
        let output = self.surround(&mut doctor).output();
        let output = output.attempt(|| format!("failed to run `{}`", program.display()))?;
        let names = lost(&output.stdout)?;
        for name in &names {
            terminal::line(format!("SKIP: {name} on Windows: Wine doesn't hold it"));
        }
        // Also in a console that both share.
        terminal::line("SKIP: Ctrl-Break on Windows: Wine passes none on to another program");
        Ok(Counts { skipped: names.len() + 1, ..Counts::default() })
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        // Only this system's server.
        self.quietly(Command::new(SERVER).arg("--kill")).unwrap_or(());
    }
}

/// The controls of a report of `doctor` that aren't held because jobs or tokens lose them.
fn lost(report: &[u8]) -> Result<Vec<String>> {
    let report: Value = serde_json::from_slice(report)
        .attempt(|| "failed to understand `stockade doctor --json`")?;
    let controls = report["controls"].as_object();
    let controls =
        controls.ok_or_else(|| Failure::new("`stockade doctor --json` has no controls"))?;
    let is_lost = |answer: &Value| {
        let reason = answer["reason"].as_str().unwrap_or_default();
        LOST.iter().any(|lost| reason.starts_with(lost))
    };
    let names = controls.iter().filter(|(_, answer)| is_lost(answer));
    Ok(names.map(|(name, _)| name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_jobs_lose_is_counted() {
        let report = r#"{"controls": {
            "limits.cpu": {"state": "unavailable", "reason": "a job doesn't keep it (87)"},
            "filesystem.view": {"state": "unavailable", "reason": "no token is lowered (5)"},
            "syscalls": {"state": "unavailable", "reason": "no walls"},
            "limits.output": {"state": "enforced"}}}"#;
        assert_eq!(lost(report.as_bytes()).unwrap(), ["filesystem.view", "limits.cpu"]);
        assert!(lost(b"{}").is_err());
    }
}
