//! `stockade doctor`: what this host can enforce, and the exact command that mends what it can't.

use super::{backend, output};
use crate::error::Error;
use crate::plan::{LaunchRequest, compile};
use crate::platform::{Availability, Control, Fact, Probe, Support};
use crate::policy::Policy;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;
use std::fmt::Write;

/// The policy whose needs decide the verdict: strict, and what untrusted programs should get.
const MEASURE: &str = "worker";

const AFTER: &str = "\
Exit codes: 0 when the policy `worker` can be enforced here, 1 when it can't, 125 when Stockade failed.";

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Examination<'a> {
    /// Version of this form: 1. Fields may be added to a version, not changed.
    version: u32,
    #[serde(flatten)]
    support: &'a Support,
    verdict: &'a Verdict,
}

#[derive(Debug, Serialize)]
struct Verdict {
    policy: String,
    enforceable: bool,
    /// Controls that the policy needs and this host can't enforce.
    missing: Vec<Control>,
}

/// The subcommand.
pub(super) fn command() -> Command {
    Command::new("doctor")
        .about("Tell what this host can enforce, and how to mend what it can't")
        .after_help(AFTER)
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object"))
        .arg(backend::flag())
        .arg(
            Arg::new("apparmor-profile")
                .long("apparmor-profile")
                .action(ArgAction::SetTrue)
                .conflicts_with("json")
                .help("Print the AppArmor profile that lets this program make user namespaces"),
        )
}

/// Looks, prints, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    if matches.get_flag("apparmor-profile") {
        let profile = backend::chosen(matches)?.profile();
        let none = || std::io::Error::from(std::io::ErrorKind::Unsupported);
        let profile =
            profile.ok_or_else(|| Error::io("there is no profile for this platform", none()))?;
        output::result(profile.trim_end())?;
        return Ok(0);
    }
    let support = backend::chosen(matches)?.support(Probe::Thorough);
    let verdict = Verdict::new(&Policy::shipped(MEASURE)?, &support);
    if matches.get_flag("json") {
        let all = Examination { version: 1, support: &support, verdict: &verdict };
        let json = serde_json::to_string_pretty(&all)
            .map_err(|error| Error::io("failed to write the result as JSON", error.into()))?;
        output::result(json)?;
    } else {
        output::result(text(&support, &verdict))?;
    }
    Ok(u8::from(!verdict.enforceable))
}

impl Verdict {
    fn new(policy: &Policy, support: &Support) -> Self {
        let compiled = compile(policy, support, LaunchRequest::default());
        let missing = compiled.as_ref().map_or_else(|no| no.controls().collect(), |_| Vec::new());
        Self { policy: policy.name.clone(), enforceable: compiled.is_ok(), missing }
    }
}

/// The whole answer for people. It says everything without colours; `!` marks what isn't as it should be.
fn text(support: &Support, verdict: &Verdict) -> String {
    let mut lines = Lines::default();
    lines.heading("Host");
    let width = support.facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0);
    for Fact { name, found, good, consequence, remedy } in &support.facts {
        let mark = if *good { ' ' } else { '!' };
        lines.push(format_args!("{mark} {name:width$}  {found}"));
        lines.below(width, "so", consequence);
        lines.remedy(width, remedy);
    }
    lines.heading("Controls");
    let width = Control::all().map(|control| control.name().len()).max().unwrap_or(0);
    for control in Control::all() {
        let name = control.name();
        match support.of(control) {
            Availability::Enforced => lines.push(format_args!("  {name:width$}  enforced")),
            Availability::Degraded { how, reason, remedy } => {
                lines.push(format_args!("! {name:width$}  degraded: {how}"));
                lines.below(width, "why", &reason);
                lines.remedy(width, &remedy);
            }
            Availability::Unavailable { reason, remedy } => {
                lines.push(format_args!("! {name:width$}  unavailable: {reason}"));
                lines.remedy(width, &remedy);
            }
        }
    }
    lines.heading("Verdict");
    let Verdict { policy, enforceable, missing } = verdict;
    let answer = if *enforceable { "yes" } else { "no" };
    lines.push(format_args!("The policy `{policy}` can be enforced here: {answer}"));
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|control| control.name()).collect();
        lines.push(format_args!("It needs: {}", names.join(", ")));
    }
    lines.text
}

/// Lines of text, and the remedies that were told already.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    told: Vec<String>,
}

impl Lines {
    fn push(&mut self, line: impl std::fmt::Display) {
        let end = if self.text.is_empty() { "" } else { "\n" };
        // Writing to a string doesn't fail.
        write!(self.text, "{end}{line}").unwrap_or(());
    }

    fn heading(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.push("");
        }
        self.push(text);
    }

    fn below(&mut self, width: usize, word: &str, text: &str) {
        if !text.is_empty() {
            self.push(format_args!("  {:width$}  {word}: {text}", ""));
        }
    }

    /// A command that mends several things is told once.
    fn remedy(&mut self, width: usize, remedy: &str) {
        if !self.told.iter().any(|told| told == remedy) {
            self.below(width, "mend", remedy);
            self.told.push(remedy.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host where memory is watched, groups stay and there is no second wall.
    fn host() -> Support {
        let mut support = Support::default();
        support.backend = "linux".into();
        support.controls =
            Control::all().map(|control| (control, Availability::Enforced)).collect();
        let (reason, remedy) = ("a hybrid host", "boot with `x=1`");
        let watched = Availability::Degraded {
            how: "watched".into(),
            reason: reason.into(),
            remedy: remedy.into(),
        };
        support.controls.insert(Control::Memory, watched);
        let none = Availability::Unavailable {
            reason: "disabled at boot".into(),
            remedy: "boot with `lsm=landlock`".into(),
        };
        support.controls.insert(Control::AccessRules, none);
        support.facts = vec![
            Fact::good("kernel", "6.12.3"),
            Fact::bad("control groups", "hybrid", "limits are watched", remedy),
        ];
        support
    }

    #[test]
    fn the_text_says_what_is_missing_and_each_remedy_once() {
        let verdict = Verdict {
            policy: "worker".into(),
            enforceable: false,
            missing: vec![Control::Memory, Control::AccessRules],
        };
        let text = text(&host(), &verdict);
        let shown: Vec<_> = text.lines().filter(|line| !line.ends_with("enforced")).collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        Host
          kernel          6.12.3
        ! control groups  hybrid
                          so: limits are watched
                          mend: boot with `x=1`

        Controls
        ! limits.memory            degraded: watched
                                   why: a hybrid host
        ! filesystem.access_rules  unavailable: disabled at boot
                                   mend: boot with `lsm=landlock`

        Verdict
        The policy `worker` can be enforced here: no
        It needs: limits.memory, filesystem.access_rules
        ");
        let enforced = text.lines().filter(|line| line.ends_with("  enforced")).count();
        assert_eq!(enforced, Control::all().count() - 2);
    }

    #[test]
    fn the_json_has_a_version_and_the_verdict() {
        let support = host();
        let verdict = Verdict { policy: "worker".into(), enforceable: true, missing: Vec::new() };
        let all = Examination { version: 1, support: &support, verdict: &verdict };
        let json = serde_json::to_value(&all).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["backend"], "linux");
        assert_eq!(json["controls"]["limits.memory"]["state"], "degraded");
        assert_eq!(json["controls"]["limits.memory"]["how"], "watched");
        assert_eq!(json["facts"][1]["remedy"], "boot with `x=1`");
        assert_eq!(json["verdict"]["enforceable"], true);
    }
}
