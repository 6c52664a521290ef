//! What a sandbox's programs may do as the user who starts them: that user's token, less its privileges, and of low integrity where
//! nothing of the host's is to be written (`CreateRestrictedToken`, mandatory integrity control).

use super::job::done;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, HANDLE};
use windows_sys::Win32::Security::{
    CreateRestrictedToken, CreateWellKnownSid, EqualSid, GetTokenInformation, LUID_AND_ATTRIBUTES,
    SECURITY_MAX_SID_SIZE, SID_AND_ATTRIBUTES, SetTokenInformation, TOKEN_ACCESS_MASK,
    TOKEN_ADJUST_DEFAULT, TOKEN_ASSIGN_PRIMARY, TOKEN_DUPLICATE, TOKEN_INFORMATION_CLASS,
    TOKEN_MANDATORY_LABEL, TOKEN_PRIVILEGES, TOKEN_QUERY, TokenIntegrityLevel, TokenPrivileges,
    WinLowLabelSid,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// Every program has this one, or it could look into no directory without the right to each above it (SeChangeNotifyPrivilege).
const PASS_DIRECTORIES: u32 = 23;

/// The attribute of a group that is a level of integrity (SE_GROUP_INTEGRITY).
const INTEGRITY: u32 = 0x20;

/// Who a process is.
#[derive(Debug)]
pub(super) struct Token(OwnedHandle);

impl Token {
    /// This process's own, less its privileges.
    ///
    /// # Errors
    /// When the system refuses, or the new one still has privileges.
    pub(super) fn restricted() -> io::Result<Self> {
        let access = TOKEN_DUPLICATE | TOKEN_ASSIGN_PRIMARY | TOKEN_QUERY | TOKEN_ADJUST_DEFAULT;
        // SAFETY: it has no preconditions.
        let own = Self::of(unsafe { GetCurrentProcess() }, access)?;
        let privileges = own.privileges()?;
        let count = u32::try_from(privileges.len()).unwrap_or(u32::MAX);
        let (none, mut token) = (std::ptr::null(), std::ptr::null_mut());
        // SAFETY: the token is open, so many privileges are listed, there are no groups, and one handle is written.
        done(unsafe {
            CreateRestrictedToken(
                own.handle(),
                0,
                0,
                none,
                count,
                privileges.as_ptr(),
                0,
                none,
                &raw mut token,
            )
        })?;
        // SAFETY: it was opened for this process, and nobody else has it.
        let token = Self(unsafe { OwnedHandle::from_raw_handle(token) });
        token.is_without_privileges()?;
        Ok(token)
    }

    /// The one of a process.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn of(process: HANDLE, access: TOKEN_ACCESS_MASK) -> io::Result<Self> {
        let mut token = std::ptr::null_mut();
        // SAFETY: the process's handle is open, and one handle is written.
        done(unsafe { OpenProcessToken(process, access, &raw mut token) })?;
        // SAFETY: it was opened for this process, and nobody else has it.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(token) }))
    }

    pub(super) fn handle(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    /// Takes integrity away: who has the low level can't write to what has the usual one.
    ///
    /// # Errors
    /// When the system refuses, or doesn't keep it.
    pub(super) fn lower(&self) -> io::Result<()> {
        let mut sid = low()?;
        let label = TOKEN_MANDATORY_LABEL {
            Label: SID_AND_ATTRIBUTES { Sid: sid.as_mut_ptr().cast(), Attributes: INTEGRITY },
        };
        let size = u32::try_from(size_of_val(&label) + size_of_val(&sid)).unwrap_or(0);
        let from = (&raw const label).cast();
        // SAFETY: only the structure is read, and what it points to; the size is what its owner asks for.
        done(unsafe { SetTokenInformation(self.handle(), TokenIntegrityLevel, from, size) })?;
        if self.is_low()? { Ok(()) } else { Err(io::Error::other("the integrity isn't kept")) }
    }

    /// Whether it has the low level of integrity.
    ///
    /// # Errors
    /// When the system doesn't tell.
    pub(super) fn is_low(&self) -> io::Result<bool> {
        let words = self.ask(TokenIntegrityLevel)?;
        let label = words.as_ptr().cast::<TOKEN_MANDATORY_LABEL>();
        let mut low = low()?;
        // SAFETY: the structure was written, and points into what was written behind it.
        let sid = unsafe { (*label).Label.Sid };
        // SAFETY: both are identifiers of their own.
        Ok(unsafe { EqualSid(sid, low.as_mut_ptr().cast()) } != 0)
    }

    /// Refuses one that has privileges, but for the one that every program has.
    ///
    /// # Errors
    /// When it has, or the system doesn't tell.
    pub(super) fn is_without_privileges(&self) -> io::Result<()> {
        match self.privileges()?.len() {
            0 => Ok(()),
            left => Err(io::Error::other(format!("{left} privileges are left"))),
        }
    }

    /// Its privileges, but for the one that every program has.
    fn privileges(&self) -> io::Result<Vec<LUID_AND_ATTRIBUTES>> {
        let words = self.ask(TokenPrivileges)?;
        let list = words.as_ptr().cast::<TOKEN_PRIVILEGES>();
        // SAFETY: the structure's beginning was written.
        let count = unsafe { (*list).PrivilegeCount } as usize;
        // SAFETY: the entries begin there.
        let first = unsafe { &raw const (*list).Privileges }.cast::<LUID_AND_ATTRIBUTES>();
        // SAFETY: so many were written behind the count, in the words that were asked for.
        let all = unsafe { std::slice::from_raw_parts(first, count) };
        let other = |it: &&LUID_AND_ATTRIBUTES| {
            (it.Luid.LowPart, it.Luid.HighPart) != (PASS_DIRECTORIES, 0)
        };
        Ok(all.iter().filter(other).copied().collect())
    }

    /// What the system says of it, in words that are aligned for every structure.
    fn ask(&self, class: TOKEN_INFORMATION_CLASS) -> io::Result<Vec<u64>> {
        let mut words = vec![0_u64; 32];
        loop {
            let size = u32::try_from(size_of_val(&*words)).unwrap_or(u32::MAX);
            let (to, mut needed) = (words.as_mut_ptr().cast(), 0);
            let answer =
                // SAFETY: at most `size` bytes are written to what is that large, and one number.
                unsafe { GetTokenInformation(self.handle(), class, to, size, &raw mut needed) };
            match done(answer) {
                Ok(()) => return Ok(words),
                Err(error)
                    if error.raw_os_error() == i32::try_from(ERROR_INSUFFICIENT_BUFFER).ok()
                        && needed > size =>
                {
                    words.resize((needed as usize).div_ceil(size_of::<u64>()), 0);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The identifier of the low level of integrity.
fn low() -> io::Result<[u64; (SECURITY_MAX_SID_SIZE as usize).div_ceil(8)]> {
    let mut sid = [0_u64; (SECURITY_MAX_SID_SIZE as usize).div_ceil(8)];
    let mut size = u32::try_from(size_of_val(&sid)).unwrap_or(0);
    let (none, to) = (std::ptr::null_mut(), sid.as_mut_ptr().cast());
    // SAFETY: at most `size` bytes are written to what is that large.
    done(unsafe { CreateWellKnownSid(WinLowLabelSid, none, to, &raw mut size) })?;
    Ok(sid)
}
