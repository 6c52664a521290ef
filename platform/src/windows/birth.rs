//! A program's first process: born inside its job, with three handles of its starter's and no more.

use super::command_line::{command_line, environment_block};
use super::job::{Job, done};
use super::pipes::{InputPipe, OutputPipe};
use super::search::{Found, search};
use super::token::Token;
use crate::{LaunchPlan, PlatformError, Stage, Stdio, StdioSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND, HANDLE,
};
use windows_sys::Win32::Security::TOKEN_QUERY;
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessAsUserW,
    CreateProcessW, DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT, GetCurrentProcess,
    InitializeProcThreadAttributeList, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
    PROC_THREAD_ATTRIBUTE_JOB_LIST, PROCESS_INFORMATION, ResumeThread, STARTF_USESTDHANDLES,
    STARTUPINFOEXW, UpdateProcThreadAttribute,
};

/// The caller's ends of the streams that are pipes.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    pub(super) stdin: Option<InputPipe>,
    pub(super) stdout: Option<OutputPipe>,
    pub(super) stderr: Option<OutputPipe>,
}

/// A process that was started.
#[derive(Debug)]
pub(super) struct Born {
    pub(super) pid: u32,
    pub(super) process: OwnedHandle,
    pub(super) pipes: Pipes,
}

/// Everything that is asked of the system for a start, decided.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) program: String,
    line: Vec<u16>,
    environment: Vec<u16>,
    directory: Option<Vec<u16>>,
}

impl Command {
    /// Finds the program, and puts the words and the variables into the system's form.
    ///
    /// # Errors
    /// When the program isn't found or can't be executed by itself, or something of it has no such form.
    pub(super) fn of(plan: &LaunchPlan) -> Result<Self, PlatformError> {
        let (name, arguments) = plan
            .command
            .split_first()
            .ok_or_else(|| PlatformError::invalid("there is no command to execute"))?;
        let program = find(name, plan)?;
        let words = [OsString::from(&program)];
        let words: Vec<Vec<u16>> =
            words.iter().chain(arguments).map(|word| word.encode_wide().collect()).collect();
        let variables: Vec<(Vec<u16>, Vec<u16>)> = plan
            .environment
            .iter()
            .map(|(name, value)| (name.encode_wide().collect(), value.encode_wide().collect()))
            .collect();
        Ok(Self {
            program,
            line: command_line(&words)?,
            environment: environment_block(&variables)?,
            directory: plan.filesystem.workdir.as_ref().map(|path| wide(path.as_os_str())),
        })
    }

    /// Starts it in a job, as whom a token says, else as this process's own; suspended where that is wished.
    ///
    /// # Errors
    /// When the system refuses; nothing of it is left then.
    pub(super) fn start(
        &mut self,
        job: &Job,
        token: Option<&Token>,
        stdio: StdioSet,
        suspended: bool,
    ) -> Result<Born, PlatformError> {
        let failed = |error| {
            PlatformError::launch(Stage::Setup, "failed to prepare a standard stream", Some(error))
        };
        let (input, stdin) = Ends::input(stdio.stdin).map_err(failed)?;
        let (output, stdout) = Ends::output(stdio.stdout, &io::stdout()).map_err(failed)?;
        let (errors, stderr) = Ends::output(stdio.stderr, &io::stderr()).map_err(failed)?;
        let streams = [&input, &output, &errors].map(|end| end.as_raw_handle());
        let (pid, process) = self.create(job, token, streams, suspended)?;
        Ok(Born { pid, process, pipes: Pipes { stdin, stdout, stderr } })
    }

    fn create(
        &mut self,
        job: &Job,
        token: Option<&Token>,
        streams: [HANDLE; 3],
        suspended: bool,
    ) -> Result<(u32, OwnedHandle), PlatformError> {
        let failed = |step: &'static str| {
            move |error| {
                PlatformError::launch(
                    Stage::Setup,
                    format!("launch failed at `{step}`"),
                    Some(error),
                )
            }
        };
        let mut handles = streams.to_vec();
        handles.sort_unstable();
        handles.dedup();
        let jobs = [job.handle()];
        let mut attributes = Attributes::new(2).map_err(failed("list what is inherited"))?;
        attributes
            .add(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, &handles)
            .map_err(failed("list what is inherited"))?;
        // Systems before Windows 10 don't know how to bear a process into a job.
        let born_inside = attributes.add(PROC_THREAD_ATTRIBUTE_JOB_LIST, &jobs).is_ok();
        let mut startup = STARTUPINFOEXW::default();
        startup.StartupInfo.cb = u32::try_from(size_of::<STARTUPINFOEXW>()).unwrap_or(0);
        startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
        let [input, output, errors] = streams;
        startup.StartupInfo.hStdInput = input;
        startup.StartupInfo.hStdOutput = output;
        startup.StartupInfo.hStdError = errors;
        startup.lpAttributeList = attributes.list.as_mut_ptr().cast();
        let mut flags =
            CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT | CREATE_NEW_PROCESS_GROUP;
        // What has to be looked at first doesn't run before.
        let stands = suspended || !born_inside || token.is_some();
        if stands {
            flags |= CREATE_SUSPENDED;
        }
        let program = wide(OsStr::new(&self.program));
        let directory = self.directory.as_ref().map_or(std::ptr::null(), |path| path.as_ptr());
        let mut created = PROCESS_INFORMATION::default();
        let (program, line) = (program.as_ptr(), self.line.as_mut_ptr());
        let environment = self.environment.as_ptr().cast();
        let (none, startup) = (std::ptr::null(), (&raw const startup).cast());
        let to = &raw mut created;
        // Every text ends with a zero, the line may be written to, and all of it lives as long as the call.
        let answer = match token {
            // SAFETY: as above; the token is open.
            Some(token) => unsafe {
                CreateProcessAsUserW(
                    token.handle(),
                    program,
                    line,
                    none,
                    none,
                    1,
                    flags,
                    environment,
                    directory,
                    startup,
                    to,
                )
            },
            // SAFETY: as above.
            None => unsafe {
                CreateProcessW(
                    program,
                    line,
                    none,
                    none,
                    1,
                    flags,
                    environment,
                    directory,
                    startup,
                    to,
                )
            },
        };
        done(answer).map_err(|error| not_executed(&self.program, error))?;
        // SAFETY: it was opened for this process, and nobody else has it.
        let process = unsafe { OwnedHandle::from_raw_handle(created.hProcess) };
        // SAFETY: as above.
        let thread = unsafe { OwnedHandle::from_raw_handle(created.hThread) };
        if !born_inside {
            job.assign(process.as_raw_handle()).map_err(|error| {
                kill(&process);
                failed("put the process into its job")(error)
            })?;
        }
        // What runs outside of its job is worth nothing.
        if !job.has(process.as_raw_handle()).unwrap_or(false) {
            kill(&process);
            return Err(failed("put the process into its job")(io::Error::other("it isn't there")));
        }
        if let Some(token) = token {
            same(token, &process).map_err(|error| {
                kill(&process);
                failed("give the process its token")(error)
            })?;
        }
        if stands && !suspended {
            // SAFETY: the handle is open.
            let count = unsafe { ResumeThread(thread.as_raw_handle()) };
            if count == u32::MAX {
                let error = io::Error::last_os_error();
                kill(&process);
                return Err(failed("let the process go")(error));
            }
        }
        Ok((created.dwProcessId, process))
    }
}

/// Refuses a process that isn't who a token says.
fn same(token: &Token, process: &OwnedHandle) -> io::Result<()> {
    let has = Token::of(process.as_raw_handle(), TOKEN_QUERY)?;
    has.is_without_privileges()?;
    if has.is_low()? == token.is_low()? {
        Ok(())
    } else {
        Err(io::Error::other("it has another integrity"))
    }
}

/// Ends a process that nobody knows of yet.
fn kill(process: &OwnedHandle) {
    // SAFETY: the handle is open; if it ended by itself, that is as good.
    unsafe { windows_sys::Win32::System::Threading::TerminateProcess(process.as_raw_handle(), 1) };
}

/// What a process is given beside its streams. What is listed must outlive it.
struct Attributes {
    list: Vec<usize>,
}

impl Attributes {
    fn new(count: u32) -> io::Result<Self> {
        let mut size = 0;
        // SAFETY: without a list only the size is written, and the call fails.
        unsafe { InitializeProcThreadAttributeList(std::ptr::null_mut(), count, 0, &raw mut size) };
        let mut list = vec![0_usize; size.div_ceil(size_of::<usize>())];
        // SAFETY: as many bytes are there as it said.
        done(unsafe {
            InitializeProcThreadAttributeList(list.as_mut_ptr().cast(), count, 0, &raw mut size)
        })?;
        Ok(Self { list })
    }

    fn add(&mut self, attribute: u32, handles: &[HANDLE]) -> io::Result<()> {
        let list = self.list.as_mut_ptr().cast();
        let (from, size) = (handles.as_ptr().cast(), size_of_val(handles));
        let attribute = usize::try_from(attribute).unwrap_or(0);
        let (before, length) = (std::ptr::null_mut(), std::ptr::null());
        // SAFETY: the list was initialized; the handles live until the process is created.
        done(unsafe { UpdateProcThreadAttribute(list, 0, attribute, from, size, before, length) })
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the list was initialized, once.
        unsafe { DeleteProcThreadAttributeList(self.list.as_mut_ptr().cast()) };
    }
}

/// The program's end of a stream, and the caller's where it is a pipe.
struct Ends;

impl Ends {
    fn input(stdio: Stdio) -> io::Result<(OwnedHandle, Option<InputPipe>)> {
        match stdio {
            Stdio::Inherit => Ok((inheritable_or_nothing(io::stdin().as_handle())?, None)),
            Stdio::Null => Ok((nothing()?, None)),
            Stdio::Piped => {
                let (reader, writer) = io::pipe()?;
                Ok((inheritable(reader.as_handle())?, Some(InputPipe::new(writer))))
            }
            Stdio::File(file) => Ok((inheritable(file.as_handle())?, None)),
        }
    }

    fn output(stdio: Stdio, own: &impl AsHandle) -> io::Result<(OwnedHandle, Option<OutputPipe>)> {
        match stdio {
            Stdio::Inherit => Ok((inheritable_or_nothing(own.as_handle())?, None)),
            Stdio::Null => Ok((nothing()?, None)),
            Stdio::Piped => {
                let (reader, writer) = io::pipe()?;
                Ok((inheritable(writer.as_handle())?, Some(OutputPipe::new(reader)?)))
            }
            Stdio::File(file) => Ok((inheritable(file.as_handle())?, None)),
        }
    }
}

fn nothing() -> io::Result<OwnedHandle> {
    let nothing = File::options().read(true).write(true).open("NUL")?;
    inheritable(nothing.as_handle())
}

/// A process without a console may have no streams: what it starts gets empty ones.
fn inheritable_or_nothing(handle: BorrowedHandle<'_>) -> io::Result<OwnedHandle> {
    if handle.as_raw_handle().is_null() { nothing() } else { inheritable(handle) }
}

/// A copy that a process may inherit which lists it.
fn inheritable(handle: BorrowedHandle<'_>) -> io::Result<OwnedHandle> {
    let mut copy = std::ptr::null_mut();
    // SAFETY: it has no preconditions.
    let own = unsafe { GetCurrentProcess() };
    // SAFETY: both processes are this one, the handle is open, and one handle is written.
    done(unsafe {
        DuplicateHandle(
            own,
            handle.as_raw_handle(),
            own,
            &raw mut copy,
            0,
            1,
            DUPLICATE_SAME_ACCESS,
        )
    })?;
    // SAFETY: it was opened for this process, and nobody else has it.
    Ok(unsafe { OwnedHandle::from_raw_handle(copy) })
}

fn wide(text: &OsStr) -> Vec<u16> {
    text.encode_wide().chain([0]).collect()
}

/// The program's path, by the variables that the program will have.
fn find(name: &OsStr, plan: &LaunchPlan) -> Result<String, PlatformError> {
    let shown = LaunchPlan::readable(name);
    let missing = || {
        let message = format!("`{shown}` was not found");
        let hint = "the directories of the policy's PATH are looked through, never the current one";
        PlatformError::launch(Stage::NotFound, message, None).with_hint(hint)
    };
    let variable = |wanted: &str| {
        let found = plan.environment.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    };
    let name = name.to_str().ok_or_else(missing)?;
    let path = variable("PATH").unwrap_or_default();
    let is_file = |path: &str| std::path::Path::new(path).is_file();
    match search(name, &path, variable("PATHEXT").as_deref(), &is_file) {
        Found::Program(path) => Ok(path),
        Found::Script(path) => {
            let message = format!("`{path}` is a batch file, which isn't executed by itself");
            let hint = "name its interpreter: `cmd.exe /d /c FILE`; it takes arguments apart by rules of its own";
            Err(PlatformError::launch(Stage::NotExecutable, message, None).with_hint(hint))
        }
        Found::Nothing => Err(missing()),
    }
}

fn not_executed(program: &str, error: io::Error) -> PlatformError {
    let code = error.raw_os_error().map(i32::cast_unsigned);
    let (stage, message) = match code {
        Some(ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND) => {
            (Stage::NotFound, format!("`{program}` was not found"))
        }
        // The system says of a directory that isn't there that its name is wrong.
        Some(267) => (Stage::Setup, "the program can't start in its working directory".to_owned()),
        _ => (Stage::NotExecutable, format!("`{program}` can't be executed")),
    };
    PlatformError::launch(stage, message, Some(error))
}
