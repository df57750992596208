//! From `kubectl apply` to the first answer: an App with an image, compared with a Deployment and a Service with the
//! same image.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::figures::Figures;
use crate::{case::Case, fixtures};

const ROUNDS: usize = 5;

pub(super) async fn take(case: &Arc<Case>, figures: &mut Figures) -> Result<()> {
    let image = fixtures::image(&case.cluster, "web")?;
    case.apply(&fixtures::pull_secret(&case.cluster, "pull")?)
        .await?;
    // The first one pulls the image and is not counted.
    by_hand(case, "first", &image).await?;
    for round in 0..ROUNDS {
        let app = format!("app-{round}");
        let spec = format!(
            "apiVersion: slipway.dev/v1alpha1
kind: App
metadata: {{name: {app}}}
spec: {{source: {{image: {{reference: '{image}', pullSecretRef: {{name: pull}}}}}}}}"
        );
        let begin = Instant::now();
        case.apply(&spec).await?;
        let ours = answered(case, &app, begin).await?;
        case.kubectl(&["delete", "app", &app]).await?;
        let theirs = by_hand(case, &format!("hand-{round}"), &image).await?;
        let what = "apply to first answer";
        figures.add(&format!("{what}: App of an image"), ours, "s", None);
        figures.add(
            &format!("{what}: Deployment and Service"),
            theirs,
            "s",
            None,
        );
        let beyond = (ours - theirs).max(0.0);
        figures.add(
            &format!("{what}: ours beyond theirs"),
            beyond,
            "s",
            Some(5.0),
        );
    }
    Ok(())
}

/// Seconds that Kubernetes alone takes to schedule the pod and to start the container and the app.
async fn by_hand(case: &Case, name: &str, image: &str) -> Result<f64> {
    let restricted = "{allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}";
    let objects = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: web
        image: {image}
        env: [{{name: PORT, value: '5000'}}]
        readinessProbe: {{tcpSocket: {{port: 5000}}, periodSeconds: 1}}
        securityContext: {restricted}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 5000}}]}}
"
    );
    let begin = Instant::now();
    case.apply(&objects).await?;
    let seconds = answered(case, name, begin).await?;
    case.delete(&objects).await?;
    Ok(seconds)
}

async fn answered(case: &Case, service: &str, begin: Instant) -> Result<f64> {
    let asking = async {
        loop {
            let answer = case.cluster.get(&case.namespace, service, "/").await?;
            if answer.status == 200 {
                return Ok(begin.elapsed().as_secs_f64());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), asking)
        .await
        .with_context(|| format!("{service} does not answer"))?
}
