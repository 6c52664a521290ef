//! The daemon's API against programs of others: a validator of its OpenAPI document, a fuzzer that the document drives (both from
//! PyPI), and Prometheus' own linter (of Debian's package), all below `target/vm`. What couldn't be checked is told by name.

use crate::archive::{self, Archive, Lists};
use crate::checkout::Checkout;
use crate::failure::{Attempt, Failure, Result};
use crate::store;
use crate::tally::{Counts, Failed};
use crate::terminal;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Their versions, so that a check is the same tomorrow.
const PACKAGES: [&str; 2] = ["openapi-spec-validator==0.9.0", "schemathesis==4.32.5"];

/// The suite of Debian's whose Prometheus it is: an older one, so that its program runs on every system that this does.
const PROMETHEUS: &str = "bookworm";

/// One service that goes on, one that fails, and a job.
const STACK: &str = r#"
[defaults]
policy = "default"

[services.web]
command = ["bash", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
restart = { delay = "1ms", max_attempts = 0, start_attempts = 0 }

[services.bad]
command = ["bash", "-c", "exit 3"]
restart = { delay = "1ms" }

[services.job]
command = ["bash", "-c", "echo done"]
type = "oneshot"
"#;

/// What is left out would end the daemon or never end itself. That not all is ready is what `/ready` is there to tell.
const FUZZER: &str = r#"
headers = { Authorization = "Bearer ${TOKEN}" }
# Who may wait for an hour does so in vain.
parameters = { "query.wait" = "10ms", "query.timeout" = "10ms" }
generation.deterministic = true

[[operations]]
include-path = ["/v1/shutdown", "/v1/reexec", "/v1/events", "/v1/logs"]
enabled = false

[[operations]]
# What a matcher may be, no pattern of JSON Schema says.
include-path = "/v1/silences"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = "/ready"
checks.not_a_server_error.enabled = false
"#;

/// Prints what is at a URL.
const FETCH: &str = "
import os, sys, urllib.request
asked = urllib.request.Request(sys.argv[1])
asked.add_header('Authorization', 'Bearer ' + os.environ['TOKEN'])
sys.stdout.buffer.write(urllib.request.urlopen(asked).read())";

/// A daemon on the loopback interface, in a directory of its own; it ends with this.
struct Daemon {
    child: Child,
    directory: PathBuf,
    packages: PathBuf,
    token: String,
    url: String,
}

pub(super) fn api(checkout: &Checkout) -> Result<Counts> {
    let cache = checkout.cache().join("api");
    let packages = cache.join("packages");
    let Some(()) = install(&packages)? else {
        terminal::line(format!("SKIP: PyPI can't be reached for {}", PACKAGES.join(", ")));
        return Ok(Counts { skipped: 3, ..Counts::default() });
    };
    let built = checkout.build(&["build", "--package", "stockade", "--bin", "stockade"])?;
    let program = built.into_iter().find(|artifact| artifact.name == "stockade");
    let program = program.ok_or_else(|| Failure::new("cargo built no `stockade`"))?.executable;
    let daemon = Daemon::start(&program, &cache.join("scene"), packages)?;
    daemon.fetch("/openapi.json", "openapi.json")?;
    let mut counts = Counts::default();
    let mut check = |name: &str, mut command: Command| -> Result<()> {
        let status = command.status().attempt(|| format!("failed to run `{name}`"))?;
        terminal::line(format!("{name}: {}", if status.success() { "ok" } else { "FAILED" }));
        if status.success() {
            counts.passed += 1;
        } else {
            counts.failed.push(Failed {
                name: name.to_owned(),
                reason: status.to_string(),
                output: String::new(),
            });
        }
        Ok(())
    };
    let mut validator = daemon.tool("openapi-spec-validator");
    validator.arg("openapi.json");
    check("the document by openapi-spec-validator", validator)?;
    let mut fuzzer = daemon.tool("schemathesis");
    fuzzer.args(["run", "openapi.json", "--url", &daemon.url, "--max-examples", "30"]);
    check("answers by schemathesis", fuzzer)?;
    daemon.fetch("/metrics", "metrics")?;
    match prometheus(&checkout.cache()) {
        Ok(unpacked) => {
            let mut linter = Command::new(unpacked.join("usr/bin/promtool"));
            let metrics = File::open(daemon.directory.join("metrics"));
            linter.args(["check", "metrics"]).stdin(metrics.attempt(|| "failed to open figures")?);
            check("figures by promtool", linter)?;
        }
        Err(failure) => {
            terminal::line(format!("SKIP: figures by promtool: {}", failure.chain()));
            counts.skipped += 1;
        }
    }
    daemon.end()?;
    Ok(counts)
}

/// Prometheus' package, unpacked and never installed: its linter alone is wanted.
fn prometheus(cache: &Path) -> Result<PathBuf> {
    store::keep(cache, "prometheus", PROMETHEUS, |partial| {
        let archive = Archive::open(cache, PROMETHEUS, Lists::Packages)?;
        archive::unpack(&archive.download("prometheus")?, partial)?;
        archive.forget_packages()
    })
}

/// The packages, below this directory; nothing where they can't be had.
fn install(packages: &Path) -> Result<Option<()>> {
    let stamp = packages.join("complete");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(Some(()));
    }
    if packages.exists() {
        fs::remove_dir_all(packages).attempt(|| "failed to remove older packages")?;
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
    let status = pip.arg(packages).args(PACKAGES).stdin(Stdio::null()).status();
    if !status.attempt(|| "failed to run pip")?.success() {
        return Ok(None);
    }
    fs::write(&stamp, wanted).attempt(|| "failed to note what is installed")?;
    Ok(Some(()))
}

/// A token that nobody can guess.
fn token() -> Result<String> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.attempt(|| "failed to read `/dev/urandom`")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Daemon {
    fn start(program: &Path, directory: &Path, packages: PathBuf) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(directory).attempt(|| "failed to remove an older scene")?;
        }
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(directory).attempt(|| "failed to make the daemon's directory")?;
        let token = token()?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            let written = fs::write(&path, text)
                .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o600)));
            written.attempt(|| format!("failed to write `{name}`"))
        };
        write("stockade.toml", STACK)?;
        write("tokens", &format!("admin:fuzzer:{token}\n"))?;
        write("schemathesis.toml", FUZZER)?;
        let mut command = Command::new(program);
        command.args(["daemon", "--socket", "api.sock", "--state", "state"]);
        command.args(["--listen", "127.0.0.1:0", "--token-file", "tokens"]);
        command.current_dir(directory).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().attempt(|| "failed to start the daemon")?;
        let mut url = None;
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).lines() {
                let line = line.attempt(|| "failed to read what the daemon says")?;
                if let Some(rest) = line.strip_prefix("stockade: the daemon listens at ") {
                    url = rest.split(' ').next().map(|address| format!("http://{address}"));
                } else if line == "stockade: the daemon answers" {
                    break;
                } else {
                    terminal::line(line);
                }
            }
        }
        let url = url.ok_or_else(|| Failure::new("the daemon doesn't listen"))?;
        Ok(Self { child, directory: directory.to_owned(), packages, token, url })
    }

    /// One of the packages' programs.
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.packages.join("bin").join(name));
        command.env("PYTHONPATH", &self.packages).env("TOKEN", &self.token);
        command.current_dir(&self.directory).stdin(Stdio::null());
        command
    }

    /// Keeps what is at a path in a file of the daemon's directory.
    fn fetch(&self, path: &str, file: &str) -> Result<()> {
        let attempt = || format!("failed to fetch `{path}`");
        let mut python = Command::new("python3");
        python.args(["-c", FETCH]).arg(format!("{}{path}", self.url)).env("TOKEN", &self.token);
        let output = python.stderr(Stdio::inherit()).output().attempt(attempt)?;
        if !output.status.success() {
            return Err(Failure::new(attempt()));
        }
        fs::write(self.directory.join(file), output.stdout).attempt(attempt)
    }

    /// Asks it to end, which it must do as if nothing had happened.
    fn end(mut self) -> Result<()> {
        let attempt = || "failed to end the daemon";
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).attempt(attempt)?;
        let status = self.child.wait().attempt(attempt)?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("the daemon: {status}"))) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Where it has ended there is nothing to kill; its services end by themselves or stay below `target`.
        self.child.kill().unwrap_or(());
    }
}
