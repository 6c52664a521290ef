//! The three standard streams: the program's ends for the child, the caller's ends for the caller.

use super::script::OwnedScript;
use crate::{InputPipe, OutputPipe, PlatformError, Stdio, StdioSet};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::io::{PipeReader, PipeWriter, pipe};
use stockade_child::Op;

/// Both ends of what was opened.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// The program's end of each stream; `None` inherits.
    theirs: [Option<OwnedFd>; 3],
    /// What it has from 3 on; each stands above all of those numbers here.
    passed: Vec<OwnedFd>,
    /// What isn't the program's, but the next starter's.
    kept: Vec<Option<OwnedFd>>,
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
}

/// The caller's ends, asynchronous.
type Pipes = (Option<InputPipe>, Option<OutputPipe>, Option<OutputPipe>);

impl Streams {
    /// Opens what is asked for. Every descriptor is close-on-exec and above 2.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub(crate) fn open(stdio: StdioSet) -> Result<Self, PlatformError> {
        let failed = |error| PlatformError::system("failed to open a standard stream", error);
        let mut streams = Self::default();
        streams.theirs[0] = match stdio.stdin {
            Stdio::Piped => {
                let (reader, writer) = pipe().map_err(failed)?;
                streams.stdin = Some(writer);
                Some(reader.into())
            }
            other => plain(other, false).map_err(failed)?,
        };
        for (stream, stdio) in [(1, stdio.stdout), (2, stdio.stderr)] {
            streams.theirs[stream] = match stdio {
                Stdio::Piped => {
                    let (reader, writer) = pipe().map_err(failed)?;
                    *(if stream == 1 { &mut streams.stdout } else { &mut streams.stderr }) =
                        Some(reader);
                    Some(writer.into())
                }
                other => plain(other, true).map_err(failed)?,
            };
        }
        let first = i32::try_from(stdio.passed.len()).map_or(i32::MAX, |count| count + 3);
        streams.kept = stdio.kept.into_iter().map(|file| file.map(Into::into)).collect();
        for file in stdio.passed {
            let fd = rustix::io::fcntl_dupfd_cloexec(&file, first);
            streams.passed.push(fd.map_err(|error| failed(error.into()))?);
        }
        streams.check()?;
        Ok(streams)
    }

    /// A directory as a standard stream would be a way out: paths relative to it start outside of the view.
    fn check(&self) -> Result<(), PlatformError> {
        let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let own = [input.as_fd(), output.as_fd(), error.as_fd()];
        let names = ["standard input", "standard output", "standard error"];
        for file in &self.passed {
            let failed = |error| PlatformError::system("failed to look at a descriptor", error);
            if !crate::is_harmless(file).map_err(failed)? {
                let message = "a descriptor to pass on is a directory, or a place without contents";
                return Err(PlatformError::invalid(message));
            }
        }
        for ((theirs, own), name) in self.theirs.iter().zip(own).zip(names) {
            let fd = theirs.as_ref().map_or(own, AsFd::as_fd);
            let failed =
                |error: Errno| PlatformError::system(format!("failed to look at {name}"), error);
            let stat = rustix::fs::fstat(fd).map_err(failed)?;
            let flags = rustix::fs::fcntl_getfl(fd).map_err(failed)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                || flags.contains(OFlags::PATH)
            {
                let message = format!(
                    "{name} is a directory, or a place without contents: a way out of the sandbox"
                );
                return Err(PlatformError::invalid(message)
                    .with_hint("redirect it to a file, or to `/dev/null`"));
            }
        }
        Ok(())
    }

    /// Adds the steps that put the program's ends in place. A terminal has put itself there already.
    pub(crate) fn add_to(&self, script: &mut OwnedScript, terminal: bool) {
        let streams = (0..).zip(&self.theirs).filter(|_| !terminal);
        let streams = streams.filter_map(|(to, fd)| Some((fd.as_ref()?, to)));
        let moved = streams
            .chain(self.passed.iter().zip(3..))
            .map(|(fd, to)| Op::Stdio { from: fd.as_raw_fd(), to });
        // Right after the session: before anything that may close or forbid.
        script.program.splice(1..1, moved.collect::<Vec<_>>());
        script.pass(u32::try_from(self.passed.len()).unwrap_or(0));
    }

    /// The ends where the program's output can be read, where there are any.
    pub(crate) fn read_ends(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [&self.stdout, &self.stderr].map(|end| end.as_ref().map(AsFd::as_fd))
    }

    /// What a next starter is to get, by its places.
    pub(crate) fn kept(&self) -> impl Iterator<Item = Option<BorrowedFd<'_>>> {
        self.kept.iter().map(|file| file.as_ref().map(AsFd::as_fd))
    }

    /// The lowest number that is none of the program's: the first process's own descriptors stand above, since the two share them
    /// until the program is executed.
    pub(crate) fn lowest(&self) -> i32 {
        i32::try_from(self.passed.len()).map_or(i32::MAX, |count| count + 3)
    }

    /// Closes the program's ends here, so that the last writer inside is the last writer.
    pub(crate) fn close_theirs(&mut self) {
        self.theirs = Default::default();
        self.passed.clear();
        self.kept.clear();
    }

    /// The caller's ends.
    ///
    /// # Errors
    /// When they can't be registered with the running tokio runtime.
    pub(crate) fn into_pipes(self) -> Result<Pipes, PlatformError> {
        let failed = |error| PlatformError::system("failed to watch a standard stream", error);
        Ok((
            self.stdin.map(InputPipe::new).transpose().map_err(failed)?,
            self.stdout.map(OutputPipe::new).transpose().map_err(failed)?,
            self.stderr.map(OutputPipe::new).transpose().map_err(failed)?,
        ))
    }
}

fn plain(stdio: Stdio, writing: bool) -> std::io::Result<Option<OwnedFd>> {
    let file = match stdio {
        Stdio::Inherit | Stdio::Piped => return Ok(None),
        Stdio::Null => {
            std::fs::OpenOptions::new().read(!writing).write(writing).open("/dev/null")?
        }
        Stdio::File(file) => file,
    };
    // A caller may have had 0, 1 or 2 closed: then the new descriptor would stand where another stream goes.
    Ok(Some(rustix::io::fcntl_dupfd_cloexec(&file, 3)?))
}
