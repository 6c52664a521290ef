//! What comes over the socket of a sandbox: it is a request, which means the same when it is written again, or an error.
#![no_main]

use stockade::control::Request;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let text = serde_json::to_vec(&request).expect("a request can be written");
        let again: Request = serde_json::from_slice(&text).expect("what was written is understood");
        assert_eq!(again, request);
    }
});
