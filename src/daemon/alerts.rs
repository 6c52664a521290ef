//! What is asked about alerts, and silences.

use super::answer::{Answered, fields, form, ok};
use super::problem::Problem;
use super::server::whole;
use super::{Daemon, Peer};
use crate::alerts::{Matcher, Time};
use crate::platform::parse_duration;
use hyper::StatusCode;
use serde_json::{Value, json};

impl Daemon {
    pub(super) fn alerts(&self) -> Result<Value, Problem> {
        Ok(json!({
            "alerts": form(&self.alerts.list())?,
            "receivers": form(&self.alerts.receivers())?,
            "trouble": self.alerts.trouble(),
        }))
    }

    pub(super) async fn test_alerts(&self, peer: &Peer, body: &Value) -> Answered {
        let fields = fields(body, &["receiver"])?;
        let only = match fields.get("receiver") {
            None => None,
            Some(Value::String(name)) => Some(name.as_str()),
            Some(_) => return Err(Problem::request("`receiver` must be the name of a receiver")),
        };
        let known = self.alerts.receivers();
        if let Some(name) = only.filter(|name| !known.iter().any(|known| known.name == *name)) {
            let message = format!("there is no receiver of alerts `{}`", name.escape_default());
            let hint = "`stockade alerts --json` lists them";
            return Err(Problem::new(StatusCode::NOT_FOUND, message).hint(hint));
        }
        self.record(peer, "test-alerts", "", "asked")?;
        let results = self.alerts.test(only).await.into_iter();
        let results: Vec<Value> =
            results.map(|(name, result)| json!({ "name": name, "error": result.err() })).collect();
        ok(&json!({ "receivers": results }))
    }

    pub(super) async fn silence(&self, peer: &Peer, body: &Value) -> Answered {
        let fields = fields(body, &["matchers", "for", "until", "reason"])?;
        let text = |name: &str| match fields.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Problem::request(format!("`{name}` must be a text"))),
        };
        let example = "`matchers` must be a list such as [\"alertname=down\", \"service=~web|db\"]";
        let matchers = fields.get("matchers").and_then(Value::as_array);
        let matchers = matchers.ok_or_else(|| Problem::request(example))?.iter().map(|matcher| {
            let text = matcher.as_str().ok_or_else(|| Problem::request(example))?;
            let wrong =
                |why| Problem::request(format!("the matcher `{}`: {why}", text.escape_default()));
            text.parse::<Matcher>().map_err(wrong)
        });
        let matchers = matchers.collect::<Result<Vec<_>, _>>()?;
        let until = match (text("for")?, text("until")?) {
            (Some(time), None) => {
                let time = parse_duration(time)
                    .map_err(|_| Problem::request("`for` must be a duration such as `2h`"))?;
                Time::now().after(time)
            }
            (None, Some(until)) => Time::parse(until).ok_or_else(|| {
                Problem::request("`until` must be a moment such as `2030-01-31T12:00:00Z`")
            })?,
            _ => return Err(Problem::request("it needs either `for` or `until`")),
        };
        let reason = text("reason")?.ok_or_else(|| Problem::request("it needs a `reason`"))?;
        self.record(peer, "silence", "", "asked")?;
        let by = peer.who.to_string();
        let silence = self.alerts.silence(matchers, until, reason.to_owned(), by).await;
        ok(&form(&silence.map_err(|error| Problem::of(&error))?)?)
    }

    pub(super) async fn unsilence(&self, peer: &Peer, id: &str) -> Answered {
        let missing = || {
            let message = format!("there is no silence `{}`, or no longer", id.escape_default());
            Problem::new(StatusCode::NOT_FOUND, message)
                .hint("`stockade alerts silences` lists them")
        };
        let number = id.parse().map_err(|_| missing())?;
        self.record(peer, "unsilence", "", "asked")?;
        match self.alerts.unsilence(number).await {
            Ok(true) => Ok(whole(StatusCode::NO_CONTENT, "text/plain", "")),
            Ok(false) => Err(missing()),
            Err(error) => Err(Problem::of(&error)),
        }
    }
}
