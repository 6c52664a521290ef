//! What the sandbox's first process and its starter say to each other over the control socket, and over
//! the one for sockets.
//!
//! Both ends are the same build, so a message is four native integers and needs no version.

/// Which list of operations a failure belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Neither list: a step of the init itself, by its number.
    Init,
    /// The first process's list.
    Setup,
    /// The program's list.
    Program,
    /// The final `execve`; the index is the number of the candidate path.
    Exec,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// From the starter: identity maps are written, go.
    Go,
    /// From the starter: send this signal to the program.
    Signal(i32),
    /// From the starter: continue the program's foreground group after a stop.
    Continue,
    /// An operation failed with this errno; nothing of the sandbox goes on.
    Failed {
        /// Which list.
        phase: Phase,
        /// Place in the list.
        index: i32,
        /// The errno.
        errno: i32,
    },
    /// The program's `execve` succeeded; its process, as this one counts.
    Started(i32),
    /// The program ended with this wait status.
    Exited(i32),
    /// The program was stopped by this signal.
    Stopped(i32),
    /// A descriptor comes along: the controlling side of the program's terminal.
    Terminal,
    /// A descriptor comes along: a listening socket of the sandbox's network.
    Proxy,
    /// A descriptor comes along: where [`Self::Socket`] can be asked for.
    Sockets,
    /// From the starter: make a TCP socket in the sandbox's network. The answer is the same, with the socket.
    Socket,
    /// A descriptor comes along: where denied system calls are told, and wait for their answer.
    Listener,
    /// Denied system calls are answered by the kernel, since it gave no such descriptor for this reason.
    Untold(i32),
    /// Everything is mounted, by [`crate::Script::classic`]: go on only with another [`Self::Go`].
    Mounted,
    /// From a next starter, who has just connected: the token that shows it to be one.
    Attend([i32; 3]),
    /// The answer to that, from the first process itself. At [`Self::Go`] it hands over what it keeps, and [`Self::Started`]
    /// is the last of it.
    Here,
    /// A descriptor comes along: one that was given before the clone, by its place in [`Lasting::handed`](crate::Lasting::handed).
    Kept(i32),
    /// From the starter: the end of the program is taken note of, so nothing keeps the first process any more.
    Noted,
    /// From the starter: this process, as the first one counts, comes after the program. From there: it does.
    Main(i32),
    /// From the starter: the same, where nothing names it: if it ends with success and leaves others, it wasn't it.
    Guess(i32),
    /// From the first process: no child of its own has this number, so it can't be what comes after the program.
    NotMain(i32),
    /// From the first process: the program has ended with success and left others, by [`crate::Script::forks`].
    Left,
}

impl Message {
    /// Length of an encoded message in bytes.
    pub const LEN: usize = 16;

    /// As it travels.
    #[must_use]
    pub const fn encode(self) -> [i32; 4] {
        match self {
            Self::Go => [1, 0, 0, 0],
            Self::Signal(number) => [2, number, 0, 0],
            Self::Continue => [3, 0, 0, 0],
            Self::Failed { phase, index, errno } => [4, phase as i32, index, errno],
            Self::Started(pid) => [5, pid, 0, 0],
            Self::Exited(status) => [6, status, 0, 0],
            Self::Stopped(signal) => [7, signal, 0, 0],
            Self::Terminal => [8, 0, 0, 0],
            Self::Listener => [9, 0, 0, 0],
            Self::Sockets => [10, 0, 0, 0],
            Self::Socket => [11, 0, 0, 0],
            Self::Untold(errno) => [12, errno, 0, 0],
            Self::Proxy => [13, 0, 0, 0],
            Self::Mounted => [18, 0, 0, 0],
            Self::Attend([a, b, c]) => [14, a, b, c],
            Self::Here => [15, 0, 0, 0],
            Self::Kept(place) => [16, place, 0, 0],
            Self::Noted => [17, 0, 0, 0],
            Self::Main(pid) => [19, pid, 0, 0],
            Self::Guess(pid) => [20, pid, 0, 0],
            Self::NotMain(pid) => [21, pid, 0, 0],
            Self::Left => [22, 0, 0, 0],
        }
    }

    /// Back from how it travels; `None` for anything that [`Self::encode`] doesn't make.
    #[must_use]
    pub const fn decode(words: [i32; 4]) -> Option<Self> {
        let [kind, a, index, errno] = words;
        Some(match kind {
            1 => Self::Go,
            2 => Self::Signal(a),
            3 => Self::Continue,
            4 => {
                let phase = match a {
                    0 => Phase::Init,
                    1 => Phase::Setup,
                    2 => Phase::Program,
                    3 => Phase::Exec,
                    _ => return None,
                };
                Self::Failed { phase, index, errno }
            }
            5 => Self::Started(a),
            6 => Self::Exited(a),
            7 => Self::Stopped(a),
            8 => Self::Terminal,
            9 => Self::Listener,
            10 => Self::Sockets,
            11 => Self::Socket,
            12 => Self::Untold(a),
            13 => Self::Proxy,
            18 => Self::Mounted,
            14 => Self::Attend([a, index, errno]),
            15 => Self::Here,
            16 => Self::Kept(a),
            17 => Self::Noted,
            19 => Self::Main(a),
            20 => Self::Guess(a),
            21 => Self::NotMain(a),
            22 => Self::Left,
            _ => return None,
        })
    }
}
