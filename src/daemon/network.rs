//! The daemon on the network: TCP with TLS, where a token says who asks.
//!
//! What stands in its files is in force until they are read again, which happens together with the stack file. A connection
//! ends when its token isn't in force any more.

use super::Options;
use super::problem::Problem;
use super::token::{Token, Tokens};
use super::{Peer, Who};
use crate::error::Error;
use crate::platform::LaunchPlan;
use crate::tls::{self, Seen};
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, StatusCode};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Where a daemon listens on the network, and how.
#[derive(Clone, Debug)]
pub struct Network {
    /// The address; port 0 is one that is free.
    pub listen: SocketAddr,
    /// The file of tokens: `ROLE:NAME:TOKEN` in each line.
    pub tokens: PathBuf,
    /// Where TLS comes from; none for the loopback interface alone.
    pub tls: Option<Tls>,
}

/// The files of TLS, in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate, and those between it and an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of clients' certificates; then each must show one.
    pub clients: Option<PathBuf>,
}

/// What is in force at a network's address.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) tokens: Tokens,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl Network {
    /// Reads its files.
    pub(super) fn door(&self) -> Result<Door, Error> {
        let acceptor = self.tls.as_ref().map(|Tls { certificate, key, clients }| {
            tls::acceptor(certificate, key, clients.as_deref())
        });
        Ok(Door { acceptor: acceptor.transpose()?, tokens: tokens(&self.tokens)? })
    }

    /// Listens.
    pub(super) async fn listen(&self) -> Result<TcpListener, Error> {
        let address = self.listen;
        if self.tls.is_none() && !address.ip().is_loopback() {
            let message =
                format!("without TLS others could read the tokens on their way to `{address}`");
            let hint =
                "name a certificate with `--tls-cert` and `--tls-key`, or listen on 127.0.0.1";
            return Err(Error::asked(message, hint));
        }
        let failed = |error| Error::io(format!("failed to listen at `{address}`"), error);
        TcpListener::bind(address).await.map_err(failed)
    }
}

impl Options {
    /// Reads the files of its network, if it has one.
    pub(super) fn door(&self) -> Result<Option<Door>, Error> {
        self.network.as_ref().map(Network::door).transpose()
    }
}

fn tokens(path: &Path) -> Result<Tokens, Error> {
    const KIND: &str = "token file";
    let bytes = tls::read(path, KIND, Seen::ByNobody)?;
    let text = str::from_utf8(&bytes.0).map_err(|_| "it isn't UTF-8".to_owned());
    text.and_then(Tokens::parse).map_err(|why| {
        Error::asked(format!("the {KIND} `{}` is wrong: {why}", LaunchPlan::readable(path)), "")
    })
}

impl Token {
    /// Whoever holds it, at this address.
    pub(super) fn peer(&self, address: IpAddr) -> Peer {
        Peer { who: Who::Token { name: self.name.clone(), address }, role: Some(self.role) }
    }
}

/// The token that a request with these headers is sent with.
pub(super) fn token(tokens: &Tokens, headers: &HeaderMap) -> Result<Token, Problem> {
    let unknown = |message| {
        Problem::new(StatusCode::UNAUTHORIZED, message)
            .hint("send `Authorization: Bearer TOKEN`; `stockade` does so with `--token-file`")
    };
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(unknown("on the network this daemon wants a token"));
    };
    let (scheme, token) = value.as_bytes().split_at_checked(7).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Err(unknown("on the network this daemon wants a token"));
    }
    tokens.find(token).cloned().ok_or_else(|| unknown("this daemon doesn't know the token"))
}
