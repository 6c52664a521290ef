//! The one wall that macOS has for a process and all its children: a Seatbelt profile (sandbox_init(3)), made from the parts of a plan
//! that speak of files and of the network. Pure but for links, which the kernel knows only by where they lead.
//!
//! The last rule that fits an operation is the one that counts. What isn't of files or of the network is left alone, but for what would
//! have a service outside do it instead: looking up any but the few that every program needs, and events to other applications.
//!
//! Profiles are text in a language that its owner doesn't document. What is used here is what the system's own profiles
//! (`/System/Library/Sandbox/Profiles`) use; where it isn't understood any more, `sandbox_init` refuses, and so the launch fails.

use crate::{Access, Control, Decision, LaunchPlan, MaskKind, Network, PlatformError, PortSet};
use std::ffi::CString;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What is done instead of a view of files.
pub(super) const FILES: &str = "Seatbelt: what the policy doesn't name can't be opened, nor is there a `/tmp` of its own; that it exists can be seen";
/// What is done instead of a network of its own.
pub(super) const NETWORK: &str =
    "Seatbelt: with `none` no socket is connected or bound; there are no filtered networks";
/// What is done instead of the kernel's rules for ports.
pub(super) const PORTS: &str = "Seatbelt: other ports are neither bound nor connected to";
/// Why that is less.
pub(super) const OLD: &str =
    "macOS has no namespaces, and its owner doesn't document Seatbelt's rules";

/// What the loader and the C library of every program read.
const SYSTEM: [&str; 7] = [
    "/System/Library",
    "/System/Volumes/Preboot/Cryptexes",
    "/System/Cryptexes",
    "/usr/lib",
    "/usr/share",
    "/private/var/db/dyld",
    "/private/var/db/timezone",
];

/// Files that every program may have, as devices or as what leads to them.
const DEVICES: [&str; 7] = [
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/fd",
    "/dev/dtracehelper",
];

/// Services that the C library asks: for names of users, for news, for the log.
const SERVICES: [&str; 4] = [
    "com.apple.system.opendirectoryd.libinfo",
    "com.apple.system.notification_center",
    "com.apple.system.logger",
    "com.apple.logd",
];

/// The profile of a plan; `None` where nothing of it is to be held.
///
/// # Errors
/// When a part of the plan has no words there: it would be missing without a word.
pub(super) fn profile(plan: &LaunchPlan) -> Result<Option<CString>, PlatformError> {
    let held = |control| matches!(plan.controls.get(&control), Some(Decision::Degrade { .. }));
    let mut rules = String::new();
    if held(Control::Filesystem) {
        files(plan, &mut rules)?;
    }
    if held(Control::Network) {
        match plan.network {
            Network::None => rules += "(deny network*)\n",
            Network::Host => {}
            Network::Filtered => return Err(cannot("a filtered network")),
        }
    }
    if held(Control::TcpPorts) {
        ports(&mut rules, "network-bind", "local", plan.tcp.bind.as_ref());
        ports(&mut rules, "network-outbound", "remote", plan.tcp.connect.as_ref());
    }
    if rules.is_empty() {
        return Ok(None);
    }
    let mut text = String::from(
        "(version 1)\n(allow default)\n(deny appleevent-send)\n(deny lsopen)\n(deny mach-lookup)\n",
    );
    let names = SERVICES.map(|name| format!(" (global-name {})", quoted(name)));
    line(&mut text, format_args!("(allow mach-lookup{})", names.concat()));
    text += &rules;
    let text = CString::new(text);
    text.map(Some).map_err(|_| PlatformError::invalid("a path of the policy has a NUL byte"))
}

fn files(plan: &LaunchPlan, rules: &mut String) -> Result<(), PlatformError> {
    let view = &plan.filesystem;
    if view.root.is_some() {
        return Err(cannot("another root directory"));
    }
    if !view.files.is_empty() {
        return Err(cannot("files with content of their own"));
    }
    *rules += "(deny file*)\n(deny process-exec*)\n";
    // The way to a path leads through all directories above it.
    *rules += "(allow file-read-metadata)\n(allow file-read* (literal \"/\"))\n";
    for path in SYSTEM {
        line(
            rules,
            format_args!("(allow file-read* file-map-executable (subpath {}))", quoted(path)),
        );
    }
    for path in DEVICES {
        line(
            rules,
            format_args!(
                "(allow file-read* file-write-data file-ioctl (literal {}))",
                quoted(path)
            ),
        );
    }
    for bind in &view.binds {
        if bind.source != bind.target {
            let moved = format!("`{}` at another place", bind.source.display());
            return Err(cannot(&moved));
        }
        let Some(path) = real(&bind.source, bind.optional)? else { continue };
        let path = quoted_path(&path)?;
        let allowed = match bind.access {
            Access::Read => "file-read* file-map-executable process-exec*",
            Access::Write => "file* process-exec*",
            Access::Copy => return Err(cannot("copies on write")),
        };
        line(rules, format_args!("(allow {allowed} (subpath {path}))"));
    }
    for device in &view.devices {
        if let Some(path) = real(device, false)? {
            let path = quoted_path(&path)?;
            line(
                rules,
                format_args!("(allow file-read* file-write-data file-ioctl (literal {path}))"),
            );
        }
    }
    for mask in &view.masks {
        if let Some(path) = real(&mask.path, true)? {
            let path = quoted_path(&path)?;
            match mask.kind {
                // Nothing can stand in its place: what looks empty inside can't be opened here.
                MaskKind::Hide | MaskKind::Deny => {
                    line(rules, format_args!("(deny file* process-exec* (subpath {path}))"));
                }
            }
        }
    }
    Ok(())
}

/// Ports, where they are limited.
fn ports(rules: &mut String, operation: &str, side: &str, allowed: Option<&PortSet>) {
    let Some(allowed) = allowed else { return };
    line(rules, format_args!("(deny {operation} ({side} tcp \"*:*\"))"));
    for port in allowed.iter() {
        line(rules, format_args!("(allow {operation} ({side} tcp \"*:{port}\"))"));
    }
}

/// Where a path leads; `None` where nothing is there and needn't be.
fn real(path: &Path, optional: bool) -> Result<Option<PathBuf>, PlatformError> {
    match path.canonicalize() {
        Ok(path) => Ok(Some(path)),
        Err(error) if optional && error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(PlatformError::system(format!("failed to look at `{}`", path.display()), error))
        }
    }
}

fn line(rules: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    writeln!(rules, "{text}").unwrap_or(());
}

fn quoted_path(path: &Path) -> Result<String, PlatformError> {
    let text = path.to_str();
    let cannot = || cannot(&format!("`{}`, which isn't UTF-8", path.display()));
    text.map(quoted).ok_or_else(cannot)
}

/// A string of the language: a backslash takes a quote or a backslash for itself.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn cannot(what: &str) -> PlatformError {
    PlatformError::invalid(format!("a Seatbelt profile can't do this: {what}"))
        .with_hint("take it out of the policy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bind, Mask};
    use std::os::unix::fs::symlink;

    fn plan(controls: &[Control]) -> LaunchPlan {
        let mut plan = LaunchPlan::new("test-0001", vec!["true".into()]);
        let less = Decision::Degrade { how: "Seatbelt".into(), reason: OLD.into() };
        plan.controls = controls.iter().map(|control| (*control, less.clone())).collect();
        plan
    }

    fn bind(path: &Path, access: Access) -> Bind {
        Bind { source: path.into(), target: path.into(), access, optional: false }
    }

    /// The rules behind those that every profile begins with.
    fn rules(plan: &LaunchPlan) -> String {
        let text = profile(plan).unwrap().unwrap().into_string().unwrap();
        let end = text.find("(allow mach-lookup").unwrap();
        text[end..].split_once('\n').unwrap().1.to_owned()
    }

    #[test]
    fn what_a_policy_names_is_allowed_where_its_links_lead() {
        let scene = tempfile::tempdir().unwrap();
        let place = scene.path().canonicalize().unwrap();
        let [data, link, odd] = ["data", "link", "a \"b\\c\""].map(|name| place.join(name));
        std::fs::create_dir(&data).unwrap();
        std::fs::create_dir(&odd).unwrap();
        symlink(&data, &link).unwrap();
        let mut plan = plan(&[Control::Filesystem]);
        plan.filesystem.binds = vec![bind(&link, Access::Write), bind(&odd, Access::Read)];
        plan.filesystem.masks = vec![Mask { path: data.clone(), kind: MaskKind::Hide }];
        let rules = rules(&plan);
        let data = data.display();
        let odd = format!("{}/a \\\"b\\\\c\\\"", place.display());
        let expected = format!(
            "(allow file* process-exec* (subpath \"{data}\"))\n\
             (allow file-read* file-map-executable process-exec* (subpath \"{odd}\"))\n\
             (deny file* process-exec* (subpath \"{data}\"))\n"
        );
        assert!(rules.starts_with("(deny file*)\n(deny process-exec*)\n"), "{rules}");
        assert!(rules.ends_with(&expected), "{rules}");
    }

    #[test]
    fn what_isnt_there_is_passed_over_only_where_it_neednt_be() {
        let mut plan = plan(&[Control::Filesystem]);
        plan.filesystem.binds = vec![bind(Path::new("/no/such/path"), Access::Read)];
        let error = profile(&plan).unwrap_err().to_string();
        assert!(error.contains("`/no/such/path`"), "{error}");
        plan.filesystem.binds[0].optional = true;
        assert!(!rules(&plan).contains("/no/such/path"));
    }

    #[test]
    fn what_has_no_words_there_is_refused() {
        let refused = |change: fn(&mut LaunchPlan), what: &str| {
            let mut plan = plan(&[Control::Filesystem, Control::Network]);
            plan.network = Network::Host;
            profile(&plan).unwrap();
            change(&mut plan);
            let error = profile(&plan).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        refused(|plan| plan.network = Network::Filtered, "a filtered network");
        refused(|plan| plan.filesystem.root = Some("/srv".into()), "another root");
        refused(
            |plan| {
                plan.filesystem.binds = vec![bind(Path::new("/usr"), Access::Read)];
                plan.filesystem.binds[0].target = "/opt".into();
            },
            "`/usr` at another place",
        );
        refused(
            |plan| plan.filesystem.binds = vec![bind(Path::new("/usr"), Access::Copy)],
            "copies on write",
        );
        refused(
            |plan| drop(plan.filesystem.files.insert("/etc/x".into(), "x".into())),
            "content of their own",
        );
    }

    #[test]
    fn the_network_is_denied_whole_or_by_ports() {
        let mut plan = plan(&[Control::Network]);
        assert_eq!(rules(&plan), "(deny network*)\n");
        plan.network = Network::Host;
        assert_eq!(profile(&plan).unwrap(), None);
        let mut plan = self::plan(&[Control::TcpPorts]);
        plan.tcp.connect = Some("443,8080".parse().unwrap());
        plan.tcp.bind = Some("none".parse().unwrap());
        let expected = "(deny network-bind (local tcp \"*:*\"))\n\
                        (deny network-outbound (remote tcp \"*:*\"))\n\
                        (allow network-outbound (remote tcp \"*:443\"))\n\
                        (allow network-outbound (remote tcp \"*:8080\"))\n";
        assert_eq!(rules(&plan), expected);
    }

    #[test]
    fn where_no_wall_is_asked_for_there_is_no_profile() {
        assert_eq!(profile(&plan(&[Control::Memory])).unwrap(), None);
    }
}
