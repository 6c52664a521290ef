//! The filtered network of one sandbox: what is bound before it starts, served while it runs, and told in the end.

use super::ledger::Connections;
use super::proxy::{self, Shared};
use super::published;
use super::resolver::{Resolve, System};
use super::rules::Rules;
use super::throttle::Throttle;
use crate::error::Error;
use crate::platform::{AllowRule, Control, Decision, Denial, Dialer, Gate, LaunchPlan, Rate};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connections that are served at once, out and in each; others wait. Each takes two descriptors, so that all of them leave
/// some of the 1024 that a process usually may have.
const MOST: usize = 192;

/// How long it may take to pass on what was said last.
const TO_PASS_ON: Duration = Duration::from_secs(5);

/// The same where it isn't to be fast.
const TO_PASS_ON_SLOWLY: Duration = Duration::from_secs(30);

/// Ports of the host that are taken for a sandbox, before it exists: one that isn't free is told before anything runs.
#[derive(Debug, Default)]
pub(crate) struct Published(Vec<(TcpListener, u16)>);

impl Published {
    /// Binds what the plan publishes.
    ///
    /// # Errors
    /// When a port is taken, or isn't this user's to take.
    pub(crate) fn bind(plan: &LaunchPlan) -> Result<Self, Error> {
        let bind = |publish: &crate::platform::Publish| {
            let listener = TcpListener::bind(publish.outside)
                .map_err(|error| Error::io(format!("failed to publish `{publish}`"), error))?;
            Ok((listener, publish.inside))
        };
        plan.publish.iter().map(bind).collect::<Result<_, Error>>().map(Self)
    }
}

/// What passes between a sandbox's own network and the host's. Dropping it closes everything.
#[derive(Debug)]
pub(crate) struct Passage {
    shared: Arc<Shared>,
    work: JoinSet<()>,
}

impl Passage {
    /// Opens it, where the plan filters; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When a socket can't be registered with the runtime.
    pub(crate) fn open(
        plan: &LaunchPlan,
        published: Published,
        gate: Gate,
    ) -> Result<Option<Self>, Error> {
        if plan.proxy.is_none() {
            return Ok(None);
        }
        Self::with(plan, published, gate, Box::new(System::default()))
            .map(Some)
            .map_err(|error| Error::io("failed to serve the sandbox's network", error))
    }

    fn with(
        plan: &LaunchPlan,
        published: Published,
        gate: Gate,
        resolver: Box<dyn Resolve>,
    ) -> io::Result<Self> {
        let rules = watch::Sender::new(Arc::new(Rules::new(plan.allow.clone())));
        let (ledger, pending) = Default::default();
        let throttle = Throttle::new(rate(plan));
        let shared = Arc::new(Shared { rules, ledger, pending, throttle, resolver });
        let mut work = JoinSet::new();
        let room = || Arc::new(Semaphore::new(MOST));
        if let Some(listener) = gate.proxy {
            let (listener, shared, room) = (register(listener)?, shared.clone(), room());
            work.spawn(async move {
                proxy::accept(listener, room, |client| proxy::serve(client, shared.clone())).await;
            });
        }
        let dialer: Option<Arc<dyn Dialer>> = gate.dialer;
        let room = room();
        for (listener, inside) in published.0 {
            let listener = register(listener)?;
            let Some(dialer) = dialer.clone() else { continue };
            work.spawn(published::listen(listener, room.clone(), (inside, dialer), shared.clone()));
        }
        Ok(Self { shared, work })
    }

    /// Puts these rules in the place of those in force, all at once; connections that they don't allow are closed.
    pub(crate) fn allow(&self, list: Vec<AllowRule>) {
        self.shared.rules.send_replace(Arc::new(Rules::new(list)));
    }

    /// From now on it may send as fast as this plan says.
    pub(crate) fn limit_to(&self, plan: &LaunchPlan) {
        self.shared.throttle.limit_to(rate(plan));
    }

    /// What these rules would close: each destination, and how many connections to it.
    pub(crate) fn would_close(&self, list: &[AllowRule]) -> Vec<(String, u64)> {
        let rules = Rules::new(list.to_vec());
        self.shared
            .ledger
            .open_unless(|to| rules.allow_connection(to).is_ok())
            .into_iter()
            .collect()
    }

    /// What was refused since the last time. Dropping the future loses nothing.
    pub(crate) async fn news(&self) -> Vec<Denial> {
        self.shared.ledger.news().await
    }

    /// Closes everything once nothing is left inside, and tells what was refused and not told yet. What programs said before
    /// they ended is passed on first, as a system does it for its own; who doesn't take it keeps nobody waiting for long.
    pub(crate) async fn close(&mut self) -> Vec<Denial> {
        let limited = self.shared.throttle.is_limited();
        let patience = if limited { TO_PASS_ON_SLOWLY } else { TO_PASS_ON };
        drop(timeout(patience, self.shared.pending.none()).await);
        self.work.abort_all();
        self.shared.ledger.untold()
    }

    /// All that was refused.
    pub(crate) fn denials(&self) -> Vec<Denial> {
        self.shared.ledger.denials()
    }

    /// Counts of what passed.
    pub(crate) fn connections(&self) -> Connections {
        self.shared.ledger.connections()
    }
}

/// How fast it may send, where that is to be held.
fn rate(plan: &LaunchPlan) -> Option<Rate> {
    let is_held = plan.controls.get(&Control::NetworkSend) == Some(&Decision::Enforce);
    plan.limits.network_send.filter(|_| is_held)
}

fn register(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}
