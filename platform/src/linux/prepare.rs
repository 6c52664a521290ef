//! From a plan to everything the child needs. All that can be decided, looked up or allocated happens here.

use super::capabilities;
use super::classic;
use super::identity::{Caller, Ids};
use super::kept::Kept;
use super::landlock::{self, AccessRules};
use super::listener::{NATIVE_AUDIT, path_calls};
use super::ownership::Ownership;
use super::script::OwnedScript;
use super::seccomp;
use super::starter;
use super::view::{Sight, Standing, View};
use crate::{
    Access, ClockOffsets, Control, Decision, Enforcement, Filesystem, LaunchPlan, Network,
    PlatformError, PortSet, Stage, State,
};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::process::Resource;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use stockade_child::{AccessRule, CLONE_NEWTIME, Op, PortRule};

/// Permissions that new files don't get where nothing else is said: others read, and don't write.
const USUAL_MASK: u32 = 0o022;

/// One launch, ready to be cloned.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) script: OwnedScript,
    pub(crate) ids: Ids,
    /// Namespaces for `clone3`.
    pub(crate) namespaces: u64,
    /// Whether supplementary groups can be dropped.
    pub(crate) may_set_groups: bool,
    /// Paths of the host, without symlinks, that the program may write.
    pub(crate) writable: Vec<PathBuf>,
    /// The rules around files and the version of them, where there are any.
    pub(crate) rules: Option<(u32, AccessRules)>,
    /// What the program sees of the host, where it is told what it doesn't.
    pub(crate) sight: Option<Sight>,
    /// What is in force once the program runs: every step of the script has then succeeded.
    pub(crate) enforcement: Vec<Enforcement>,
}

/// What was decided when a sandbox was launched and doesn't follow from its plan: for another program in it.
#[derive(Clone, Debug)]
pub(crate) struct Walls {
    pub(crate) ids: Ids,
    pub(crate) rules: Option<(u32, AccessRules)>,
}

/// What a policy leaves of memory for one process where the whole tree's can only be watched: room above the limit, so
/// that it's the watch that ends the sandbox, and not so much that the host suffers between two looks.
const WATCHED_ROOM: u64 = 64 << 20;

impl Prepared {
    /// Prepares a plan on this host. Without the directory in which it keeps changes, it can only be explained.
    ///
    /// # Errors
    /// When a path, name or list of the plan can't be used here.
    pub(crate) fn new(
        plan: &LaunchPlan,
        caller: &Caller,
        ids: Ids,
        kept: Option<&mut Kept>,
    ) -> Result<Self, PlatformError> {
        let mut prepared = Self::empty(plan, caller, ids);
        if prepared.ids.several.is_some() {
            // Else it couldn't pass a signal on to a program that has become another user.
            prepared.script.init_rights = capabilities::mask(&["CAP_KILL".into()])?;
        }
        prepared.script.classic = classic::is_needed();
        prepared.first_process(plan, caller, kept)?;
        prepared.limits(plan)?;
        prepared.program(plan)?;
        prepared.untouched(plan);
        Ok(prepared)
    }

    fn empty(plan: &LaunchPlan, caller: &Caller, ids: Ids) -> Self {
        Self {
            script: OwnedScript::new(plan.init),
            namespaces: 0,
            may_set_groups: caller.privileged || ids.helpers.is_some(),
            ids,
            writable: Vec::new(),
            rules: None,
            sight: None,
            enforcement: Vec::with_capacity(plan.controls.len()),
        }
    }

    /// Prepares another program for a sandbox that runs under this plan: `process` is a process in it, `walls` what was
    /// decided at its launch and doesn't follow from the plan.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn inside(
        plan: &LaunchPlan,
        process: OwnedFd,
        walls: &Walls,
    ) -> Result<Self, PlatformError> {
        let mut prepared = Self::empty(plan, &Caller::find(), walls.ids.clone());
        let namespaces = all_namespaces(plan);
        prepared.script.setup.push(Op::Enter { process: process.as_raw_fd(), namespaces });
        prepared.script.descriptors.push(process);
        if prepared.may_set_groups {
            prepared.script.setup.push(Op::DropGroups);
        }
        let Ids { user, group, .. } = prepared.ids;
        prepared.script.setup.push(Op::Identity { user, group });
        match &walls.rules {
            Some((abi, rules)) => {
                let own = (enforced(plan, Control::Processes), has_own_network(plan));
                prepared.add_rules(*abi, &rules.for_another_program(own))?;
            }
            None => {
                let needed = [Control::AccessRules, Control::TcpPorts];
                if let Some(control) = needed.into_iter().find(|one| enforced(plan, *one)) {
                    let reason = "the rules of the sandbox aren't known any more";
                    return Err(PlatformError::unsupported(control, reason));
                }
            }
        }
        prepared.limits(plan)?;
        prepared.program(plan)?;
        // Nobody hears what its filter could tell: it answers by itself.
        for op in &mut prepared.script.program {
            if let Op::SyscallFilter { told, .. } = op {
                *told = None;
            }
        }
        // It ends with the sandbox, whose first process the starter holds.
        prepared.script.program.retain(|op| !matches!(op, Op::EndWithStarter));
        Ok(prepared)
    }

    fn standing(&self, plan: &LaunchPlan, caller: &Caller) -> Standing {
        Standing {
            is_caller: !caller.privileged,
            has_power: self.ids.user == 0 || !plan.capabilities.keep.is_empty(),
        }
    }

    fn held(&mut self, control: Control, how: &str) {
        self.enforcement.push(Enforcement::new(control, State::Enforced, how));
    }

    /// Operations of the sandbox's first process.
    fn first_process(
        &mut self,
        plan: &LaunchPlan,
        caller: &Caller,
        kept: Option<&mut Kept>,
    ) -> Result<(), PlatformError> {
        let enforced = |control| enforced(plan, control);
        self.namespaces = namespaces(plan);
        let own_network = has_own_network(plan);
        if enforced(Control::QuotaView) {
            self.script.setup.push(Op::OwnQuotaView);
            self.held(Control::QuotaView, "cgroup namespace");
        }
        self.script.setup.push(Op::PrivateMounts);
        if enforced(Control::Clock) {
            let ClockOffsets { monotonic, boottime } = plan.clock;
            let text =
                self.script.text(format!("monotonic {monotonic} 0\nboottime {boottime} 0\n"))?;
            self.script.setup.push(Op::ClockOffsets(text));
            self.held(Control::Clock, "time namespace");
        }
        if self.may_set_groups {
            self.script.setup.push(Op::DropGroups);
        }
        self.script.setup.push(Op::Identity { user: self.ids.user, group: self.ids.group });
        if let Some(name) = plan.identity.hostname.as_ref().filter(|_| enforced(Control::Hostname))
        {
            let len = u32::try_from(name.len()).unwrap_or(u32::MAX);
            let name = self.script.text(name)?;
            self.script.setup.push(Op::Hostname { name, len });
        }
        if own_network {
            self.script.setup.push(Op::LoopbackUp);
            // In the host's network the proxy would be anybody's.
            self.script.setup.extend(plan.proxy.map(|port| Op::Listen { port }));
            if !plan.publish.is_empty() || plan.dialed {
                if !plan.init {
                    let message = "without an init nobody inside can make sockets for published ports and probes";
                    return Err(PlatformError::invalid(message));
                }
                self.script.setup.push(Op::OfferSockets);
            }
        }
        let standing = self.standing(plan, caller);
        let mut view = View::resolve(&filesystem(plan), standing)?;
        view.add_secrets(&plan.secrets)?;
        let mut ownership = Ownership::new(&self.ids);
        view.build(&mut self.script, caller, &mut ownership, kept)?;
        self.writable = view.writable();
        self.sight = plan.trace.then(|| view.sight());
        if plan.terminal {
            // As large as the caller's from the start; 0 by 0 says that nobody knows.
            let (rows, columns) = crate::console::size().unwrap_or_default();
            self.script.setup.push(Op::Terminal { rows, columns });
        }
        self.walls(plan, &view);
        self.access_rules(plan, &view)
    }

    /// What the namespaces hold, told.
    fn walls(&mut self, plan: &LaunchPlan, view: &View) {
        if enforced(plan, Control::Filesystem) {
            let root = view.root_told().unwrap_or_else(|| "a root of its own".into());
            let old = if self.script.classic { ", mounted the old way" } else { "" };
            self.held(Control::Filesystem, &format!("mount namespace with {root}{old}"));
        }
        if let Some(how) = view.copies_told() {
            self.held(Control::Overlay, &how);
        }
        for (control, how) in [
            (Control::Processes, "pid namespace"),
            (Control::Ipc, "ipc namespace"),
            (Control::Hostname, "uts namespace"),
        ] {
            if enforced(plan, control) {
                self.held(control, how);
            }
        }
        if enforced(plan, Control::Lifetime) {
            let how = if plan.init {
                "pid 1 ends with the starter, and the tree with pid 1"
            } else {
                "parent-death signal"
            };
            self.held(Control::Lifetime, how);
        }
        if enforced(plan, Control::Network) {
            let how = match plan.network {
                Network::None => "network namespace with only loopback".into(),
                Network::Host => "the host's network, as asked".into(),
                Network::Filtered => {
                    let mut how = "network namespace with only loopback".to_owned();
                    if let Some(port) = plan.proxy {
                        how += &format!(", and a proxy at 127.0.0.1:{port}");
                    }
                    how
                }
            };
            self.held(Control::Network, &how);
        }
        if enforced(plan, Control::User) {
            let how = format!(
                "user namespace, as host user {} group {}",
                self.ids.host_user, self.ids.host_group
            );
            self.held(Control::User, &how);
        }
        if self.ids.several.is_some() {
            let (users, groups) = (self.ids.users.told(), self.ids.groups.told());
            self.held(Control::Ids, &format!("of the host: users {users}; groups {groups}"));
        }
        if enforced(plan, Control::Groups) {
            let how = if self.may_set_groups { "setgroups" } else { "the caller has none" };
            self.held(Control::Groups, how);
        }
    }

    fn access_rules(&mut self, plan: &LaunchPlan, view: &View) -> Result<(), PlatformError> {
        let files = plan.controls.contains_key(&Control::AccessRules);
        let ports = enforced(plan, Control::TcpPorts);
        let abi = match landlock::abi() {
            _ if !files && !ports => return Ok(()),
            Ok(abi) => abi,
            Err(reason) if ports => {
                return Err(PlatformError::unsupported(Control::TcpPorts, reason));
            }
            Err(reason) if enforced(plan, Control::AccessRules) => {
                return Err(PlatformError::unsupported(Control::AccessRules, reason));
            }
            Err(_) => return Ok(()),
        };
        let mut rules =
            if files { landlock::rules(abi, &view.paths()) } else { AccessRules::none() };
        if ports {
            rules = rules.with_ports(&plan.tcp, plan.proxy);
            let shown = |ports: &Option<PortSet>| match ports {
                Some(ports) => ports.to_string(),
                None => "all".into(),
            };
            let value =
                format!("bind {}; connect {}", shown(&plan.tcp.bind), shown(&plan.tcp.connect));
            let held = Enforcement::new(Control::TcpPorts, State::Enforced, "Landlock");
            self.enforcement.push(held.with_value(value));
        }
        if let Some(sight) = &mut self.sight {
            sight.handled = rules.handled_fs;
        }
        self.rules = Some((abi, rules.clone()));
        self.add_rules(abi, &rules)?;
        if files {
            let state = if rules.complete { State::Enforced } else { State::Degraded };
            let held = Enforcement::new(Control::AccessRules, state, rules.how);
            self.enforcement.push(held.with_value(format!("ABI {abi}")));
        }
        Ok(())
    }

    fn add_rules(&mut self, abi: u32, rules: &AccessRules) -> Result<(), PlatformError> {
        for (path, rights) in &rules.rules {
            let path = self.script.text(path)?;
            self.script.access.push(AccessRule { path, rights: *rights });
        }
        let ports =
            rules.ports.iter().map(|(port, rights)| PortRule { port: *port, rights: *rights });
        self.script.ports.extend(ports);
        // The structure grew with versions 4 (network) and 6 (scopes); a kernel refuses a longer one that isn't zero.
        let size = match abi {
            ..landlock::PORTS => 8,
            landlock::PORTS..6 => 16,
            6.. => 24,
        };
        self.script.program.push(Op::AccessRules {
            handled_fs: rules.handled_fs,
            handled_net: rules.handled_net,
            scoped: rules.scoped,
            reading: landlock::descriptor(abi, true, false),
            writing: landlock::descriptor(abi, false, true),
            size,
        });
        Ok(())
    }

    /// Limits that a process carries; those of the whole tree are the quota tree's.
    fn limits(&mut self, plan: &LaunchPlan) -> Result<(), PlatformError> {
        let limits = &plan.limits;
        let of_process = [
            (Control::OpenFiles, Resource::Nofile, limits.open_files, "RLIMIT_NOFILE"),
            (
                Control::FileSize,
                Resource::Fsize,
                limits.file_size.map(|size| size.0),
                "RLIMIT_FSIZE",
            ),
            (Control::CoreSize, Resource::Core, limits.core_size.map(|size| size.0), "RLIMIT_CORE"),
            (Control::Stack, Resource::Stack, limits.stack.map(|size| size.0), "RLIMIT_STACK"),
            (
                Control::LockedMemory,
                Resource::Memlock,
                limits.locked_memory.map(|size| size.0),
                "RLIMIT_MEMLOCK",
            ),
            (Control::Realtime, Resource::Rtprio, limits.realtime.map(u64::from), "RLIMIT_RTPRIO"),
        ];
        let own = limits.open_files.filter(|_| enforced(plan, Control::OpenFiles));
        if let Some(usual) = crate::descriptors::usual_descriptors().filter(|_| own.is_none()) {
            let [soft, hard] = [usual.current, usual.maximum].map(|most| most.unwrap_or(u64::MAX));
            let resource = Resource::Nofile as u32;
            self.script.program.insert(0, Op::ResourceLimit { resource, soft, hard });
        }
        for (control, resource, value, how) in of_process {
            if let Some(value) = value.filter(|_| enforced(plan, control)) {
                let value = self.resource_limit(resource, value);
                self.enforcement
                    .push(Enforcement::new(control, State::Enforced, how).with_value(value));
            }
        }
        if let Some(nice) = limits.nice.filter(|_| enforced(plan, Control::Nice)) {
            // Lowering one's own niceness takes a right that nobody has inside.
            let own = rustix::process::getpriority_process(None).unwrap_or(0);
            let nice = nice.max(u32::try_from(own).unwrap_or(0));
            // RLIMIT_NICE counts from 20 downwards: 20 - 19 = 1 is the least (getrlimit(2)).
            self.resource_limit(Resource::Nice, u64::from(20 - nice.min(19)));
            self.script.program.insert(0, Op::Nice(nice));
            let how = Enforcement::new(Control::Nice, State::Enforced, "setpriority, RLIMIT_NICE");
            self.enforcement.push(how.with_value(nice));
        }
        if let Some(memory) = limits.memory.filter(|_| degraded(plan, Control::Memory)) {
            self.resource_limit(Resource::Data, memory.0.saturating_add(WATCHED_ROOM));
        }
        if let Some(pids) = limits.pids.filter(|_| degraded(plan, Control::Pids)) {
            // The init counts too: it has the same user.
            self.resource_limit(Resource::Nproc, u64::from(pids) + 1);
        }
        let cpus = limits.cpus.as_ref().filter(|_| degraded(plan, Control::Cpus));
        let pinned = cpus.map_or(u64::MAX, |cpus| {
            cpus.iter().filter(|cpu| *cpu < 64).fold(0, |mask, cpu| mask | 1 << cpu)
        });
        if let Some(cores) = limits.cpu.filter(|_| degraded(plan, Control::Cpu)) {
            let allowed = allowed_cpus()? & pinned;
            let mask = some_of(allowed, cores.millis().div_ceil(1000));
            self.script.program.insert(0, Op::Affinity(mask));
        } else if pinned != u64::MAX {
            self.script.program.insert(0, Op::Affinity(pinned));
        }
        Ok(())
    }

    /// A limit no higher than the caller's own: nobody unprivileged may raise that, and the lower one holds anyway.
    fn resource_limit(&mut self, resource: Resource, value: u64) -> u64 {
        let own = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let value = value.min(own);
        let resource = resource as u32;
        self.script.program.insert(0, Op::ResourceLimit { resource, soft: value, hard: value });
        value
    }

    /// Operations of the program's process, in the order that each needs of the ones before.
    fn program(&mut self, plan: &LaunchPlan) -> Result<(), PlatformError> {
        // Limits and access rules are in the list already; what needs no rights comes before the rights go.
        let rules = self.script.program.pop_if(|op| matches!(op, Op::AccessRules { .. }));
        let mut ops = vec![if plan.terminal { Op::ForegroundGroup } else { Op::NewSession }];
        ops.append(&mut self.script.program);
        ops.push(Op::FileModeMask(plan.filesystem.umask.unwrap_or(USUAL_MASK)));
        let workdir = plan.filesystem.workdir.as_deref().unwrap_or(Path::new("/"));
        ops.push(Op::WorkingDirectory(self.script.text(workdir)?));
        if enforced(plan, Control::Capabilities) {
            let keep = capabilities::mask(&plan.capabilities.keep)?;
            ops.push(Op::BoundingSet { keep, last: capabilities::last() });
            ops.push(Op::LockSecureBits);
            ops.push(Op::CapabilitySets(keep));
            self.enforcement.push(
                Enforcement::new(Control::Capabilities, State::Enforced, "all five sets")
                    .with_value(format!("{keep:#x}")),
            );
        }
        if !plan.init {
            ops.push(Op::EndWithStarter);
        }
        ops.push(Op::NoNewPrivileges);
        if enforced(plan, Control::NoNewPrivileges) {
            self.held(Control::NoNewPrivileges, "PR_SET_NO_NEW_PRIVS");
        }
        ops.extend(rules);
        ops.push(Op::CloseDescriptors { first: 3 });
        if enforced(plan, Control::Descriptors) {
            self.held(Control::Descriptors, "close_range at exec");
        }
        if enforced(plan, Control::Syscalls) {
            let (filter, may_send) = seccomp::compile_with(&plan.syscalls, "sendmsg")?;
            let how = format!("seccomp filter of {} instructions", filter.len());
            self.held(Control::Syscalls, &how);
            // Where the program is the first process, it sends the listener itself, behind the filter.
            let ask = |filter: &[libc::sock_filter]| match (plan.watch, plan.trace) {
                (true, _) => seccomp::watched(NATIVE_AUDIT, filter),
                (false, true) => seccomp::traced(NATIVE_AUDIT, filter, path_calls()),
                (false, false) => seccomp::told(filter),
            };
            let told = (plan.init || may_send).then(|| ask(&filter));
            ops.push(Op::SyscallFilter { plain: 0, told: told.as_ref().map(|_| 1) });
            self.script.filters = [Some(filter), told].into_iter().flatten().collect();
        }
        self.script.program = ops;
        self.script.set_vectors(&plan.command, &plan.environment)?;
        self.candidates(plan)
    }

    /// Where the program may be: itself when it has a slash, else in each directory of the `PATH` inside, as execvp(3).
    fn candidates(&mut self, plan: &LaunchPlan) -> Result<(), PlatformError> {
        let program = plan.command.first().filter(|program| !program.is_empty());
        let Some(program) = program else {
            return Err(PlatformError::launch(
                Stage::NotFound,
                "failed to execute ``: the command is empty",
                None,
            ));
        };
        if program.as_bytes().contains(&b'/') {
            let path = self.script.text(program)?;
            self.script.candidates.push(path);
            return Ok(());
        }
        let path = plan
            .environment
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, value)| value.as_os_str());
        let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
        // An empty entry would mean the working directory: never what a policy's author meant.
        for directory in std::env::split_paths(path).filter(|directory| directory.is_absolute()) {
            let candidate = self.script.text(directory.join(program))?;
            self.script.candidates.push(candidate);
        }
        Ok(())
    }

    /// Controls that the plan gave up, as it gave them up, and those that are held from above.
    fn untouched(&mut self, plan: &LaunchPlan) {
        for (control, decision) in &plan.controls {
            let entry = match decision {
                Decision::Degrade { how, reason }
                    if *control == Control::Pids && self.ids.several.is_some() =>
                {
                    let how = format!("{how}, and of each other user for itself ({reason})");
                    Enforcement::new(*control, State::Degraded, how)
                }
                Decision::Degrade { how, reason } => {
                    Enforcement::new(*control, State::Degraded, format!("{how} ({reason})"))
                }
                Decision::Skip { reason } => Enforcement::new(*control, State::Unavailable, reason),
                Decision::Enforce => match starter::holds(*control, plan) {
                    Some(held) => held,
                    None => continue,
                },
            };
            if !self.enforcement.iter().any(|known| known.control == *control) {
                self.enforcement.push(entry);
            }
        }
    }
}

/// What a plan shows of files. Where copies can't be had and it accepts that, they can be read and not changed.
fn filesystem(plan: &LaunchPlan) -> Filesystem {
    let mut filesystem = plan.filesystem.clone();
    if !enforced(plan, Control::Overlay) {
        filesystem.overlay = None;
        for bind in filesystem.binds.iter_mut().filter(|bind| bind.access == Access::Copy) {
            bind.access = Access::Read;
        }
    }
    filesystem
}

/// Namespaces that the clone makes.
fn namespaces(plan: &LaunchPlan) -> u64 {
    // Everything else is made possible by the user namespace, so it is no choice.
    let mut flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
    for (control, flag) in [
        (Control::Processes, libc::CLONE_NEWPID),
        (Control::Ipc, libc::CLONE_NEWIPC),
        (Control::Hostname, libc::CLONE_NEWUTS),
    ] {
        flags |= if enforced(plan, control) { flag } else { 0 };
    }
    flags |= if has_own_network(plan) { libc::CLONE_NEWNET } else { 0 };
    u64::from(flags.cast_unsigned())
}

/// Namespaces that a sandbox has in the end, with those that its first process makes itself.
fn all_namespaces(plan: &LaunchPlan) -> u64 {
    let own = |control, flag| if enforced(plan, control) { flag } else { 0 };
    namespaces(plan)
        | own(Control::QuotaView, u64::from(libc::CLONE_NEWCGROUP.cast_unsigned()))
        | own(Control::Clock, CLONE_NEWTIME)
}

fn has_own_network(plan: &LaunchPlan) -> bool {
    plan.network.is_own() && enforced(plan, Control::Network)
}

fn enforced(plan: &LaunchPlan, control: Control) -> bool {
    plan.controls.get(&control) == Some(&Decision::Enforce)
}

fn degraded(plan: &LaunchPlan, control: Control) -> bool {
    matches!(plan.controls.get(&control), Some(Decision::Degrade { .. }))
}

/// The first 64 CPUs that this process may run on.
fn allowed_cpus() -> Result<u64, PlatformError> {
    let set = rustix::thread::sched_getaffinity(None)
        .map_err(|error| PlatformError::system("failed to read the CPU affinity", error))?;
    Ok((0..64).filter(|cpu| set.is_set(*cpu)).fold(0, |mask, cpu| mask | 1 << cpu))
}

/// As many bits of `mask` as asked for, the highest ones: the lowest CPUs get most of the host's interrupts.
fn some_of(mask: u64, count: u32) -> u64 {
    let mut rest = mask;
    while rest.count_ones() > count.max(1) {
        rest &= rest - 1;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_cpus_as_asked_for() {
        assert_eq!(some_of(0b1011, 1), 0b1000);
        assert_eq!(some_of(0b1011, 2), 0b1010);
        assert_eq!(some_of(0b11, 5), 0b11);
        assert_eq!(some_of(0b1, 0), 0b1);
    }
}
