//! Filters of system calls: whatever a policy's lists and rules are, the program answers every call as they say.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stockade_platform::linux::fuzz::syscalls(bytes));
