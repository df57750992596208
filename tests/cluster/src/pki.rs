//! The identities in a cluster → four certificate authorities and a certificate for each identity. Only their owner can
//! read the keys.
//!
//! The engine and etcd have authorities of their own, so a client certificate of the cluster's authority (with which
//! the controller manager signs requests) opens neither of them.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::files::File;
use crate::layout::Layout;
use crate::network::{DNS_DOMAIN, NODE_NAME, Network, PULL_NAME};

const AUTHORITIES: [&str; 4] = ["ca", "front-proxy-ca", "etcd-ca", "engine-ca"];
const VALID: Duration = Duration::from_hours(365 * 24);

/// One certificate: its owner, its authority and its purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: &'static str,
    pub authority: &'static str,
    pub user: String,
    pub group: Option<&'static str>,
    /// The names and addresses that it is valid for as a server's; a client has none.
    pub serves: Vec<String>,
}

fn client(name: &'static str, user: impl Into<String>, group: Option<&'static str>) -> Identity {
    Identity {
        name,
        authority: "ca",
        user: user.into(),
        group,
        serves: vec![],
    }
}

fn server(name: &'static str, serves: &[&str]) -> Identity {
    Identity {
        name,
        authority: "ca",
        user: name.to_owned(),
        group: None,
        serves: serves.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// All identities in the cluster.
pub fn identities(network: Network) -> Vec<Identity> {
    let node = &*network.node();
    let from = |authority, identity| Identity {
        authority,
        ..identity
    };
    vec![
        client("admin", "kubernetes-admin", Some("system:masters")),
        client("controller-manager", "system:kube-controller-manager", None),
        client("scheduler", "system:kube-scheduler", None),
        client(
            "kubelet",
            format!("system:node:{NODE_NAME}"),
            Some("system:nodes"),
        ),
        client("proxy", "system:kube-proxy", None),
        client("dns", "slipway-cluster:dns", None),
        client("storage", "slipway-cluster:storage", None),
        client("apiserver-kubelet", "kube-apiserver-kubelet-client", None),
        from(
            "front-proxy-ca",
            client("front-proxy", "front-proxy-client", None),
        ),
        from(
            "etcd-ca",
            client("apiserver-etcd", "kube-apiserver-etcd-client", None),
        ),
        from("engine-ca", client("engine-client", "slipway", None)),
        server(
            "apiserver-server",
            &[
                node,
                &network.api_service(),
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                &format!("kubernetes.default.svc.{DNS_DOMAIN}"),
            ],
        ),
        server("controller-manager-server", &[node]),
        server("scheduler-server", &[node]),
        server("kubelet-server", &[node, NODE_NAME]),
        server("registry-server", &[node, PULL_NAME]),
        from("etcd-ca", server("etcd-server", &[node])),
        from("engine-ca", server("engine-server", &[&network.engine()])),
    ]
}

fn params(
    user: &str,
    group: Option<&str>,
    serves: &[String],
    now: SystemTime,
) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(serves.to_vec())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name = name;
    // Valid from an hour ago, for clients whose clock is behind.
    params.not_before = (now - Duration::from_hours(1)).into();
    params.not_after = (now + VALID).into();
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![if serves.is_empty() {
        ExtendedKeyUsagePurpose::ClientAuth
    } else {
        ExtendedKeyUsagePurpose::ServerAuth
    }];
    Ok(params)
}

fn authority(name: &str, now: SystemTime) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = params(&format!("slipway-cluster {name}"), None, &[], now)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.extended_key_usages = vec![];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// New authorities, certificates for all identities, the key that signs ServiceAccount tokens, and the bundle of our
/// authority with the host's.
pub fn new_files(
    layout: &Layout,
    network: Network,
    host_bundle: &str,
    now: SystemTime,
) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for name in AUTHORITIES {
        let issuer =
            authority(name, now).with_context(|| format!("making the authority {name}"))?;
        files.push(File::public(layout.cert(name), issuer.pem()));
        files.push(File::secret(layout.key(name), issuer.key().serialize_pem()));
        if name == "ca" {
            files.push(File::public(
                layout.ca_bundle(),
                format!("{}{host_bundle}", issuer.pem()),
            ));
        }
        for identity in identities(network)
            .iter()
            .filter(|identity| identity.authority == name)
        {
            let saying = || format!("making the certificate of {}", identity.name);
            let key = KeyPair::generate()?;
            let certificate = params(&identity.user, identity.group, &identity.serves, now)
                .and_then(|params| Ok(params.signed_by(&key, &issuer)?))
                .with_context(saying)?;
            files.push(File::public(layout.cert(identity.name), certificate.pem()));
            files.push(File::secret(layout.key(identity.name), key.serialize_pem()));
        }
    }
    let signer = KeyPair::generate()?;
    files.push(File::secret(
        layout.key("service-accounts"),
        signer.serialize_pem(),
    ));
    files.push(File::public(
        layout.public_key("service-accounts"),
        signer.public_key_pem(),
    ));
    Ok(files)
}

/// A kubeconfig that contains its certificates, so that it can be copied elsewhere. `files` are those of [`new_files`].
pub fn kubeconfig(layout: &Layout, network: Network, name: &str, files: &[File]) -> Result<File> {
    let data = |path: String| {
        files
            .iter()
            .find(|file| file.path == path)
            .map(|file| base64::engine::general_purpose::STANDARD.encode(&file.content))
            .with_context(|| format!("no file {path} for the kubeconfig of {name}"))
    };
    let content = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "slipway", "cluster": {"server": network.api_server(), "certificate-authority-data": data(layout.cert("ca"))?}}],
        "users": [{"name": name, "user": {"client-certificate-data": data(layout.cert(name))?, "client-key-data": data(layout.key(name))?}}],
        "contexts": [{"name": "slipway", "context": {"cluster": "slipway", "user": name}}],
        "current-context": "slipway",
    });
    Ok(File::secret(
        layout.kubeconfig(name),
        format!("{content:#}\n"),
    ))
}

/// The clients of the API server that use a kubeconfig.
pub const KUBECONFIGS: [&str; 7] = [
    "admin",
    "controller-manager",
    "scheduler",
    "kubelet",
    "proxy",
    "dns",
    "storage",
];

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    fn made() -> (Layout, Vec<File>) {
        let layout = Layout::new("/var/lib/slipway-cluster", "/cache").expect("layout");
        let network = "10.98.0.0/16".parse().expect("network");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let files = new_files(&layout, network, "HOST BUNDLE\n", now).expect("made");
        (layout, files)
    }

    fn pem<'a>(files: &'a [File], path: &str) -> &'a str {
        &files
            .iter()
            .find(|file| file.path == path)
            .expect("there")
            .content
    }

    #[test]
    fn every_certificate_names_its_subject_and_is_signed_by_its_authority_only() {
        let (layout, files) = made();
        let network = "10.98.0.0/16".parse().expect("network");
        for identity in identities(network) {
            let (_, der) =
                parse_x509_pem(pem(&files, &layout.cert(identity.name)).as_bytes()).expect("pem");
            let certificate = der.parse_x509().expect("x509");
            let subject = certificate.subject().to_string();
            let wanted = identity
                .group
                .map_or(format!("CN={}", identity.user), |group| {
                    format!("CN={}, O={group}", identity.user)
                });
            assert_eq!(subject, wanted);
            for name in AUTHORITIES {
                let (_, der) =
                    parse_x509_pem(pem(&files, &layout.cert(name)).as_bytes()).expect("pem");
                let issuer = der.parse_x509().expect("x509");
                let signed = certificate
                    .verify_signature(Some(issuer.public_key()))
                    .is_ok();
                assert_eq!(
                    signed,
                    name == identity.authority,
                    "{} by {name}",
                    identity.name
                );
            }
            let usage = certificate
                .extended_key_usage()
                .expect("usage")
                .expect("usage")
                .value;
            assert_eq!(
                (usage.server_auth, usage.client_auth),
                (!identity.serves.is_empty(), identity.serves.is_empty())
            );
        }
    }

    #[test]
    fn keys_are_secret_and_certificates_are_not() {
        let (_, files) = made();
        for file in files {
            assert_eq!(
                file.secret,
                file.content.contains("PRIVATE KEY"),
                "{}",
                file.path
            );
        }
    }

    #[test]
    fn the_bundle_has_our_authority_and_the_hosts() {
        let (layout, files) = made();
        let bundle = pem(&files, &layout.ca_bundle());
        assert!(
            bundle.starts_with(pem(&files, &layout.cert("ca")))
                && bundle.ends_with("HOST BUNDLE\n")
        );
    }

    #[test]
    fn only_the_admin_is_a_master_and_only_the_kubelet_a_node() {
        let groups: Vec<_> = identities("10.98.0.0/16".parse().expect("network"))
            .into_iter()
            .filter_map(|identity| identity.group.map(|group| (identity.name, group)))
            .collect();
        assert_eq!(
            groups,
            [("admin", "system:masters"), ("kubelet", "system:nodes")]
        );
    }
}
