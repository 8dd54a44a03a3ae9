//! The names and addresses under which a server is reached, which its certificate has to cover.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// This machine's names and addresses, those that are listened on, and those that are told to others (`host:port`).
pub(crate) fn of<'a>(
    listen: impl IntoIterator<Item = SocketAddr>,
    advertised: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let mut hosts = vec![
        "localhost".to_owned(),
        Ipv4Addr::LOCALHOST.to_string(),
        Ipv6Addr::LOCALHOST.to_string(),
    ];
    let named = rustix::system::uname();
    hosts.extend(named.nodename().to_str().map(str::to_owned));
    let bound = listen.into_iter().map(|address| address.ip());
    hosts.extend(bound.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    hosts.extend(advertised.into_iter().map(|address| host(address).to_owned()));
    hosts.retain(|host| can_be_certified(host));
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The host of `host:port` or `[v6]:port`.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// A machine may be called what no certificate can say.
fn can_be_certified(host: &str) -> bool {
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    host.parse::<IpAddr>().is_ok() || (!host.is_empty() && host.bytes().all(sane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_the_server_is_named_once() {
        let hosts = of(
            [
                "10.1.2.3:7780".parse().unwrap(),
                "0.0.0.0:7781".parse().unwrap(),
                "127.0.0.1:1".parse().unwrap(),
            ],
            ["unit.example:7780", "[fd00::1]:7780", "ü:1"],
        );
        for host in [
            "localhost",
            "127.0.0.1",
            "::1",
            "10.1.2.3",
            "unit.example",
            "fd00::1",
        ] {
            assert_eq!(hosts.iter().filter(|found| *found == host).count(), 1, "{host}");
        }
        assert!(!hosts.contains(&"0.0.0.0".to_owned()) && !hosts.contains(&"ü".to_owned()));
    }
}
