//! A host for untrusted workers: each job is a Python program that reads a number and answers with its square.
//!
//! Run it with `cargo run --example worker_host`. One job behaves, one runs for ever, one eats memory; the host goes on.

use std::time::Duration;
use stockade::platform::Bytes;
use stockade::{Error, ExitReport, Policy, Sandbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Jobs that somebody sent us.
const JOBS: [(&str, &str); 3] = [
    ("behaves", "print(int(input()) ** 2)"),
    ("loops", "while True: pass"),
    ("hogs", "x = []\nwhile True: x.append(bytearray(1 << 20))"),
];

/// Runs one job on one input: what it answered, and how it ended.
async fn run_job(name: &str, source: &str, input: &str) -> Result<(String, ExitReport), Error> {
    // Strict, except that limits may be watched where the kernel can't hold them, so that this runs on any host.
    let policy =
        Policy::shipped("default")?.memory(Bytes::mib(128)).wall_time(Duration::from_secs(2));
    let mut sandbox =
        Sandbox::builder(policy).name(name).command(["python3", "-c", source]).piped().start()?;

    if let Some(mut stdin) = sandbox.stdin.take() {
        // A job may end without reading.
        stdin.write_all(input.as_bytes()).await.unwrap_or(());
    }
    let mut answer = String::new();
    let stdout = sandbox.stdout.take();
    let read = async {
        match stdout {
            // What a job writes is not to be trusted either: no more than this of it.
            Some(stdout) => stdout.take(4096).read_to_string(&mut answer).await.map(drop),
            None => Ok(()),
        }
    };
    let (report, _read) = tokio::join!(sandbox.wait(), read);
    Ok((answer, report?))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    for (name, source) in JOBS {
        let (answer, report) = run_job(name, source, "12\n").await?;
        let cause = serde_json::to_string(&report.cause).unwrap_or_default();
        let memory = report.memory.peak.unwrap_or_default();
        #[expect(clippy::print_stdout, reason = "an example shows its result")]
        {
            println!(
                "{name}: {cause} after {:?}, memory peak {memory}, answer {:?}",
                report.wall_time,
                answer.trim()
            );
        }
    }
    Ok(())
}
