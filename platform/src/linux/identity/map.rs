//! What the ids inside are outside (user_namespaces(7), "Defining user and group ID mappings").

use std::fmt::Write;

/// So many ids from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) inside: u32,
    pub(crate) outside: u32,
    pub(crate) count: u32,
}

/// Users or groups of one sandbox, in ascending order of the ids inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map(Vec<Line>);

impl Map {
    /// One id.
    pub(crate) fn one(inside: u32, outside: u32) -> Self {
        Self(vec![Line { inside, outside, count: 1 }])
    }

    /// The ids from 0 on.
    pub(crate) fn block(outside: u32, count: u32) -> Self {
        Self(vec![Line { inside: 0, outside, count }])
    }

    /// `count` ids from 0 on, one of which, or one more, is the caller's own; the others are those from `outside` on, one
    /// after the other.
    pub(crate) fn around(own: (u32, u32), outside: u32, count: u32) -> Self {
        let (inside, caller) = own;
        let below = inside.min(count);
        let above = count.saturating_sub(inside.saturating_add(1));
        let lines = [
            Line { inside: 0, outside, count: below },
            Line { inside, outside: caller, count: 1 },
            Line {
                inside: inside.saturating_add(1),
                outside: outside.saturating_add(below),
                count: above,
            },
        ];
        Self(lines.into_iter().filter(|line| line.count > 0).collect())
    }

    /// What the kernel says of a process; `None` when it isn't three numbers a line.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse);
            let mut next = || numbers.next()?.ok();
            Some(Line { inside: next()?, outside: next()?, count: next()? })
        };
        let mut lines = text.lines().map(line).collect::<Option<Vec<_>>>()?;
        lines.sort();
        Some(Self(lines))
    }

    /// Its lines.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.0
    }

    /// What an id inside is outside.
    pub(crate) fn outside(&self, id: u32) -> Option<u32> {
        let line = self.0.iter().find(|line| {
            id.checked_sub(line.inside).is_some_and(|distance| distance < line.count)
        })?;
        line.outside.checked_add(id - line.inside)
    }

    /// As the kernel takes it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for Line { inside, outside, count } in &self.0 {
            // Writing to a string doesn't fail.
            writeln!(text, "{inside} {outside} {count}").unwrap_or(());
        }
        text
    }

    /// For people: `0-999 are 100000-100999, 1000 is 1000`.
    pub(crate) fn told(&self) -> String {
        let line = |Line { inside, outside, count }: &Line| match count {
            1 => format!("{inside} is {outside}"),
            _ => format!("{inside}-{} are {outside}-{}", inside + count - 1, outside + count - 1),
        };
        self.0.iter().map(line).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_own_id_stands_among_the_others_or_beside_them() {
        let text = |inside, count| Map::around((inside, 1000), 100_000, count).text();
        assert_eq!(text(0, 4), "0 1000 1\n1 100000 3\n");
        assert_eq!(text(1, 4), "0 100000 1\n1 1000 1\n2 100001 2\n");
        assert_eq!(text(3, 4), "0 100000 3\n3 1000 1\n");
        assert_eq!(text(1000, 4), "0 100000 4\n1000 1000 1\n");
    }

    #[test]
    fn what_the_kernel_says_is_read_in_any_order() {
        let map = Map::around((1, 1000), 100_000, 4);
        let said = "         2     100001          2\n         0     100000          1\n         1       1000          1\n";
        assert_eq!(Map::read(said), Some(map.clone()));
        assert_eq!(
            [0, 1, 3, 4].map(|id| map.outside(id)),
            [Some(100_000), Some(1000), Some(100_002), None]
        );
        assert_ne!(Map::read("0 100000 1\n"), Some(map));
        assert_eq!(Map::read("0 1\n"), None);
        assert_eq!(Map::read(""), Some(Map(Vec::new())));
    }

    #[test]
    fn a_map_in_words() {
        assert_eq!(Map::around((2, 1000), 100_000, 3).told(), "0-1 are 100000-100001, 2 is 1000");
    }
}
