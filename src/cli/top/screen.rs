//! The screen: a line for each sandbox, limits as bars, and the processes of those that are opened.

use super::super::bars::{BAR, age, bar};
use super::figures::Process;
use super::model::{Model, Row};
use crate::platform::Bytes;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// What keys do, for the help.
pub(super) const KEYS: &str = "\
  up, down, k, j   select a sandbox        s   sort by another column
  enter, space     show its processes      f   freeze it, or let it go on
  t                stop it politely        x   kill it, after a question
  q, escape        leave";

const HINT: &str = "q quit  s sort  space processes  f freeze  t stop  x kill";

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(heading(model)), top);
    let (lines, selected) = lines(model);
    // The selected row stays in sight.
    let height = usize::from(middle.height);
    let first = (selected + 1).saturating_sub(height);
    let seen: Vec<Line<'_>> = lines.into_iter().skip(first).take(height).collect();
    frame.render_widget(Paragraph::new(seen), middle);
    let message = model.message();
    let line = if message.is_empty() { HINT.to_owned() } else { message };
    frame.render_widget(
        Paragraph::new(line).style(Style::new().add_modifier(Modifier::DIM)),
        bottom,
    );
}

fn heading(model: &Model) -> Vec<Line<'static>> {
    let rows = model.rows();
    // The sum of nothing is -0.0.
    let cores = rows.iter().map(|row| row.cores).fold(0.0, |sum, cores| sum + cores);
    let memory: u64 = rows.iter().filter_map(|row| row.now.memory).sum();
    let sandboxes =
        if rows.len() == 1 { "1 sandbox".into() } else { format!("{} sandboxes", rows.len()) };
    let summary = format!(
        "stockade top: {sandboxes}, {cores:.2} cores, {} of memory, by {}",
        Bytes(memory),
        model.order().name()
    );
    let columns = columns([
        "ID",
        "STATE",
        "AGE",
        "CORES",
        "",
        "MEMORY",
        "",
        "PIDS",
        "IO/s",
        "WAITS cpu mem io",
    ]);
    vec![
        Line::raw(summary),
        Line::styled(columns, Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)),
    ]
}

/// Cells of a line, each in its width.
fn columns(cells: [&str; 10]) -> String {
    let [id, state, age, cores, cpu_bar, memory, memory_bar, pids, io, waits] = cells;
    format!(
        "{id:<20.20} {state:<7} {age:>7} {cores:>9} {cpu_bar:<BAR$} {memory:>15} {memory_bar:<BAR$} {pids:>9} {io:>9} {waits}"
    )
}

/// Every line, and the place of the selected one.
fn lines(model: &Model) -> (Vec<Line<'static>>, usize) {
    let (mut lines, mut selected) = (Vec::new(), 0);
    for row in model.rows() {
        let id = &row.now.id;
        let mut line = line_of(row);
        if model.is_selected(id) {
            selected = lines.len();
            line = line.style(Style::new().add_modifier(Modifier::REVERSED));
        }
        lines.push(line);
        if model.is_expanded(id) {
            lines.extend(row.now.processes.iter().map(process_line));
        }
    }
    (lines, selected)
}

/// One sandbox in a line of its own: what is limited, with its bars.
pub(in super::super) fn brief(row: &Row) -> String {
    let now = &row.now;
    let of = |used: String, most: Option<String>| match most {
        Some(most) => format!("{used}/{most}"),
        None => used,
    };
    let bar_of = |used: Option<f64>, most: Option<f64>| {
        used.zip(most).map_or_else(String::new, |(used, most)| bar(Some(used / most)) + " ")
    };
    // Limits and uses are far below 2^52.
    let float = |number: Option<u64>| number.map(|number| number as f64);
    let mut parts = vec![format!("{} {}", now.id, age(now.age))];
    let cores = of(format!("{:.2}", row.cores), now.cpu_limit.map(|most| most.to_string()));
    parts.push(format!("cpu {}{cores}", bar_of(Some(row.cores), now.cpu_limit)));
    if let Some(used) = now.memory {
        let shown =
            of(Bytes(used).to_string(), now.memory_limit.map(|size| Bytes(size).to_string()));
        parts.push(format!("memory {}{shown}", bar_of(float(now.memory), float(now.memory_limit))));
    }
    if let Some(used) = now.pids {
        let shown = of(used.to_string(), now.pids_limit.map(|most| most.to_string()));
        parts.push(format!("pids {}{shown}", bar_of(float(now.pids), float(now.pids_limit))));
    }
    parts.join("  ")
}

fn line_of(row: &Row) -> Line<'static> {
    let now = &row.now;
    if now.silent {
        return Line::raw(columns([&now.id, "silent", "", "", "", "", "", "", "", ""]));
    }
    let known = |value: Option<String>| value.unwrap_or_else(|| "?".into());
    let of = |used: String, most: Option<String>| match most {
        Some(most) => format!("{used}/{most}"),
        None => used,
    };
    // Limits and uses are far below 2^52.
    let share = |used: Option<u64>, most: Option<u64>| {
        used.zip(most).map(|(used, most)| used as f64 / most.max(1) as f64)
    };
    let cpu = now.cpu_limit.map(|most| row.cores / most);
    let memory = share(now.memory, now.memory_limit);
    let percent = |share: Option<f64>| known(share.map(|share| format!("{:.0}%", share * 100.0)));
    let text = columns([
        &now.id,
        if now.paused { "paused" } else { "running" },
        &age(now.age),
        &of(format!("{:.2}", row.cores), now.cpu_limit.map(|most| format!("{most}"))),
        &bar(cpu),
        &of(
            known(now.memory.map(|size| Bytes(size).to_string())),
            now.memory_limit.map(|size| Bytes(size).to_string()),
        ),
        &bar(memory),
        &of(
            known(now.pids.map(|pids| pids.to_string())),
            now.pids_limit.map(|most| most.to_string()),
        ),
        &known(row.io_rate.map(|rate| whole_bytes(rate).to_string())),
        &row.waiting.map(percent).join(" "),
    ]);
    // Colour only repeats what the bars say.
    let fullest =
        [cpu, memory, share(now.pids, now.pids_limit)].into_iter().flatten().fold(0.0, f64::max);
    let colour = match fullest {
        0.95.. => Color::Red,
        0.8.. => Color::Yellow,
        _ => Color::Reset,
    };
    Line::from(Span::styled(text, Style::new().fg(colour)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate that is no negative number"
)]
fn whole_bytes(rate: f64) -> Bytes {
    Bytes(rate.max(0.0) as u64)
}

fn process_line(process: &Process) -> Line<'static> {
    let Process { pid, state, cpu, memory, threads, command, depth, .. } = process;
    let indent = "  ".repeat(*depth);
    let threads = if *threads > 1 { format!(" ({threads} threads)") } else { String::new() };
    let memory = Bytes(*memory).to_string();
    Line::raw(format!("  {pid:>8} {state} {cpu:>9.2}s {memory:>10} {indent}{command}{threads}"))
}

#[cfg(test)]
mod tests {
    use super::super::figures::Figures;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    fn shown(model: &Model, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(130, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines = (0..height).map(|y| {
            let line: String = (0..130).map(|x| buffer[(x, y)].symbol()).collect();
            line.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn model() -> Model {
        let mut model = Model::default();
        let busy = json!({
            "id": "crawl-5c01d2e4", "paused": false, "age_s": 75.0,
            "limits": { "cpu": 1.5, "memory": 268_435_456, "pids": 64 },
            "usage": {
                "cpu": { "user_s": 70.0, "system_s": 5.0 },
                "memory": { "current_bytes": 134_217_728 },
                "pids": { "current": 3 },
                "io": { "read_bytes": 7_864_320, "written_bytes": 0 },
                "pressure": { "cpu": { "some_s": 7.5 }, "memory": null, "io": { "some_s": 0.0 } },
            },
            "processes": [
                { "pid": 100, "parent": 1, "state": "S", "cpu_s": 0.0, "memory_bytes": 4096, "threads": 1, "command": "[init]" },
                { "pid": 101, "parent": 100, "state": "R", "cpu_s": 75.0, "memory_bytes": 1_048_576, "threads": 4, "command": "crawl --all\u{1b}[31m" },
            ],
        });
        model.take(vec![Figures::new(&busy), Figures::silent("hung-00000001".into())]);
        model.letter(' ');
        model
    }

    #[test]
    fn a_line_for_each_sandbox_with_bars_for_its_limits_and_its_processes_below() {
        insta::assert_snapshot!(shown(&model(), 9), @"
        stockade top: 2 sandboxes, 1.00 cores, 128MiB of memory, by cpu
        ID                   STATE       AGE     CORES                     MEMORY                 PIDS      IO/s WAITS cpu mem io
        crawl-5c01d2e4       running   1m15s  1.00/1.5 [#####---]   128MiB/256MiB [####----]      2/64  102.4KiB 10% ? 0%
               100 S      0.00s       4KiB [init]
               101 R     75.00s       1MiB   crawl --all?[31m (4 threads)
        hung-00000001        silent


        q quit  s sort  space processes  f freeze  t stop  x kill
        ");
    }

    #[test]
    fn where_nothing_runs_nothing_is_used() {
        let empty = Model::default();
        assert!(
            shown(&empty, 4).starts_with("stockade top: 0 sandboxes, 0.00 cores, 0B of memory")
        );
    }

    #[test]
    fn the_selected_row_stays_in_sight_on_a_small_screen() {
        let mut model = model();
        model.letter('j');
        assert!(shown(&model, 4).contains("hung-00000001"));
        assert!(!shown(&model, 4).contains("crawl-5c01d2e4"));
        model.letter('k');
        assert!(shown(&model, 4).contains("crawl-5c01d2e4"));
        // Smaller than its frame it still doesn't fall.
        shown(&model, 1);
    }
}
