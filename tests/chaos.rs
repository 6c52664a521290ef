//! The daemon may die at any moment, and the system may run out of what it needs: services go on, each once, and nothing of
//! what they wrote or of how they ended is lost.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]
#![expect(clippy::disallowed_methods, reason = "the moment of a kill is nobody's event")]
#![expect(
    clippy::print_stdout,
    reason = "who looks at a failure wants to know what happened before"
)]

#[path = "chaos/check.rs"]
mod check;
#[path = "chaos/crew.rs"]
mod crew;
mod support;

use check::Missing;
use crew::Chaos;

/// So many daemons are killed, unless `STOCKADE_CHAOS_KILLS` says otherwise, here or where this was compiled.
const KILLS: u64 = 25;

#[test]
fn daemons_are_killed_at_any_moment_and_nothing_is_lost_and_nothing_is_there_twice() {
    let kills = std::env::var("STOCKADE_CHAOS_KILLS").ok();
    let kills = kills.as_deref().or(option_env!("STOCKADE_CHAOS_KILLS"));
    let kills = kills.map_or(KILLS, |kills| kills.parse().unwrap());
    let mut chaos = Chaos::new();
    chaos.first().kill();
    for kill in 1..kills {
        let asks = chaos.dice.below(2) == 0;
        chaos.round(asks, kill % 4 == 0);
    }
    let mut last = chaos.daemon();
    last.answers();
    chaos.end(last, Missing::Nothing);
}
