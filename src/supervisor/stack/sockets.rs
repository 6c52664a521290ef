//! The sockets of a service, as a stack file has them.

use super::keys::Key;
use super::values::{Wrong, list};
use crate::platform::{Listen, ListenAddress, SocketKind};
use crate::policy::problem::quoted;
use crate::policy::value::{self, Scalar};
use crate::supervisor::ServiceSocket;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Permissions of a path that says nothing of them: its owner's alone.
const USUAL_MODE: u32 = 0o600;

/// Connections that may wait; the kernel's usual `net.core.somaxconn`.
const USUAL_BACKLOG: u32 = 4096;

/// More than a program could want.
const MOST: usize = 256;

const KINDS: [(&str, SocketKind); 3] = [
    ("stream", SocketKind::Stream),
    ("dgram", SocketKind::Datagram),
    ("seqpacket", SocketKind::SeqPacket),
];

/// A list of tables.
pub(super) fn sockets(key: &Key, value: &DeValue<'_>) -> Result<Vec<ServiceSocket>, Wrong> {
    let mut all = Vec::new();
    for entry in list(key.example, value)? {
        let wrong = |message: String| (Some(entry.span()), message);
        let DeValue::Table(table) = entry.get_ref() else {
            return Err(wrong(value::wrong_shape("a table with `listen`", entry.get_ref())));
        };
        let socket = socket(table)?.ok_or_else(|| wrong("it has no `listen`".to_owned()))?;
        if socket.listen.kind == SocketKind::SeqPacket
            && matches!(socket.listen.address, ListenAddress::Inet(_))
        {
            return Err(wrong("`seqpacket` is for paths".to_owned()));
        }
        if all.len() == MOST {
            return Err(wrong(format!("there are more than {MOST} sockets")));
        }
        all.push(socket);
    }
    Ok(all)
}

/// One of them; nothing where it doesn't say where it listens.
fn socket(table: &DeTable<'_>) -> Result<Option<ServiceSocket>, Wrong> {
    let (mut name, mut address, mut kind) = (None, None, SocketKind::default());
    let (mut mode, mut backlog) = (USUAL_MODE, USUAL_BACKLOG);
    for (key, value) in table {
        let scalar = Scalar::Toml(value.get_ref());
        let wrong = |message: String| (Some(value.span()), message);
        match key.get_ref().as_ref() {
            "listen" => address = Some(read_address(value)?),
            "name" => name = Some(read_name(value)?),
            "type" => {
                let words = KINDS.map(|(word, _)| word);
                kind = KINDS[value::choice(scalar, &words).map_err(wrong)?].1;
            }
            "mode" => mode = read_mode(value)?,
            "backlog" => backlog = value::whole(scalar, 1, 1_000_000).map_err(wrong)?,
            other => {
                let message = format!(
                    "{} is none of `listen`, `name`, `type`, `mode` and `backlog`",
                    quoted(other)
                );
                return Err((Some(key.span()), message));
            }
        }
    }
    Ok(address.map(|address| ServiceSocket {
        // As systemd names those without a name, after its unit.
        name: name.unwrap_or_else(|| "socket".to_owned()),
        listen: Listen { address, kind, mode, backlog },
    }))
}

fn read_address(value: &Spanned<DeValue<'_>>) -> Result<ListenAddress, Wrong> {
    let wrong = |message: String| (Some(value.span()), message);
    let text = Scalar::Toml(value.get_ref()).text().map_err(wrong)?;
    // The address of a socket holds 108 bytes, with one that ends it (unix(7)).
    if text.starts_with('/') && text.len() < 108 && !text.contains('\0') {
        return Ok(ListenAddress::Path(PathBuf::from(text.as_ref())));
    }
    text.parse().map(ListenAddress::Inet).map_err(|_| {
        let what = "neither an address with a port, such as `127.0.0.1:80` or `[::]:80`, nor an \
                    absolute path of at most 107 bytes";
        wrong(format!("{} is {what}", quoted(&text)))
    })
}

fn read_name(value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    let wrong = |message: String| (Some(value.span()), message);
    let text = Scalar::Toml(value.get_ref()).text().map_err(wrong)?;
    let plain = |c: char| c.is_ascii_graphic() && c != ':';
    if text.is_empty() || text.len() > 255 || !text.chars().all(plain) {
        let what = "no name for a socket (at most 255 letters, digits and signs but `:`)";
        return Err(wrong(format!("{} is {what}", quoted(&text))));
    }
    Ok(text.into_owned())
}

/// Permissions as they are written everywhere: `"0660"`.
fn read_mode(value: &Spanned<DeValue<'_>>) -> Result<u32, Wrong> {
    let wrong = |message: String| (Some(value.span()), message);
    value::mode(Scalar::Toml(value.get_ref())).map_err(wrong)
}
