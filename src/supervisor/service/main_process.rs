//! The main process of a service whose program leaves its work to another one: found by its `pid_file`, or as the only one left.
//!
//! Here is only what is proposed: the sandbox's first process takes nobody but a process that the program left behind.

use super::Actor;
use crate::platform::{BoxFuture, LaunchPlan, MainProcess};
use crate::sandbox::{Inside, Sandbox};
use crate::supervisor::lifecycle::{Event, Happening, State};
use crate::supervisor::probe::Purpose;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// No number of a process is longer, with what stands around it.
const LONGEST: usize = 64;

/// The search of one run.
#[derive(Debug)]
pub(super) struct Search {
    state: watch::Receiver<MainProcess>,
    look: Option<Look>,
}

struct Look(BoxFuture<'static, Result<Option<u32>, String>>);

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
}

/// What the search comes to.
#[derive(Debug)]
pub(super) enum Sought {
    /// Another process is the main one now, or nobody knows which.
    Changed(MainProcess),
    /// A look found this number; none where none is written anywhere.
    Found(Result<Option<u32>, String>),
}

impl Search {
    pub(super) fn of(run: &Sandbox) -> Self {
        let mut state = run.main();
        // What was said before, to another supervisor too, is news here.
        state.mark_changed();
        Self { state, look: None }
    }

    /// Dropping the future loses nothing.
    async fn next(&mut self) -> Sought {
        let looked = async {
            match &mut self.look {
                Some(look) => (&mut look.0).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.state.changed() => match changed {
                Ok(()) => {
                    self.look = None;
                    Sought::Changed(*self.state.borrow_and_update())
                }
                // Nothing more comes of it.
                Err(_) => std::future::pending().await,
            },
            found = looked => {
                self.look = None;
                Sought::Found(found)
            }
        }
    }
}

/// What comes of the search; never where none is on.
pub(super) async fn sought(search: &mut Option<Search>) -> Sought {
    match search {
        Some(search) => search.next().await,
        None => std::future::pending().await,
    }
}

/// The number that a file of one says.
async fn read(inside: Inside, path: PathBuf) -> Result<Option<u32>, String> {
    let shown = LaunchPlan::readable(&path);
    let text = inside.read(path, LONGEST).await;
    let text = text.map_err(|error| format!("failed to read `{shown}`: {error}"))?;
    number(&text).map(Some).ok_or_else(|| format!("no process is named in `{shown}`"))
}

fn number(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && *number > 1)
}

impl Actor {
    /// Looks for it, at once or after a while.
    fn look_for_main(&mut self, pause: Duration) {
        let Some(inside) = self.run.as_ref().map(Sandbox::inside) else { return };
        let path: Option<PathBuf> = self.launch.pid_file.as_deref().map(Path::to_owned);
        let look = async move {
            sleep(pause).await;
            match path {
                Some(path) => read(inside, path).await,
                None => Ok(None),
            }
        };
        if let Some(search) = &mut self.search {
            search.look = Some(Look(Box::pin(look)));
        }
    }

    pub(super) async fn take_sought(&mut self, sought: Sought) {
        match sought {
            Sought::Changed(MainProcess::Unknown) => self.look_for_main(Duration::ZERO),
            Sought::Changed(MainProcess::Refused(pid)) => {
                self.tell_error(format!(
                    "process {pid} can't be its main one: its program didn't leave it behind"
                ));
                self.look_for_main(PAUSE);
            }
            // The one before it heard the request to end, and has followed it.
            Sought::Changed(MainProcess::Other(_)) if self.life.state() == State::Stopping => {
                self.ask_to_end();
            }
            Sought::Changed(MainProcess::Other(_)) => {
                let probed = self.launch.looks.iter().any(|it| it.purpose == Purpose::Startup);
                if self.rules.forks && !probed && self.life.state() == State::Starting {
                    let started = Event::Of(self.life.generation(), Happening::Ready);
                    self.take_in(started).await;
                }
            }
            Sought::Changed(_) => {}
            Sought::Found(found) => self.propose_main(found),
        }
    }

    fn propose_main(&mut self, found: Result<Option<u32>, String>) {
        let Some(run) = &self.run else { return };
        let proposed = match found {
            Ok(Some(pid)) => run.name_main(pid),
            // Where more than one is left, all but one may end.
            Ok(None) => match run.guess_main() {
                Ok(true) => Ok(()),
                Ok(false) => return self.look_for_main(PAUSE),
                Err(error) => Err(error),
            },
            Err(why) => {
                self.tell_error(why);
                return self.look_for_main(PAUSE);
            }
        };
        if let Err(error) = proposed {
            self.failed(&error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_one_process_or_none() {
        assert_eq!(number(b"17\n"), Some(17));
        assert_eq!(number(b" 17 "), Some(17));
        for wrong in ["", "\n", "1", "0", "-5", "+5", "17 18", "0x11", "99999999999", "1.5"] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(number(b"\xff"), None);
    }
}
