//! The sandbox's first process: builds the walls, starts the program, reaps, and tells how it ended.

use crate::interpret::{self, State};
use crate::lasting::Keeping;
use crate::listener::{self, Slot};
use crate::main_process::Main;
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
    // What it does at the program's end, to all but itself, must reach nobody else.
    // And only there it inherits what the program leaves behind.
    let must_be_first = script.lasting.is_some() || script.forks;
    if must_be_first && (sys::process_id() != 1 || !script.init) {
        fail(script, Phase::Init, 6, libc::EINVAL);
    }
    if let Err((index, errno)) = interpret::all(script, script.setup, &mut state) {
        fail(script, Phase::Setup, index, errno);
    }
    // What isn't mounted as it should be is seen from outside, while nothing runs yet.
    if script.classic {
        sys::send(script.control, Message::Mounted);
        if sys::receive(script.control) != Some(Message::Go) {
            sys::exit(FAILED);
        }
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
        Ok(program) => stay(script, program, signals, slot, &state),
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
fn stay(script: &Script<'_>, program: i32, signals: i32, slot: &Slot, state: &State<'_>) -> ! {
    let keeping = Keeping::new(script, state, slot);
    let (mut starter, mut sockets) = (script.control, state.sockets);
    let door = script.lasting.map_or(-1, |lasting| lasting.door);
    match listener::hand_over(script.control, slot) {
        // The program runs by now. A next starter takes it over, and the listener with it.
        Err(libc::EPIPE | libc::ECONNRESET) if keeping.is_some() => {}
        Ok(()) => {}
        Err(errno) => fail(script, Phase::Init, 5, errno),
    }
    // The program's own steps make the same calls, so where a filter around us forbids one, it has never run.
    let own = [starter, signals, sockets, door];
    let others = keeping.as_ref().map_or([&[][..]; 4], Keeping::descriptors);
    if let Err(errno) = lock_down(&own, others, script.init_rights) {
        fail(script, Phase::Init, 4, errno);
    }
    // A program that failed before exec told so itself, before this.
    sys::send(script.control, Message::Started(program));
    let (mut main, mut ended) = (Main::new(program, script.forks), None);
    loop {
        if let Some(status) = reap_all(starter, &mut main, keeping.is_some()) {
            sys::send(starter, Message::Exited(status));
            match &keeping {
                Some(keeping) => keeping.end_others(),
                None => sys::exit(0),
            }
            ended = Some(status);
        }
        let [from_starter, children, asked, visited] =
            sys::wait_for([starter, signals, sockets, if starter < 0 { door } else { -1 }]);
        if children {
            sys::drain(signals);
        }
        if asked && !give_socket(sockets) {
            sys::close(sockets);
            sockets = -1;
        }
        if from_starter {
            match (sys::receive(starter), &keeping) {
                (Some(Message::Signal(signal)), _) => main.signal(signal),
                (Some(Message::Continue), _) => main.resume(),
                (Some(Message::Main(pid)), _) => tell(starter, main.name(pid, false)),
                (Some(Message::Guess(pid)), _) => tell(starter, main.name(pid, true)),
                (Some(Message::Go), Some(keeping)) => keeping.hand_over(starter, &main, ended),
                (Some(Message::Noted), Some(_)) if ended.is_some() => sys::exit(0),
                // The starter is gone. So everything is, unless a next one may come.
                (_, Some(_)) => {
                    sys::close(starter);
                    starter = -1;
                }
                (_, None) => sys::exit(FAILED),
            }
        }
        if visited && let Some(keeping) = &keeping {
            starter = keeping.admit();
        }
    }
}

fn tell(starter: i32, answer: Option<Message>) {
    if let Some(answer) = answer {
        sys::send(starter, answer);
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
fn lock_down(own: &[i32], others: [&[i32]; 4], rights: u64) -> sys::Result<()> {
    let lowest_from = |first: u32| {
        let all = others.iter().flat_map(|list| list.iter()).chain(own);
        all.filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= first).min()
    };
    let mut first = 0;
    while let Some(kept) = lowest_from(first) {
        if first < kept {
            sys::close_range(first, kept.wrapping_sub(1), false)?;
        }
        first = kept.wrapping_add(1);
    }
    sys::close_range(first, u32::MAX, false)?;
    sys::set_capabilities(rights)?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// Reaps whoever has ended; the wait status of the main process, when it has and nobody comes after it.
fn reap_all(starter: i32, main: &mut Main, lasting: bool) -> Option<i32> {
    let (mut ended, mut last) = (None, 0);
    while let Some((pid, status)) = sys::reap() {
        if !main.is(pid) {
            last = status;
            continue;
        }
        if status & 0xff == 0x7f {
            // Where nobody may be there to hear, nobody has a terminal either.
            if !lasting {
                sys::send(starter, Message::Stopped((status >> 8) & 0xff));
            }
            continue;
        }
        match main.end(status) {
            Message::Exited(status) => {
                ended = Some(status);
                // Whoever is left goes with this process.
                if !lasting {
                    return ended;
                }
            }
            goes_on => sys::send(starter, goes_on),
        }
    }
    // What was left behind has ended too, and nobody knew which of it was the main process: the last of it was.
    if main.is_lost() {
        ended = Some(last);
    }
    ended
}
