//! The limits of one cgroup: which file holds each, what is written, and what must be read back.

use super::file::{self, SMALL};
use super::{Controllers, failed};
use crate::{Control, Decision, Enforcement, LaunchPlan, PlatformError, State};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::path::Path;

/// Period of the CPU quota in microseconds: the kernel's own default (cgroup-v2.rst, `cpu.max`).
const CPU_PERIOD: u64 = 100_000;

/// The limits that only a cgroup can hold, and what each needs.
pub(crate) const LIMITS: [(Control, Controllers); 6] = [
    (Control::Memory, Controllers::MEMORY),
    (Control::MemoryHigh, Controllers::MEMORY),
    (Control::Swap, Controllers::MEMORY),
    (Control::Cpu, Controllers::CPU),
    (Control::CpuWeight, Controllers::CPU),
    (Control::Pids, Controllers::PIDS),
];

/// One value to be written before the cgroup has a process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    control: Control,
    file: &'static str,
    value: String,
    /// What the kernel will show, when it isn't `value` itself.
    shown: String,
}

/// The controllers that the limits of a plan need.
pub(super) fn needed(plan: &LaunchPlan) -> Controllers {
    settings(plan, 1)
        .iter()
        .fold(Controllers::NONE, |all, setting| all | controller_of(setting.file))
}

fn controller_of(file: &str) -> Controllers {
    let word = file.split('.').next().unwrap_or(file);
    Controllers::parse(word.as_bytes())
}

/// What is written for a plan: each limit that the plan has and doesn't hand to something weaker.
fn settings(plan: &LaunchPlan, page: u64) -> Vec<Setting> {
    let limits = &plan.limits;
    let mut all = Vec::with_capacity(8);
    let mut add = |control: Control, file: &'static str, value: Option<(String, String)>| {
        let weaker = matches!(
            plan.controls.get(&control),
            Some(Decision::Degrade { .. } | Decision::Skip { .. })
        );
        if let Some((value, shown)) = value.filter(|_| !weaker) {
            all.push(Setting { control, file, value, shown });
        }
    };
    let exactly = |value: String| (value.clone(), value);
    // The kernel counts pages and rounds down.
    let bytes = |bytes: u64| (bytes.to_string(), (bytes / page * page).to_string());

    // Swap first: a memory limit that is there for a moment without it has nothing to catch yet.
    add(Control::Swap, "memory.swap.max", limits.swap.map(|swap| bytes(swap.0)));
    add(Control::MemoryHigh, "memory.high", limits.memory_high.map(|high| bytes(high.0)));
    add(Control::Memory, "memory.max", limits.memory.map(|memory| bytes(memory.0)));
    // Without it the kernel picks one victim and the rest of the tree goes on with a hole in it.
    add(Control::Memory, "memory.oom.group", limits.memory.map(|_| exactly("1".into())));
    let quota = limits.cpu.map(|cores| u64::from(cores.millis()) * CPU_PERIOD / 1000);
    add(Control::Cpu, "cpu.max", quota.map(|quota| exactly(format!("{quota} {CPU_PERIOD}"))));
    let weight = limits.cpu_weight.map(|weight| exactly(weight.to_string()));
    add(Control::CpuWeight, "cpu.weight", weight);
    // The sandbox's init is none of the program's processes.
    let pids = limits.pids.map(|pids| u64::from(pids) + u64::from(plan.init));
    add(Control::Pids, "pids.max", pids.map(|pids| exactly(pids.to_string())));
    all
}

/// Writes every limit of `plan` into the cgroup `dir` and tells what was read back.
///
/// # Errors
/// When a value is refused, or when the kernel shows another one than was written.
pub(super) fn apply(
    dir: BorrowedFd<'_>,
    path: &Path,
    plan: &LaunchPlan,
) -> Result<Vec<Enforcement>, PlatformError> {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let mut done: Vec<Enforcement> = Vec::with_capacity(8);
    let mut buffer = [0; SMALL];
    for Setting { control, file, value, shown } in settings(plan, page) {
        let found = match file::write_and_read(dir, file, value.as_bytes(), &mut buffer) {
            Ok(found) => found,
            Err(Errno::NOENT) if control == Control::Swap && !kernel_swaps() => {
                done.push(Enforcement::new(control, State::Enforced, "this kernel has no swap"));
                continue;
            }
            Err(Errno::NOENT) => return Err(missing(control, file, path)),
            Err(error) => return Err(failed("write", file, path, error)),
        };
        if found != shown.as_bytes() {
            let found = String::from_utf8_lossy(found);
            return Err(PlatformError::unsupported(
                control,
                format!("`{file}` in cgroup `{}` became `{found}`, not `{shown}`", path.display()),
            ));
        }
        // `memory.oom.group` is how the memory limit ends a sandbox, not a control of its own.
        if file != "memory.oom.group" {
            let how = if plan.init && control == Control::Pids {
                "pids.max, one of them for the sandbox's init"
            } else {
                file
            };
            done.push(Enforcement::new(control, State::Enforced, how).with_value(shown));
        }
    }
    Ok(done)
}

/// Whether the kernel can swap at all (`CONFIG_SWAP`); without it `memory.swap.max` doesn't exist, nor is it needed.
fn kernel_swaps() -> bool {
    rustix::fs::access("/proc/swaps", rustix::fs::Access::EXISTS).is_ok()
}

fn missing(control: Control, file: &str, path: &Path) -> PlatformError {
    let controller = controller_of(file);
    let parent = path.parent().unwrap_or(path).display();
    if file == "memory.swap.max" {
        PlatformError::unsupported(control, "swap accounting is off")
            .with_hint("boot with `swapaccount=1`")
    } else {
        let reason = format!("controller `{controller}` isn't enabled in `{parent}`");
        PlatformError::unsupported(control, reason)
            .with_hint(format!("echo +{controller} > {parent}/cgroup.subtree_control"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, Cores};

    fn plan() -> LaunchPlan {
        let mut plan = LaunchPlan::new("test-0000", vec!["true".into()]);
        plan.limits.memory = Some(Bytes(10_000));
        plan.limits.swap = Some(Bytes(0));
        plan.limits.cpu = Cores::from_millis(1500);
        plan.limits.pids = Some(64);
        plan
    }

    #[test]
    fn each_limit_becomes_a_file_and_memory_is_rounded_to_pages() {
        let settings = settings(&plan(), 4096);
        let written: Vec<_> = settings
            .iter()
            .map(|setting| (setting.file, setting.value.as_str(), setting.shown.as_str()))
            .collect();
        assert_eq!(
            written,
            [
                ("memory.swap.max", "0", "0"),
                ("memory.max", "10000", "8192"),
                ("memory.oom.group", "1", "1"),
                ("cpu.max", "150000 100000", "150000 100000"),
                ("pids.max", "65", "65"),
            ]
        );
        assert_eq!(needed(&plan()), Controllers::MEMORY | Controllers::CPU | Controllers::PIDS);
    }

    #[test]
    fn what_the_plan_hands_to_something_weaker_is_not_written() {
        let mut plan = plan();
        let watched = Decision::Degrade { how: "watched".into(), reason: "hybrid".into() };
        plan.controls.insert(Control::Memory, watched);
        plan.controls.insert(Control::Cpu, Decision::Skip { reason: "hybrid".into() });
        let files: Vec<_> = settings(&plan, 4096).iter().map(|setting| setting.file).collect();
        assert_eq!(files, ["memory.swap.max", "pids.max"]);
    }

    #[test]
    fn no_limits_need_no_controller() {
        let plan = LaunchPlan::new("test-0000", vec!["true".into()]);
        assert_eq!(needed(&plan), Controllers::NONE);
    }
}
