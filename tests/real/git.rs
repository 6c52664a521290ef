//! git: a repository is made, shown as a web site, and cloned from where that is allowed.

use crate::support::Scene;
use crate::{expect_content, needs_programs, site};
use std::fs;

const ORIGIN: &str = "set -e
git init -q -b main origin
cd origin
for number in 1 2 3; do
    seq $number 1000 > numbers
    git add numbers
    git -c user.name=Ann -c user.email=ann@example.org commit -q -m \"from $number\"
done
git gc -q
# For clients that only fetch files.
git update-server-info";

#[test]
fn git_makes_a_repository_and_clones_it_from_where_it_may() {
    needs_programs!();
    let scene = Scene::new();
    let run = scene.work("build", "filesystem.write = ['.']\n", &["bash", "-c", ORIGIN]);
    expect_content(&run);
    let port = site::serve(scene.path());
    let clone = |name: &str, allow: &str| {
        // As with pip: without this no client asks a proxy for this very host.
        let rest = format!(
            "
filesystem.write = ['.']
network = {{ mode = 'filtered', allow = [{allow}] }}
environment.set = {{ NO_PROXY = '', no_proxy = '' }}
"
        );
        let url = format!("http://127.0.0.1:{port}/origin/.git");
        scene.work("build", &rest, &["git", "clone", "-q", &url, name])
    };
    let refused = clone("none", "").expect_code(128);
    assert!(refused.stderr.contains("error: 403"), "{}", refused.told());
    assert!(!fs::exists(scene.at("none")).unwrap());

    let run = clone("copy", &format!("'127.0.0.1:{port}'"));
    expect_content(&run);
    let line =
        "git -C copy log --format='%an %s' && tail -n 1 copy/numbers && git -C copy fsck --strict";
    let run = scene.work("build", "filesystem.write = ['.']\n", &["bash", "-c", line]);
    expect_content(&run);
    assert_eq!(run.text(), "Ann from 3\nAnn from 2\nAnn from 1\n1000\n", "{}", run.told());
}
