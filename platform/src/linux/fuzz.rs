//! Every parser of the kernel's texts, and the compiler of filters, for the fuzzer: whatever the bytes are, none may panic.

/// Reads the bytes as each of the files that are read.
pub fn kernel_files(bytes: &[u8]) {
    super::cgroup::fuzz(bytes);
    super::processes::fuzz(bytes);
    super::kernel_log::fuzz(bytes);
}

/// Reads the bytes as lists and rules of system calls, and as calls, and compares what they get with what is said.
pub fn syscalls(bytes: &[u8]) {
    super::seccomp::fuzz(bytes);
}
