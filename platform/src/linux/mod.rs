//! The Linux backend.

mod capabilities;
#[allow(dead_code, reason = "the launcher that uses all of it comes next")]
mod cgroup;
mod landlock;
mod seccomp;

use crate::{Backend, LaunchPlan, Launched, PlatformError, Probe, StdioSet, Support};

/// Launches into control groups and namespaces.
#[derive(Debug, Default)]
pub struct LinuxBackend;

impl LinuxBackend {
    /// The backend; looks at nothing yet.
    pub fn new() -> Self {
        Self
    }
}

impl Backend for LinuxBackend {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn support(&self, _probe: Probe) -> Support {
        Support::default()
    }

    fn explain(&self, _plan: &LaunchPlan) -> Result<Vec<String>, PlatformError> {
        Ok(Vec::new())
    }

    fn launch(&self, _plan: &LaunchPlan, _stdio: StdioSet) -> Result<Launched, PlatformError> {
        Err(PlatformError::invalid("not built yet"))
    }
}
