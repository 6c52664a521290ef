//! Carries out operations, one after the other.

use crate::line::Line;
use crate::sys::{self, CLONE_NEWTIME, Result};
use crate::{Message, Op, Script, Source, Text};
use crate::{classic, listener};
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
    /// What targets are in.
    pub(crate) root: i32,
    /// The file system in memory that the root is, or was made on: nobody else has it.
    bench: i32,
    /// The one before, with layers.
    layers: i32,
    /// How many mounts are stacked on the host's root, the new root included.
    pub(crate) stacked: u32,
    /// Where the starter asks for sockets; negative where it doesn't.
    pub(crate) sockets: i32,
    /// What was made inside and handed out, for a next starter: the proxy's listening socket and the other end of `sockets`.
    pub(crate) handed_out: [i32; 2],
    /// Where the program's process leaves what its first one hands over.
    listener: &'a Slot,
}

impl<'a> State<'a> {
    pub(crate) const fn new(listener: &'a Slot) -> Self {
        let (root, bench, layers) = (libc::AT_FDCWD, libc::AT_FDCWD, libc::AT_FDCWD);
        Self { root, bench, layers, stacked: 0, sockets: -1, handed_out: [-1; 2], listener }
    }

    /// A root of the sandbox's own was mounted over what was there.
    pub(crate) fn stack_root(&mut self, root: i32) {
        let stacked = self.stacked.wrapping_add(1);
        *self = State { root, bench: root, layers: self.bench, stacked, ..*self };
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
        Op::Enter { process, namespaces } => sys::enter(process, namespaces),
        Op::ReserveDescriptors { count } => reserve(script.control, count),
        Op::OwnQuotaView => sys::unshare(u64::from(libc::CLONE_NEWCGROUP.cast_unsigned())),
        Op::PrivateMounts if script.classic => classic::private_mounts(),
        Op::PrivateMounts => private_mounts(),
        Op::ClockOffsets(offsets) => clock_offsets(at(offsets), script, offsets),
        Op::DropGroups => sys::drop_groups(),
        Op::Identity { user, group } => {
            sys::set_group_ids(group)?;
            sys::set_user_ids(user)
        }
        Op::Hostname { name, len } => sys::set_hostname(at(name), len),
        Op::LoopbackUp => sys::loopback_up(),
        Op::Listen { port } => listen(script, port, state),
        Op::OfferSockets => {
            let [ours, theirs] = sys::sockets::message_pair()?;
            state.sockets = ours;
            state.handed_out[1] = hand_out_once(script, Message::Sockets, theirs)?;
            Ok(())
        }
        Op::NewRoot { size } if script.classic => classic::new_root(script, size, state),
        Op::NewRoot { size } => new_root(script, size, state),
        Op::Directory { within, path, mode } => {
            in_mount(script, within, state, |mount| sys::make_directory(mount, at(path), mode))
        }
        Op::EmptyFile { within, path } => {
            in_mount(script, within, state, |mount| sys::make_file(mount, at(path)))
        }
        Op::Content { target, content, len, mode } => match script.bytes(content, len) {
            Some(bytes) => put_content(script, bytes, mode, target, state),
            None => Err(libc::EINVAL),
        },
        Op::Symlink { target, within, path } => {
            in_mount(script, within, state, |mount| sys::make_symlink(at(target), mount, at(path)))
        }
        Op::Bind { source, target, attributes, device } => {
            bind(script, source, target, attributes, device, state)
        }
        Op::Mount { kind, options, target, attributes } if script.classic => {
            let mut line = Line::new();
            name_options(script, &options, &mut line);
            classic::mount(script, at(kind), &line, target, attributes, state)
        }
        Op::Mount { kind, options, target, attributes } => {
            let fs = open_filesystem(script, kind, &options)?;
            let tree = sys::make_mount(fs, attributes)?;
            sys::close(fs);
            attach(script, tree, target, state)
        }
        Op::Overlay { lower, lacking, upper, work, target, attributes } => {
            let layers = Layers::open(script, [lower, lacking, upper, work], state.layers)?;
            if script.classic {
                let mut line = Line::new();
                layers.name_all(&mut line);
                let kind = c"overlay".as_ptr().cast();
                return classic::mount(script, kind, &line, target, attributes, state);
            }
            let tree = overlay(&layers, attributes)?;
            attach(script, tree, target, state)
        }
        Op::Restrict { target, attributes } => classic::restrict(script, target, attributes, state),
        Op::ReadOnly(mount) if script.classic => {
            classic::restrict(script, mount, MOUNT_ATTR_RDONLY, state)
        }
        Op::ReadOnly(mount) => in_mount(script, mount, state, |mount| {
            sys::set_mount_attributes(mount, MOUNT_ATTR_RDONLY, 0, false)
        }),
        Op::PivotRoot => pivot_root(state),
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
        Op::CloseDescriptors { first } => sys::close_range(first, u32::MAX, true),
        Op::SyscallFilter { plain, told } => listener::install(script, plain, told, state.listener),
    }
}

/// What is open there already is the starter's, and nothing that is needed here.
fn reserve(control: i32, count: u32) -> Result<()> {
    for number in (3..).take(count as usize) {
        if !sys::is_open(number) {
            sys::duplicate(control, number)?;
        }
    }
    Ok(())
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
    state.stack_root(root);
    Ok(())
}

/// The old root is then on top of the new one, with what was stacked on it on top of that, and `..` of the root leads there:
/// it goes only when as many mounts are detached as there are.
fn pivot_root(state: &mut State) -> Result<()> {
    sys::change_directory_to(state.root)?;
    sys::pivot_root_here()?;
    for _ in 0..state.stacked {
        sys::detach_mount_here()?;
    }
    sys::change_directory(c"/".as_ptr().cast())?;
    for fd in [state.root, state.bench, state.layers] {
        sys::close(fd);
    }
    let (sockets, handed_out) = (state.sockets, state.handed_out);
    *state = State { sockets, handed_out, ..State::new(state.listener) };
    // The wall that everything stands behind is looked at once more.
    let (root, above) =
        (sys::identity(c"/".as_ptr().cast())?, sys::identity(c"/..".as_ptr().cast())?);
    if root == above { Ok(()) } else { Err(libc::EXDEV) }
}

/// Does something in a mount of the sandbox's own. In a root that is a directory of the host others may swap names while this
/// runs, so the mount is opened anew, without symlinks; what is in it is out of their reach.
fn in_mount(
    script: &Script<'_>,
    mount: Text,
    state: &State,
    make: impl FnOnce(i32) -> Result<()>,
) -> Result<()> {
    if script.is_empty(mount) {
        return make(state.root);
    }
    let place = sys::open_path(state.root, script.at(mount), true)?;
    let made = make(place);
    sys::close(place);
    made
}

fn bind(
    script: &Script<'_>,
    source: Source,
    target: Text,
    attributes: u64,
    device: u64,
    state: &mut State,
) -> Result<()> {
    let tree = match source {
        Source::Tree(_) if script.classic => return Err(libc::EINVAL),
        Source::Tree(tree) => tree,
        Source::Path(path) | Source::Inside(path) => {
            let inside = matches!(source, Source::Inside(_));
            let top = if inside { state.root } else { libc::AT_FDCWD };
            let place = sys::open_path(top, script.at(path), inside)?;
            // st_rdev alone proves nothing: a file of another type may carry the same number.
            if device != 0 && sys::character_device(place)? != Some(device) {
                return Err(libc::ENODEV);
            }
            if script.classic {
                let bound = classic::bind(script, place, target, attributes, state);
                sys::close(place);
                return bound;
            }
            let tree = sys::clone_tree(place)?;
            sys::close(place);
            tree
        }
    };
    sys::set_mount_attributes(tree, attributes, MS_PRIVATE, true)?;
    attach(script, tree, target, state)
}

/// The layers of a copy, each opened beneath a mount that nobody else has, without following a symlink. They stay open until
/// exec.
///
/// The kernel takes layers as texts only (as descriptors since 6.13). So they are named as descriptors of this process's, and
/// no name can be swapped in between; as paths they would be looked up anew. `/proc` is still the host's here.
struct Layers {
    lower: i32,
    /// Negative where there is none.
    lacking: i32,
    upper: i32,
    work: i32,
}

impl Layers {
    fn open(
        script: &Script<'_>,
        [lower, lacking, upper, work]: [Text; 4],
        layers: i32,
    ) -> Result<Self> {
        let open = |path| sys::open_path(layers, script.at(path), true);
        Ok(Self {
            lower: open(lower)?,
            lacking: if script.is_empty(lacking) { -1 } else { open(lacking)? },
            upper: open(upper)?,
            work: open(work)?,
        })
    }

    fn name_lower(&self, line: &mut Line) {
        line.descriptor(self.lower);
        if self.lacking >= 0 {
            line.bytes(b":");
            line.descriptor(self.lacking);
        }
    }

    /// As options of mount(2).
    fn name_all(&self, line: &mut Line) {
        line.bytes(b"userxattr,index=off,lowerdir=");
        self.name_lower(line);
        line.bytes(b",upperdir=");
        line.descriptor(self.upper);
        line.bytes(b",workdir=");
        line.descriptor(self.work);
    }
}

/// A copy on write, as a user namespace may make it since Linux 5.11: with its marks in attributes that users may set.
fn overlay(layers: &Layers, attributes: u64) -> Result<i32> {
    let fs = sys::open_filesystem(c"overlay".as_ptr().cast())?;
    sys::set_option(fs, c"userxattr".as_ptr().cast(), None)?;
    // What is kept is used again by later runs, which an index would refuse after the lower directory was changed.
    sys::set_option(fs, c"index".as_ptr().cast(), Some(c"off".as_ptr().cast()))?;
    let mut lower = Line::new();
    layers.name_lower(&mut lower);
    sys::set_option(fs, c"lowerdir".as_ptr().cast(), Some(lower.text()?))?;
    let mut upper = Line::new();
    sys::set_option(fs, c"upperdir".as_ptr().cast(), Some(upper.name(layers.upper)?))?;
    let mut work = Line::new();
    sys::set_option(fs, c"workdir".as_ptr().cast(), Some(work.name(layers.work)?))?;
    let tree = sys::make_mount(fs, attributes)?;
    sys::close(fs);
    Ok(tree)
}

/// Options as mount(2) takes them.
fn name_options(script: &Script<'_>, options: &[(Text, Text); 3], line: &mut Line) {
    let mut comma: &[u8] = b"";
    for (key, value) in options.iter().take_while(|(key, _)| !script.is_empty(*key)) {
        line.bytes(comma);
        line.bytes(script.word(*key));
        if !script.is_empty(*value) {
            line.bytes(b"=");
            line.bytes(script.word(*value));
        }
        comma = b",";
    }
}

/// The file is made in memory of the sandbox's own, since before Linux 6.15 only what is mounted can be copied; it lives on
/// where it is mounted when its name is gone.
fn put_content(
    script: &Script<'_>,
    bytes: &[u8],
    mode: u32,
    target: Text,
    state: &mut State,
) -> Result<()> {
    let bench = state.bench;
    let file = sys::create_file(bench, WORKBENCH)?;
    let written = sys::write_all(file, bytes).and_then(|()| sys::set_mode(file, mode));
    sys::close(file);
    written?;
    let place = sys::open_path(bench, WORKBENCH, true)?;
    if script.classic {
        classic::bind(script, place, target, MOUNT_ATTR_READ_ONLY_DATA, state)?;
        sys::close(place);
        return sys::remove_file(bench, WORKBENCH);
    }
    let tree = sys::clone_tree(place)?;
    sys::close(place);
    sys::set_mount_attributes(tree, MOUNT_ATTR_READ_ONLY_DATA, MS_PRIVATE, true)?;
    attach(script, tree, target, state)?;
    sys::remove_file(bench, WORKBENCH)
}

fn attach(script: &Script<'_>, tree: i32, target: Text, state: &mut State) -> Result<()> {
    if script.is_empty(target) {
        sys::move_mount(tree, state.root)?;
        state.root = tree;
        state.stacked = state.stacked.wrapping_add(1);
        return Ok(());
    }
    let place = sys::open_path(state.root, script.at(target), true)?;
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
fn listen(script: &Script<'_>, port: u16, state: &mut State<'_>) -> Result<()> {
    let socket = sys::sockets::stream()?;
    sys::sockets::listen_on_loopback(socket, port)?;
    state.handed_out[0] = hand_out_once(script, Message::Proxy, socket)?;
    Ok(())
}

/// Sends a descriptor, and keeps it where there may be a next starter.
fn hand_out_once(script: &Script<'_>, message: Message, fd: i32) -> Result<i32> {
    if script.lasting.is_none() {
        return hand_out(script.control, message, fd).map(|()| -1);
    }
    sys::send_descriptor(script.control, message, fd).map(|()| fd)
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
        // Paths of the view have no symlinks; one that is there now was put there by a program that runs inside.
        let path = sys::open_path(libc::AT_FDCWD, script.at(rule.path), false)?;
        let added = sys::add_path_rule(ruleset, path, rule.rights);
        sys::close(path);
        added?;
    }
    for rule in script.ports {
        sys::add_port_rule(ruleset, rule.port, rule.rights)?;
    }
    // Without rules for files there is nothing that a stream could need.
    let streams = if handled[0] == 0 { 0 } else { 3 };
    for stream in 0..streams {
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
