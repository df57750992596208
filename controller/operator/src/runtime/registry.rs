//! Checks the registry from time to time, and warns if it accepts requests without an account.

use std::{sync::Arc, time::Duration};

use kube::{Api, Client, Resource as _};
use slipway_crds::{GROUP, conditions::Reason, v1alpha1::Stack};
use tokio::time::sleep;

use slipway_core::settings::Settings;
use slipway_k8s::classify::chain;
use slipway_k8s::events::{EventType, Publisher};
use slipway_remotes::registry::{Open, Registry};

/// Interval between two checks: an Event is kept for an hour.
const PAUSE: Duration = Duration::from_hours(1);

/// Checks for ever. A warning goes to the log, and as an Event to the default Stack.
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

/// The warning about a registry that accepts requests without an account; `None` if it does not.
fn warning(open: Open, address: &str) -> Option<String> {
    let what = match open {
        Open::No => return None,
        Open::Read => "read every App's source, image and log",
        Open::Write => {
            "read every App's source, image and log, and put something else in their place"
        }
    };
    Some(format!(
        "registry {address} asks for no account: everybody who reaches it, including builds and pods, can {what}. Make it require an account, and give Slipway one (registry.existingSecret in the chart's values)"
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
