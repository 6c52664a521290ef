//! The promise of the crate, held against its object code: no allocator, no panic machinery, nothing from outside.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the crate to one object file, without link-time optimization, which would leave only bitcode.
fn object() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("child-symbols");
    let status = Command::new(env!("CARGO"))
        .args([
            "rustc",
            "--release",
            "--quiet",
            "--lib",
            "--package",
            "stockade-child",
            "--target-dir",
        ])
        .arg(&target)
        .args(["--", "--emit", "obj"])
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env_remove("RUSTFLAGS")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the crate doesn't compile to an object");
    let objects = std::fs::read_dir(target.join("release/deps")).expect("cargo made the directory");
    objects
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "o"))
        .max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok())
        .expect("rustc made an object")
}

/// Names that `nm` prints for an object.
fn symbols(object: &Path, which: &str) -> Vec<String> {
    let output =
        Command::new("nm").args(["--demangle", "--format=posix", which]).arg(object).output();
    let output = output.expect("nm (package binutils) runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("symbols are text");
    text.lines()
        .map(|line| line.rsplit_once(" U").map_or(line, |(name, _)| name).trim().to_owned())
        .collect()
}

#[test]
fn nothing_outside_the_crate_is_needed() {
    let object = object();
    let list =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/symbols.txt"));
    let allowed = list.expect("the checked-in list is there");
    let allowed: Vec<&str> = allowed.lines().filter(|line| !line.starts_with('#')).collect();

    let needed = symbols(&object, "--undefined-only");
    let defined = symbols(&object, "--defined-only");

    // The tool did look at the right thing.
    assert!(
        defined.iter().any(|name| name.starts_with("stockade_child::init::run")),
        "{defined:#?}"
    );
    assert_eq!(needed, allowed, "needed and allowed symbols differ");
}
