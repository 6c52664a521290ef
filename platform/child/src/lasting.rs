//! What the first process does where it outlives its starter: it keeps what a next starter needs, and lets that in.
//!
//! A next starter connects to a socket that was made before the clone, and shows that it is one by a token that only the
//! state of a supervisor holds: programs of the same user, in a sandbox that shows the directory, must not get hold of the
//! listener of denied calls. One starter at a time: whoever comes while another is there waits.

use crate::interpret::State;
use crate::listener::Slot;
use crate::main_process::Main;
use crate::{Message, Script, sys};

/// How long somebody who connects may take to show the token, in milliseconds: nobody is reaped meanwhile.
const PATIENCE: i32 = 1000;

/// What is kept beside what the script names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping<'a> {
    script: &'a Script<'a>,
    /// The proxy's listening socket, and where sockets can be asked for.
    handed_out: [i32; 2],
    listener: i32,
}

impl<'a> Keeping<'a> {
    /// Nothing of it where the starter takes the sandbox along.
    pub(crate) fn new(script: &'a Script<'a>, state: &State<'_>, slot: &Slot) -> Option<Self> {
        script.lasting?;
        Some(Self { script, handed_out: state.handed_out, listener: slot.listener() })
    }

    /// Everything that must stay open, in lists.
    pub(crate) fn descriptors(&self) -> [&[i32]; 4] {
        let (handed, held) = self
            .script
            .lasting
            .map_or((&[][..], &[][..]), |lasting| (lasting.handed, lasting.held));
        [handed, held, &self.handed_out, core::slice::from_ref(&self.listener)]
    }

    /// Lets one in who knows the token; the connection, or something negative.
    pub(crate) fn admit(&self) -> i32 {
        let Some(lasting) = self.script.lasting else { return -1 };
        let Ok(visitor) = sys::sockets::accept(lasting.door) else { return -1 };
        // Whoever has a number here is inside.
        if sys::sockets::peer(visitor) == Ok(0)
            && sys::is_ready_within(visitor, PATIENCE)
            && sys::receive(visitor) == Some(Message::Attend(lasting.token))
        {
            sys::send(visitor, Message::Here);
            return visitor;
        }
        sys::close(visitor);
        -1
    }

    /// Hands everything over, and tells which the main process is, or how that ended if it has. Whoever doesn't take it is gone.
    pub(crate) fn hand_over(&self, starter: i32, main: &Main, ended: Option<i32>) {
        let give = |message, fd: i32| {
            if fd >= 0 {
                // The other end is gone, which the next look at it shows.
                let _sent = sys::send_descriptor(starter, message, fd);
            }
        };
        let [proxy, sockets] = self.handed_out;
        give(Message::Proxy, proxy);
        give(Message::Sockets, sockets);
        give(Message::Listener, self.listener);
        let mut place = 0i32;
        for fd in self.script.lasting.map_or(&[][..], |lasting| lasting.handed) {
            give(Message::Kept(place), *fd);
            place = place.wrapping_add(1);
        }
        sys::send(starter, Message::Started(main.pid()));
        if let Some(status) = ended {
            sys::send(starter, Message::Exited(status));
        } else if main.is_unknown() {
            sys::send(starter, Message::Left);
        }
    }

    /// Ends all that the program left, as the end of this process would, which comes later.
    pub(crate) fn end_others(&self) {
        // All of its namespace, whose first process this one is: `run` has looked.
        sys::kill(-1, libc::SIGKILL);
    }
}
