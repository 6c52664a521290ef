//! CPython, and pip with an index of this host.

use crate::support::{Scene, python_outside};
use crate::{expect_content, needs_programs, site};
use std::fs;

/// A wheel with one module, as `simple/` of an index shows it.
fn index(scene: &Scene) -> u16 {
    scene.directory("index");
    let code = format!(
        "
import os, zipfile
project = '{}/simple/greeting'
os.makedirs(project)
name = 'greeting-1.0-py3-none-any.whl'
with zipfile.ZipFile(f'{{project}}/{{name}}', 'w', zipfile.ZIP_DEFLATED) as wheel:
    wheel.writestr('greeting.py', 'def words(name): return \"good morning \" + name')
    about = 'greeting-1.0.dist-info'
    wheel.writestr(f'{{about}}/METADATA', 'Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n')
    wheel.writestr(f'{{about}}/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(f'{{about}}/RECORD', ''.join(f'{{file}},,\\n' for file in wheel.namelist()))
open(f'{{project}}/index.html', 'w').write(f'<a href=\"{{name}}\">{{name}}</a>')",
        scene.at("index")
    );
    python_outside(&code);
    site::serve(&scene.path().join("index"))
}

#[test]
fn pip_installs_a_wheel_from_where_it_may_and_from_nowhere_else() {
    needs_programs!();
    let scene = Scene::new();
    let port = index(&scene);
    let pip = |target: &str, allow: &str| {
        // No client asks a proxy for this very host, where the index is; so it is told that there are no exceptions.
        let rest = format!(
            "
filesystem.write = ['.']
network = {{ mode = 'filtered', allow = [{allow}] }}
environment.set = {{ NO_PROXY = '', no_proxy = '' }}
"
        );
        let index = format!("http://127.0.0.1:{port}/simple");
        let words = ["python3", "-m", "pip", "install", "--no-cache-dir", "--retries", "0"];
        let which = ["--index-url", &index, "--target", target, "greeting"];
        scene.work("build", &rest, &[&words[..], &which].concat())
    };
    let refused = pip("none", "").expect_code(1);
    assert!(refused.stderr.contains("No matching distribution found"), "{}", refused.told());
    assert_eq!(refused.reported("/denials/0/what"), &*format!("127.0.0.1:{port}"));
    assert!(!fs::exists(scene.at("none")).unwrap());

    let run = pip("packages", &format!("'127.0.0.1:{port}'"));
    assert!(run.text().contains("Successfully installed greeting-1.0"), "{}", run.told());
    expect_content(&run);

    // What was installed is there for code that nobody trusts.
    let rest = "filesystem.read = ['.']\nenvironment.set = { PYTHONPATH = 'packages' }\n";
    let code = "import greeting, os; print(greeting.words('you')); open('packages/more', 'w')";
    let run = scene.work("worker", rest, &["python3", "-c", code]).expect_code(1);
    assert_eq!(str::from_utf8(&run.stdout).unwrap(), "good morning you\n", "{}", run.told());
    assert!(run.stderr.contains("Read-only file system"), "{}", run.told());
}
