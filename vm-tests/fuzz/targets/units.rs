//! Quantities, and names of hosts: what is understood is shown so that it is understood again, as the same or, where it is rounded for people, as
//! nearly the same.
#![no_main]

use stockade_platform::{AllowRule, Bytes, Cores, Host, IdSet, Publish, Rate, parse_duration};

/// What a size is, after it was shown to people.
fn shown(size: Bytes) -> Bytes {
    let shown = size.to_string();
    let again: Bytes = shown.parse().unwrap_or_else(|_| panic!("{} is shown as {shown}", size.0));
    // A tenth of a unit, of which there is at least one.
    assert!(again.0.abs_diff(size.0) <= size.0 / 10, "{} is shown as {shown}", size.0);
    again
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(size) = text.parse::<Bytes>() {
        shown(size);
    }
    if let Ok(rate) = text.parse::<Rate>() {
        let again: Result<Rate, _> = rate.to_string().parse();
        assert_eq!(again, Ok(Rate(shown(rate.0))), "{text:?}");
    }
    if let Ok(cores) = text.parse::<Cores>() {
        assert_eq!(cores.to_string().parse(), Ok(cores), "{text:?}");
    }
    if let Ok(set) = text.parse::<IdSet>() {
        assert_eq!(set.to_string().parse(), Ok(set), "{text:?}");
    }
    if let Ok(host) = text.parse::<Host>() {
        assert_eq!(host.to_string().parse(), Ok(host), "{text:?}");
    }
    if let Ok(rule) = text.parse::<AllowRule>() {
        assert_eq!(rule.to_string().parse(), Ok(rule), "{text:?}");
    }
    if let Ok(publish) = text.parse::<Publish>() {
        assert_eq!(publish.to_string().parse(), Ok(publish), "{text:?}");
    }
    if let Ok(time) = parse_duration(text) {
        let micros = parse_duration(&format!("{}us", time.as_micros()));
        assert_eq!(micros.map(|time| time.as_micros()), Ok(time.as_micros()), "{text:?}");
    }
});
