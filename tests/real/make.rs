//! gcc and make: zlib is configured, built and tested from its authors' archive.

use crate::support::Scene;
use crate::{expect_content, needs_programs, unpack_zlib};

#[test]
fn zlib_is_configured_built_and_tested() {
    needs_programs!();
    let scene = Scene::new();
    unpack_zlib(&scene);
    // The links that make gcc the `cc` are the work of a maintainer's script.
    let rest = "filesystem.write = ['.']\nenvironment.set = { CC = 'gcc' }\n";
    let line = "set -e
cd zlib
./configure
make -j 2
make test
cp libz.so.1.3.1 minigzip ..";
    let run = scene.work("build", rest, &["bash", "-c", line]);
    expect_content(&run);
    for said in ["zlib test OK", "zlib shared test OK", "zlib 64-bit test OK"] {
        assert!(run.text().contains(said), "{}", run.told());
    }
    // What was built works, as code that nobody trusts.
    let line =
        "./minigzip < zlib/deflate.c | gzip --decompress | cmp - zlib/deflate.c && echo same";
    let run = scene.work("worker", "filesystem.read = ['.']\n", &["bash", "-c", line]);
    expect_content(&run);
    assert_eq!(run.text(), "same\n", "{}", run.told());
}
