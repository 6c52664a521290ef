//! What runs between clone and exec, and the sandbox's init.
#![no_std]
