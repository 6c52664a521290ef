//! What a stack file says of where lines are sent to: the table `log_targets`.

use super::values::{self, Wrong};
use crate::logs::{Form, Syslog, Target, Url};
use crate::policy::problem::quoted;
use crate::policy::suggest::did_you_mean;
use crate::policy::value::{self, Scalar};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use toml::de::DeTable;

/// Where systemd's journal listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where a host's syslog listens.
const SYSLOG: &str = "/dev/log";

const TYPES: [&str; 4] = ["journald", "syslog", "loki", "otlp"];

/// The facilities of syslog(3), by their numbers.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// What each key is, for the schema and for suggestions.
const KEYS: [(&str, &str); 6] = [
    ("type", "what it is: systemd's journal, a syslog server, Loki's or OpenTelemetry's HTTP push"),
    ("socket", "for `journald`: where it listens, else `/run/systemd/journal/socket`"),
    ("address", "for `syslog`: `unix:/dev/log`, `udp://127.0.0.1:514` or `tcp://127.0.0.1:601`"),
    ("facility", "for `syslog`: the facility, else `daemon`"),
    ("url", "for `loki` and `otlp`: where lines are posted to, over plain HTTP"),
    ("labels", "for `loki` and `otlp`: what is said of all lines"),
];

/// One of the table's entries.
pub(super) fn target(table: &DeTable<'_>, at: std::ops::Range<usize>) -> Result<Target, Wrong> {
    for (name, _) in table {
        let word = name.get_ref().as_ref();
        if !KEYS.iter().any(|(key, _)| *key == word) && !word.starts_with("x-") {
            let near = did_you_mean(word, KEYS.map(|(key, _)| key));
            let message = format!("{} is not a key of a log target{near}", quoted(word));
            return Err((Some(name.span()), message));
        }
    }
    let kind = table
        .get("type")
        .ok_or_else(|| (Some(at.clone()), format!("it has no `type` ({})", TYPES.join(", "))))?;
    let word = value::choice(Scalar::Toml(kind.get_ref()), &TYPES);
    let word = TYPES.get(word.map_err(|message| (Some(kind.span()), message))?).copied();
    let goes = |keys: &[&str]| {
        let stray = table.iter().find(|(name, _)| {
            let name = name.get_ref().as_ref();
            name != "type" && !name.starts_with("x-") && !keys.contains(&name)
        });
        stray.map_or(Ok(()), |(name, _)| {
            let message = format!("{} isn't for this type", quoted(name.get_ref()));
            Err((Some(name.span()), message))
        })
    };
    match word {
        Some("journald") => {
            goes(&["socket"])?;
            let path = text(table, "socket")?.map_or(JOURNAL.to_owned(), |(text, _)| text);
            Ok(Target::Journald(
                absolute(&path)
                    .ok_or_else(|| (Some(at), format!("{} is no absolute path", quoted(&path))))?,
            ))
        }
        Some("syslog") => {
            goes(&["address", "facility"])?;
            let facility = table.get("facility").map_or(Ok(3), |given| {
                let at = value::choice(Scalar::Toml(given.get_ref()), &FACILITIES);
                at.map_err(|message| (Some(given.span()), message))
            })?;
            let facility = u8::try_from(facility).unwrap_or(3);
            Ok(Target::Syslog(address(table)?, facility))
        }
        kind => {
            goes(&["url", "labels"])?;
            let Some((url, span)) = text(table, "url")? else {
                return Err((Some(at), "it has no `url`".to_owned()));
            };
            let url = Url::parse(&url).map_err(|message| (Some(span), message))?;
            let form = if kind == Some("loki") { Form::Loki } else { Form::Otlp };
            Ok(Target::Http(form, url, labels(table)?))
        }
    }
}

fn address(table: &DeTable<'_>) -> Result<Syslog, Wrong> {
    let Some((text, span)) = text(table, "address")? else {
        return Ok(Syslog::Unix(SYSLOG.into()));
    };
    let socket = |text: &str| text.parse::<SocketAddr>().ok();
    let found = match text.split_once(':') {
        Some(("unix", path)) => absolute(path).map(Syslog::Unix),
        Some(("udp", rest)) => rest.strip_prefix("//").and_then(socket).map(Syslog::Udp),
        Some(("tcp", rest)) => rest.strip_prefix("//").and_then(socket).map(Syslog::Tcp),
        _ => None,
    };
    found.ok_or_else(|| {
        let text = quoted(&text);
        let message = format!("{text} is no address (write `unix:/dev/log`, `udp://127.0.0.1:514` or `tcp://127.0.0.1:601`)");
        (Some(span), message)
    })
}

fn absolute(path: &str) -> Option<PathBuf> {
    Some(PathBuf::from(path)).filter(|path| path.is_absolute())
}

type Text = (String, std::ops::Range<usize>);

fn text(table: &DeTable<'_>, key: &str) -> Result<Option<Text>, Wrong> {
    let Some(given) = table.get(key) else { return Ok(None) };
    let text = value::line(Scalar::Toml(given.get_ref()));
    let text = text.map_err(|message| (Some(given.span()), message))?;
    Ok(Some((text.into_owned(), given.span())))
}

fn labels(table: &DeTable<'_>) -> Result<BTreeMap<String, String>, Wrong> {
    let Some(given) = table.get("labels") else { return Ok(BTreeMap::new()) };
    let all = values::texts(given.get_ref(), "{ host = \"a\" }", |word| {
        (!values::is_label(word)).then_some("is no name for a label (letters, digits and `_`)")
    });
    all.map_err(|(span, message)| (span.or(Some(given.span())), message))
}

/// Its JSON Schema.
pub(super) fn schema() -> Value {
    let mut properties = serde_json::Map::new();
    for (key, doc) in KEYS {
        let mut schema = match key {
            "type" => json!({ "enum": TYPES }),
            "facility" => json!({ "enum": FACILITIES }),
            "labels" => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            _ => json!({ "type": "string" }),
        };
        schema["description"] = doc.into();
        properties.insert(key.to_owned(), schema);
    }
    json!({
        "type": "object",
        "description": "where lines of services are sent to, by names",
        "additionalProperties": {
            "type": "object",
            "required": ["type"],
            "additionalProperties": false,
            "patternProperties": { "^x-": {} },
            "properties": properties,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Target, String> {
        let table = DeTable::parse(text).unwrap();
        target(table.get_ref(), 0..text.len()).map_err(|(span, message)| {
            format!("{}: {message}", span.map_or("", |span| text.get(span).unwrap_or_default()))
        })
    }

    #[test]
    fn targets_are_understood() {
        assert_eq!(read("type = \"journald\"").unwrap(), Target::Journald(JOURNAL.into()));
        assert_eq!(
            read("type = \"syslog\"\nfacility = \"local7\"").unwrap(),
            Target::Syslog(Syslog::Unix(SYSLOG.into()), 23)
        );
        let udp = read("type = \"syslog\"\naddress = \"udp://[::1]:514\"").unwrap();
        assert_eq!(udp, Target::Syslog(Syslog::Udp("[::1]:514".parse().unwrap()), 3));
        let loki =
            read("type = \"loki\"\nurl = \"http://a/b\"\nlabels = { host = \"x\" }").unwrap();
        let labels = [("host".to_owned(), "x".to_owned())].into();
        assert_eq!(loki, Target::Http(Form::Loki, Url::parse("http://a/b").unwrap(), labels));
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        let told: Vec<String> = [
            "url = \"x\"",
            "type = \"mail\"",
            "type = \"loki\"",
            "type = \"loki\"\nurl = \"https://a/\"",
            "type = \"loki\"\nurl = \"http://a/\"\nlabels = { \"a b\" = \"c\" }",
            "type = \"syslog\"\naddress = \"127.0.0.1\"",
            "type = \"syslog\"\nurl = \"http://a/\"",
            "type = \"journald\"\nsoket = \"/x\"",
        ]
        .map(|text| read(text).unwrap_err())
        .into();
        insta::assert_snapshot!(told.join("\n"), @r#"
        url = "x": it has no `type` (journald, syslog, loki, otlp)
        "mail": `mail` is not one of `journald`, `syslog`, `loki`, `otlp`
        type = "loki": it has no `url`
        "https://a/": HTTPS isn't spoken here; let an agent on this host do that (write `http://127.0.0.1:3100/loki/api/v1/push`)
        "a b": `a b` is no name for a label (letters, digits and `_`)
        "127.0.0.1": `127.0.0.1` is no address (write `unix:/dev/log`, `udp://127.0.0.1:514` or `tcp://127.0.0.1:601`)
        url: `url` isn't for this type
        soket: `soket` is not a key of a log target (did you mean `socket`?)
        "#);
    }
}
