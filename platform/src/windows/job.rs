//! A job object: what Windows has for a tree of processes.

use super::limits::{Priority, Setting};
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, HANDLE};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, IsProcessInJob, JOB_OBJECT_CPU_RATE_CONTROL_ENABLE,
    JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP, JOB_OBJECT_CPU_RATE_CONTROL_WEIGHT_BASED,
    JOB_OBJECT_LIMIT, JOB_OBJECT_LIMIT_ACTIVE_PROCESS, JOB_OBJECT_LIMIT_AFFINITY,
    JOB_OBJECT_LIMIT_JOB_MEMORY, JOB_OBJECT_LIMIT_JOB_TIME, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOB_OBJECT_LIMIT_PRIORITY_CLASS, JOB_OBJECT_LIMIT_PROCESS_MEMORY,
    JOB_OBJECT_NET_RATE_CONTROL_ENABLE, JOB_OBJECT_NET_RATE_CONTROL_MAX_BANDWIDTH,
    JOBOBJECT_ASSOCIATE_COMPLETION_PORT, JOBOBJECT_BASIC_ACCOUNTING_INFORMATION,
    JOBOBJECT_BASIC_AND_IO_ACCOUNTING_INFORMATION, JOBOBJECT_BASIC_PROCESS_ID_LIST,
    JOBOBJECT_CPU_RATE_CONTROL_INFORMATION, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JOBOBJECT_NET_RATE_CONTROL_INFORMATION, JOBOBJECTINFOCLASS,
    JobObjectAssociateCompletionPortInformation, JobObjectBasicAccountingInformation,
    JobObjectBasicAndIoAccountingInformation, JobObjectBasicProcessIdList,
    JobObjectCpuRateControlInformation, JobObjectExtendedLimitInformation,
    JobObjectNetRateControlInformation, QueryInformationJobObject, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{
    BELOW_NORMAL_PRIORITY_CLASS, IDLE_PRIORITY_CLASS, NORMAL_PRIORITY_CLASS,
};

/// A job without a name, so that nobody else can open it.
#[derive(Debug)]
pub(super) struct Job(OwnedHandle);

/// What a job has counted; `None` is what the system doesn't tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Accounts {
    /// Processes that live.
    pub(super) active: u32,
    /// Times in the programs' own code and in the system, in tenths of microseconds.
    pub(super) times: Option<(u64, u64)>,
    pub(super) faults: Option<u64>,
    /// The most that was committed at once, in bytes.
    pub(super) peak: Option<u64>,
}

/// Gives the system's answer to a call that is false on failure.
pub(super) fn done(answer: i32) -> io::Result<()> {
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Job {
    /// A new one.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no attributes and no name are allowed.
        let handle = unsafe { CreateJobObjectW(std::ptr::null(), std::ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is open, and nobody else has it.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    pub(super) fn handle(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    fn set<T>(&self, class: JOBOBJECTINFOCLASS, information: &T) -> io::Result<()> {
        let size = u32::try_from(size_of::<T>()).unwrap_or(0);
        let from = std::ptr::from_ref(information).cast();
        // SAFETY: `size` bytes are read of what is that large, and is the structure of the class.
        done(unsafe { SetInformationJobObject(self.handle(), class, from, size) })
    }

    fn query<T: Default>(&self, class: JOBOBJECTINFOCLASS) -> io::Result<T> {
        let mut information = T::default();
        let size = u32::try_from(size_of::<T>()).unwrap_or(0);
        let to = std::ptr::from_mut(&mut information).cast();
        let length = std::ptr::null_mut();
        // SAFETY: at most `size` bytes are written to what is that large, and is the structure of the class.
        done(unsafe { QueryInformationJobObject(self.handle(), class, to, size, length) })?;
        Ok(information)
    }

    /// Tells it all of these instead of what it was told before, but for rates, and then asks for them: those that it doesn't have as
    /// they were told, each with why.
    pub(super) fn tell(&self, settings: &[Setting]) -> Vec<(Setting, io::Error)> {
        let mut lost = Vec::new();
        let extended = settings.iter().filter(|setting| !is_rate(setting));
        let mut information = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        extended.clone().for_each(|setting| add(&mut information, *setting));
        let told = self.set(JobObjectExtendedLimitInformation, &information);
        let kept = told.and_then(|()| self.query(JobObjectExtendedLimitInformation));
        match kept {
            Ok(kept) => lost.extend(
                extended.filter(|setting| !has(&kept, **setting)).map(|it| (*it, ignored())),
            ),
            Err(error) => {
                let code = error.raw_os_error().unwrap_or(0);
                lost.extend(extended.map(|it| (*it, io::Error::from_raw_os_error(code))));
            }
        }
        for setting in settings.iter().filter(|setting| is_rate(setting)) {
            if let Err(error) = self.tell_rate(*setting) {
                lost.push((*setting, error));
            }
        }
        lost
    }

    /// Takes a rate back that it was told: for the processor a cap or a weight.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn forget_rate(&self, setting: Setting) -> io::Result<()> {
        if let Setting::NetworkRate(_) = setting {
            let none = JOBOBJECT_NET_RATE_CONTROL_INFORMATION::default();
            return self.set(JobObjectNetRateControlInformation, &none);
        }
        let none = JOBOBJECT_CPU_RATE_CONTROL_INFORMATION::default();
        self.set(JobObjectCpuRateControlInformation, &none)
    }

    fn tell_network_rate(&self, bytes: u64) -> io::Result<()> {
        let wanted = JOBOBJECT_NET_RATE_CONTROL_INFORMATION {
            MaxBandwidth: bytes,
            ControlFlags: JOB_OBJECT_NET_RATE_CONTROL_ENABLE
                | JOB_OBJECT_NET_RATE_CONTROL_MAX_BANDWIDTH,
            DscpTag: 0,
        };
        self.set(JobObjectNetRateControlInformation, &wanted)?;
        let kept: JOBOBJECT_NET_RATE_CONTROL_INFORMATION =
            self.query(JobObjectNetRateControlInformation)?;
        let is_kept = (kept.ControlFlags, kept.MaxBandwidth) == (wanted.ControlFlags, bytes);
        if is_kept { Ok(()) } else { Err(ignored()) }
    }

    fn tell_rate(&self, setting: Setting) -> io::Result<()> {
        let (flag, value) = match setting {
            Setting::NetworkRate(bytes) => return self.tell_network_rate(bytes),
            Setting::CpuRate(rate) => (JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP, rate),
            Setting::CpuWeight(weight) => (JOB_OBJECT_CPU_RATE_CONTROL_WEIGHT_BASED, weight),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let mut wanted = JOBOBJECT_CPU_RATE_CONTROL_INFORMATION {
            ControlFlags: JOB_OBJECT_CPU_RATE_CONTROL_ENABLE | flag,
            ..Default::default()
        };
        wanted.Anonymous.CpuRate = value;
        self.set(JobObjectCpuRateControlInformation, &wanted)?;
        let kept: JOBOBJECT_CPU_RATE_CONTROL_INFORMATION =
            self.query(JobObjectCpuRateControlInformation)?;
        // SAFETY: a rate and a weight are both a whole number in the same place, and every number is one.
        let number = unsafe { kept.Anonymous.CpuRate };
        if (kept.ControlFlags, number) == (wanted.ControlFlags, value) {
            Ok(())
        } else {
            Err(ignored())
        }
    }

    /// Puts a process into it.
    pub(super) fn assign(&self, process: HANDLE) -> io::Result<()> {
        // SAFETY: both handles are open.
        done(unsafe { AssignProcessToJobObject(self.handle(), process) })
    }

    /// Whether a process is in it.
    pub(super) fn has(&self, process: HANDLE) -> io::Result<bool> {
        let mut answer = 0;
        // SAFETY: both handles are open, and one number is written.
        done(unsafe { IsProcessInJob(process, self.handle(), &raw mut answer) })?;
        Ok(answer != 0)
    }

    /// Ends all of it, each process with this code. One that is empty is no error.
    pub(super) fn terminate(&self, code: u32) -> io::Result<()> {
        // SAFETY: the handle is open.
        done(unsafe { TerminateJobObject(self.handle(), code) })
    }

    /// Has messages of what happens in it sent to a port, with this key.
    pub(super) fn tell_port(&self, port: HANDLE, key: usize) -> io::Result<()> {
        let information = JOBOBJECT_ASSOCIATE_COMPLETION_PORT {
            CompletionKey: std::ptr::without_provenance_mut(key),
            CompletionPort: port,
        };
        self.set(JobObjectAssociateCompletionPortInformation, &information)
    }

    /// What it has counted.
    pub(super) fn accounts(&self) -> io::Result<Accounts> {
        let whole: io::Result<JOBOBJECT_BASIC_AND_IO_ACCOUNTING_INFORMATION> =
            self.query(JobObjectBasicAndIoAccountingInformation);
        let basic: JOBOBJECT_BASIC_ACCOUNTING_INFORMATION = match whole {
            Ok(whole) => whole.BasicInfo,
            // Wine has only this one.
            Err(_) => self.query(JobObjectBasicAccountingInformation)?,
        };
        // No process lives without a page fault: who counts none counts nothing.
        let is_counted = basic.TotalPageFaultCount > 0;
        let times = (
            basic.TotalUserTime.max(0).cast_unsigned(),
            basic.TotalKernelTime.max(0).cast_unsigned(),
        );
        let limits: io::Result<JOBOBJECT_EXTENDED_LIMIT_INFORMATION> =
            self.query(JobObjectExtendedLimitInformation);
        let peak = limits.map_or(0, |limits| limits.PeakJobMemoryUsed as u64);
        Ok(Accounts {
            active: basic.ActiveProcesses,
            times: is_counted.then_some(times),
            faults: is_counted.then_some(basic.TotalPageFaultCount.into()),
            peak: Some(peak).filter(|peak| *peak > 0),
        })
    }

    /// The ids of its processes that live.
    pub(super) fn processes(&self) -> io::Result<Vec<u32>> {
        let mut room = 64;
        loop {
            // Two numbers of four bytes, and then the ids, each as large as an address.
            let mut words = vec![0_usize; room + 1];
            let size = u32::try_from(size_of_val(&*words)).unwrap_or(u32::MAX);
            let to = words.as_mut_ptr().cast();
            let class = JobObjectBasicProcessIdList;
            let length = std::ptr::null_mut();
            let answer =
                // SAFETY: at most `size` bytes are written to what is that large and aligned for the structure.
                unsafe { QueryInformationJobObject(self.handle(), class, to, size, length) };
            match done(answer) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == i32::try_from(ERROR_MORE_DATA).ok() => {
                    room *= 4;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let list = words.as_ptr().cast::<JOBOBJECT_BASIC_PROCESS_ID_LIST>();
            // SAFETY: the structure's beginning was written, and fits into what is there.
            let count = unsafe { (*list).NumberOfProcessIdsInList } as usize;
            let ids = words.get(1..=count.min(room)).unwrap_or_default();
            return Ok(ids.iter().filter_map(|id| u32::try_from(*id).ok()).collect());
        }
    }
}

fn ignored() -> io::Error {
    io::Error::other("it was taken without an error, and isn't there when it is asked for")
}

pub(super) fn is_rate(setting: &Setting) -> bool {
    matches!(setting, Setting::CpuRate(_) | Setting::CpuWeight(_) | Setting::NetworkRate(_))
}

/// The flag of a setting, which says that its value counts.
fn flag(setting: Setting) -> JOB_OBJECT_LIMIT {
    match setting {
        Setting::KillOnClose => JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
        Setting::JobMemory(_) => JOB_OBJECT_LIMIT_JOB_MEMORY,
        Setting::ProcessMemory(_) => JOB_OBJECT_LIMIT_PROCESS_MEMORY,
        Setting::ActiveProcesses(_) => JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
        Setting::Affinity(_) => JOB_OBJECT_LIMIT_AFFINITY,
        Setting::UserTime(_) => JOB_OBJECT_LIMIT_JOB_TIME,
        Setting::Priority(_) => JOB_OBJECT_LIMIT_PRIORITY_CLASS,
        Setting::CpuRate(_) | Setting::CpuWeight(_) | Setting::NetworkRate(_) => 0,
    }
}

fn class(priority: Priority) -> u32 {
    match priority {
        Priority::Normal => NORMAL_PRIORITY_CLASS,
        Priority::BelowNormal => BELOW_NORMAL_PRIORITY_CLASS,
        Priority::Idle => IDLE_PRIORITY_CLASS,
    }
}

/// Puts a setting into its place.
fn add(information: &mut JOBOBJECT_EXTENDED_LIMIT_INFORMATION, setting: Setting) {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let basic = &mut information.BasicLimitInformation;
    basic.LimitFlags |= flag(setting);
    match setting {
        Setting::JobMemory(bytes) => information.JobMemoryLimit = size(bytes),
        Setting::ProcessMemory(bytes) => information.ProcessMemoryLimit = size(bytes),
        Setting::ActiveProcesses(most) => basic.ActiveProcessLimit = most,
        Setting::Affinity(mask) => basic.Affinity = size(mask),
        Setting::UserTime(time) => {
            basic.PerJobUserTimeLimit = i64::try_from(time).unwrap_or(i64::MAX);
        }
        Setting::Priority(priority) => basic.PriorityClass = class(priority),
        Setting::KillOnClose => {}
        Setting::CpuRate(_) | Setting::CpuWeight(_) | Setting::NetworkRate(_) => {}
    }
}

/// Whether a setting is in its place. Sizes may be rounded up to pages.
fn has(kept: &JOBOBJECT_EXTENDED_LIMIT_INFORMATION, setting: Setting) -> bool {
    let mut wanted = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    add(&mut wanted, setting);
    let (basic, wished) = (&kept.BasicLimitInformation, &wanted.BasicLimitInformation);
    let size = |kept: usize, wished: usize| kept / 65_536 == wished / 65_536 || kept == wished;
    let value = match setting {
        Setting::JobMemory(_) => size(kept.JobMemoryLimit, wanted.JobMemoryLimit),
        Setting::ProcessMemory(_) => size(kept.ProcessMemoryLimit, wanted.ProcessMemoryLimit),
        Setting::ActiveProcesses(most) => basic.ActiveProcessLimit == most,
        Setting::Affinity(_) => basic.Affinity == wished.Affinity,
        Setting::UserTime(_) => basic.PerJobUserTimeLimit == wished.PerJobUserTimeLimit,
        Setting::Priority(_) => basic.PriorityClass == wished.PriorityClass,
        Setting::KillOnClose => true,
        Setting::CpuRate(_) | Setting::CpuWeight(_) | Setting::NetworkRate(_) => true,
    };
    value && basic.LimitFlags & flag(setting) == flag(setting)
}
