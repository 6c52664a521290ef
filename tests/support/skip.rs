//! How a test says that it can't run here.

/// Ends the test: it can't run on this machine. The reason begins with the feature that is missing,
/// in the word that `vm-tests/kernels.toml` has for it:
///
/// ```ignore
/// skip!("psi: no `/proc/pressure`");
/// ```
///
/// Where kernels.toml promises the feature, a skip is a failure; plain `cargo test` shows it as
/// passed, so `cargo vm --guest host` is what counts skips on this machine.
#[allow(unused_macros, reason = "not every test binary has something to skip")]
macro_rules! skip {
    ($($reason:tt)+) => {{
        // A line of its own: the harness may have begun one with the test's name.
        println!("\nSKIP: {}", format_args!($($reason)+));
        return;
    }};
}

pub(crate) use skip;
