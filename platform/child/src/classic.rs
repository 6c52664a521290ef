//! Mounting with mount(2) alone, where a filter around the starter forbids the calls that give mounts as descriptors.
//!
//! Something is mounted at its place first and restricted there afterwards, mount by mount. Nothing of the program runs
//! in between; and what it all came to is read from outside before it does ([`crate::Message::Mounted`]), since this code
//! knows only those mounts below a bind that the starter had seen before.
//!
//! Places are opened beneath the new root, without symlinks, as everywhere, and named as descriptors of this process:
//! `/proc` is still the host's here.

use crate::interpret::State;
use crate::line::Line;
use crate::sys::{self, Result};
use crate::{Script, Text};

const MS_RDONLY: u64 = 1;
const MS_NOSUID: u64 = 2;
const MS_NODEV: u64 = 4;
const MS_NOEXEC: u64 = 8;
const MS_REMOUNT: u64 = 1 << 5;
const MS_NOSYMFOLLOW: u64 = 1 << 8;
const MS_NOATIME: u64 = 1 << 10;
const MS_NODIRATIME: u64 = 1 << 11;
const MS_BIND: u64 = 1 << 12;
const MS_REC: u64 = 1 << 14;
const MS_PRIVATE: u64 = 1 << 18;
const MS_RELATIME: u64 = 1 << 21;
/// What statfs(2) says of a mount, and what that is for mount(2).
const FLAGS: [(u64, u64); 8] = [
    (1, MS_RDONLY),
    (2, MS_NOSUID),
    (4, MS_NODEV),
    (8, MS_NOEXEC),
    (1 << 10, MS_NOATIME),
    (1 << 11, MS_NODIRATIME),
    (1 << 12, MS_RELATIME),
    (1 << 13, MS_NOSYMFOLLOW),
];

/// Makes later mounts invisible outside and outside ones invisible here.
pub(crate) fn private_mounts() -> Result<()> {
    sys::mount(None, c"/".as_ptr().cast(), None, MS_REC | MS_PRIVATE, None)
}

/// Mounts the new root over `/`.
pub(crate) fn new_root(script: &Script<'_>, size: Text, state: &mut State<'_>) -> Result<()> {
    let mut options = Line::new();
    options.bytes(b"mode=0755,size=");
    options.bytes(script.word(size));
    let (kind, root) = (c"tmpfs".as_ptr().cast(), c"/".as_ptr().cast());
    let flags = MS_NOSUID | MS_NODEV;
    sys::mount(Some(kind), root, Some(kind), flags, Some(options.text()?))?;
    state.stack_root(uppermost()?);
    Ok(())
}

/// Puts a tree, as it stands at an open place, at `target`.
pub(crate) fn bind(
    script: &Script<'_>,
    place: i32,
    target: Text,
    attributes: u64,
    state: &mut State<'_>,
) -> Result<()> {
    let mut line = Line::new();
    let source = line.name(place)?;
    mount_at(script, target, state, |target| {
        sys::mount(Some(source), target, None, MS_BIND | MS_REC, None)
    })?;
    restrict(script, target, attributes, state)
}

/// Mounts a new file system with options as text.
pub(crate) fn mount(
    script: &Script<'_>,
    kind: *const u8,
    options: &Line,
    target: Text,
    attributes: u64,
    state: &mut State<'_>,
) -> Result<()> {
    let options = options.text()?;
    mount_at(script, target, state, |target| {
        sys::mount(Some(kind), target, Some(kind), attributes, Some(options))
    })
}

/// Restricts what is mounted at `target`, and nothing below it; the root where the text is empty.
pub(crate) fn restrict(
    script: &Script<'_>,
    target: Text,
    attributes: u64,
    state: &State<'_>,
) -> Result<()> {
    if script.is_empty(target) {
        return restrict_at(state.root, attributes);
    }
    let place = sys::open_path(state.root, script.at(target), true)?;
    let restricted = restrict_at(place, attributes);
    sys::close(place);
    restricted
}

/// What is mounted keeps the restrictions that it has: a user namespace may not take them away, and shouldn't.
fn restrict_at(place: i32, attributes: u64) -> Result<()> {
    let has = sys::mount_flags(place)?;
    let kept =
        FLAGS.iter().filter(|(told, _)| has & told != 0).fold(0, |all, (_, flag)| all | flag);
    let mut line = Line::new();
    sys::mount(None, line.name(place)?, None, MS_REMOUNT | MS_BIND | attributes | kept, None)
}

fn mount_at(
    script: &Script<'_>,
    target: Text,
    state: &mut State<'_>,
    mount: impl FnOnce(*const u8) -> Result<()>,
) -> Result<()> {
    if script.is_empty(target) {
        let mut line = Line::new();
        mount(line.name(state.root)?)?;
        state.root = uppermost()?;
        state.stacked = state.stacked.wrapping_add(1);
        return Ok(());
    }
    let place = sys::open_path(state.root, script.at(target), true)?;
    let mut line = Line::new();
    let mounted = line.name(place).and_then(mount);
    sys::close(place);
    mounted
}

/// What is mounted on top of everything at `/`. The root itself is what was there before; `..` of it leads to the same place,
/// and to what is mounted there now.
fn uppermost() -> Result<i32> {
    sys::open(c"/..".as_ptr().cast(), libc::O_PATH | libc::O_DIRECTORY)
}
