//! What must be true of services that were supervised by one daemon after another. Pure: from what they noted, what was kept of
//! what they wrote, and what daemons told, to what is wrong.

use std::collections::BTreeMap;

/// A run, as it noted itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// No other run of its service has it, and later ones have greater ones.
    pub(crate) number: u64,
    /// What it was to exit with, written down before.
    pub(crate) code: i32,
    /// How many lines it wrote; none where it hasn't ended.
    pub(crate) lines: Option<u64>,
}

/// A line that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Of which run, as the supervisor counts.
    pub(crate) generation: u64,
    pub(crate) text: String,
}

/// What a daemon told of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) state: String,
    pub(crate) generation: u64,
    /// What the run before exited with, if it did.
    pub(crate) code: Option<i32>,
    /// How the run before came out, in words.
    pub(crate) last: Option<String>,
}

/// The runs of a service, from `begin NUMBER CODE` and `end NUMBER LINES`.
pub(crate) fn runs(notes: &str) -> Result<Vec<Run>, String> {
    let mut runs: Vec<Run> = Vec::new();
    for note in notes.lines() {
        let words: Vec<&str> = note.split(' ').collect();
        let open = runs.last().is_some_and(|run| run.lines.is_none());
        match (words.as_slice(), runs.last_mut()) {
            (["begin", number, code], last) => {
                if open {
                    return Err(format!("run {number} began before {last:?} had ended"));
                }
                let number = number.parse().map_err(|_| note.to_owned())?;
                if last.is_some_and(|last| last.number >= number) {
                    return Err(format!("run {number} isn't a new one"));
                }
                let code = code.parse().map_err(|_| note.to_owned())?;
                runs.push(Run { number, code, lines: None });
            }
            (["end", number, lines], Some(last)) if open && *number == last.number.to_string() => {
                last.lines = Some(lines.parse().map_err(|_| note.to_owned())?);
            }
            _ => return Err(format!("`{note}` follows {:?}", runs.last())),
        }
    }
    Ok(runs)
}

/// Whether lines were lost, in so many of them at most that somebody told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Nothing,
    /// The disk was full: what is there is in order, and there once.
    Some,
}

/// That each line of each run is there once and in order: `RUN.LINE`, from line 1 on.
pub(crate) fn lines(runs: &[Run], kept: &[Kept], missing: Missing) -> Result<(), String> {
    let mut place = (0, 0);
    let all: BTreeMap<u64, u64> =
        runs.iter().filter_map(|run| Some((run.number, run.lines?))).collect();
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for Kept { text, .. } in kept {
        let pair = text.split_once('.');
        let pair = pair.and_then(|(run, line)| Some((run.parse().ok()?, line.parse().ok()?)));
        let Some((run, line)) = pair else { return Err(format!("nobody wrote `{text}`")) };
        if (run, line) <= place {
            return Err(format!("`{text}` comes after `{}.{}`", place.0, place.1));
        }
        if !all.get(&run).is_some_and(|last| (1..=*last).contains(&line)) {
            return Err(format!("nobody wrote `{text}`"));
        }
        *seen.entry(run).or_default() += 1;
        place = (run, line);
    }
    for (run, written) in all {
        let kept = seen.get(&run).copied().unwrap_or(0);
        if missing == Missing::Nothing && kept != written {
            return Err(format!("run {run} wrote {written} lines, and {kept} are kept"));
        }
    }
    Ok(())
}

/// That what a daemon told of the end of the run before is what that run wrote down. Only for services that nobody stops: what
/// ends before it could note anything has no code of its own.
pub(crate) fn told(runs: &[Run], kept: &[Kept], told: &Told) -> Result<(), String> {
    let by_number: BTreeMap<u64, i32> = runs.iter().map(|run| (run.number, run.code)).collect();
    let generation = |kept: &Kept| {
        let run = kept.text.split_once('.')?.0.parse().ok()?;
        Some((kept.generation, *by_number.get(&run)?))
    };
    // A launch that was broken off has a number, and nothing more.
    let codes: BTreeMap<u64, i32> = kept.iter().filter_map(generation).collect();
    let is_live = !matches!(told.state.as_str(), "backoff" | "pending");
    let before = codes.range(..told.generation + u64::from(!is_live)).next_back();
    let expected = before.map(|(_, code)| *code);
    if told.code == expected && (expected.is_some() || told.last.is_none()) {
        return Ok(());
    }
    Err(format!("it was to exit with {expected:?}, and is told to have so: {told:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: &str = "begin 0 7\nend 0 2\nbegin 2 9\nend 2 1\nbegin 4 5\n";

    fn kept(lines: &[(u64, &str)]) -> Vec<Kept> {
        let kept = |(generation, text): &(u64, &str)| Kept {
            generation: *generation,
            text: (*text).into(),
        };
        lines.iter().map(kept).collect()
    }

    #[test]
    fn a_second_copy_and_a_lost_end_are_noticed() {
        let all = runs(NOTES).unwrap();
        assert_eq!(all[0], Run { number: 0, code: 7, lines: Some(2) });
        assert_eq!(all[2].lines, None);
        for wrong in [
            "begin 0 7\nbegin 0 7\n",
            "begin 0 7\nbegin 1 7\nend 0 2\nend 1 2\n",
            "begin 0 7\nend 0 2\nend 0 2\n",
            "begin 2 7\nend 2 2\nbegin 2 7\n",
            "begin 0 7\nend 0 2\nbeg",
            "end 0 2\n",
        ] {
            runs(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_line_that_is_lost_doubled_or_out_of_order_is_noticed() {
        let all = &runs(NOTES).unwrap()[..2];
        let whole = [(1, "0.1"), (1, "0.2"), (3, "2.1")];
        lines(all, &kept(&whole), Missing::Nothing).unwrap();
        lines(all, &kept(&whole[1..]), Missing::Some).unwrap();
        lines(all, &kept(&whole[1..]), Missing::Nothing).unwrap_err();
        lines(all, &kept(&whole[..2]), Missing::Nothing).unwrap_err();
        for wrong in [
            [(1, "0.1"), (1, "0.1"), (1, "0.2"), (3, "2.1")],
            [(1, "0.2"), (1, "0.1"), (1, "0.2"), (3, "2.1")],
            [(1, "0.1"), (1, "0.2"), (3, "2.1"), (3, "2.2")],
            [(1, "0.1"), (1, "0.2"), (3, "2.1"), (3, "2.")],
            [(1, "0.1"), (1, "0.2"), (3, "2.1"), (4, "3.1")],
        ] {
            for missing in [Missing::Nothing, Missing::Some] {
                lines(all, &kept(&wrong), missing).unwrap_err();
            }
        }
    }

    #[test]
    fn another_exit_status_than_was_written_down_is_noticed() {
        let all = runs(NOTES).unwrap();
        let kept = kept(&[(1, "0.1"), (1, "0.2"), (3, "2.1")]);
        let of = |state: &str, generation, code: Option<i32>| Told {
            state: state.into(),
            generation,
            code,
            last: code.map(|code| format!("exited with {code}")),
        };
        told(&all, &kept, &of("running", 1, None)).unwrap();
        told(&all, &kept, &of("running", 3, Some(7))).unwrap();
        told(&all, &kept, &of("backoff", 3, Some(9))).unwrap();
        told(&all, &kept, &of("starting", 4, Some(9))).unwrap();
        told(&all, &kept, &of("running", 3, Some(9))).unwrap_err();
        told(&all, &kept, &of("running", 3, None)).unwrap_err();
        told(&all, &kept, &of("backoff", 3, Some(7))).unwrap_err();
        let unseen = Told { last: Some("nobody saw how".into()), ..of("running", 1, None) };
        told(&all, &kept, &unseen).unwrap_err();
    }
}
