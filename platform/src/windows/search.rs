//! Where a program is. Pure but for the question whether there is a file.
//!
//! `CreateProcessW` would look into the starter's own directory and into the current one first, which whoever may write there could
//! use; so it is always given a whole path, and what is found is only what `PATH` says.

/// The kinds of programs that are executed without an interpreter.
const EXECUTABLE: [&str; 2] = [".COM", ".EXE"];

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The program's path.
    Program(String),
    /// A file that isn't executed by itself: `cmd.exe` would take its arguments apart by rules of its own.
    Script(String),
    /// Nothing.
    Nothing,
}

/// Looks for a program: by its path, or in the directories of `path` that are named as a whole; with one of the endings of `pathext`
/// where it has none. Never in the current directory.
pub(super) fn search(
    name: &str,
    path: &str,
    pathext: Option<&str>,
    is_file: &dyn Fn(&str) -> bool,
) -> Found {
    let names = endings(name, pathext);
    if name.contains(['\\', '/', ':']) {
        return first(names, is_file);
    }
    for directory in path.split(';') {
        let directory = directory.trim().trim_matches('"');
        if !is_whole(directory) {
            continue;
        }
        let directory = directory.trim_end_matches(['\\', '/']);
        let names = names.iter().map(|name| format!("{directory}\\{name}")).collect();
        match first(names, is_file) {
            Found::Nothing => {}
            found => return found,
        }
    }
    Found::Nothing
}

fn first(names: Vec<String>, is_file: &dyn Fn(&str) -> bool) -> Found {
    match names.into_iter().find(|name| is_file(name)) {
        Some(found) if ends_with_any(&found, &["BAT", "CMD"].map(|it| format!(".{it}"))) => {
            Found::Script(found)
        }
        Some(found) => Found::Program(found),
        None => Found::Nothing,
    }
}

/// The names under which a program may be found.
fn endings(name: &str, pathext: Option<&str>) -> Vec<String> {
    let last = name.rsplit(['\\', '/']).next().unwrap_or(name);
    if last.contains('.') {
        return vec![name.to_owned()];
    }
    let listed: Vec<String> = match pathext {
        Some(list) => list.split(';').map(|it| it.trim().to_owned()).collect(),
        None => EXECUTABLE.map(str::to_owned).to_vec(),
    };
    listed.iter().filter(|it| it.starts_with('.')).map(|it| format!("{name}{it}")).collect()
}

fn ends_with_any(name: &str, endings: &[String]) -> bool {
    let capitals = name.to_ascii_uppercase();
    endings.iter().any(|ending| capitals.ends_with(ending))
}

/// Whether a directory is named from its drive or server on: any other depends on where somebody is.
fn is_whole(directory: &str) -> bool {
    let mut chars = directory.chars();
    let drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.next() == Some(':')
        && chars.next().is_some_and(|c| c == '\\' || c == '/');
    drive || directory.starts_with("\\\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 5] = [
        r"C:\bin\tool.EXE",
        r"C:\bin\job.bat",
        r"D:\my tools\tool.EXE",
        r"tool.EXE",
        r".\here.exe",
    ];

    fn found(name: &str, path: &str, pathext: Option<&str>) -> Found {
        search(name, path, pathext, &|file| FILES.contains(&file))
    }

    fn program(path: &str) -> Found {
        Found::Program(path.to_owned())
    }

    #[test]
    fn a_name_is_found_where_path_says_and_nowhere_else() {
        assert_eq!(found("tool", r"C:\none;C:\bin\", None), program(r"C:\bin\tool.EXE"));
        assert_eq!(
            found("tool", r#""D:\my tools";C:\bin"#, None),
            program(r"D:\my tools\tool.EXE")
        );
        // The current directory has one, however it is named.
        for path in ["", ".", ";", r".\", "C:", r"\bin", "bin"] {
            assert_eq!(found("tool", path, None), Found::Nothing, "{path}");
        }
    }

    #[test]
    fn endings_are_tried_in_their_order_where_a_name_has_none() {
        assert_eq!(found("tool.EXE", r"C:\bin", Some(".BAT")), program(r"C:\bin\tool.EXE"));
        assert_eq!(found("tool", r"C:\bin", Some(".BAT;.EXE")), program(r"C:\bin\tool.EXE"));
        assert_eq!(found("tool", r"C:\bin", Some("")), Found::Nothing);
        assert_eq!(found(r"C:\bin\tool", "", None), program(r"C:\bin\tool.EXE"));
        assert_eq!(found(r".\here.exe", "", None), program(r".\here.exe"));
    }

    #[test]
    fn what_an_interpreter_would_run_is_told_apart() {
        let script = Found::Script(r"C:\bin\job.bat".to_owned());
        assert_eq!(found("job.bat", r"C:\bin", None), script);
        assert_eq!(found("job", r"C:\bin", Some(".COM;.bat")), script);
        assert_eq!(found("job", r"C:\bin", None), Found::Nothing);
    }
}
