//! Runs of services that the stack doesn't have any more: they are ended, as if the stack had been changed while somebody
//! looked.

use super::journal::{Found, Journal};
use super::record::Run;
use crate::error::Error;
use crate::platform::{Adopted, Adoption, Backend, LaunchPlan, OutputPipe, Signal};
use std::sync::Arc;
use std::time::Duration;

/// How long each has to end: what its service said of that is gone with it.
const GRACE: Duration = Duration::from_secs(30);

/// Ends all that nobody took over, by itself.
pub(super) fn end(journal: &Journal, backend: Option<&Arc<dyn Backend>>) {
    for (service, Found { record, other_boot, .. }) in journal.take_rest() {
        let run = record.run.filter(|_| !other_boot);
        let (journal, backend) = (journal.clone(), backend.cloned());
        tokio::spawn(async move {
            let ended = match run {
                Some(run) => end_one(&run, backend).await,
                None => Ok(true),
            };
            // What isn't known to be gone is looked for again by the next supervisor.
            if ended.unwrap_or(false) {
                journal.forget(&service).unwrap_or(());
            }
        });
    }
}

/// Whether it is gone.
async fn end_one(run: &Run, backend: Option<Arc<dyn Backend>>) -> Result<bool, Error> {
    let backend = match backend {
        Some(backend) => backend,
        None => Arc::from(crate::platform::native()?),
    };
    let mut plan = LaunchPlan::new(&run.id, Vec::new());
    plan.lasting = Some(run.token);
    let Adopted { mut running, stdout, stderr, .. } =
        match backend.adopt(&plan, run.process.as_ref())? {
            Adoption::Taken(adopted) => *adopted,
            Adoption::Gone => return Ok(true),
            Adoption::Unknown(_) => return Ok(false),
        };
    for pipe in [stdout, stderr] {
        tokio::spawn(throw_away(pipe));
    }
    running.signal(Signal::Terminate)?;
    running.signal(Signal::Continue)?;
    if tokio::time::timeout(GRACE, running.wait()).await.is_err() {
        running.kill()?;
    }
    running.wait().await?;
    Ok(true)
}

/// Nobody is to be held up by what nobody reads.
async fn throw_away(pipe: Option<OutputPipe>) {
    if let Some(mut pipe) = pipe {
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await.map(drop).unwrap_or(());
    }
}
