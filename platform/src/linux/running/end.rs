//! How the end of a sandbox is heard of, taken note of and cleaned up after.

use super::LinuxRunning;
use crate::linux::cgroup::traffic;
use crate::linux::{disk, kernel_log, reaped, spawn};
use crate::{Ended, HowEnded, MainProcess, NetworkUsage, PlatformError, Usage, Witness};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use stockade_child::Message;

/// How long what a program wrote may take to be taken in, after its end: somebody else may hold its streams, or the disk may be full.
const TO_TAKE_IN: Duration = Duration::from_secs(5);

impl LinuxRunning {
    /// What went over the interfaces of its own network.
    pub(super) fn traffic(&self) -> Option<NetworkUsage> {
        let mut buffer = [0; 4096];
        let length = rustix::io::pread(self.interfaces.as_ref()?, &mut buffer, 0).ok()?;
        let (received, sent) = traffic(buffer.get(..length)?)?;
        Some(NetworkUsage { received, sent })
    }

    /// Takes in everything that the first process said; `None` when there is nothing more now.
    fn hear(&mut self) -> Option<()> {
        match spawn::receive(self.control.get_ref().as_fd(), RecvFlags::DONTWAIT) {
            Ok((Some(Message::Exited(status)), _)) => {
                let how = self.how(status);
                self.program = Some((how, Instant::now()));
                self.note(how);
            }
            Ok((Some(Message::Stopped(_)), _)) => self.stops.notify_one(),
            Ok((Some(Message::Left), _)) => _ = self.main.send_replace(MainProcess::Unknown),
            Ok((Some(Message::Main(pid)), _)) => {
                if let Some(listener) = &self.listener {
                    listener.follow(pid);
                }
                self.main.send_replace(MainProcess::Other(pid.unsigned_abs()));
            }
            Ok((Some(Message::NotMain(pid)), _)) => {
                self.main.send_replace(MainProcess::Refused(pid.unsigned_abs()));
            }
            Ok((Some(_), _)) => {}
            Ok((None, _)) => self.control_closed = true,
            Err(Errno::AGAIN) => return None,
            Err(_) => self.control_closed = true,
        }
        (!self.control_closed).then_some(())
    }

    /// Takes note of the end of one that outlives its starter.
    fn note(&mut self, how: HowEnded) {
        if self.outliving.is_none() {
            return;
        }
        if let Some(witness) = &mut self.witness {
            witness.tell(how);
        }
        self.lets_go = Some(Instant::now() + TO_TAKE_IN);
    }

    /// Lets its first process go, which keeps all that a next starter would need.
    fn let_go(&mut self) {
        self.lets_go = None;
        // One that is gone by itself needn't be told.
        spawn::send(self.control.get_ref().as_fd(), Message::Noted).unwrap_or(());
    }

    fn how(&self, status: i32) -> HowEnded {
        if libc::WIFEXITED(status) {
            return HowEnded::Exited(libc::WEXITSTATUS(status));
        }
        let signal = libc::WTERMSIG(status);
        let denied = match &self.listener {
            Some(listener) => listener.has_ended_program(signal),
            // Where the kernel itself ends it, nothing else sends this signal unasked.
            None => self.filtered && signal == libc::SIGSYS,
        };
        if denied { HowEnded::Denied(signal) } else { HowEnded::Signaled(signal) }
    }

    pub(super) async fn watch(&mut self) -> Result<Ended, PlatformError> {
        if let Some(ended) = &self.ended {
            return Ok(ended.clone());
        }
        while self.reaped.is_none() {
            while self.hear().is_some() {}
            let failed = |error| PlatformError::system("failed to wait for the sandbox", error);
            let control = async {
                if self.control_closed {
                    std::future::pending::<()>().await;
                }
                self.control.readable().await.map(|mut guard| guard.clear_ready())
            };
            tokio::select! {
                biased;
                ready = control => ready.map_err(failed)?,
                () = taken_in(&mut self.witness, self.lets_go) => self.let_go(),
                ready = self.pidfd.readable() => {
                    drop(ready.map_err(failed)?);
                    while self.hear().is_some() {}
                    let reaped = match reaped::reap(self.pidfd.get_ref().as_fd()) {
                        Ok((status, usage)) => (Some(status), usage),
                        // It is somebody else's child: its starter is gone.
                        Err(Errno::CHILD) if self.outliving.is_some() => (None, Usage::default()),
                        Err(error) => {
                            return Err(PlatformError::system("failed to reap the sandbox", error));
                        }
                    };
                    self.reaped = Some(reaped.1);
                    // Nobody told of an end: the first process was the program, or was killed before it could.
                    if self.program.is_none() {
                        let how = reaped.0.map_or_else(|| self.unobserved(), |status| self.how(status));
                        self.program = Some((how, Instant::now()));
                    }
                }
            }
        }
        self.finish().await
    }

    /// How one ended of which nobody told: its first process was killed, and its starter is another one.
    fn unobserved(&self) -> HowEnded {
        let for_memory = || {
            let hits = self.cgroup.as_ref().and_then(|cgroup| cgroup.hits().ok());
            hits.is_some_and(|hits| hits.memory_kills > 0)
        };
        if self.killed.load(Ordering::Relaxed) || for_memory() {
            HowEnded::Signaled(libc::SIGKILL)
        } else {
            HowEnded::Unobserved
        }
    }

    /// The first process is gone, and with it every process of its namespace; the cgroup says when that is done.
    async fn finish(&mut self) -> Result<Ended, PlatformError> {
        let (how, at) = self.program.unwrap_or((HowEnded::Signaled(libc::SIGKILL), Instant::now()));
        let mut ended = Ended::new(how);
        ended.program = self.alone;
        let reaped = self.reaped.clone().unwrap_or_default();
        if let Some(cgroup) = &mut self.cgroup {
            cgroup.kill()?;
            cgroup.emptied().await?;
            ended.hits = cgroup.hits()?;
            if ended.hits.memory_kills > 0 {
                ended.victim = kernel_log::victim(cgroup.name(), self.alone);
            }
            ended.memory_limit = cgroup.memory_limit()?;
            cgroup.usage(&mut ended.usage)?;
            cgroup.remove()?;
        }
        if let Some(disk) = &mut self.disk {
            ended.usage.disk = disk.usage();
            disk.remove()?;
        }
        // The next sandbox may go on with its changes.
        self.kept = None;
        if let Some(outliving) = &self.outliving {
            outliving.lasting.door.remove()?;
            if self.disk.is_none() {
                // Where another process set limits, they went with the locks of the first one.
                disk::sweep().unwrap_or(0);
            }
        }
        ended.usage.network = self.traffic();
        ended.usage = ended.usage.or(&reaped);
        ended.usage.keep_peaks_of(&self.sampler.peaks());
        ended.wall_time = at.duration_since(self.started);
        self.claim = None;
        self.ended = Some(ended.clone());
        Ok(ended)
    }
}

/// Returns when nothing of what an ended program wrote needs to be kept any more; never where none has ended. Dropping the
/// future loses nothing.
async fn taken_in(witness: &mut Option<Witness>, until: Option<Instant>) {
    match (witness, until) {
        // Late is as good as done.
        (Some(witness), Some(until)) => {
            tokio::time::timeout_at(until.into(), witness.taken_in()).await.unwrap_or(());
        }
        (None, Some(_)) => {}
        (_, None) => std::future::pending().await,
    }
}
