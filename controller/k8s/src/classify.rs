//! [`kube::Error`] → [`Class`]. Pure.

use kube::core::Status;

use slipway_base::error::{Class, chain_by};

/// The class of an API server's error. An invalid object is refused again until it changes. Everything else, including
/// missing rights and quota, may be corrected elsewhere.
pub fn class(error: &kube::Error) -> Class {
    match error {
        // Nothing can be made in a namespace that is being deleted.
        kube::Error::Api(status) if is_namespace_going(status) => Class::Stalled,
        kube::Error::Api(status) => of_status(status.code, &status.reason),
        // A name from which no request can be built.
        kube::Error::BuildRequest(_) => Class::Stalled,
        _ => Class::Transient,
    }
}

fn is_namespace_going(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|c| c.reason == "NamespaceTerminating")
}

fn of_status(code: u16, reason: &str) -> Class {
    match (code, reason) {
        (400 | 413 | 422, _) | (_, "Invalid") => Class::Stalled,
        _ => Class::Transient,
    }
}

/// Whether the object does not exist.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// Whether somebody else wrote first.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether a watch cannot continue from its version, because the API server no longer has the changes since.
pub fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410 || status.reason == "Expired")
}

/// `None` for an object that does not exist.
pub fn found<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The API server's own message. `Display` would add the whole answer.
pub fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// An error with its sources. An error of the API server is given by its own message.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    chain_by(error, &|source| {
        let of_the_server = source
            .downcast_ref::<kube::Error>()
            .or_else(|| source.downcast_ref::<Box<kube::Error>>().map(|e| &**e));
        of_the_server.map(said)
    })
}

#[cfg(test)]
mod tests {
    use super::{chain, class, found, said};
    use kube::core::{
        Status,
        params::GetParams,
        response::{StatusCause, StatusDetails},
    };
    use slipway_base::error::Class;

    fn api(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Status::failure("", reason).with_code(code).boxed())
    }

    #[test]
    fn a_refused_object_stalls_and_all_else_is_tried_again() {
        for (code, reason, wanted) in [
            (422, "Invalid", Class::Stalled),
            (400, "BadRequest", Class::Stalled),
            (413, "RequestEntityTooLarge", Class::Stalled),
            (403, "Forbidden", Class::Transient),
            (404, "NotFound", Class::Transient),
            (409, "Conflict", Class::Transient),
            (429, "TooManyRequests", Class::Transient),
            (500, "InternalError", Class::Transient),
        ] {
            assert_eq!(class(&api(code, reason)), wanted, "{code} {reason}");
        }
    }

    #[test]
    fn what_a_namespace_that_goes_refuses_is_not_tried_again() {
        let cause = StatusCause {
            reason: "NamespaceTerminating".into(),
            message: String::new(),
            field: String::new(),
        };
        let mut status = Status::failure("it is being terminated", "Forbidden").with_code(403);
        status.details = Some(StatusDetails {
            name: "hello".into(),
            group: String::new(),
            kind: "secrets".into(),
            uid: String::new(),
            causes: vec![cause],
            retry_after_seconds: 0,
        });
        let error = kube::Error::Api(status.boxed());
        assert_eq!(class(&error), Class::Stalled);
        assert_eq!(said(&error), "it is being terminated");
    }

    #[test]
    fn a_name_of_which_no_request_can_be_made_is_not_tried_again() {
        let maps = kube::core::Request::new("/api/v1/namespaces/team/configmaps");
        let error = maps.get("my map\n", &GetParams::default()).unwrap_err();
        assert_eq!(class(&kube::Error::BuildRequest(error)), Class::Stalled);
    }

    #[test]
    fn only_not_found_is_none() {
        assert!(matches!(found::<()>(Err(api(404, "NotFound"))), Ok(None)));
        assert!(found::<()>(Err(api(403, "Forbidden"))).is_err());
        assert!(matches!(found(Ok(1)), Ok(Some(1))));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot create Secret x")]
    struct Refused {
        source: Box<kube::Error>,
    }

    #[test]
    fn the_api_server_is_quoted_once_and_in_its_words() {
        let status = Status::failure("no room", "Forbidden").boxed();
        let source = Box::new(kube::Error::Api(status));
        assert_eq!(
            chain(&Refused { source }),
            "cannot create Secret x: no room"
        );
    }
}
