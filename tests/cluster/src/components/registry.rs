//! The OCI registry: TLS, two accounts (the operator's, which pushes, and the node's), and deletion.

use super::{Component, PUSH_ACCOUNT, Site};
use crate::files::File;
use crate::layout::Layout;
use crate::probes::{Probe, Web};
use crate::processes::Program;

pub fn password_file(layout: &Layout) -> String {
    layout.at("registry/password")
}

pub fn component(site: &Site) -> Component {
    let layout = &site.layout;
    let config = layout.at("registry/config.yml");
    let htpasswd = layout.at("registry/htpasswd");
    let content = format!(
        "version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {data}}}
  delete: {{enabled: true}}
http:
  addr: {address}
  tls: {{certificate: {cert}, key: {key}}}
auth:
  htpasswd: {{realm: slipway-cluster, path: {htpasswd}}}
",
        data = layout.at("registry/data"),
        address = site.network.registry(),
        cert = layout.cert("registry-server"),
        key = layout.key("registry-server"),
    );
    Component {
        program: Program {
            name: "docker-registry",
            words: ["docker-registry", "serve", &config]
                .map(str::to_owned)
                .to_vec(),
            environment: vec![],
        },
        files: vec![
            File::public(config, content),
            File::secret(htpasswd, &*site.accounts.htpasswd),
            File::secret(password_file(layout), &*site.accounts.push_password),
        ],
        probe: Probe::Web(Web {
            url: format!("https://{}/v2/", site.network.registry()),
            ca: Some(layout.cert("ca")),
            client: None,
            account: Some((PUSH_ACCOUNT.to_owned(), password_file(layout))),
        }),
    }
}
