//! Limits of a sandbox that runs, raised and lowered.

use super::Sandbox;
use super::watch::watched;
use crate::error::Error;
use crate::network::Passage;
use crate::platform::{AllowRule, Bytes, Control, Decision, LaunchPlan, Limits, Usage};
use crate::policy::Changes;
use serde::Serialize;
use std::time::Duration;

/// What a change will do at once, because more is used than the new limit allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Consequence {
    /// The limit.
    pub limit: Control,
    /// What is used, what the limit will be, and what happens then; one sentence without a full stop.
    pub what: String,
}

impl Sandbox {
    /// What [`Self::update`] with these limits would do at once; empty when there is room for all that is used.
    ///
    /// # Errors
    /// When a source that the platform has can't be read.
    pub fn consequences(&mut self, limits: &Limits) -> Result<Vec<Consequence>, Error> {
        let usage = self.usage()?;
        let written = self.output.as_ref().map(|output| Bytes(output.passed()));
        Ok(consequences(&self.plan, limits, (&usage, written), self.began.elapsed()))
    }

    /// Changes its limits: all of them to these. Each is in force when this returns, or, on an error, all are as before.
    ///
    /// Limits that a process takes along from its start (files, sizes, stack, priorities) can't be changed while it runs, nor
    /// can `output` be given to a sandbox that started without: its streams don't come through here.
    ///
    /// # Errors
    /// When a limit that differs can't be changed, isn't held by the kernel here, or is refused by it.
    pub fn update(&mut self, limits: &Limits) -> Result<(), Error> {
        let mut plan = self.plan.clone();
        plan.limits = limits.clone();
        // What can't be held is refused here: whoever asks is there to hear it.
        plan.accepted.clear();
        for control in changed(&self.plan.limits, limits) {
            if !is_live(control) {
                let message = format!("{control} can't be changed while it runs");
                return Err(Error::asked(message, "it is taken along from the start"));
            }
            if control == Control::Output && self.output.is_none() {
                let message = "limits.output can't be given to a sandbox that started without";
                return Err(Error::asked(message, "its streams go past Stockade"));
            }
            let held = match self.plan.controls.get(&control) {
                None | Some(Decision::Enforce) => true,
                // Stockade itself looks, at whatever the limit is.
                Some(_) => matches!(control, Control::Memory | Control::CpuTime | Control::Output),
            };
            if !held {
                let message =
                    format!("{control} isn't held by the kernel here, so it can't be changed");
                return Err(Error::asked(message, "`stockade doctor` tells why"));
            }
            if limits.sets(control) {
                plan.controls.entry(control).or_insert(Decision::Enforce);
            } else {
                plan.controls.remove(&control);
            }
        }
        self.running.update(&self.plan, &plan)?;
        if plan.limits.memory_stall != self.plan.limits.memory_stall {
            // The watcher that there is knows of the stall that was.
            let needed = plan.limits.memory_stall.is_some() || self.news.is_heard();
            let told = self.news.told();
            self.news.watch(if needed { self.running.watcher(told)? } else { None });
        }
        if let Some(output) = &self.output {
            output.limit_to(plan.limits.output);
        }
        if let Some(passage) = &self.passage {
            passage.limit_to(&plan);
        }
        self.plan = plan;
        self.watched = watched(&self.plan);
        self.deadline = self.plan.limits.wall_time.map(|time| self.began + time);
        Ok(())
    }
}

impl Sandbox {
    /// What [`Self::allow`] with this list would do at once: the connections that it would close.
    ///
    /// # Errors
    /// When its network isn't filtered.
    pub fn consequences_of_allowing(&self, allow: &[AllowRule]) -> Result<Vec<Consequence>, Error> {
        let closed = self.filtered()?.would_close(allow).into_iter().map(|(whom, number)| {
            let connections = if number == 1 { "connection" } else { "connections" };
            let what = format!("{number} open {connections} to {whom}: closed at once");
            Consequence { limit: Control::Network, what }
        });
        Ok(closed.collect())
    }

    /// Changes whom its filtered network lets out to: all of the list to this one, at once. What was connected and isn't
    /// allowed any more is closed; an empty list allows nothing.
    ///
    /// # Errors
    /// When its network isn't filtered.
    pub fn allow(&mut self, allow: Vec<AllowRule>) -> Result<(), Error> {
        self.filtered()?.allow(allow.clone());
        self.plan.allow = allow;
        Ok(())
    }

    fn filtered(&self) -> Result<&Passage, Error> {
        self.passage.as_ref().ok_or_else(|| {
            let hint =
                "only a sandbox that was started with `network.mode` `filtered` has such a list";
            Error::asked("network.allow can't be changed: the network isn't filtered", hint)
        })
    }
}

/// Whether a limit can be another one while the program runs.
fn is_live(control: Control) -> bool {
    matches!(
        control,
        Control::Memory
            | Control::MemoryHigh
            | Control::MemoryMin
            | Control::MemoryLow
            | Control::Swap
            | Control::Zswap
            | Control::HugePages
            | Control::Cpu
            | Control::CpuWeight
            | Control::CpuBurst
            | Control::CpuIdle
            | Control::Cpus
            | Control::Mems
            | Control::Pids
            | Control::Io
            | Control::IoWeight
            | Control::MemoryStall
            | Control::Output
            | Control::Disk
            | Control::DiskFiles
            | Control::NetworkSend
            | Control::WallTime
            | Control::CpuTime
    )
}

/// The limits in which two sets differ. The grace is no limit of its own, and may differ.
fn changed(old: &Limits, new: &Limits) -> Vec<Control> {
    // Written out without `..`, so that a new limit can't be forgotten here.
    let Limits {
        memory,
        memory_high,
        memory_stall,
        memory_min,
        memory_low,
        oom_kill,
        swap,
        zswap,
        huge_pages,
        cpu,
        cpu_weight,
        cpu_burst,
        cpu_idle,
        cpus,
        mems,
        pids,
        io,
        io_weight,
        disk,
        disk_files,
        network_send,
        open_files,
        file_size,
        core_size,
        stack,
        locked_memory,
        realtime,
        nice,
        output,
        wall_time,
        cpu_time,
        grace: _,
        ..
    } = new;
    let all = [
        // Whom the end of memory takes is a part of its limit.
        (Control::Memory, *memory != old.memory || *oom_kill != old.oom_kill),
        (Control::MemoryHigh, *memory_high != old.memory_high),
        (Control::MemoryStall, *memory_stall != old.memory_stall),
        (Control::MemoryMin, *memory_min != old.memory_min),
        (Control::MemoryLow, *memory_low != old.memory_low),
        (Control::Swap, *swap != old.swap),
        (Control::Zswap, *zswap != old.zswap),
        (Control::HugePages, *huge_pages != old.huge_pages),
        (Control::Cpu, *cpu != old.cpu),
        (Control::CpuWeight, *cpu_weight != old.cpu_weight),
        (Control::CpuBurst, *cpu_burst != old.cpu_burst),
        (Control::CpuIdle, *cpu_idle != old.cpu_idle),
        (Control::Cpus, *cpus != old.cpus),
        (Control::Mems, *mems != old.mems),
        (Control::Pids, *pids != old.pids),
        (Control::Io, *io != old.io),
        (Control::IoWeight, *io_weight != old.io_weight),
        (Control::Disk, *disk != old.disk),
        (Control::DiskFiles, *disk_files != old.disk_files),
        (Control::NetworkSend, *network_send != old.network_send),
        (Control::OpenFiles, *open_files != old.open_files),
        (Control::FileSize, *file_size != old.file_size),
        (Control::CoreSize, *core_size != old.core_size),
        (Control::Stack, *stack != old.stack),
        (Control::LockedMemory, *locked_memory != old.locked_memory),
        (Control::Realtime, *realtime != old.realtime),
        (Control::Nice, *nice != old.nice),
        (Control::Output, *output != old.output),
        (Control::WallTime, *wall_time != old.wall_time),
        (Control::CpuTime, *cpu_time != old.cpu_time),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(control, _)| control).collect()
}

/// What a change does at once. Pure.
fn consequences(
    plan: &LaunchPlan,
    new: &Limits,
    (usage, written): (&Usage, Option<Bytes>),
    age: Duration,
) -> Vec<Consequence> {
    let mut all = Vec::new();
    let mut add = |limit: Control, what: String| all.push(Consequence { limit, what });
    let changes = changed(&plan.limits, new);
    let bytes =
        |now: Option<Bytes>, most: Option<Bytes>| now.zip(most).filter(|(now, most)| now > most);
    for control in changes {
        match control {
            Control::Memory => {
                if let Some((now, most)) = bytes(usage.memory.current, new.memory) {
                    add(
                        control,
                        format!(
                            "it uses {now} of {most}: the kernel takes back what it can, and kills for the rest"
                        ),
                    );
                }
            }
            Control::MemoryHigh => {
                if let Some((now, most)) = bytes(usage.memory.current, new.memory_high) {
                    add(
                        control,
                        format!(
                            "it uses {now} of {most}: it is slowed down until the kernel has taken back the rest"
                        ),
                    );
                }
            }
            Control::Swap => {
                if let Some((now, most)) = bytes(usage.memory.swap, new.swap) {
                    add(
                        control,
                        format!(
                            "{now} are swapped out, of {most}: nothing more is, and what is there stays"
                        ),
                    );
                }
            }
            Control::Output => {
                if let Some((now, most)) = bytes(written, new.output) {
                    add(control, format!("it has written {now} of {most}: it is ended at once"));
                }
            }
            Control::Pids => {
                // One of those counted is the sandbox's init.
                let now = usage.pids.current.map(|now| now.saturating_sub(u64::from(plan.init)));
                if let Some((now, most)) =
                    now.zip(new.pids.map(u64::from)).filter(|(now, most)| now > most)
                {
                    add(
                        control,
                        format!(
                            "it has {now} processes and threads of {most}: none is ended, and none can be started"
                        ),
                    );
                }
            }
            Control::Disk => {
                if let Some((now, most)) = bytes(usage.disk.map(|disk| disk.used), new.disk) {
                    add(
                        control,
                        format!(
                            "its directories hold {now} of {most}: nothing is removed, and no more can be written until it is below"
                        ),
                    );
                }
            }
            Control::DiskFiles => {
                let now = usage.disk.map(|disk| disk.files);
                if let Some((now, most)) =
                    now.zip(new.disk_files.map(u64::from)).filter(|(now, most)| now > most)
                {
                    add(
                        control,
                        format!(
                            "its directories hold {now} files of {most}: none is removed, and none can be made until it is below"
                        ),
                    );
                }
            }
            Control::WallTime => {
                if let Some(most) = new.wall_time.filter(|most| age >= *most) {
                    add(
                        control,
                        format!("it has run for {age:.1?} of {most:?}: it is ended at once"),
                    );
                }
            }
            Control::CpuTime => {
                let used =
                    usage.cpu.user.unwrap_or_default() + usage.cpu.system.unwrap_or_default();
                if let Some(most) = new.cpu_time.filter(|most| used >= *most) {
                    add(
                        control,
                        format!("it has used {used:.1?} of {most:?}: it is ended at once"),
                    );
                }
            }
            _ => {}
        }
    }
    all
}

/// The plan of a sandbox with single limits said anew, as on a command line.
pub(super) fn with_changes(
    plan: &LaunchPlan,
    changes: &[(String, String)],
    directory: &std::path::Path,
) -> Result<Changes, Error> {
    let overrides = changes.iter().map(|(key, value)| {
        crate::policy::Override::new(key, value)
            .map_err(|error| Error::asked(error.to_string(), ""))
    });
    let overrides = overrides.collect::<Result<Vec<_>, _>>()?;
    Ok(crate::policy::change(&plan.limits, &overrides, directory)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_used_already_has_consequences() {
        let mut plan = LaunchPlan::new("job-00000001", vec!["job".into()]);
        let mut new = plan.limits.clone();
        new.memory = Some(Bytes::mib(64));
        new.pids = Some(2);
        new.output = Some(Bytes::mib(0));
        new.cpu_time = Some(Duration::from_secs(2));
        new.wall_time = Some(Duration::from_secs(60));
        let mut usage = Usage::default();
        usage.memory.current = Some(Bytes::mib(100));
        usage.pids.current = Some(4);
        usage.cpu.user = Some(Duration::from_millis(1500));
        usage.cpu.system = Some(Duration::from_millis(500));
        let all = consequences(&plan, &new, (&usage, Some(Bytes(3000))), Duration::from_secs(5));
        let told: Vec<String> =
            all.iter().map(|one| format!("{}: {}", one.limit, one.what)).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        limits.memory: it uses 100MiB of 64MiB: the kernel takes back what it can, and kills for the rest
        limits.pids: it has 3 processes and threads of 2: none is ended, and none can be started
        limits.output: it has written 2.9KiB of 0B: it is ended at once
        limits.cpu_time: it has used 2.0s of 2s: it is ended at once
        ");
        // What stays as it is has none, however much is used.
        plan.limits = new.clone();
        assert_eq!(consequences(&plan, &new, (&usage, None), Duration::from_secs(99)), []);
    }

    #[test]
    fn every_difference_is_seen() {
        let old = Limits::default();
        let mut new = old.clone();
        new.nice = Some(3);
        new.cpu_idle = true;
        new.oom_kill = crate::platform::OomKill::Process;
        new.grace = Duration::from_secs(9);
        let expected = [Control::Memory, Control::CpuIdle, Control::Nice];
        assert_eq!(changed(&old, &new), expected);
        assert_eq!(changed(&new, &new), []);
    }
}
