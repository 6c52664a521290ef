//! Policy files: whatever is written, the answer is a policy or problems, and a policy can be changed and described.
#![no_main]

use std::path::Path;
use stockade::Policy;
use stockade::policy::{Override, change_limits, explain};

libfuzzer_sys::fuzz_target!(init: {
    // Policies are files, so there is one, in memory.
    std::fs::create_dir_all("/dev/shm/stockade-fuzz").expect("a directory in memory");
}, |bytes: &[u8]| {
    let path = format!("/dev/shm/stockade-fuzz/{}.toml", std::process::id());
    std::fs::write(&path, bytes).expect("a file in memory");
    let directory = Path::new("/srv/app");
    match Policy::load(&path, &[], directory) {
        Ok(policy) => {
            policy.digest();
            explain(&path, &[], directory).expect("what can be loaded can be explained");
            if let Ok(text) = std::str::from_utf8(bytes) {
                let memory = Override::new("limits.memory", text).expect("a key");
                let io = Override::new("limits.io", text).expect("a key");
                drop(change_limits(&policy.limits, &[memory, io], directory));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
