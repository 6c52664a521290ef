//! What a program sees of the host, for telling what it doesn't: by names alone, as they were at the launch. Pure.

use super::{Place, View};
use crate::{Access, MaskKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// As many symlinks as the kernel follows in one path (path_resolution(7)).
const MOST_SYMLINKS: usize = 40;

/// The places of a view, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    places: BTreeMap<PathBuf, Seen>,
    /// File rights that the second wall takes away where no rule gives them.
    pub(crate) handled: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Host { source: PathBuf, access: Access },
    Mask(MaskKind),
    Memory,
    Own,
    Link(PathBuf),
}

/// What stands at a path inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// The host's file at `source`, if there is one.
    Host { source: PathBuf, access: Access, same: bool },
    /// Something in front of the host's: at `mask`, which is the path or above it.
    Masked { kind: MaskKind, mask: PathBuf },
    /// A file system in memory: what is in it isn't known.
    Memory,
    /// Something of the sandbox's own, or a directory on the way to a place.
    Own,
    /// Nothing.
    Nowhere,
}

impl View {
    /// What is told from what.
    pub(crate) fn sight(&self) -> Sight {
        let seen = |(path, place): (&PathBuf, &Place)| {
            let seen = match place {
                Place::Bind { source, access, .. } => {
                    Seen::Host { source: source.clone(), access: *access }
                }
                Place::Mask { kind, .. } => Seen::Mask(*kind),
                Place::Tmpfs { .. } => Seen::Memory,
                Place::Symlink(to) => Seen::Link(to.clone()),
                Place::Directory => return None,
                _ => Seen::Own,
            };
            Some((path.clone(), seen))
        };
        Sight { places: self.places.iter().filter_map(seen).collect(), handled: 0 }
    }
}

impl Sight {
    /// A path without the symlinks that the view itself has; the last name is followed if `last`.
    pub(crate) fn follow(&self, path: &Path, last: bool) -> PathBuf {
        let mut path = path.to_owned();
        for _ in 0..MOST_SYMLINKS {
            let mut above: Vec<&Path> = path.ancestors().skip(usize::from(!last)).collect();
            above.reverse();
            let link = above.into_iter().find_map(|above| match self.places.get(above) {
                Some(Seen::Link(to)) => Some((above, to)),
                _ => None,
            });
            let Some((link, to)) = link else { break };
            let rest = path.strip_prefix(link).unwrap_or(Path::new(""));
            let start = link.parent().unwrap_or(Path::new("/"));
            path = plain(&start.join(to).join(rest));
        }
        path
    }

    /// What stands at a path without symlinks.
    pub(crate) fn at(&self, path: &Path) -> Stand {
        let nearest = path.ancestors().find_map(|above| {
            let seen = self.places.get(above)?;
            (!matches!(seen, Seen::Link(_)) || above == path).then_some((above, seen))
        });
        match nearest {
            Some((above, Seen::Host { source, access })) => {
                let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
                let whole =
                    if rest.as_os_str().is_empty() { source.clone() } else { source.join(rest) };
                Stand::Host { same: whole == path, source: whole, access: *access }
            }
            Some((above, Seen::Mask(kind))) => {
                Stand::Masked { kind: *kind, mask: above.to_owned() }
            }
            Some((_, Seen::Memory)) => Stand::Memory,
            Some((_, Seen::Own | Seen::Link(_))) => Stand::Own,
            None if self.leads_on(path) => Stand::Own,
            None => Stand::Nowhere,
        }
    }

    /// Whether it is a directory only because there is a place below it.
    fn leads_on(&self, path: &Path) -> bool {
        let mut below = self.places.range(path.to_owned()..);
        below.next().is_some_and(|(place, _)| place.starts_with(path))
    }
}

/// A path without `.` and `..`.
pub(crate) fn plain(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_without_detours() {
        assert_eq!(plain(Path::new("/usr/./lib/../share//x")), Path::new("/usr/share/x"));
        assert_eq!(plain(Path::new("/../..")), Path::new("/"));
    }

    #[test]
    fn what_stands_at_a_path_follows_from_the_nearest_place() {
        let host = |source: &str, access| Seen::Host { source: source.into(), access };
        let places = [
            ("/usr", host("/usr", Access::Read)),
            ("/bin", Seen::Link("usr/bin".into())),
            ("/srv/app", host("/data/app", Access::Write)),
            ("/srv/app/key", Seen::Mask(MaskKind::Deny)),
            ("/tmp", Seen::Memory),
            ("/proc", Seen::Own),
        ];
        let places = places.into_iter().map(|(path, seen)| (PathBuf::from(path), seen)).collect();
        let sight = Sight { places, handled: 0 };
        let at = |path: &str| sight.at(&sight.follow(Path::new(path), true));
        let shown =
            |source: &str, access, same| Stand::Host { source: source.into(), access, same };
        assert_eq!(at("/bin/sh"), shown("/usr/bin/sh", Access::Read, true));
        assert_eq!(at("/srv/app/x"), shown("/data/app/x", Access::Write, false));
        let masked = Stand::Masked { kind: MaskKind::Deny, mask: "/srv/app/key".into() };
        assert_eq!(at("/srv/app/key/below"), masked);
        assert_eq!(
            (at("/tmp/x"), at("/proc/1"), at("/srv"), at("/")),
            (Stand::Memory, Stand::Own, Stand::Own, Stand::Own)
        );
        assert_eq!(
            (at("/home/x"), at("/srv/apple"), at("/us")),
            (Stand::Nowhere, Stand::Nowhere, Stand::Nowhere)
        );
        assert_eq!(sight.at(&sight.follow(Path::new("/bin"), false)), Stand::Own);
    }

    #[test]
    fn links_that_lead_to_each_other_come_to_an_end() {
        let places = [("/a", "b"), ("/b", "a")];
        let link = |(path, to): (&str, &str)| (PathBuf::from(path), Seen::Link(to.into()));
        let sight = Sight { places: places.into_iter().map(link).collect(), handled: 0 };
        assert_eq!(sight.follow(Path::new("/a/x"), true).components().count(), 3);
    }
}
