//! Carries out operations, one after the other.

use crate::listener;
use crate::sys::{self, CLONE_NEWTIME, Result};
use crate::{Message, Op, Script, Source, Text};
use listener::Slot;

const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_READ_ONLY_DATA: u64 = MOUNT_ATTR_RDONLY | 2 | 4 | 8;
/// Where a file is made before it is mounted at its place; removed again before anything else is made.
const WORKBENCH: *const u8 = c".content".as_ptr().cast();
const TERMINAL_FLAGS: i32 = libc::O_RDWR | libc::O_NOCTTY;
const MS_PRIVATE: u64 = 1 << 18;
const PR_SET_SECUREBITS: i32 = 28;
const PR_CAP_AMBIENT: i32 = 47;
const PR_CAP_AMBIENT_RAISE: usize = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;
/// NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE would also forbid the ambient set that a policy may keep, so only
/// the first is set, and locked (capabilities(7), "The securebits flags").
const SECUREBITS_NOROOT_LOCKED: usize = 0b11;

/// What operations leave for later ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State<'a> {
    root: i32,
    /// Where the starter asks for sockets; negative where it doesn't.
    pub(crate) sockets: i32,
    /// Where the program's process leaves what its first one hands over.
    listener: &'a Slot,
}

impl<'a> State<'a> {
    pub(crate) const fn new(listener: &'a Slot) -> Self {
        Self { root: libc::AT_FDCWD, sockets: -1, listener }
    }
}

/// Carries out a list. The error is the place of the operation that failed, and its errno.
pub(crate) fn all(
    script: &Script<'_>,
    ops: &[Op],
    state: &mut State<'_>,
) -> core::result::Result<(), (i32, i32)> {
    let mut index = 0;
    for op in ops {
        one(script, *op, state).map_err(|errno| (index, errno))?;
        index = index.wrapping_add(1);
    }
    Ok(())
}

fn one(script: &Script<'_>, op: Op, state: &mut State<'_>) -> Result<()> {
    let at = |text| script.at(text);
    match op {
        Op::OwnQuotaView => sys::unshare(u64::from(libc::CLONE_NEWCGROUP.cast_unsigned())),
        Op::PrivateMounts => private_mounts(),
        Op::ClockOffsets(offsets) => clock_offsets(at(offsets), script, offsets),
        Op::DropGroups => sys::drop_groups(),
        Op::Identity { user, group } => {
            sys::set_group_ids(group)?;
            sys::set_user_ids(user)
        }
        Op::Hostname { name, len } => sys::set_hostname(at(name), len),
        Op::LoopbackUp => sys::loopback_up(),
        Op::Listen { port } => listen(script.control, port),
        Op::OfferSockets => {
            let [ours, theirs] = sys::sockets::message_pair()?;
            state.sockets = ours;
            hand_out(script.control, Message::Sockets, theirs)
        }
        Op::NewRoot { size } => new_root(script, size, state),
        Op::Directory { path, mode } => sys::make_directory(state.root, at(path), mode),
        Op::EmptyFile(path) => sys::make_file(state.root, at(path)),
        Op::Content { target, content, len, mode } => match script.bytes(content, len) {
            Some(bytes) => put_content(script, bytes, mode, target, state.root),
            None => Err(libc::EINVAL),
        },
        Op::Symlink { target, path } => sys::make_symlink(at(target), state.root, at(path)),
        Op::Bind { source, target, attributes, device } => {
            bind(script, source, target, attributes, device, state.root)
        }
        Op::Mount { kind, options, target, attributes } => {
            let fs = open_filesystem(script, kind, &options)?;
            let tree = sys::make_mount(fs, attributes)?;
            sys::close(fs);
            attach(script, tree, target, state.root)
        }
        Op::RootReadOnly => sys::set_mount_attributes(state.root, MOUNT_ATTR_RDONLY, 0, false),
        Op::PivotRoot => {
            sys::change_directory_to(state.root)?;
            sys::pivot_root_here()?;
            sys::detach_mount_here()?;
            sys::change_directory(c"/".as_ptr().cast())?;
            sys::close(state.root);
            state.root = libc::AT_FDCWD;
            Ok(())
        }
        Op::Terminal { rows, columns } => terminal(script.control, rows, columns),
        Op::NewSession => sys::new_session(),
        Op::ForegroundGroup => {
            sys::own_process_group()?;
            sys::ioctl_int(0, libc::TIOCSPGRP, &sys::process_id())
        }
        Op::Stdio { from, to } => sys::duplicate(from, to),
        Op::ResourceLimit { resource, soft, hard } => sys::set_resource_limit(resource, soft, hard),
        Op::Nice(nice) => sys::set_niceness(nice),
        Op::Affinity(mask) => sys::set_affinity(mask),
        Op::FileModeMask(mask) => {
            sys::set_file_mode_mask(mask);
            Ok(())
        }
        Op::WorkingDirectory(path) => sys::change_directory(at(path)),
        Op::BoundingSet { keep, last } => bounding_set(keep, last),
        Op::LockSecureBits => sys::prctl(PR_SET_SECUREBITS, SECUREBITS_NOROOT_LOCKED, 0).map(drop),
        Op::CapabilitySets(mask) => capability_sets(mask),
        Op::EndWithStarter => end_with_starter(script.control),
        Op::NoNewPrivileges => sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop),
        Op::AccessRules { handled_fs, handled_net, scoped, reading, writing, size } => {
            access_rules(script, [handled_fs, handled_net, scoped], [reading, writing], size)
        }
        Op::CloseDescriptors => sys::close_range(3, u32::MAX, true),
        Op::SyscallFilter { plain, told } => listener::install(script, plain, told, state.listener),
    }
}

fn private_mounts() -> Result<()> {
    let root = sys::open(c"/".as_ptr().cast(), libc::O_PATH)?;
    let result = sys::set_mount_attributes(root, 0, MS_PRIVATE, true);
    sys::close(root);
    result
}

/// The offsets are written before the first process enters the new namespace: this one's next child.
fn clock_offsets(offsets: *const u8, script: &Script<'_>, text: Text) -> Result<()> {
    sys::unshare(CLONE_NEWTIME)?;
    let rest = script.text.get(text.0 as usize..).unwrap_or(&[]);
    let len = rest.iter().take_while(|byte| **byte != 0).count();
    // The file belongs to root for as long as nobody may look into this process, whose user would have no access then.
    sys::prctl(libc::PR_SET_DUMPABLE, 1, 0)?;
    let file = sys::open(c"/proc/self/timens_offsets".as_ptr().cast(), libc::O_WRONLY);
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0)?;
    let file = file?;
    let written = sys::write(file, offsets, len);
    sys::close(file);
    written.map(drop)
}

/// Mounts the new root over `/`. Paths that start at this process's root don't see it: they start below it.
fn new_root(script: &Script<'_>, size: Text, state: &mut State<'_>) -> Result<()> {
    const MOUNT_ATTR_NOSUID_NODEV: u64 = 2 | 4;
    let fs = sys::open_filesystem(c"tmpfs".as_ptr().cast())?;
    sys::set_option(fs, c"size".as_ptr().cast(), Some(script.at(size)))?;
    sys::set_option(fs, c"mode".as_ptr().cast(), Some(c"0755".as_ptr().cast()))?;
    let root = sys::make_mount(fs, MOUNT_ATTR_NOSUID_NODEV)?;
    sys::close(fs);
    let place = sys::open(c"/".as_ptr().cast(), libc::O_PATH)?;
    sys::move_mount(root, place)?;
    sys::close(place);
    state.root = root;
    Ok(())
}

fn bind(
    script: &Script<'_>,
    source: Source,
    target: Text,
    attributes: u64,
    device: u64,
    root: i32,
) -> Result<()> {
    let tree = match source {
        Source::Tree(tree) => tree,
        Source::Path(path) => {
            let place = sys::open_path(libc::AT_FDCWD, script.at(path), false)?;
            // st_rdev alone proves nothing: a file of another type may carry the same number.
            if device != 0 && sys::character_device(place)? != Some(device) {
                return Err(libc::ENODEV);
            }
            let tree = sys::clone_tree(place)?;
            sys::close(place);
            tree
        }
    };
    sys::set_mount_attributes(tree, attributes, MS_PRIVATE, true)?;
    attach(script, tree, target, root)
}

/// The file is made in the new root, since before Linux 6.15 only what is mounted can be copied; it lives on where it is
/// mounted when its name is gone.
fn put_content(
    script: &Script<'_>,
    bytes: &[u8],
    mode: u32,
    target: Text,
    root: i32,
) -> Result<()> {
    let file = sys::create_file(root, WORKBENCH)?;
    let written = sys::write_all(file, bytes).and_then(|()| sys::set_mode(file, mode));
    sys::close(file);
    written?;
    let place = sys::open_path(root, WORKBENCH, true)?;
    let tree = sys::clone_tree(place)?;
    sys::close(place);
    sys::set_mount_attributes(tree, MOUNT_ATTR_READ_ONLY_DATA, MS_PRIVATE, true)?;
    attach(script, tree, target, root)?;
    sys::remove_file(root, WORKBENCH)
}

fn attach(script: &Script<'_>, tree: i32, target: Text, root: i32) -> Result<()> {
    let place = sys::open_path(root, script.at(target), true)?;
    let result = sys::move_mount(tree, place);
    sys::close(place);
    sys::close(tree);
    result
}

fn open_filesystem(script: &Script<'_>, kind: Text, options: &[(Text, Text); 3]) -> Result<i32> {
    let fs = sys::open_filesystem(script.at(kind))?;
    for (key, value) in options.iter().take_while(|(key, _)| !script.is_empty(*key)) {
        let value = (!script.is_empty(*value)).then(|| script.at(*value));
        sys::set_option(fs, script.at(*key), value)?;
    }
    Ok(fs)
}

/// The pair is made inside, so that the program's side has a name there and the host's terminals stay out of reach.
fn terminal(control: i32, rows: u16, columns: u16) -> Result<()> {
    let outer = sys::open(c"/dev/pts/ptmx".as_ptr().cast(), TERMINAL_FLAGS)?;
    sys::ioctl_int(outer, libc::TIOCSPTLCK, &0)?;
    let inner = sys::ioctl(outer, libc::TIOCGPTPEER, TERMINAL_FLAGS.cast_unsigned() as usize)?;
    sys::set_window_size(inner, rows, columns)?;
    sys::new_session()?;
    sys::ioctl(inner, libc::TIOCSCTTY, 0)?;
    for stream in 0..=2 {
        sys::duplicate(inner, stream)?;
    }
    sys::close(inner);
    hand_out(control, Message::Terminal, outer)
}

/// The socket belongs to this network for ever, wherever it is held.
fn listen(control: i32, port: u16) -> Result<()> {
    let socket = sys::sockets::stream()?;
    sys::sockets::listen_on_loopback(socket, port)?;
    hand_out(control, Message::Proxy, socket)
}

/// Sends a descriptor and keeps none.
pub(crate) fn hand_out(control: i32, message: Message, fd: i32) -> Result<()> {
    let sent = sys::send_descriptor(control, message, fd);
    sys::close(fd);
    sent
}

fn bounding_set(keep: u64, last: u32) -> Result<()> {
    for capability in (0..=last).filter(|capability| (keep >> capability) & 1 == 0) {
        sys::prctl(libc::PR_CAPBSET_DROP, capability as usize, 0)?;
    }
    Ok(())
}

fn capability_sets(mask: u64) -> Result<()> {
    sys::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    sys::set_capabilities(mask)?;
    for capability in (0..64usize).filter(|capability| (mask >> capability) & 1 == 1) {
        sys::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)?;
    }
    Ok(())
}

/// The starter may have died before this: then the signal never comes, but the socket is closed.
fn end_with_starter(control: i32) -> Result<()> {
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL.cast_unsigned() as usize, 0)?;
    if sys::is_closed(control) { Err(libc::EPIPE) } else { Ok(()) }
}

fn access_rules(
    script: &Script<'_>,
    handled: [u64; 3],
    [reading, writing]: [u64; 2],
    size: u32,
) -> Result<()> {
    if size as usize > size_of_val(&handled) {
        return Err(libc::EINVAL);
    }
    let ruleset = sys::create_ruleset(handled, size)?;
    for rule in script.access {
        let path = sys::open(script.at(rule.path), libc::O_PATH)?;
        let added = sys::add_path_rule(ruleset, path, rule.rights);
        sys::close(path);
        added?;
    }
    for stream in 0..=2 {
        let mode = sys::status_flags(stream)? & libc::O_ACCMODE;
        let rights = match mode {
            libc::O_RDONLY => reading,
            libc::O_WRONLY => writing,
            _ => reading | writing,
        };
        match sys::add_path_rule(ruleset, stream, rights) {
            // Pipes and sockets take no rules, and need none.
            Ok(()) | Err(libc::EBADFD) => {}
            Err(errno) => return Err(errno),
        }
    }
    let restricted = sys::restrict_self(ruleset);
    sys::close(ruleset);
    restricted
}
