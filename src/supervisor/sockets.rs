//! Sockets that are bound for a program before it runs, and stay so between its runs (sd_listen_fds(3)).

use crate::error::Error;
use crate::platform::{Listen, Listening, OwnedFile, something_comes};
use std::fs::File;
use std::io;

/// A socket of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceSocket {
    /// By which the program knows it: one of `LISTEN_FDNAMES`.
    pub name: String,
    /// Where it listens.
    pub listen: Listen,
}

impl ServiceSocket {
    /// A socket by its name.
    pub fn new(name: impl Into<String>, listen: Listen) -> Self {
        Self { name: name.into(), listen }
    }
}

/// The sockets of one service, as far as they are bound.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    bound: Vec<(ServiceSocket, Listening)>,
}

impl Sockets {
    /// Binds what is wanted and isn't bound, and lets go of what isn't wanted.
    ///
    /// # Errors
    /// When one can't be bound; the others are.
    pub(super) fn bind(&mut self, wanted: &[ServiceSocket]) -> Result<(), Error> {
        let unwanted = self.bound.extract_if(.., |(socket, _)| !wanted.contains(socket));
        unwanted.for_each(|(_, listening)| listening.close());
        for socket in wanted {
            if self.bound.iter().any(|(bound, _)| bound == socket) {
                continue;
            }
            let listening = Listening::open(&socket.listen).map_err(|error| {
                Error::io(format!("failed to listen on `{}`", socket.listen.address), error)
            })?;
            self.bound.push((socket.clone(), listening));
        }
        // In the order in which the stack names them, which is that of the descriptors.
        self.bound.sort_by_key(|(socket, _)| wanted.iter().position(|it| it == socket));
        Ok(())
    }

    /// Copies for a next supervisor, each by what it is.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub(super) fn kept(&self) -> io::Result<Vec<(String, File)>> {
        let copy = |(socket, listening): &(ServiceSocket, Listening)| {
            Ok((key(socket), listening.handed()?))
        };
        self.bound.iter().map(copy).collect()
    }

    /// Has those that a supervisor before kept, as far as they are still wanted as they were.
    pub(super) fn again(&mut self, wanted: &[ServiceSocket], kept: Vec<(String, OwnedFile)>) {
        for (found, file) in kept {
            let socket = wanted.iter().find(|socket| key(socket) == found);
            if let Some(socket) = socket.filter(|it| self.bound.iter().all(|(has, _)| has != *it)) {
                self.bound.push((socket.clone(), Listening::again(&socket.listen, file)));
            }
        }
    }

    /// Copies for a run.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub(super) fn handed(&self) -> Result<Vec<(String, File)>, Error> {
        let copy = |(socket, listening): &(ServiceSocket, Listening)| {
            Ok((socket.name.clone(), listening.handed()?))
        };
        let copies = self.bound.iter().map(copy).collect::<std::io::Result<_>>();
        copies.map_err(|error| Error::io("failed to pass sockets on", error))
    }

    /// Returns when somebody wants something of the program; at once where nobody could be heard.
    pub(super) async fn wanted(files: Vec<File>) {
        if !files.is_empty() {
            // What can't be watched is as good as wanted: the program is started.
            something_comes(files).await.unwrap_or(());
        }
    }

    /// Lets go of all of them: whoever connects is refused from now on.
    pub(super) fn close(&mut self) {
        self.bound.drain(..).for_each(|(_, listening)| listening.close());
    }
}

/// What a socket is, as one supervisor says it to the next: two that differ in anything aren't the same.
fn key(socket: &ServiceSocket) -> String {
    format!("{} {:?}", socket.name, socket.listen)
}
