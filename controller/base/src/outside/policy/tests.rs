//! Addresses, and which policies refuse or allow them.

use crate::outside::policy::{Allowed, Cluster, Network, Policy};

fn policy(allow: &[&str]) -> Policy {
    Policy {
        allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
        cluster: vec!["10.244.0.0/16".parse().unwrap()],
        found: Cluster {
            pods: vec!["fd44::/64".parse().unwrap()],
            services: vec![
                "10.96.0.0/12".parse().unwrap(),
                "fd10::/112".parse().unwrap(),
            ],
            api_servers: vec!["192.0.2.1:6443".parse().unwrap()],
            nodes: vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()],
        },
        own: vec!["172.18.0.0/16".parse().unwrap()],
    }
}

fn refused(policy: &Policy, host: &str, port: u16, address: &str) -> Option<&'static str> {
    let address = address.parse().unwrap();
    policy.check(host, port, address).err().map(|r| r.what)
}

#[test]
fn what_answers_inside_only_is_refused() {
    let policy = policy(&[]);
    for (port, address, what) in [
        (443, "127.0.0.1", "own machine"),
        (443, "127.255.1.2", "own machine"),
        (443, "::1", "own machine"),
        (443, "::ffff:127.0.0.1", "own machine"),
        (443, "::127.0.0.1", "own machine"),
        (443, "64:ff9b::7f00:1", "own machine"),
        (443, "2002:7f00:1::", "own machine"),
        (443, "0.0.0.0", "no certain"),
        (443, "0.1.2.3", "no certain"),
        (443, "::", "no certain"),
        (80, "169.254.169.254", "metadata"),
        (80, "::ffff:169.254.169.254", "metadata"),
        (80, "100.100.100.200", "metadata"),
        (80, "::ffff:0:169.254.169.254", "metadata"),
        (80, "fd00:ec2::254", "metadata"),
        (80, "fd00:ec2::23", "metadata"),
        (80, "fd20:ce::254", "metadata"),
        (80, "fd00:c1::a9fe:a9fe", "metadata"),
        (80, "fd00:42::42", "metadata"),
        (80, "fd00:100::100:200", "metadata"),
        (80, "fd00:a9fe:a9fe::1", "metadata"),
        (80, "64:ff9b:1::a9fe:a9fe", "no certain"),
        (80, "fec0::1", "no certain"),
        (80, "fe80::1", "link-local"),
        (80, "224.0.0.1", "no single"),
        (80, "255.255.255.255", "no single"),
        (80, "ff02::1", "no single"),
        (443, "10.96.0.1", "Service"),
        (443, "10.111.255.255", "Service"),
        (443, "fd10::7", "Service"),
        (8080, "10.244.3.4", "pod"),
        (8080, "fd44::9", "pod"),
        (8080, "::ffff:10.244.3.4", "pod"),
        (6443, "192.0.2.1", "API server"),
        (6443, "::ffff:192.0.2.1", "API server"),
        (10250, "192.0.2.2", "nodes"),
        (2376, "172.18.0.1", "engine"),
        (2379, "192.0.2.1", "nodes"),
    ] {
        let said = refused(&policy, "h", port, address);
        assert!(
            said.is_some_and(|said| said.contains(what)),
            "{address}:{port}: {said:?}"
        );
    }
}

#[test]
fn the_world_and_a_companys_own_network_are_reached() {
    let policy = policy(&[]);
    for (port, address) in [
        (443, "198.51.100.7"),
        (443, "2001:db8::7"),
        (443, "fd00:ec3::7"),
        (443, "10.95.255.255"),
        (443, "10.112.0.0"),
        (443, "192.168.1.1"),
        (9418, "192.0.2.1"),
        (443, "192.0.2.1"),
        (10250, "192.0.2.3"),
    ] {
        assert_eq!(
            refused(&policy, "h", port, address),
            None,
            "{address}:{port}"
        );
    }
}

#[test]
fn an_administrator_allows_networks_addresses_and_names() {
    let policy = policy(&[
        "127.0.0.0/8",
        "10.96.7.7:3000",
        "git.svc",
        "Git.Example.com:8443",
        "192.0.2.0/24",
        "172.16.0.0/12",
        "172.18.0.1:3128",
        "engine.example.com",
    ]);
    for (host, port, address, allowed) in [
        ("h", 1, "127.0.0.1", true),
        ("h", 3000, "10.96.7.7", true),
        ("h", 3001, "10.96.7.7", false),
        ("GIT.svc.", 80, "10.96.9.9", true),
        ("nogit.svc", 80, "10.96.9.9", false),
        ("git.example.com", 8443, "169.254.1.1", true),
        ("git.example.com", 443, "169.254.1.1", false),
        // Neither a network nor a name without a port opens the API server or the Docker Engine.
        ("h", 443, "172.17.255.255", true),
        ("h", 2376, "172.18.0.1", false),
        ("h", 3128, "172.18.0.1", true),
        ("engine.example.com", 2376, "172.18.0.1", false),
        ("h", 443, "192.0.2.1", true),
        ("h", 6443, "192.0.2.1", false),
        ("h", 10250, "192.0.2.2", false),
    ] {
        assert_eq!(
            refused(&policy, host, port, address).is_none(),
            allowed,
            "{host}:{port} {address}"
        );
    }
    assert!(policy.trusts("h", 80, "127.0.0.1".parse().unwrap()));
    assert!(!policy.trusts("h", 80, "198.51.100.7".parse().unwrap()));
}

#[test]
fn what_is_written_is_read_and_what_cannot_be_meant_is_told() {
    for text in [
        "10.0.0.0/8",
        "10.1.2.3/32",
        "::/0",
        "fd00::/8",
        "a.b",
        "a.b:80",
        "10.1.2.3:80",
        "[fd00::1]:443",
    ] {
        let allowed: Allowed = text.parse().unwrap();
        assert_eq!(allowed.to_string(), text);
        let json = serde_json::to_string(&allowed).unwrap();
        assert_eq!(serde_json::from_str::<Allowed>(&json).unwrap(), allowed);
    }
    for text in [
        "",
        "10.0.0.0/33",
        "a/b",
        "a:b",
        "a:70000",
        "https://a",
        "*.a",
        "[::1",
    ] {
        assert!(text.parse::<Allowed>().is_err(), "{text}");
    }
    assert!("a".parse::<Network>().is_err());
    let all: Network = "0.0.0.0/0".parse().unwrap();
    assert!(all.contains("203.0.113.9".parse().unwrap()));
}
