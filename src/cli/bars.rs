//! Shares and times as people see them at a glance.

/// Cells of a bar.
pub(super) const BAR: usize = 10;

/// A share as a bar; nothing where there is no limit.
pub(super) fn bar(share: Option<f64>) -> String {
    let Some(share) = share else { return String::new() };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 8")]
    let full = (share.clamp(0.0, 1.0) * (BAR - 2) as f64).round() as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - 2 - full))
}

/// A time in two units at most.
pub(super) fn age(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an age since a start"
    )]
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.1}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_at_the_limit_and_no_longer_above() {
        assert_eq!(bar(Some(0.0)), "[--------]");
        assert_eq!(bar(Some(0.5)), "[####----]");
        assert_eq!(bar(Some(1.0)), bar(Some(7.0)));
        assert_eq!(bar(None), "");
    }

    #[test]
    fn ages_have_two_units_at_most() {
        let ages = [5.25, 65.0, 3700.0, 90_000.0].map(age);
        assert_eq!(ages, ["5.2s", "1m05s", "1h01m", "1d01h"]);
    }
}
