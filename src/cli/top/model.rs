//! What the screen knows, and what keys do to it. Pure.

use super::figures::Figures;
use crate::control::Request;
use std::collections::{BTreeMap, BTreeSet};

/// What a key asks of the world.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Action {
    Nothing,
    Quit,
    /// Look again at once.
    Look,
    Ask(String, Request),
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Order {
    #[default]
    Cpu,
    Memory,
    Pids,
    Age,
    Name,
}

impl Order {
    const ALL: [Self; 5] = [Self::Cpu, Self::Memory, Self::Pids, Self::Age, Self::Name];

    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Age => "age",
            Self::Name => "name",
        }
    }

    fn next(self) -> Self {
        let place = Self::ALL.iter().position(|one| *one == self).unwrap_or(0);
        Self::ALL[(place + 1) % Self::ALL.len()]
    }
}

/// One sandbox: its figures, and what changed since the look before.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Row {
    pub(in super::super) now: Figures,
    /// Cores in use.
    pub(in super::super) cores: f64,
    /// Bytes a second to and from devices.
    pub(in super::super) io_rate: Option<f64>,
    /// Shares of time spent waiting: for a CPU, for memory, for devices.
    pub(in super::super) waiting: [Option<f64>; 3],
}

/// All that is shown.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Model {
    rows: Vec<Row>,
    order: Order,
    selected: Option<String>,
    expanded: BTreeSet<String>,
    /// The sandbox that is to be killed, until that is confirmed.
    doomed: Option<String>,
    message: String,
}

impl Model {
    /// Takes in a look.
    pub(in super::super) fn take(&mut self, all: Vec<Figures>) {
        let mut before: BTreeMap<String, Figures> = std::mem::take(&mut self.rows)
            .into_iter()
            .map(|row| (row.now.id.clone(), row.now))
            .collect();
        self.rows = all
            .into_iter()
            .map(|now| {
                let before = before.remove(&now.id).filter(|before| !before.silent);
                Row::between(before.unwrap_or_default(), now)
            })
            .collect();
        self.sort();
        let known = |id: &String| self.rows.iter().any(|row| row.now.id == *id);
        self.expanded.retain(|id| known(id));
        self.doomed = self.doomed.take().filter(known);
        if !self.selected.as_ref().is_some_and(known) {
            self.selected = self.rows.first().map(|row| row.now.id.clone());
        }
    }

    /// Rows from the top down.
    pub(in super::super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(in super::super) fn order(&self) -> Order {
        self.order
    }

    pub(in super::super) fn is_selected(&self, id: &str) -> bool {
        self.selected.as_deref() == Some(id)
    }

    /// Whether its processes are shown.
    pub(in super::super) fn is_expanded(&self, id: &str) -> bool {
        self.expanded.contains(id)
    }

    /// What is asked or told at the bottom; empty when there is nothing.
    pub(in super::super) fn message(&self) -> String {
        match &self.doomed {
            Some(id) => format!("kill {id}? y or n"),
            None => self.message.clone(),
        }
    }

    pub(in super::super) fn tell(&mut self, message: String) {
        self.message = message;
    }

    /// A key.
    pub(in super::super) fn letter(&mut self, letter: char) -> Action {
        self.message.clear();
        if let Some(id) = self.doomed.take() {
            // Nothing but a clear yes kills.
            return if letter == 'y' { Action::Ask(id, Request::Kill) } else { Action::Nothing };
        }
        match letter {
            'q' => return Action::Quit,
            'j' => self.step(1),
            'k' => self.step(-1),
            's' => {
                self.order = self.order.next();
                self.sort();
            }
            _ => {}
        }
        let Some(row) = self.rows.iter().find(|row| self.is_selected(&row.now.id)) else {
            return Action::Nothing;
        };
        let id = row.now.id.clone();
        match letter {
            ' ' => {
                if !self.expanded.remove(&id) {
                    self.expanded.insert(id);
                }
                Action::Look
            }
            'f' if row.now.paused => Action::Ask(id, Request::Resume),
            'f' => Action::Ask(id, Request::Pause),
            't' => Action::Ask(id, Request::Stop { grace_s: None }),
            'x' => {
                self.doomed = Some(id);
                Action::Nothing
            }
            _ => Action::Nothing,
        }
    }

    /// Selects another row.
    fn step(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(1);
        let place = self.rows.iter().position(|row| self.is_selected(&row.now.id)).unwrap_or(0);
        let place = place.saturating_add_signed(by).min(last);
        self.selected = self.rows.get(place).map(|row| row.now.id.clone());
    }

    fn sort(&mut self) {
        let order = self.order;
        self.rows.sort_by(|one, other| {
            // The most first; what is equal by name, so that rows don't jump.
            let most_first = match order {
                Order::Cpu => other.cores.total_cmp(&one.cores),
                Order::Memory => other.now.memory.cmp(&one.now.memory),
                Order::Pids => other.now.pids.cmp(&one.now.pids),
                Order::Age => other.now.age.total_cmp(&one.now.age),
                Order::Name => std::cmp::Ordering::Equal,
            };
            most_first.then_with(|| one.now.id.cmp(&other.now.id))
        });
    }
}

impl Row {
    /// What changed from one look to the next; from its start, when there was none before.
    fn between(before: Figures, now: Figures) -> Self {
        let time = now.age - before.age;
        let rate = |change: f64| if time > 0.0 { (change / time).max(0.0) } else { 0.0 };
        let waiting = [0, 1, 2].map(|kind| {
            now.pressure[kind].map(|so_far| rate(so_far - before.pressure[kind].unwrap_or(0.0)))
        });
        // Bytes of devices are far below 2^52.
        let io_rate = now.io.map(|io| rate(io.saturating_sub(before.io.unwrap_or(0)) as f64));
        Self { cores: rate(now.cpu - before.cpu), io_rate, waiting, now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(id: &str, age: f64, cpu: f64, memory: u64) -> Figures {
        Figures { id: id.into(), age, cpu, memory: Some(memory), ..Figures::default() }
    }

    fn ids(model: &Model) -> Vec<&str> {
        model.rows().iter().map(|row| row.now.id.as_str()).collect()
    }

    #[test]
    fn rates_are_what_changed_between_two_looks() {
        let mut model = Model::default();
        model.take(vec![figures("a", 10.0, 5.0, 1)]);
        assert_eq!(model.rows()[0].cores, 0.5);
        model.take(vec![figures("a", 12.0, 8.0, 1)]);
        assert_eq!(model.rows()[0].cores, 1.5);
        // The same look again, and one that goes back, are no division by zero and no negative use.
        model.take(vec![figures("a", 12.0, 8.0, 1)]);
        assert_eq!(model.rows()[0].cores, 0.0);
        model.take(vec![figures("a", 13.0, 7.0, 1)]);
        assert_eq!(model.rows()[0].cores, 0.0);
    }

    #[test]
    fn rows_are_sorted_by_what_is_asked_for_and_the_selection_stays_with_its_sandbox() {
        let mut model = Model::default();
        model.take(vec![figures("a", 1.0, 0.1, 30), figures("b", 1.0, 0.9, 10)]);
        assert_eq!(ids(&model), ["b", "a"]);
        assert!(model.is_selected("b"));
        model.letter('s');
        assert_eq!((ids(&model), model.order()), (vec!["a", "b"], Order::Memory));
        assert!(model.is_selected("b"));
        model.letter('k');
        assert!(model.is_selected("a"));
        model.letter('k');
        assert!(model.is_selected("a"));
        // The one that was selected is gone.
        model.take(vec![figures("b", 2.0, 1.0, 10)]);
        assert!(model.is_selected("b"));
        model.take(Vec::new());
        assert_eq!(model.letter('f'), Action::Nothing);
    }

    #[test]
    fn only_a_clear_yes_kills() {
        let mut model = Model::default();
        model.take(vec![figures("a", 1.0, 0.0, 1)]);
        for no in ['n', 'x', 'q', ' '] {
            assert_eq!(model.letter('x'), Action::Nothing);
            assert_eq!(model.message(), "kill a? y or n");
            assert_eq!(model.letter(no), Action::Nothing);
            assert_eq!(model.message(), "");
        }
        model.letter('x');
        assert_eq!(model.letter('y'), Action::Ask("a".into(), Request::Kill));
        // Whoever ended meanwhile isn't killed under another's name.
        model.letter('x');
        model.take(vec![figures("b", 1.0, 0.0, 1)]);
        assert_eq!(model.letter('y'), Action::Nothing);
    }

    #[test]
    fn freezing_thaws_what_is_frozen() {
        let mut model = Model::default();
        model.take(vec![figures("a", 1.0, 0.0, 1)]);
        assert_eq!(model.letter('f'), Action::Ask("a".into(), Request::Pause));
        model.take(vec![Figures { paused: true, ..figures("a", 2.0, 0.0, 1) }]);
        assert_eq!(model.letter('f'), Action::Ask("a".into(), Request::Resume));
        assert_eq!(model.letter(' '), Action::Look);
        assert!(model.is_expanded("a"));
    }
}
