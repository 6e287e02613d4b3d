//! Which hosts and addresses an installation calls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Last parts of names that are never public, as Spinnaker excludes them.
const INTERNAL_SUFFIXES: [&str; 5] = ["internal", "local", "localdomain", "localhost", "spinnaker"];

/// IPv4 ranges that are not public unicast (IANA's special-purpose registry): address and length of the prefix.
const NOT_PUBLIC_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Shared address space of carriers; AWS uses parts of it for its own services.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local: the metadata services of instances (.169.254) and of tasks (.170.2).
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, then reserved and broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Parts of IPv6's global unicast range (2000::/3) that are not public unicast.
const NOT_PUBLIC_V6: [(Ipv6Addr, u8); 4] = [
    // IETF protocols; Teredo (2001::/32) carries an IPv4 address inside.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4 carries an IPv4 address inside.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

const GLOBAL_UNICAST_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// One entry of the list of what is allowed besides the public internet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Host(String),
    /// With its leading dot.
    Below(String),
    V4(Ipv4Addr, u8),
    V6(Ipv6Addr, u8),
}

/// Which hosts and addresses are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Whether the public internet is called.
    public: bool,
    allowed: Vec<Entry>,
}

impl Default for AddressPolicy {
    fn default() -> Self {
        Self::public()
    }
}

impl AddressPolicy {
    /// The public internet and nothing else.
    #[must_use]
    pub fn public() -> Self {
        Self {
            public: true,
            allowed: Vec::new(),
        }
    }

    /// Reads a list of hosts and address ranges; see the README. What cannot be read is answered with the policy,
    /// which then allows what could be read and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let mut policy = Self::public();
        let mut unreadable = Vec::new();
        for word in text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty())
        {
            if word.eq_ignore_ascii_case("!public") {
                policy.public = false;
            } else if let Some(entry) = entry(word) {
                policy.allowed.push(entry);
            } else {
                policy.public = false;
                unreadable.push(word.to_owned());
            }
        }
        (policy, unreadable)
    }

    /// The policy of an installation's setting, absent or not. What cannot be read is logged.
    #[must_use]
    pub fn of_setting(setting: Option<&str>) -> Self {
        let (policy, unreadable) = Self::parse(setting.unwrap_or_default());
        for entry in unreadable {
            tracing::error!(
                entry,
                "an entry of ALLOWED_HOSTS is neither a host nor a range of addresses: nothing is called but the others"
            );
        }
        policy
    }

    /// Judges a host before it is resolved: a name, or an address in the form that `url` gives it.
    ///
    /// # Errors
    /// Why it is not called.
    pub(crate) fn judge_host(&self, host: &str) -> Result<(), String> {
        if self.names(host) {
            return Ok(());
        }
        if let Some(address) = literal(host) {
            if self.contains(address) {
                return Ok(());
            }
            return Err("an address instead of a name".to_owned());
        }
        if self
            .allowed
            .iter()
            .any(|entry| matches!(entry, Entry::V4(..) | Entry::V6(..)))
        {
            // What it resolves to may be in a range; the address decides.
            return Ok(());
        }
        self.judge_public_name(host)
    }

    fn judge_public_name(&self, host: &str) -> Result<(), String> {
        if !self.public {
            return Err("it is not on the list of what is allowed".to_owned());
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let Some((_, last)) = host.rsplit_once('.') else {
            return Err("a name without a dot".to_owned());
        };
        if INTERNAL_SUFFIXES.contains(&last) {
            return Err(format!("names below `{last}` are internal"));
        }
        Ok(())
    }

    /// Judges an address that a host, admitted by [`Self::judge_host`], has.
    ///
    /// # Errors
    /// Why it is not called.
    pub(crate) fn judge_address(&self, host: &str, address: IpAddr) -> Result<(), String> {
        if self.names(host) || self.contains(address) {
            return Ok(());
        }
        self.judge_public_name(host)?;
        if is_public(address) {
            Ok(())
        } else {
            Err("it is not a public address".to_owned())
        }
    }

    fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.allowed.iter().any(|entry| match entry {
            Entry::Host(name) => *name == host,
            Entry::Below(suffix) => host.ends_with(suffix.as_str()),
            Entry::V4(..) | Entry::V6(..) => false,
        })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = inner(address);
        self.allowed.iter().any(|entry| match (entry, address) {
            (Entry::V4(network, length), IpAddr::V4(address)) => {
                in_v4(address, (*network, *length))
            }
            (Entry::V6(network, length), IpAddr::V6(address)) => {
                in_v6(address, (*network, *length))
            }
            _ => false,
        })
    }
}

/// The address that a host of a URL is, if it is none but an address.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Whether it is an address of the public internet that one host has.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match inner(address) {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|range| in_v4(address, *range)),
        IpAddr::V6(address) => {
            in_v6(address, GLOBAL_UNICAST_V6)
                && !NOT_PUBLIC_V6.iter().any(|range| in_v6(address, *range))
        }
    }
}

/// The IPv4 address that an IPv6 one stands for, where the packet goes to that.
fn inner(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if let Some(mapped) = v6.to_ipv4_mapped() {
        return IpAddr::V4(mapped);
    }
    if in_v6(v6, NAT64) {
        #[allow(clippy::cast_possible_truncation)] // The last 32 bits are the address.
        return IpAddr::V4(Ipv4Addr::from_bits(v6.to_bits() as u32));
    }
    address
}

fn in_v4(address: Ipv4Addr, (network, length): (Ipv4Addr, u8)) -> bool {
    let shift = 32_u32.saturating_sub(u32::from(length));
    // A shift by all 32 bits is no shift for Rust: the range of everything.
    let bits = |of: Ipv4Addr| of.to_bits().checked_shr(shift).unwrap_or(0);
    bits(address) == bits(network)
}

fn in_v6(address: Ipv6Addr, (network, length): (Ipv6Addr, u8)) -> bool {
    let shift = 128_u32.saturating_sub(u32::from(length));
    let bits = |of: Ipv6Addr| of.to_bits().checked_shr(shift).unwrap_or(0);
    bits(address) == bits(network)
}

fn entry(word: &str) -> Option<Entry> {
    let (address, length) = match word.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
        None => (word, None),
    };
    match (literal(address), length) {
        (Some(IpAddr::V4(network)), length) => {
            let length = length.unwrap_or(32);
            return (length <= 32).then_some(Entry::V4(network, length));
        }
        (Some(IpAddr::V6(network)), length) => {
            let length = length.unwrap_or(128);
            return (length <= 128).then_some(Entry::V6(network, length));
        }
        (None, Some(_)) => return None,
        (None, None) => {}
    }
    let word = word.trim_end_matches('.').to_ascii_lowercase();
    let (name, below) = match word.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (word.as_str(), false),
    };
    let is_name = !name.is_empty()
        && name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        });
    // Digits and dots that are no address are no name either: `url` would read `10.1` as an address.
    let is_number = name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    if !is_name || is_number {
        return None;
    }
    Some(if below {
        Entry::Below(format!(".{name}"))
    } else {
        Entry::Host(name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn public_addresses_are_those_of_one_host_on_the_internet() {
        for public in [
            "1.1.1.1",
            "52.94.236.248",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "198.17.255.255",
            "223.255.255.255",
            "2600:1f18::1",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(is_public(address(public)), "{public}");
        }
        for not in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address(not)), "{not}");
        }
    }

    fn admits(policy: &AddressPolicy, host: &str, of: &str) -> bool {
        policy.judge_host(host).is_ok() && policy.judge_address(host, address(of)).is_ok()
    }

    #[test]
    fn without_a_list_only_names_of_the_public_internet_are_called() {
        let policy = AddressPolicy::public();
        assert!(admits(&policy, "api.example.com", "1.1.1.1"));
        assert!(admits(&policy, "api.example.com.", "1.1.1.1"));
        for (host, of) in [
            ("api.example.com", "10.0.0.1"),
            ("1.1.1.1", "1.1.1.1"),
            ("[2600::1]", "2600::1"),
            ("localhost", "1.1.1.1"),
            ("intranet", "1.1.1.1"),
            ("db.internal", "1.1.1.1"),
            ("ip-10-0-0-1.ec2.internal", "1.1.1.1"),
            ("printer.LOCAL", "1.1.1.1"),
            ("app.localhost", "1.1.1.1"),
            ("orca.spinnaker.", "1.1.1.1"),
        ] {
            assert!(!admits(&policy, host, of), "{host} {of}");
        }
    }

    #[test]
    fn an_installation_allows_hosts_and_ranges_of_its_own() {
        let (policy, unreadable) = AddressPolicy::parse(
            "deploy.corp.example, *.lab.internal 10.1.2.0/24\nfd12::/16,192.168.0.7",
        );
        assert!(unreadable.is_empty(), "{unreadable:?}");
        for (host, of) in [
            ("deploy.corp.example", "10.9.9.9"),
            ("DEPLOY.corp.example.", "10.9.9.9"),
            ("a.b.lab.internal", "172.16.0.1"),
            ("anything.example.com", "10.1.2.255"),
            ("jenkins", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3"),
            ("192.168.0.7", "192.168.0.7"),
            ("[fd12::1]", "fd12::1"),
            ("mapped.example.com", "::ffff:10.1.2.3"),
            ("api.example.com", "1.1.1.1"),
        ] {
            assert!(admits(&policy, host, of), "{host} {of}");
        }
        for (host, of) in [
            ("lab.internal", "172.16.0.1"),
            ("evil-lab.internal", "172.16.0.1"),
            ("anything.example.com", "10.1.3.0"),
            ("jenkins", "1.1.1.1"),
            ("10.1.3.1", "10.1.3.1"),
            ("192.168.0.8", "192.168.0.8"),
            ("corp.example", "10.9.9.9"),
        ] {
            assert!(!admits(&policy, host, of), "{host} {of}");
        }
    }

    #[test]
    fn a_list_can_close_the_rest_and_a_slip_of_the_pen_does() {
        let (closed, _) = AddressPolicy::parse("!public,hooks.example.com");
        assert!(admits(&closed, "hooks.example.com", "1.1.1.1"));
        assert!(!admits(&closed, "api.example.com", "1.1.1.1"));
        for slip in [
            "10.0.0.0/33",
            "10.1",
            "http://x.example.com",
            "x.example.com:80",
            "*",
            "!everything",
            "a..b",
            "fd00::/129",
            "x/24",
        ] {
            let (policy, unreadable) = AddressPolicy::parse(&format!("ok.example.com {slip}"));
            assert_eq!(unreadable, [slip]);
            assert!(admits(&policy, "ok.example.com", "1.1.1.1"));
            assert!(!admits(&policy, "api.example.com", "1.1.1.1"), "{slip}");
        }
    }
}
