//! From what a client asks for to a connection, or the reason why there is none.

use super::resolver::Resolve;
use super::rules::{Destination, Refusal, Rules};
use crate::platform::Host;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a name may take to become addresses.
const TO_RESOLVE: Duration = Duration::from_secs(10);

/// How long one address may take to answer.
const TO_CONNECT: Duration = Duration::from_secs(10);

/// Addresses of a name that are tried; it may have any number.
const MOST_ADDRESSES: usize = 4;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(Refusal),
    /// The name has no address.
    Unresolved(String),
    Unreachable(io::Error),
    TimedOut,
}

/// Connects to what a client asks for, where the rules allow it.
///
/// The address that was looked at is the one that is connected to: a name that has another one a moment later gains
/// nothing by it. The rules are asked for anew at each step, since they may change while a name is looked up.
pub(super) async fn connect(
    rules: impl Fn() -> Arc<Rules>,
    resolver: &dyn Resolve,
    host: Host,
    port: u16,
) -> Result<(TcpStream, Destination), Failure> {
    rules().allows(&host, port).map_err(Failure::Refused)?;
    let addresses = match &host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => match timeout(TO_RESOLVE, resolver.resolve(name)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(_)) => return Err(Failure::Unresolved(name.clone())),
            Err(_) => return Err(Failure::TimedOut),
        },
    };
    let (mut refused, mut failed) = (None, None);
    let mut tried = 0;
    for address in addresses {
        let address = address.to_canonical();
        let is_own = is_own(address);
        let to = Destination { host: host.clone(), port, address, is_own };
        if let Err(refusal) = rules().allow_connection(&to) {
            refused.get_or_insert(refusal);
            continue;
        }
        if tried == MOST_ADDRESSES {
            break;
        }
        tried += 1;
        match timeout(TO_CONNECT, TcpStream::connect(SocketAddr::new(address, port))).await {
            Ok(Ok(stream)) => return Ok((stream, to)),
            Ok(Err(error)) => failed = Some(Failure::Unreachable(error)),
            Err(_) => failed = Some(Failure::TimedOut),
        }
    }
    Err(match (failed, refused) {
        (Some(failure), _) => failure,
        (None, Some(refusal)) => Failure::Refused(refusal),
        (None, None) => Failure::Unresolved(host.to_string()),
    })
}

/// Whether an address is one of this host's own: then packets to it come from itself. Nothing is sent to find that out.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    // What can't be reached can't be connected to either.
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::BoxFuture;

    /// Every name leads to these addresses.
    #[derive(Debug)]
    struct Leads(Vec<IpAddr>);

    impl Resolve for Leads {
        fn resolve(&self, _name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let addresses = self.0.clone();
            Box::pin(async move { Ok(addresses) })
        }
    }

    async fn to(
        list: &[&str],
        leads: &[&str],
        host: &str,
        port: u16,
    ) -> Result<Destination, Failure> {
        let rules = Arc::new(Rules::new(list.iter().map(|rule| rule.parse().unwrap()).collect()));
        let leads = Leads(leads.iter().map(|address| address.parse().unwrap()).collect());
        let found = connect(|| rules.clone(), &leads, host.parse().unwrap(), port).await;
        found.map(|(_, to)| to)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_name_that_is_bound_to_this_host_leads_nowhere() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let named = [format!("evil.example:{port}"), format!("127.0.0.1:{port}")];
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "::1", "0.0.0.0", "10.0.0.1"] {
            let refused = to(&[&named[0]], &[address], "evil.example", port).await;
            assert!(matches!(refused, Err(Failure::Refused(_))), "{address}: {refused:?}");
        }
        // The address alone doesn't allow the name, and the two together do.
        assert!(matches!(
            to(&[&named[1]], &["127.0.0.1"], "evil.example", port).await,
            Err(Failure::Refused(_))
        ));
        let both = [named[0].as_str(), &named[1]];
        let reached = to(&both, &["10.0.0.1", "127.0.0.1"], "evil.example", port).await.unwrap();
        assert!(reached.is_own && reached.address == IpAddr::from([127, 0, 0, 1]));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_name_without_an_address_is_told_from_one_that_does_not_answer() {
        let nobody = to(&["nobody.example"], &[], "nobody.example", 80).await;
        assert!(matches!(nobody, Err(Failure::Unresolved(_))));
        let closed =
            std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let rule = format!("127.0.0.1:{closed}");
        let closed = to(&[&rule], &[], "127.0.0.1", closed).await;
        assert!(matches!(closed, Err(Failure::Unreachable(_))), "{closed:?}");
    }
}
