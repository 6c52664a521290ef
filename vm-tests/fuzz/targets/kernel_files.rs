//! The kernel's texts: none makes a parser panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stockade_platform::linux::fuzz::kernel_files(bytes));
