//! Whom a filtered network lets out to. Pure.

use super::special;
use crate::platform::{AllowRule, Denial, Host, Target, Wall};
use std::net::IpAddr;

/// The rules in force. None means nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules(Vec<AllowRule>);

/// Somebody to connect to: as the client named it, and the one address that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) address: IpAddr,
    /// Whether the address is one of this host's own.
    pub(super) is_own: bool,
}

/// Why somebody may not be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    what: String,
    why: Option<String>,
    allow: AllowRule,
}

impl Rules {
    pub(crate) fn new(list: Vec<AllowRule>) -> Self {
        Self(list)
    }

    /// Whether this host may be asked for: a name that may be looked up, an address that may be connected to.
    ///
    /// A name is allowed by its name alone. That it would lead to an allowed address isn't even found out: looking names up
    /// is a way to send something out.
    pub(super) fn allows(&self, host: &Host, port: u16) -> Result<(), Refusal> {
        let allowed = match host {
            Host::Name(_) => self.covers(host, port),
            Host::Address(address) => self.names_address(*address, port),
        };
        if allowed { Ok(()) } else { Err(Refusal::new(host, port, None, host)) }
    }

    /// Whether the address behind an allowed host may be connected to. What a name leads to is for its owner to say, so a
    /// name gives no way to where only this host, or only its network, can reach: that needs a rule for the address. For a
    /// public address of this host's own, whose firewall doesn't see what comes from itself, the rule must name just that one.
    fn allows_address(&self, to: &Destination) -> Result<(), Refusal> {
        let special = special::range(to.address).map(|range| range.what);
        let (what, named) = match special {
            Some(what) => (what, self.names_address(to.address, to.port)),
            None if to.is_own => ("an address of this host", self.names_only(to.address, to.port)),
            None => return Ok(()),
        };
        if named {
            return Ok(());
        }
        let address = Host::from(to.address);
        let why = format!("it leads to {address}, {what}");
        Err(Refusal::new(&to.host, to.port, Some(why), &address))
    }

    /// Whether a connection is allowed, as it was asked for and as it is.
    pub(super) fn allow_connection(&self, to: &Destination) -> Result<(), Refusal> {
        self.allows(&to.host, to.port)?;
        self.allows_address(to)
    }

    fn covers(&self, host: &Host, port: u16) -> bool {
        self.0.iter().any(|rule| rule.ports.has(port) && rule.target.covers(host))
    }

    /// Whether a rule is about this address. One for the internet at large, such as `0.0.0.0/0`, isn't about the special
    /// addresses in it: for those a rule must stay within their range.
    fn names_address(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        let host = Host::from(address);
        let range = special::range(address).map(|range| range.network);
        self.0.iter().any(|rule| {
            let narrow = match (&rule.target, &range) {
                (Target::Network(network), Some(range)) if same_family(range.addr(), address) => {
                    range.contains(network)
                }
                // An address of IPv6 that stands for one of IPv4 must be named itself.
                (Target::Network(network), Some(_)) => network.prefix_len() >= 96,
                _ => true,
            };
            narrow && rule.ports.has(port) && rule.target.covers(&host)
        })
    }
}

impl Rules {
    /// Whether a rule is about this address and no other.
    fn names_only(&self, address: IpAddr, port: u16) -> bool {
        let host = Host::from(address);
        self.0.iter().any(|rule| {
            let is_one = matches!(&rule.target, Target::Network(network) if network.prefix_len() == network.max_prefix_len());
            is_one && rule.ports.has(port) && rule.target.covers(&host)
        })
    }
}

fn same_family(left: IpAddr, right: IpAddr) -> bool {
    left.is_ipv4() == right.is_ipv4()
}

impl Refusal {
    fn new(host: &Host, port: u16, why: Option<String>, allow: &Host) -> Self {
        Self { what: format!("{host}:{port}"), why, allow: AllowRule::exactly(allow, port) }
    }

    /// The refusal of a connection that was allowed before the rules changed.
    pub(super) fn late(to: &Destination) -> Self {
        Self::new(&to.host, to.port, Some("the rules were changed".into()), &to.host)
    }

    /// What was refused, such as `example.org:443`.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// As it is counted and told, once.
    pub(super) fn denial(&self) -> Denial {
        Denial {
            wall: Wall::Network,
            what: self.what.clone(),
            why: self.why.clone(),
            times: 1,
            allow: Some(self.line()),
        }
    }

    /// For whoever was refused.
    pub(super) fn text(&self) -> String {
        let why = self.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        format!(
            "`{}` is not allowed by the policy of this sandbox{why}\nhint: `{}` would allow it\n",
            self.what,
            self.line()
        )
    }

    /// The line of a policy.
    fn line(&self) -> String {
        format!("network.allow = [\"{}\"]", self.allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(list: &[&str]) -> Rules {
        Rules::new(list.iter().map(|rule| rule.parse().unwrap()).collect())
    }

    fn allows(list: &[&str], host: &str, port: u16) -> bool {
        rules(list).allows(&host.parse().unwrap(), port).is_ok()
    }

    fn leads(list: &[&str], name: &str, address: &str, is_own: bool) -> Result<(), String> {
        let host: Host = name.parse().unwrap();
        let address = address.parse().unwrap();
        let to = Destination { host, port: 443, address, is_own };
        let verdict = rules(list).allows_address(&to);
        verdict.map_err(|refusal| refusal.why.unwrap_or_default())
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        for host in ["example.org", "1.1.1.1", "127.0.0.1", "localhost", "[2606:4700::1111]"] {
            assert!(!allows(&[], host, 443) && !allows(&[], host, 80), "{host}");
        }
    }

    #[test]
    fn names_are_allowed_by_name_and_addresses_by_address() {
        assert!(allows(&["example.org"], "EXAMPLE.org.", 443));
        assert!(!allows(&["example.org"], "example.org", 22));
        assert!(!allows(&["0.0.0.0/0:443", "[::/0]:443"], "example.org", 443));
        assert!(!allows(&["example.org", "*.example.org"], "93.184.216.34", 443));
        assert!(allows(&["93.184.216.34"], "0x5db8d822", 443));
    }

    #[test]
    fn a_wide_rule_opens_the_internet_and_not_what_is_around_this_host() {
        let wide = ["0.0.0.0/0:*", "[::/0]:*"];
        assert!(allows(&wide, "1.1.1.1", 443) && allows(&wide, "[2606:4700::1111]", 1));
        for host in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "[::1]",
            "[fd00::1]",
            "[::ffff:127.0.0.1]",
            "0",
            "2130706433",
            "[64:ff9b::7f00:1]",
            "[::7f00:1]",
        ] {
            assert!(!allows(&wide, host, 80), "{host}");
        }
        assert!(
            allows(&["10.0.0.0/8:80"], "10.1.2.3", 80) && allows(&["127.0.0.1:80"], "127.1", 80)
        );
        assert!(allows(&["[::1]:80"], "[::1]", 80));
        // Wider than the range of private addresses, so not about them.
        assert!(!allows(&["10.0.0.0/7:80"], "10.1.2.3", 80));
    }

    #[test]
    fn a_name_leads_nowhere_special_unless_a_rule_names_the_address() {
        let name = ["db.example"];
        assert_eq!(leads(&name, "db.example", "93.184.216.34", false), Ok(()));
        let told = leads(&name, "db.example", "10.0.0.1", false);
        assert_eq!(told, Err("it leads to 10.0.0.1, a private address".into()));
        let told = leads(&name, "db.example", "::ffff:169.254.169.254", false);
        assert_eq!(told, Err("it leads to 169.254.169.254, a link-local address".into()));
        let told = leads(&name, "db.example", "93.184.216.34", true);
        assert_eq!(told, Err("it leads to 93.184.216.34, an address of this host".into()));
        // Also one that is asked for by its number, where the rule is about many.
        for (list, host) in [
            (["0.0.0.0/0", "a.example"], "93.184.216.34"),
            (["93.184.216.0/24", "a.example"], "a.example"),
        ] {
            assert!(leads(&list, host, "93.184.216.34", true).is_err(), "{host}");
            assert_eq!(leads(&list, host, "93.184.216.34", false), Ok(()));
        }
        assert_eq!(leads(&["93.184.216.34"], "93.184.216.34", "93.184.216.34", true), Ok(()));
        assert_eq!(leads(&["db.example", "10.0.0.0/8"], "db.example", "10.0.0.1", false), Ok(()));
        // The right address, and another port.
        assert!(leads(&["db.example", "10.0.0.0/8:80"], "db.example", "10.0.0.1", false).is_err());
        assert!(leads(&["db.example", "0.0.0.0/0"], "db.example", "10.0.0.1", false).is_err());
    }

    #[test]
    fn a_refusal_names_the_rule_that_would_allow_it() {
        let refusal = rules(&[]).allows(&"example.org".parse().unwrap(), 8443).unwrap_err();
        insta::assert_snapshot!(refusal.text(), @r#"
        `example.org:8443` is not allowed by the policy of this sandbox
        hint: `network.allow = ["example.org:8443"]` would allow it
        "#);
    }
}
