//! Services that are started again together.
//!
//! When a member of a group has been started again after trouble, so are the others that run, or those after it, by the
//! group's strategy (Erlang/OTP's words). What somebody asks of a single member is about that alone.

use super::controller::Controller;
use super::service::Status;
use super::stack::{Group, Strategy};
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// Watches the members of all groups, until what comes back is dropped.
pub(super) fn watch(
    groups: &BTreeMap<String, Group>,
    services: &BTreeMap<String, Controller>,
) -> JoinSet<()> {
    let mut watching = JoinSet::new();
    for (name, group) in groups {
        for (at, member) in group.members.iter().enumerate() {
            let others: Vec<Controller> = match group.strategy {
                Strategy::OneForOne => continue,
                Strategy::OneForAll => {
                    let others = group.members.iter().filter(|other| *other != member);
                    others.filter_map(|other| services.get(other).cloned()).collect()
                }
                Strategy::RestForOne => {
                    let after = group.members.iter().skip(at + 1);
                    after.filter_map(|other| services.get(other).cloned()).collect()
                }
            };
            let Some(controller) = services.get(member).cloned() else { continue };
            let why = format!("`{member}` of group `{name}` was started again");
            watching.spawn(follow(controller, others, why));
        }
    }
    watching
}

/// Starts the others anew each time that one was started again after trouble.
async fn follow(one: Controller, others: Vec<Controller>, why: String) {
    let restarts = |status: &Status| status.counts.restarts.values().sum::<u64>();
    let mut before = restarts(&one.status());
    while let Ok(status) = one.wait_for(|status| restarts(status) > before).await {
        before = restarts(&status);
        for other in &others {
            // One that nobody supervises any more needs no start.
            if other.peer_restarted(why.clone()).await.is_err() {
                return;
            }
        }
    }
}
