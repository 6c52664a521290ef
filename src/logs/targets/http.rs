//! An HTTP push: Loki's or OTLP's JSON, one request for a batch of records.
//!
//! A request is one POST on a connection of its own, with its length said before; of the answer only the status counts.

use super::{Failure, Form, Origin, Url, severity, text};
use crate::logs::record::{Record, Stream};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The head of an answer isn't longer.
const LONGEST_HEAD: u64 = 16 << 10;

pub(super) struct Http {
    origin: Origin,
    form: Form,
    url: Url,
    labels: BTreeMap<String, String>,
}

impl Http {
    pub(super) fn new(
        origin: Origin,
        form: Form,
        url: Url,
        labels: BTreeMap<String, String>,
    ) -> Self {
        Self { origin, form, url, labels }
    }

    pub(super) async fn send(&self, records: &[Record]) -> Result<(), Failure> {
        let body = match self.form {
            Form::Loki => loki(&self.origin, &self.labels, records),
            Form::Otlp => otlp(&self.origin, &self.labels, records),
        };
        let status = post(&self.url, body.to_string().as_bytes()).await;
        let status =
            status.map_err(|error| Failure::passing(0, format_args!("{}: {error}", self.url)))?;
        let message = format!("{}: it answered {status}", self.url);
        match status {
            200..300 => Ok(()),
            // Its answer to these lines will be the same again.
            400..500 if !matches!(status, 408 | 425 | 429) => {
                Err(Failure { taken: 0, lasting: true, message })
            }
            _ => Err(Failure::passing(0, message)),
        }
    }
}

/// Sends a body of JSON, and gives the status of the answer.
pub(crate) async fn post(url: &Url, body: &[u8]) -> io::Result<u16> {
    let mut stream = TcpStream::connect(&url.authority).await?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: stockade\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        url.path,
        url.authority,
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await?;
    let (mut answer, mut stream) = (Vec::new(), stream.take(LONGEST_HEAD));
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&answer) {
            Ok(httparse::Status::Complete(_)) => {
                return response.code.ok_or_else(|| io::ErrorKind::InvalidData.into());
            }
            Ok(httparse::Status::Partial) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        if stream.read_buf(&mut answer).await? == 0 {
            let message = "it closed the connection without an answer";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
    }
}

/// Nanoseconds since 1970, as a text, since JSON's numbers don't hold them.
fn nanoseconds(record: &Record) -> String {
    record.time.as_nanosecond().to_string()
}

fn loki(origin: &Origin, labels: &BTreeMap<String, String>, records: &[Record]) -> Value {
    let mut streams = Vec::new();
    for stream in [Stream::Output, Stream::Error] {
        let of = records.iter().filter(|record| record.stream == stream);
        let values: Vec<Value> =
            of.map(|record| json!([nanoseconds(record), text(record)])).collect();
        if !values.is_empty() {
            let mut all: Map<String, Value> =
                labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
            all.insert("service_name".into(), origin.service.as_str().into());
            all.insert("instance".into(), origin.instance.as_str().into());
            all.insert("stream".into(), stream.word().into());
            streams.push(json!({ "stream": all, "values": values }));
        }
    }
    json!({ "streams": streams })
}

fn otlp(origin: &Origin, labels: &BTreeMap<String, String>, records: &[Record]) -> Value {
    let attribute =
        |name: &str, value: &str| json!({ "key": name, "value": { "stringValue": value } });
    let mut resource = vec![
        attribute("service.name", &origin.service),
        attribute("service.instance.id", &origin.instance),
    ];
    resource.extend(labels.iter().map(|(name, value)| attribute(name, value)));
    let records: Vec<Value> = records
        .iter()
        .map(|record| {
            let time = nanoseconds(record);
            let mut log = json!({
                "timeUnixNano": time,
                "observedTimeUnixNano": time,
                "body": { "stringValue": text(record) },
                "attributes": [
                    attribute("log.iostream", record.stream.word()),
                    json!({ "key": "stockade.generation", "value": { "intValue": record.generation.to_string() } }),
                    json!({ "key": "stockade.seq", "value": { "intValue": record.seq.to_string() } }),
                ],
            });
            if let Some(level) = record.level {
                log["severityText"] = level.word().into();
                log["severityNumber"] = severity_number(severity(record)).into();
            }
            log
        })
        .collect();
    json!({ "resourceLogs": [{
        "resource": { "attributes": resource },
        "scopeLogs": [{ "scope": { "name": "stockade" }, "logRecords": records }],
    }] })
}

/// The number that OpenTelemetry has for one of syslog's severities (its data model of logs, appendix B).
fn severity_number(severity: u8) -> u8 {
    match severity {
        0 => 21,
        1 => 19,
        2 => 18,
        3 => 17,
        4 => 13,
        5 => 10,
        6 => 9,
        _ => 5,
    }
}
