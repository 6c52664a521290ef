//! Every parser of the kernel's texts, for the fuzzer: whatever the bytes are, none may panic.

/// Reads the bytes as each of the files that are read.
pub fn kernel_files(bytes: &[u8]) {
    super::cgroup::fuzz(bytes);
    super::processes::fuzz(bytes);
    super::kernel_log::fuzz(bytes);
}
