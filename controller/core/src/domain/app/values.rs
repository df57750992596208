//! Values that stand in several places of a spec: variables, requests and limits.

use slipway_crds::v1alpha1::Resources;

use crate::domain::{app::error::Errors, env};

/// Refuses the value of a variable that no process can be given.
pub(super) fn literal(field: &str, name: &str, value: Option<&str>, errors: &mut Errors) {
    let Some(value) = value else { return };
    if value.contains('\0') {
        errors.add(
            format!("{field}.{name}"),
            "has a NUL byte in it, which no environment variable can hold",
        );
    }
    let most = env::value_max(name);
    if value.len() > most {
        errors.add(
            format!("{field}.{name}"),
            format!(
                "has {} bytes; a variable of this name can have at most {most} (put it into a file)",
                value.len()
            ),
        );
    }
}

/// Refuses requests above their limits.
pub(super) fn resources(field: &str, asked: Option<&Resources>, errors: &mut Errors) {
    let Some(Resources {
        requests: Some(requests),
        limits: Some(limits),
    }) = asked
    else {
        return;
    };
    for (what, request, limit) in [
        ("cpu", &requests.cpu, &limits.cpu),
        ("memory", &requests.memory, &limits.memory),
    ] {
        if let (Some(request), Some(limit)) = (request, limit)
            && let (Some(requested), Some(limited)) = (request.amount(), limit.amount())
            && requested > limited
        {
            errors.add(
                format!("{field}.resources.requests.{what}"),
                format!("{} is more than the limit, {}", request.0, limit.0),
            );
        }
    }
}
