//! A look at the registry from time to time: one that asks nobody for an account is warned of.

use std::{sync::Arc, time::Duration};

use kube::{Api, Client, Resource as _};
use slipway_crds::{GROUP, conditions::Reason, v1alpha1::Stack};
use tokio::time::sleep;

use slipway_core::settings::Settings;
use slipway_k8s::classify::chain;
use slipway_k8s::events::{EventType, Publisher};
use slipway_remotes::registry::{Open, Registry};

/// Between two looks: an Event is kept for an hour.
const PAUSE: Duration = Duration::from_hours(1);

/// Looks for ever. What is found goes to the log, and as an Event to the Stack that Apps have by default.
pub(super) async fn watch(client: Client, events: Publisher, settings: Arc<Settings>) {
    loop {
        if let Some(warning) = look(&settings).await {
            tracing::warn!("{warning}");
            let stacks: Api<Stack> = Api::all(client.clone());
            if let Ok(Some(stack)) = stacks.get_opt(&settings.builds.default_stack).await {
                let stack = stack.object_ref(&());
                let (kind, reason) = (EventType::Warning, Reason::RegistryOpen);
                events
                    .publish(&stack, kind, reason, "Check", &warning)
                    .await;
            }
        }
        sleep(PAUSE).await;
    }
}

async fn look(settings: &Settings) -> Option<String> {
    let registry = &settings.registry;
    let repository = format!("{}/{GROUP}/access", registry.prefix);
    match Registry::open(&registry.push, &repository).await {
        Ok(open) => warning(open, &registry.push.address),
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "cannot find out whether the registry asks for an account"
            );
            None
        }
    }
}

/// What to say of a registry that lets anybody in.
fn warning(open: Open, address: &str) -> Option<String> {
    let what = match open {
        Open::No => return None,
        Open::Read => "read every App's source, image and log",
        Open::Write => {
            "read every App's source, image and log, and put something else in their place"
        }
    };
    Some(format!(
        "registry {address} asks for no account: whoever reaches it, builds and pods among them, can {what}. Give it accounts, and Slipway one of them (registry.existingSecret in the chart's values)"
    ))
}

#[cfg(test)]
mod tests {
    use super::warning;
    use slipway_remotes::registry::Open;

    #[test]
    fn only_an_open_registry_is_warned_of() {
        assert_eq!(warning(Open::No, "r:5000"), None);
        for open in [Open::Read, Open::Write] {
            let said = warning(open, "r:5000").unwrap();
            assert!(
                said.starts_with("registry r:5000 asks for no account"),
                "{said}"
            );
            assert_eq!(
                said.contains("in their place"),
                open == Open::Write,
                "{said}"
            );
        }
    }
}
