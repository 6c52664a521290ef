//! `kernels.toml`: the guests, where their kernels come from, and what each may skip.

use crate::failure::{Attempt, Failure, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The guests that run when none is named: the host is not one of them, `other` needs an image.
const BY_DEFAULT: [&str; 3] = ["qemu-6.12", "uml", "qemu-6.1"];

/// All that `kernels.toml` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    guests: BTreeMap<String, GuestSpec>,
    unit_tests: UnitTests,
}

/// Unit tests that are to run in the guests too.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitTests {
    in_guests: Vec<String>,
}

impl UnitTests {
    /// Whether a unit test of this name asks the kernel for something.
    #[must_use]
    pub fn need_a_kernel(&self, name: &str) -> bool {
        let meant = |path: &String| {
            let rest = name.strip_prefix(path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        self.in_guests.iter().any(meant)
    }
}

/// One guest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestSpec {
    /// How it is booted.
    pub machine: Machine,
    /// What its `uname -r` must begin with.
    pub version: String,
    /// The Debian suite that its package comes from.
    pub suite: Option<String>,
    /// The package.
    pub package: Option<String>,
    /// The modules to load, as far as the kernel has them as modules.
    #[serde(default)]
    pub modules: Vec<String>,
    /// The features that it may skip for; `*` is all.
    pub lacks: Vec<String>,
    /// Features that it may skip for besides, when the tests run as an unprivileged user.
    #[serde(default)]
    pub lacks_as_user: Vec<String>,
    /// Suites, or single tests of one, that it leaves to other guests, unless they are asked for; with `user::` before it,
    /// those runs only.
    #[serde(default)]
    pub leaves_out: Vec<String>,
    /// Single tests that it runs as root although it leaves their suite to others.
    #[serde(default)]
    pub keeps: Vec<String>,
    /// Suites that run in a second boot, side by side with the first: where one takes longer than all other guests together.
    #[serde(default)]
    pub second_boot: Vec<String>,
}

/// How a guest is booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// User-mode Linux: the kernel is an ordinary program.
    Uml,
    /// A virtual machine.
    Qemu,
    /// No guest at all: the tests run right here.
    Host,
}

impl Catalogue {
    /// The catalogue of this checkout.
    ///
    /// # Errors
    ///
    /// When `kernels.toml` isn't as it must be.
    pub fn read() -> Result<Self> {
        Self::parse(include_str!("../kernels.toml"))
    }

    fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).attempt(|| "failed to understand `vm-tests/kernels.toml`")
    }

    /// One guest by its name.
    ///
    /// # Errors
    ///
    /// When there is none; the message lists those that there are.
    pub fn guest(&self, name: &str) -> Result<&GuestSpec> {
        self.guests.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.guests.keys().map(String::as_str).collect();
            Failure::new(format!("no guest `{name}` in kernels.toml: it has {}", names.join(", ")))
        })
    }

    /// Which unit tests run in the guests.
    #[must_use]
    pub fn unit_tests(&self) -> &UnitTests {
        &self.unit_tests
    }

    /// The names of the guests that run when none is named.
    #[must_use]
    pub fn default_names() -> Vec<String> {
        BY_DEFAULT.iter().map(|&name| name.to_owned()).collect()
    }
}

impl GuestSpec {
    /// Whether this guest leaves a test to others.
    #[must_use]
    pub fn leaves_out(&self, suite: &str, test: &str, as_user: bool) -> bool {
        let named = |name: &str| match name.strip_prefix(suite) {
            Some("") => true,
            Some(rest) => rest.strip_prefix("::") == Some(test),
            None => false,
        };
        let left = |name: &str| match name.strip_prefix("user::") {
            Some(of_user) => as_user && named(of_user),
            None => named(name),
        };
        let kept = !as_user && self.keeps.iter().any(|name| named(name));
        !kept && self.leaves_out.iter().any(|name| left(name))
    }

    /// Whether a test may skip because `feature` is missing.
    #[must_use]
    pub fn may_skip(&self, feature: &str, as_user: bool) -> bool {
        let of_user = self.lacks_as_user.iter().filter(|_| as_user);
        self.lacks.iter().chain(of_user).any(|lack| lack == "*" || lack == feature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_of_this_checkout_has_every_guest_that_runs_by_default() {
        let catalogue = Catalogue::read().unwrap();
        for name in Catalogue::default_names() {
            assert!(catalogue.guest(&name).unwrap().package.is_some(), "{name}");
        }
    }

    #[test]
    fn an_unknown_word_is_refused() {
        let text = "[unit_tests]\nin_guests = []\n\
                    [guests.a]\nmachine = \"uml\"\nversion = \"\"\nlacks = []\nlakcs = [\"psi\"]\n";
        assert!(Catalogue::parse(text).unwrap_err().chain().contains("lakcs"));
    }

    #[test]
    fn an_unknown_guest_is_answered_with_the_known_ones() {
        let message = Catalogue::read().unwrap().guest("qemu-5").unwrap_err().chain();
        assert!(message.contains("qemu-6.12") && message.contains("uml"), "{message}");
    }

    #[test]
    fn a_guest_may_skip_only_for_what_it_lacks() {
        let text = "[unit_tests]\nin_guests = []\n\
                    [guests.a]\nmachine = \"uml\"\nversion = \"\"\nlacks = [\"psi\"]\n\
                    lacks_as_user = [\"root\"]\n";
        let catalogue = Catalogue::parse(text).unwrap();
        let guest = catalogue.guest("a").unwrap();
        assert!(guest.may_skip("psi", false) && guest.may_skip("psi", true));
        assert!(!guest.may_skip("landlock", false));
        assert!(guest.may_skip("root", true) && !guest.may_skip("root", false));
    }

    #[test]
    fn a_test_is_kept_though_its_suite_is_left_out() {
        let text = "[unit_tests]\nin_guests = []\n\
                    [guests.a]\nmachine = \"uml\"\nversion = \"\"\nlacks = []\n\
                    leaves_out = [\"one\", \"user::two\"]\nkeeps = [\"one::a::b\"]\n";
        let catalogue = Catalogue::parse(text).unwrap();
        let left =
            |suite, test, as_user| catalogue.guest("a").unwrap().leaves_out(suite, test, as_user);
        assert!(left("one", "a::c", false) && !left("one", "a::b", false));
        assert!(left("one", "a::b", true));
        assert!(left("two", "a", true) && !left("two", "a", false));
    }

    #[test]
    fn a_path_means_one_test_or_what_is_inside_a_module() {
        let units = UnitTests { in_guests: vec!["linux::tests".to_owned()] };
        assert!(units.need_a_kernel("linux::tests::a") && units.need_a_kernel("linux::tests"));
        assert!(!units.need_a_kernel("linux::tests_of_text::a"));
        assert!(!units.need_a_kernel("windows::linux::tests::a"));
    }
}
