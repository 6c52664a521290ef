//! A program that somebody has started inside of a sandbox: as long as they stay, and not longer.

use super::server::Visitor;
use super::{Reply, Request, Response};
use crate::error::Error;
use crate::platform::{Execution, HowEnded, Signal, receive_streams};

impl Visitor {
    /// Starts a program for this visitor, and says how it ended; nothing when the visitor left or the sandbox ended.
    pub(super) async fn execute(&mut self, command: Vec<String>) -> Option<Response> {
        self.answer(&Response::Streams).await?;
        // What was read ahead would have lost its descriptors.
        if !self.reader.buffer().is_empty() {
            return Some(Response::Failed { message: "streams are sent when asked for".into() });
        }
        let streams = match receive_streams(self.reader.get_ref()).await {
            Ok(streams) => streams,
            Err(error) => return Some(Response::Failed { message: error.to_string() }),
        };
        let entering = match self.ask(Request::Exec { command }, Some(streams)).await? {
            Reply::Enters(entering) => entering,
            Reply::Said(response) => return Some(response),
        };
        let mut execution = match entering.await {
            Ok(execution) => execution,
            Err(error) => return Some(not_executed(&error)),
        };
        self.answer(&Response::Executed { pid: execution.pid() }).await?;
        self.follow(&mut execution).await
    }

    /// Passes signals on until the program has ended.
    async fn follow(&mut self, execution: &mut Execution) -> Option<Response> {
        loop {
            let ended = tokio::select! {
                biased;
                ended = execution.wait() => ended,
                // A request that is cut by the end of the program isn't answered anyway.
                request = self.next() => match request? {
                    Ok(Request::Signal { signal }) => match signal.parse::<Signal>() {
                        Ok(signal) => {
                            execution.signal(signal);
                            continue;
                        }
                        Err(error) => {
                            let message = format!("`{}` {error}", signal.escape_default());
                            self.answer(&Response::Failed { message }).await?;
                            continue;
                        }
                    },
                    _ => {
                        let message = "only signals can be sent while a program runs".into();
                        self.answer(&Response::Failed { message }).await?;
                        continue;
                    }
                },
            };
            return Some(match ended {
                Ok(HowEnded::Exited(code)) => Response::Exited { code },
                Ok(HowEnded::Signaled(signal) | HowEnded::Denied(signal)) => {
                    Response::Signalled { signal }
                }
                Ok(_) => return None,
                Err(error) => Response::Failed { message: Error::from(error).chain() },
            });
        }
    }
}

pub(super) fn not_executed(error: &Error) -> Response {
    let (message, hint) = (error.chain(), error.hint());
    Response::NotExecuted { message, hint, exit_code: error.exit_status() }
}
