//! The sandbox's first process: builds the walls, starts the program, reaps, and tells how it ended.

use crate::interpret::{self, State};
use crate::listener::{self, Slot};
use crate::{Message, Op, Phase, Script, second, sys};

/// Exit code of a process that failed before it became the program.
pub(crate) const FAILED: i32 = 125;

/// What the cloned child does, to its end.
///
/// Waits for [`Message::Go`], carries out [`Script::setup`], then becomes the program, or starts it and stays as init.
/// Every failure is told over the control socket. When the other end of that socket is gone, everything ends: an init's
/// end is the end of every process of its namespace (pid_namespaces(7)).
pub fn run(script: &Script<'_>) -> ! {
    sys::close(script.peer);
    if sys::receive(script.control) != Some(Message::Go) {
        sys::exit(FAILED);
    }
    let clocks = script.setup.iter().any(|op| matches!(op, Op::ClockOffsets(_)));
    let own = Slot::new();
    // With new clock offsets the program's process has memory of its own.
    let slot = match sys::shared(clocks) {
        Ok(shared) => shared.unwrap_or(&own),
        Err(errno) => fail(script, Phase::Init, 1, errno),
    };
    let mut state = State::new(slot);
    // Of what this process opened or made, nothing is for others to look into; readable again after exec.
    if let Err(errno) =
        sys::set_signal_mask(true).and_then(|()| sys::prctl(libc::PR_SET_DUMPABLE, 0, 0))
    {
        fail(script, Phase::Init, 0, errno);
    }
    if let Err((index, errno)) = interpret::all(script, script.setup, &mut state) {
        fail(script, Phase::Setup, index, errno);
    }
    if !script.init {
        become_program(script, state);
    }
    // While the launch can still fail: from the program's first step on, only what can't fail is left to do.
    let signals = match sys::child_signals() {
        Ok(signals) => signals,
        Err(errno) => fail(script, Phase::Init, 3, errno),
    };
    let become_it: fn(&(&Script<'_>, State<'_>)) -> ! =
        |(script, state)| become_program(script, *state);
    match second::until_exec(become_it, &(script, state), clocks) {
        Ok(program) => stay(script, program, signals, slot, state.sockets),
        Err(errno) => fail(script, Phase::Init, 1, errno),
    }
}

pub(crate) fn fail(script: &Script<'_>, phase: Phase, index: i32, errno: i32) -> ! {
    sys::send(script.control, Message::Failed { phase, index, errno });
    sys::exit(FAILED);
}

/// The program's own steps, then `execve` of the first candidate that can be executed.
pub(crate) fn become_program(script: &Script<'_>, mut state: State<'_>) -> ! {
    sys::reset_signal_actions();
    if let Err((index, errno)) = interpret::all(script, script.program, &mut state) {
        fail(script, Phase::Program, index, errno);
    }
    if let Err(errno) = sys::set_signal_mask(false) {
        fail(script, Phase::Init, 2, errno);
    }
    // As execvp(3): a candidate that doesn't exist is passed over; one that can't be executed is remembered.
    let (mut failure, mut index) = ((0, libc::ENOENT), 0);
    for candidate in script.candidates {
        let errno = sys::execute(script.at(*candidate), script.argv, script.envp);
        match errno {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => failure = (index, errno),
            _ => fail(script, Phase::Exec, index, errno),
        }
        index = index.wrapping_add(1);
    }
    fail(script, Phase::Exec, failure.0, failure.1);
}

/// Pid 1 for the rest of the sandbox's life.
///
/// It holds no capability but those of the script, no stream of the program's (a reader must see the end of a pipe when the program closes it),
/// and can't be signalled from inside.
fn stay(script: &Script<'_>, program: i32, signals: i32, slot: &Slot, mut sockets: i32) -> ! {
    if let Err(errno) = listener::hand_over(script.control, slot) {
        fail(script, Phase::Init, 5, errno);
    }
    // The program's own steps make the same calls, so where a filter around us forbids one, it has never run.
    if let Err(errno) = lock_down([script.control, signals, sockets], script.init_rights) {
        fail(script, Phase::Init, 4, errno);
    }
    // A program that failed before exec told so itself, before this.
    sys::send(script.control, Message::Started(program));
    loop {
        reap_all(script, program);
        let [from_starter, children, asked] = sys::wait_for([script.control, signals, sockets]);
        if children {
            sys::drain(signals);
        }
        if asked && !give_socket(sockets) {
            sys::close(sockets);
            sockets = -1;
        }
        if from_starter {
            match sys::receive(script.control) {
                Some(Message::Signal(signal)) => sys::kill(program, signal),
                Some(Message::Continue) => sys::kill(program.wrapping_neg(), libc::SIGCONT),
                // The starter is gone, so nobody waits for the program any more.
                _ => sys::exit(FAILED),
            }
        }
    }
}

/// Answers who asks for a socket; whether more may come. Nothing here needs a right that init gave up: a socket belongs to
/// the network of whoever makes it, and leads nowhere that the program's own don't.
fn give_socket(sockets: i32) -> bool {
    if sys::receive(sockets) != Some(Message::Socket) {
        return false;
    }
    let given = sys::sockets::stream()
        .and_then(|socket| interpret::hand_out(sockets, Message::Socket, socket));
    if let Err(errno) = given {
        sys::send(sockets, Message::Failed { phase: Phase::Init, index: 5, errno });
    }
    true
}

/// Closes all but these descriptors, of which negative ones are none, and gives every right but these away.
fn lock_down([a, b, c]: [i32; 3], rights: u64) -> sys::Result<()> {
    let (low, high) = (a.min(b), a.max(b));
    let kept = [low.min(c), low.max(c.min(high)), high.max(c)];
    let mut first = 0;
    for kept in kept {
        let Ok(kept) = u32::try_from(kept) else { continue };
        if first < kept {
            sys::close_range(first, kept.wrapping_sub(1), false)?;
        }
        first = kept.wrapping_add(1);
    }
    sys::close_range(first, u32::MAX, false)?;
    sys::set_capabilities(rights)?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

fn reap_all(script: &Script<'_>, program: i32) {
    while let Some((pid, status)) = sys::reap() {
        let stopped = status & 0xff == 0x7f;
        if pid == program && stopped {
            sys::send(script.control, Message::Stopped((status >> 8) & 0xff));
        } else if pid == program {
            sys::send(script.control, Message::Exited(status));
            sys::exit(0);
        }
    }
}
