//! A process that enters a sandbox which runs already, and starts a program there behind the same walls.

use crate::init::{FAILED, become_program, fail};
use crate::interpret::{self, State};
use crate::listener::Slot;
use crate::{Message, Phase, Script, second, sys};

/// What the cloned child does, to its end.
///
/// Waits for [`Message::Go`], carries out [`Script::setup`], which enters the namespaces, and starts the program as a child of the
/// starter's own: only children enter a namespace of process ids (pid_namespaces(7)), and so nobody has to stay between the two.
/// The program's process comes along with [`Message::Started`], also where it failed, so that the starter can reap it.
pub fn enter(script: &Script<'_>) -> ! {
    sys::close(script.peer);
    if sys::receive(script.control) != Some(Message::Go) {
        sys::exit(FAILED);
    }
    let slot = Slot::new();
    let mut state = State::new(&slot);
    // Nobody inside may look into what this process got from outside.
    if let Err(errno) =
        sys::set_signal_mask(true).and_then(|()| sys::prctl(libc::PR_SET_DUMPABLE, 0, 0))
    {
        fail(script, Phase::Init, 0, errno);
    }
    if let Err((index, errno)) = interpret::all(script, script.setup, &mut state) {
        fail(script, Phase::Setup, index, errno);
    }
    let become_it: fn(&(&Script<'_>, State<'_>)) -> ! =
        |(script, state)| become_program(script, *state);
    match second::beside_until_exec(become_it, &(script, state)) {
        Ok((pid, pidfd)) => {
            let told = sys::send_descriptor(script.control, Message::Started(pid), pidfd);
            sys::exit(if told.is_ok() { 0 } else { FAILED });
        }
        Err(errno) => fail(script, Phase::Init, 1, errno),
    }
}
