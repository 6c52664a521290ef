use super::*;
use crate::alerts::{Way, When};
use proptest::prelude::*;

fn at(seconds: u64) -> Now {
    let time = Time(i64::try_from(seconds).unwrap() * 1000);
    Now { clock: Duration::from_secs(seconds), time }
}

fn rule(when: When, hold: u64) -> Rule {
    Rule {
        when,
        hold: Duration::from_secs(hold),
        services: Vec::new(),
        matching: BTreeMap::new(),
        labels: [("severity".to_owned(), "warning".to_owned())].into(),
        annotations: BTreeMap::new(),
        receivers: vec!["ops".to_owned()],
    }
}

fn settings(when: When, hold: u64) -> Settings {
    let receiver = Receiver { way: Way::File("/none".into()), send_resolved: true };
    Settings {
        rules: [("down".to_owned(), rule(when, hold))].into(),
        receivers: [("ops".to_owned(), receiver)].into(),
    }
}

fn facts(service: &str) -> Facts {
    Facts { service: service.to_owned(), unhealthy: Some(false), ..Facts::default() }
}

fn failed(is: bool) -> Facts {
    Facts { failed: is, why: "exited with 1".to_owned(), ..facts("web") }
}

fn turns(book: &mut Book, settings: &Settings, facts: &[Facts], now: Now) -> Vec<Turn> {
    book.look(settings, facts, now).into_iter().map(|(turn, _)| turn).collect()
}

/// Tells a receiver what it has to be told, and gives that.
fn told(book: &mut Book, settings: &Settings, now: Now) -> Vec<(&'static str, String)> {
    let receiver = &settings.receivers["ops"];
    let Some(batch) = book.batch("ops", receiver, now.time) else { return Vec::new() };
    book.mark("ops", &batch, settings);
    let news = batch.alerts.iter().filter(|alert| alert.is_news);
    let status = |alert: &Sent| if alert.episode.ended.is_none() { "firing" } else { "resolved" };
    news.map(|alert| (status(alert), alert.labels["service"].clone())).collect()
}

#[test]
fn an_alert_is_pending_for_its_time_then_fires_and_is_over_and_each_is_told_once() {
    let (mut book, settings) = (Book::default(), settings(When::Failed, 10));
    let table: [(u64, bool, &[Turn], Option<&str>); 9] = [
        (0, false, &[], None),
        (1, true, &[Turn::Pending], None),
        (5, true, &[], None),
        // A break, and the time begins anew.
        (6, false, &[], None),
        (7, true, &[Turn::Pending], None),
        (16, true, &[], None),
        (17, true, &[Turn::Firing], Some("firing")),
        (18, true, &[], None),
        (19, false, &[Turn::Resolved], Some("resolved")),
    ];
    for (second, is, expected, news) in table {
        assert_eq!(turns(&mut book, &settings, &[failed(is)], at(second)), expected, "{second}");
        let told = told(&mut book, &settings, at(second));
        assert_eq!(told.first().map(|(status, _)| *status), news, "{second}");
    }
    assert!(book.is_idle(), "what is over and told is forgotten");
}

#[test]
fn what_is_unknown_changes_nothing() {
    let (mut book, settings) = (Book::default(), settings(When::Unhealthy, 0));
    let of = |unhealthy| [Facts { unhealthy, ..facts("web") }];
    for (second, unhealthy, expected) in [
        (1, None, vec![]),
        (2, Some(true), vec![Turn::Firing]),
        (3, None, vec![]),
        (4, Some(true), vec![]),
        (5, Some(false), vec![Turn::Resolved]),
        (6, None, vec![]),
    ] {
        assert_eq!(turns(&mut book, &settings, &of(unhealthy), at(second)), expected, "{second}");
    }
}

#[test]
fn restarts_are_counted_in_their_window_and_only_from_when_somebody_looks() {
    let window = Duration::from_secs(60);
    let (mut book, settings) = (Book::default(), settings(When::Restarts(2, window), 0));
    let of = |restarts| [Facts { restarts, ..facts("web") }];
    for (second, restarts, expected) in [
        (0, 50, vec![]),
        (1, 52, vec![]),
        (2, 53, vec![Turn::Firing]),
        (50, 53, vec![]),
        // Two of them are longer ago now.
        (62, 53, vec![Turn::Resolved]),
        // Another supervisor counts from the beginning.
        (63, 2, vec![]),
        (64, 3, vec![Turn::Firing]),
        (70, 1000, vec![]),
        (131, 1000, vec![Turn::Resolved]),
    ] {
        assert_eq!(turns(&mut book, &settings, &of(restarts), at(second)), expected, "{second}");
    }
}

#[test]
fn what_no_rule_is_about_any_more_is_over() {
    let all = settings(When::Failed, 0);
    let no_rules = Settings { rules: BTreeMap::new(), ..all.clone() };
    for (settings, facts) in [(&no_rules, vec![failed(true)]), (&all, Vec::new())] {
        let mut book = Book::default();
        assert_eq!(turns(&mut book, &all, &[failed(true)], at(1)), [Turn::Firing]);
        told(&mut book, &all, at(1));
        assert_eq!(turns(&mut book, settings, &facts, at(2)), [Turn::Resolved]);
        assert_eq!(told(&mut book, settings, at(2)), [("resolved", "web".to_owned())]);
        assert!(book.is_idle());
    }
    // Nobody can be told who isn't there any more.
    let nobody = Settings { receivers: BTreeMap::new(), ..no_rules };
    let mut book = Book::default();
    turns(&mut book, &all, &[failed(true)], at(1));
    told(&mut book, &all, at(1));
    turns(&mut book, &nobody, &[], at(2));
    assert!(book.is_idle());
}

#[test]
fn a_silence_holds_back_what_fires_and_not_that_it_is_over() {
    let (mut book, settings) = (Book::default(), settings(When::Failed, 0));
    let matcher = || vec!["service=web".parse().unwrap()];
    let silence = |book: &mut Book, until: u64, now: u64| {
        book.silence(matcher(), at(until).time, "work".into(), "user 0".into(), at(now).time)
    };
    assert_eq!(silence(&mut book, 10, 0).unwrap().id, 1);
    turns(&mut book, &settings, &[failed(true)], at(1));
    assert_eq!(told(&mut book, &settings, at(1)), []);
    // It fires still when the silence is over.
    assert!(book.expire(at(10).time));
    assert_eq!(told(&mut book, &settings, at(10)), [("firing", "web".to_owned())]);
    assert_eq!(silence(&mut book, 30, 11).unwrap().id, 2);
    turns(&mut book, &settings, &[failed(false)], at(12));
    assert_eq!(told(&mut book, &settings, at(12)), [("resolved", "web".to_owned())]);
    // One that fires and is over within a silence is nobody's.
    turns(&mut book, &settings, &[failed(true)], at(13));
    turns(&mut book, &settings, &[failed(false)], at(14));
    assert_eq!(told(&mut book, &settings, at(14)), []);
    assert!(book.is_idle() && book.unsilence(2) && !book.unsilence(2));
    for _ in 0..silence::MOST {
        silence(&mut book, 100, 20).unwrap();
    }
    assert!(silence(&mut book, 100, 20).unwrap_err().contains("already"));
}

#[test]
fn a_group_is_told_as_a_whole_and_only_what_is_new_is_news() {
    let (mut book, settings) = (Book::default(), settings(When::Failed, 0));
    let of = |service: &str, failed| Facts { failed, ..facts(service) };
    turns(&mut book, &settings, &[of("a", true), of("b", false)], at(1));
    assert_eq!(told(&mut book, &settings, at(1)), [("firing", "a".to_owned())]);
    turns(&mut book, &settings, &[of("a", true), of("b", true)], at(2));
    let receiver = &settings.receivers["ops"];
    let batch = book.batch("ops", receiver, at(2).time).unwrap();
    assert_eq!(batch.alerts.len(), 2);
    assert_eq!(told(&mut book, &settings, at(2)), [("firing", "b".to_owned())]);
    // A receiver that wants only what fires.
    let quiet = Receiver { send_resolved: false, ..receiver.clone() };
    turns(&mut book, &settings, &[of("a", true), of("b", false)], at(3));
    assert!(book.batch("ops", &quiet, at(3).time).is_none());
    assert!(book.batch("ops", receiver, at(3).time).is_some());
    assert!(book.batch("others", receiver, at(3).time).is_none());
}

#[test]
fn after_another_boot_what_fires_does_so_still_and_the_clock_begins_anew() {
    let settings = settings(When::Failed, 10);
    let mut book = Book::default();
    turns(&mut book, &settings, &[failed(true)], at(100));
    for (same_boot, expected) in [(true, vec![Turn::Firing]), (false, vec![Turn::Pending])] {
        let mut book = book.clone().taken_over(same_boot);
        assert_eq!(turns(&mut book, &settings, &[failed(true)], at(111)), expected);
    }
    turns(&mut book, &settings, &[failed(true)], at(111));
    told(&mut book, &settings, at(111));
    let mut next = book.taken_over(false);
    assert_eq!(turns(&mut next, &settings, &[failed(true)], at(3)), []);
    assert_eq!(told(&mut next, &settings, at(3)), []);
}

#[test]
fn fingerprints_are_those_of_prometheus() {
    let of = |pairs: &[(&str, &str)]| {
        let all = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        fingerprint(&all.collect())
    };
    // Of no labels it is FNV-1a's offset basis.
    assert_eq!(of(&[]), "cbf29ce484222325");
    assert_ne!(of(&[("a", "bc")]), of(&[("ab", "c")]));
    assert_eq!(of(&[("a", "b"), ("c", "d")]), of(&[("c", "d"), ("a", "b")]));
}

/// What happens in a second.
#[derive(Clone, Copy, Debug)]
enum Second {
    /// It has failed, or not.
    Looked(bool),
    /// The receiver is told, or given up on.
    Told,
    Silenced(u64),
    Unsilenced,
    /// Another process goes on.
    Restarted,
}

fn second() -> impl Strategy<Value = Second> {
    prop_oneof![
        4 => any::<bool>().prop_map(Second::Looked),
        2 => Just(Second::Told),
        1 => (1_u64..20).prop_map(Second::Silenced),
        1 => Just(Second::Unsilenced),
        1 => Just(Second::Restarted),
    ]
}

proptest! {
    /// Whatever happens in whatever order: what a receiver hears of an alert goes to and fro between firing and resolved, each time it
    /// fires is one that was long enough the case, none is told in a silence, and nothing is left behind in the end.
    #[test]
    fn what_is_told_goes_to_and_fro(hold in 0_u64..5, seconds in prop::collection::vec(second(), 0..80)) {
        let (mut book, settings) = (Book::default(), settings(When::Failed, hold));
        let (mut heard, mut holds, mut now): (Vec<&str>, u64, u64) = (Vec::new(), 0, 0);
        let mut lately = Vec::new();
        for second in seconds {
            now += 1;
            match second {
                Second::Looked(is) => {
                    holds = if is { holds.max(1) } else { 0 };
                    lately.push((now, is));
                    for turn in turns(&mut book, &settings, &[failed(is)], at(now)) {
                        if turn == Turn::Firing {
                            let since = lately.iter().rev().take_while(|(_, is)| *is).last().unwrap().0;
                            prop_assert!(now - since >= hold);
                        }
                    }
                }
                Second::Told => {
                    let silenced = book.silences().iter().any(|it| at(now).time < it.until);
                    for (status, _) in told(&mut book, &settings, at(now)) {
                        prop_assert!(!(silenced && status == "firing"));
                        prop_assert!(heard.last() != Some(&status) || status == "firing");
                        heard.push(status);
                    }
                    prop_assert_eq!(told(&mut book, &settings, at(now)), []);
                }
                Second::Silenced(time) => {
                    let matcher = vec!["alertname=down".parse().unwrap()];
                    book.silence(matcher, at(now + time).time, "work".into(), "x".into(), at(now).time).unwrap();
                }
                Second::Unsilenced => {
                    let first = book.silences().first().map(|silence| silence.id);
                    first.map(|id| book.unsilence(id));
                }
                Second::Restarted => {
                    let text = serde_json::to_vec(&book).unwrap();
                    let read: Book = serde_json::from_slice(&text).unwrap();
                    book = read.taken_over(true);
                    prop_assert_eq!(serde_json::to_vec(&book).unwrap(), text);
                }
            }
        }
        prop_assert!(heard.first().is_none_or(|first| *first == "firing"));
        turns(&mut book, &settings, &[failed(false)], at(now + 1));
        for (status, _) in told(&mut book, &settings, at(now + 1)) {
            prop_assert_eq!(status, "resolved");
        }
        prop_assert!(book.is_idle());
    }
}
