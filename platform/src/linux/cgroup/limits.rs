//! The limits of one cgroup: which file holds each, what is written, and what must be read back.

use super::file::{self, SMALL};
use super::{Controllers, failed, io, protection};
use crate::{Control, Decision, Enforcement, IdSet, LaunchPlan, OomKill, PlatformError, State};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::borrow::Cow;
use std::path::Path;

/// Period of the CPU quota in microseconds: the kernel's own default (cgroup-v2.rst, `cpu.max`).
const CPU_PERIOD: u64 = 100_000;

/// The limits that only a cgroup can hold, and what each needs.
pub(crate) const LIMITS: [(Control, Controllers); 17] = [
    (Control::Memory, Controllers::MEMORY),
    (Control::MemoryHigh, Controllers::MEMORY),
    (Control::MemoryStall, Controllers::MEMORY),
    (Control::MemoryMin, Controllers::MEMORY),
    (Control::MemoryLow, Controllers::MEMORY),
    (Control::Swap, Controllers::MEMORY),
    (Control::Zswap, Controllers::MEMORY),
    (Control::HugePages, Controllers::HUGETLB),
    (Control::Cpu, Controllers::CPU),
    (Control::CpuBurst, Controllers::CPU),
    (Control::CpuIdle, Controllers::CPU),
    (Control::CpuWeight, Controllers::CPU),
    (Control::Cpus, Controllers::CPUSET),
    (Control::Mems, Controllers::CPUSET),
    (Control::Pids, Controllers::PIDS),
    (Control::Io, Controllers::IO),
    (Control::IoWeight, Controllers::IO),
];

/// One value to be written before the cgroup has a process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    control: Control,
    file: Cow<'static, str>,
    value: String,
    /// What the kernel will show, when it isn't `value` itself.
    shown: String,
}

/// The controllers that the limits of a plan need.
pub(super) fn needed(plan: &LaunchPlan) -> Controllers {
    settings(plan, 1, &[("2MB".into(), 1)])
        .iter()
        .fold(io::needed(plan), |all, setting| all | controller_of(&setting.file))
}

/// Names and sizes in bytes of the huge pages that the kernel has: `hugepages-2048kB` becomes `2MB` in the files of a
/// cgroup (mm/hugetlb_cgroup.c, `mem_fmt`).
fn huge_pages() -> Vec<(String, u64)> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let kibibytes = entries.filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()
    });
    let named = kibibytes.map(|kib| {
        let name = match kib {
            kib if kib >= 1 << 20 => format!("{}GB", kib >> 20),
            kib if kib >= 1 << 10 => format!("{}MB", kib >> 10),
            kib => format!("{kib}KB"),
        };
        (name, kib << 10)
    });
    named.collect()
}

fn controller_of(file: &str) -> Controllers {
    let word = file.split('.').next().unwrap_or(file);
    Controllers::parse(word.as_bytes())
}

/// What is written for a plan: each limit that the plan has and doesn't hand to something weaker. Memory comes in pages
/// of `page` bytes, and in huge ones with these names and sizes.
fn settings(plan: &LaunchPlan, page: u64, huge: &[(String, u64)]) -> Vec<Setting> {
    let limits = &plan.limits;
    let mut all = Vec::with_capacity(8);
    let mut add = |control: Control, file: Cow<'static, str>, value: Option<(String, String)>| {
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
    add(Control::Swap, "memory.swap.max".into(), limits.swap.map(|swap| bytes(swap.0)));
    add(Control::Zswap, "memory.zswap.max".into(), limits.zswap.map(|zswap| bytes(zswap.0)));
    add(Control::MemoryMin, "memory.min".into(), limits.memory_min.map(|min| bytes(min.0)));
    add(Control::MemoryLow, "memory.low".into(), limits.memory_low.map(|low| bytes(low.0)));
    add(Control::MemoryHigh, "memory.high".into(), limits.memory_high.map(|high| bytes(high.0)));
    add(Control::Memory, "memory.max".into(), limits.memory.map(|memory| bytes(memory.0)));
    // Without it the kernel picks one victim and the rest of the tree goes on with a hole in it.
    let whole = u8::from(limits.oom_kill == OomKill::Tree).to_string();
    add(Control::Memory, "memory.oom.group".into(), limits.memory.map(|_| exactly(whole)));
    if let Some(most) = limits.huge_pages {
        for (name, size) in huge {
            let value = (most.0.to_string(), (most.0 / size * size).to_string());
            // What is reserved counts too: refused then, where a first touch would end the program.
            for kind in ["rsvd.max", "max"] {
                let file = format!("hugetlb.{name}.{kind}");
                add(Control::HugePages, file.into(), Some(value.clone()));
            }
        }
    }
    let quota = limits.cpu.map(|cores| u64::from(cores.millis()) * CPU_PERIOD / 1000);
    let shown = quota.map(|quota| exactly(format!("{quota} {CPU_PERIOD}")));
    add(Control::Cpu, "cpu.max".into(), shown);
    let burst = limits.cpu_burst.map(|burst| exactly(burst.as_micros().to_string()));
    add(Control::CpuBurst, "cpu.max.burst".into(), burst);
    let weight = limits.cpu_weight.filter(|_| !limits.cpu_idle);
    let weight = weight.map(|weight| exactly(weight.to_string()));
    add(Control::CpuWeight, "cpu.weight".into(), weight);
    add(Control::CpuIdle, "cpu.idle".into(), limits.cpu_idle.then(|| exactly("1".into())));
    let list = |ids: &Option<IdSet>| ids.as_ref().map(|ids| exactly(ids.to_string()));
    add(Control::Cpus, "cpuset.cpus".into(), list(&limits.cpus));
    add(Control::Mems, "cpuset.mems".into(), list(&limits.mems));
    // The sandbox's init is none of the program's processes.
    let pids = limits.pids.map(|pids| u64::from(pids) + u64::from(plan.init));
    add(Control::Pids, "pids.max".into(), pids.map(|pids| exactly(pids.to_string())));
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
    let huge = if plan.limits.huge_pages.is_some() { huge_pages() } else { Vec::new() };
    let mut done = write_all(dir, path, plan, settings(plan, page, &huge))?;
    if plan.limits.huge_pages.is_some() && huge.is_empty() {
        let how = "this kernel has no huge pages";
        done.push(Enforcement::new(Control::HugePages, State::Enforced, how));
    }
    done.extend(io::apply(dir, path, plan)?);
    Ok(done)
}

/// Writes each setting, and tells what was read back.
fn write_all(
    dir: BorrowedFd<'_>,
    path: &Path,
    plan: &LaunchPlan,
    settings: Vec<Setting>,
) -> Result<Vec<Enforcement>, PlatformError> {
    let mut done: Vec<Enforcement> = Vec::with_capacity(8);
    let mut buffer = [0; SMALL];
    for setting in settings {
        let control = setting.control;
        let entry = accept(plan, control, write_one(dir, path, plan, setting, &mut buffer))?;
        // One control may take several files: `memory.oom.group` is how the memory limit ends a sandbox.
        match done.iter_mut().find(|known| known.control == control) {
            Some(known) if entry.state > known.state => *known = entry,
            Some(_) => {}
            None => done.push(entry),
        }
    }
    Ok(done)
}

/// What couldn't be held, told as such where the policy accepts that by name.
///
/// # Errors
/// What went wrong, where it doesn't.
pub(super) fn accept(
    plan: &LaunchPlan,
    control: Control,
    done: Result<Enforcement, PlatformError>,
) -> Result<Enforcement, PlatformError> {
    match done {
        Err(error) if error.is_unsupported() && plan.accepted.contains(&control) => {
            Ok(Enforcement::new(control, State::Unavailable, error.reason()))
        }
        done => done,
    }
}

fn write_one(
    dir: BorrowedFd<'_>,
    path: &Path,
    plan: &LaunchPlan,
    Setting { control, file, value, shown }: Setting,
    buffer: &mut [u8; SMALL],
) -> Result<Enforcement, PlatformError> {
    let found = match file::write_and_read(dir, &file, value.as_bytes(), buffer) {
        Ok(found) => found,
        Err(Errno::NOENT) => {
            let why = needs_no_limit(control).ok_or_else(|| missing(control, &file, path))?;
            return Ok(Enforcement::new(control, State::Enforced, why));
        }
        Err(Errno::RANGE | Errno::INVAL) if matches!(control, Control::Cpus | Control::Mems) => {
            let reason = format!("`{value}` names what this host doesn't have");
            return Err(PlatformError::unsupported(control, reason).with_hint(WHAT_THERE_IS));
        }
        Err(error) => return Err(failed("write", &file, path, error)),
    };
    if found != shown.as_bytes() {
        let found = String::from_utf8_lossy(found);
        return Err(PlatformError::unsupported(
            control,
            format!("`{file}` in cgroup `{}` became `{found}`, not `{shown}`", path.display()),
        ));
    }
    match control {
        Control::Cpus | Control::Mems => effective(dir, path, control, &file, &shown)?,
        Control::MemoryMin | Control::MemoryLow => {
            let parent = path.parent().unwrap_or(path);
            protection::grant(parent, &file)?;
            protection::check(parent, &file, shown.parse().unwrap_or(u64::MAX), control)?;
        }
        _ => {}
    }
    let how = match control {
        Control::Pids if plan.init => "pids.max, one of them for the sandbox's init".into(),
        _ => file,
    };
    Ok(Enforcement::new(control, State::Enforced, how).with_value(shown))
}

/// Writes what differs between the limits of two plans, from `old` to `new`, and tells what was read back of the limits
/// that `new` has. A limit that `new` doesn't have any more gets the value that the kernel has for none.
///
/// # Errors
/// As [`apply`]; some of the values are written then.
pub(super) fn change(
    dir: BorrowedFd<'_>,
    path: &Path,
    old: &LaunchPlan,
    new: &LaunchPlan,
) -> Result<Vec<Enforcement>, PlatformError> {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let huge = huge_pages();
    let wanted = settings(new, page, &huge);
    let known = settings(old, page, &huge);
    for Setting { control, file, .. } in &known {
        if !wanted.iter().any(|setting| setting.file == *file)
            && let Some(none) = no_limit(*control, file)
        {
            file::write(dir, file, none.as_bytes())
                .map_err(|error| failed("write", file, path, error))?;
        }
    }
    let different: Vec<Setting> =
        wanted.into_iter().filter(|setting| !known.contains(setting)).collect();
    let mut done = write_all(dir, path, new, different)?;
    done.extend(io::change(dir, path, old, new)?);
    Ok(done)
}

/// What is written for "no limit"; none for a file that goes with another limit.
fn no_limit(control: Control, file: &str) -> Option<&'static str> {
    Some(match control {
        Control::Memory if file == "memory.oom.group" => return None,
        Control::MemoryMin | Control::MemoryLow | Control::CpuBurst | Control::CpuIdle => "0",
        Control::CpuWeight => "100",
        Control::Cpus | Control::Mems => "\n",
        _ => "max",
    })
}

const WHAT_THERE_IS: &str =
    "`cpuset.cpus.effective` and `cpuset.mems.effective` in `/sys/fs/cgroup` show what there is";

/// What the kernel gives of the CPUs or memory nodes that were written: a parent may have less, and says nothing.
fn effective(
    dir: BorrowedFd<'_>,
    path: &Path,
    control: Control,
    file: &str,
    asked: &str,
) -> Result<(), PlatformError> {
    let file = format!("{file}.effective");
    let mut buffer = [0; SMALL];
    let found = file::read_small(dir, &file, &mut buffer)
        .map_err(|error| failed("read", &file, path, error))?
        .trim_ascii_end();
    if found == asked.as_bytes() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(found);
    let had = if found.is_empty() { "none of them".into() } else { format!("only `{found}`") };
    Err(PlatformError::unsupported(control, format!("of `{asked}` this host can give {had}"))
        .with_hint(WHAT_THERE_IS))
}

/// Why a control without its file holds all the same: what it would limit doesn't exist in this kernel.
fn needs_no_limit(control: Control) -> Option<&'static str> {
    let exists = |path: &str| rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok();
    match control {
        // Without CONFIG_SWAP there is no `memory.swap.max`.
        Control::Swap if !exists("/proc/swaps") => Some("this kernel has no swap"),
        Control::Zswap if !exists("/sys/module/zswap") => {
            Some("this kernel has no compressed swap")
        }
        _ => None,
    }
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
        let settings = settings(&plan(), 4096, &[]);
        let written: Vec<_> = settings
            .iter()
            .map(|setting| (&*setting.file, setting.value.as_str(), setting.shown.as_str()))
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
        let files: Vec<_> =
            settings(&plan, 4096, &[]).iter().map(|setting| setting.file.clone()).collect();
        assert_eq!(files, ["memory.swap.max", "pids.max"]);
    }

    #[test]
    fn no_limits_need_no_controller() {
        let plan = LaunchPlan::new("test-0000", vec!["true".into()]);
        assert_eq!(needed(&plan), Controllers::NONE);
    }
}
