//! Which backend launches: the one that is asked for, or the platform's own, or, where that can't hold the policy, the fall-back, which
//! needs nothing of the host (on Linux `posix`).
//!
//! The platform's own holds a policy in part where only limits are missing: its walls stay. What is left are hosts where it can't begin,
//! such as a container without user namespaces. The fall-back has no walls, and is taken only where the policy accepts by name
//! (`[degrade] allow`) everything that it lacks; else the refusal is the first one's, with its reasons and remedies. The report names the
//! backend, and why it isn't the platform's own.

use crate::error::Error;
use crate::plan::{self, LaunchRequest};
use crate::platform::{self, Backend, LaunchPlan, Probe};
use crate::policy::Policy;
use std::sync::Arc;

/// A plan, and who carries it out. `wish` adds what the caller wants beyond the policy.
pub(crate) fn compile(
    asked: Option<Arc<dyn Backend>>,
    policy: &Policy,
    request: impl Fn() -> LaunchRequest,
    wish: impl Fn(&mut LaunchPlan),
) -> Result<(Arc<dyn Backend>, LaunchPlan), Error> {
    let (first, second) = match asked {
        Some(asked) => (asked, None),
        None => (Arc::from(platform::native()?), platform::fallback().map(Arc::from)),
    };
    choose(first, second, policy, request, wish)
}

fn choose(
    first: Arc<dyn Backend>,
    second: Option<Arc<dyn Backend>>,
    policy: &Policy,
    request: impl Fn() -> LaunchRequest,
    wish: impl Fn(&mut LaunchPlan),
) -> Result<(Arc<dyn Backend>, LaunchPlan), Error> {
    let wished = |backend: &Arc<dyn Backend>| {
        let mut plan = plan::compile(policy, &backend.support(Probe::Quick), request())?;
        wish(&mut plan);
        Ok::<_, plan::Unsupported>(plan)
    };
    let refused = match wished(&first) {
        Ok(plan) => return Ok((first, plan)),
        Err(refused) => refused,
    };
    let Some(second) = second else { return Err(refused.into()) };
    if let Ok(mut plan) = wished(&second)
        // What the caller wants beyond the policy has no name to accept it by.
        && second.explain(&plan).is_ok()
    {
        plan.fallback = Some(refused.to_string());
        return Ok((second, plan));
    }
    Err(refused.or_by(second.name()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::fake::FakeBackend;
    use crate::platform::{Availability, Control, Support};
    use std::path::Path;

    fn policy() -> Policy {
        Policy::load("base", &[], Path::new("/")).unwrap()
    }

    /// A backend that holds all but these.
    fn without(name: &str, missing: &[Control]) -> Arc<dyn Backend> {
        let mut support = Support::default();
        support.backend = name.into();
        let answer = |control| match missing.contains(&control) {
            true => Availability::Unavailable { reason: "gone".into(), remedy: String::new() },
            false => Availability::Enforced,
        };
        support.controls = Control::all().map(|control| (control, answer(control))).collect();
        Arc::new(FakeBackend::with_support(support))
    }

    fn chosen(policy: &Policy, first: &[Control], second: &[Control]) -> Result<LaunchPlan, Error> {
        let backends = (without("own", first), Some(without("less", second)));
        let request = || LaunchRequest { command: vec!["true".into()], ..LaunchRequest::default() };
        choose(backends.0, backends.1, policy, request, |_| {}).map(|(_, plan)| plan)
    }

    #[test]
    fn the_first_is_taken_where_it_holds_the_policy_or_what_is_left_of_it() {
        let plan = chosen(&policy(), &[], &[]).unwrap();
        assert_eq!((plan.backend.as_str(), plan.fallback), ("own", None));
        let lenient = policy().degrade(Control::User);
        let plan = chosen(&lenient, &[Control::User], &[]).unwrap();
        assert_eq!((plan.backend.as_str(), plan.fallback), ("own", None));
    }

    #[test]
    fn the_second_is_taken_only_where_the_policy_accepts_all_that_it_lacks() {
        let both = [Control::Syscalls, Control::Filesystem];
        let some = policy().degrade(Control::Filesystem);
        let error = chosen(&some, &[Control::User], &both).unwrap_err();
        assert!(error.chain().starts_with("identity.user can't be enforced"), "{}", error.chain());
        let all = some.degrade(Control::Syscalls);
        let plan = chosen(&all, &[Control::User], &both).unwrap();
        assert_eq!(plan.backend, "less");
        let why = plan.fallback.unwrap();
        assert!(why.starts_with("identity.user can't be enforced here: gone"), "{why}");
    }
}
