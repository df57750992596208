//! The objects that are applied: namespaces for a hundred Apps each, Apps, and the Deployments and Services that
//! somebody without Slipway would write.

use std::fmt::Write as _;

/// Apps of a namespace, as in a cluster of many teams.
const PER_NAMESPACE: usize = 100;
/// The label of the namespaces.
pub(super) const LABEL: &str = "slipway.dev/bench-scale";

/// A number of Apps, and their namespaces.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    pub(super) namespaces: Vec<String>,
    pub(super) count: usize,
}

impl Crowd {
    /// `name` distinguishes the namespaces from those of another crowd.
    pub(super) fn new(name: &str, count: usize) -> Self {
        let namespaces = 0..count.div_ceil(PER_NAMESPACE);
        let namespaces = namespaces.map(|n| format!("scale-{name}-{n}")).collect();
        Self { namespaces, count }
    }

    /// All namespaces, each with a pull secret.
    pub(super) fn grounds(&self, pull_secret: &str) -> String {
        let mut text = String::new();
        for namespace in &self.namespaces {
            let _ = writeln!(
                text,
                "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {{{LABEL}: \"true\"}}}}"
            );
        }
        for namespace in &self.namespaces {
            let secret = pull_secret.replacen(
                "\"metadata\":{",
                &format!("\"metadata\":{{\"namespace\":\"{namespace}\","),
                1,
            );
            let _ = writeln!(text, "---\n{secret}");
        }
        text
    }

    /// All Apps, as one YAML text for each namespace.
    pub(super) fn apps(&self, image: &str) -> Vec<String> {
        self.each(|namespace, name| app(namespace, name, image))
    }

    /// A Deployment and a Service for each App, as one YAML text for each namespace.
    pub(super) fn by_hand(&self, image: &str) -> Vec<String> {
        self.each(|namespace, name| by_hand(namespace, name, image))
    }

    /// Namespace of the App with this number.
    pub(super) fn namespace(&self, number: usize) -> Option<&str> {
        self.namespaces
            .get(number / PER_NAMESPACE)
            .map(String::as_str)
    }

    /// Name of the App with this number.
    pub(super) fn app_name(number: usize) -> String {
        format!("app-{number}")
    }

    fn each(&self, render: impl Fn(&str, &str) -> String) -> Vec<String> {
        let texts = self.namespaces.iter().enumerate();
        let texts = texts.map(|(index, namespace)| {
            let first = index * PER_NAMESPACE;
            let numbers = first..self.count.min(first + PER_NAMESPACE);
            let objects = numbers.map(|number| render(namespace, &Self::app_name(number)));
            objects.collect::<Vec<_>>().join("\n---\n")
        });
        texts.collect()
    }
}

fn app(namespace: &str, name: &str, image: &str) -> String {
    format!(
        "apiVersion: slipway.dev/v1alpha1
kind: App
metadata: {{namespace: {namespace}, name: {name}}}
spec: {{source: {{image: {{reference: '{image}', pullSecretRef: {{name: pull}}}}}}}}"
    )
}

fn by_hand(namespace: &str, name: &str, image: &str) -> String {
    let restricted = "{allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}";
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{namespace: {namespace}, name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      imagePullSecrets: [{{name: pull}}]
      containers:
      - name: web
        image: {image}
        env: [{{name: PORT, value: '5000'}}]
        readinessProbe: {{tcpSocket: {{port: 5000}}, periodSeconds: 1}}
        securityContext: {restricted}
---
apiVersion: v1
kind: Service
metadata: {{namespace: {namespace}, name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 5000}}]}}"
    )
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;

    use super::Crowd;

    fn documents(text: &str) -> Vec<serde_yaml::Value> {
        serde_yaml::Deserializer::from_str(text)
            .map(|document| serde_yaml::Value::deserialize(document).expect("YAML"))
            .filter(|document| !document.is_null())
            .collect()
    }

    #[test]
    fn each_namespace_has_a_hundred_apps_and_a_secret() {
        let crowd = Crowd::new("x", 150);
        assert_eq!(crowd.namespaces, ["scale-x-0", "scale-x-1"]);
        let secret = r#"{"kind":"Secret","metadata":{"name":"pull"}}"#;
        let grounds = documents(&crowd.grounds(secret));
        assert_eq!(grounds.len(), 4);
        assert_eq!(grounds[3]["metadata"]["namespace"], "scale-x-1");
        let apps = documents(&crowd.apps("image").join("\n---\n"));
        assert_eq!(apps.len(), 150);
        let of_second = apps
            .iter()
            .filter(|app| app["metadata"]["namespace"] == "scale-x-1");
        assert_eq!(of_second.count(), 50);
        let by_hand = crowd.by_hand("image").join("\n---\n");
        assert_eq!(documents(&by_hand).len(), 300);
        assert_eq!(apps[149]["metadata"]["name"], Crowd::app_name(149).as_str());
        assert_eq!(crowd.namespace(149), Some("scale-x-1"));
    }
}
