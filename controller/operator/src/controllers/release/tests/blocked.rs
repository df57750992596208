//! Releases whose objects cannot be written.

use slipway_core::judge::{
    status::{Finding, status},
    times,
};
use slipway_crds::{conditions::Reason, v1alpha1::Release};

use crate::controllers::release::{
    blocked::given_up,
    error::Error,
    tests::{at, release},
};
use slipway_k8s::{apply::ApplyError, ownership::NameTaken};

#[test]
fn a_release_whose_objects_are_refused_is_given_up_but_not_one_that_serves() {
    let refused = |code: u16| {
        let status = kube::core::Status::failure("no, said the webhook", "").with_code(code);
        Error::from(ApplyError::Api {
            kind: "Deployment".into(),
            name: "hello-web".into(),
            source: Box::new(kube::Error::Api(status.boxed())),
        })
    };
    let taken = Error::from(ApplyError::NameTaken(NameTaken {
        kind: "Service".into(),
        name: "hello".into(),
        owner: "is not this App's".into(),
    }));
    let given_up = |release: &Release, error: &Error, second| {
        assert!(error.is_told());
        given_up(release, error, at(second)).map(|trouble| (trouble.reason, trouble.message))
    };
    let said = "cannot write Deployment hello-web: no, said the webhook";
    let mut release = release();
    assert_eq!(
        given_up(&release, &refused(422), 100),
        Some((Reason::InvalidSpec, said.into()))
    );
    let blocked = Finding::Blocked {
        reason: Reason::TemporaryFailure,
        message: said,
        stalled: false,
    };
    for code in [403, 500] {
        release.status = None;
        assert_eq!(given_up(&release, &refused(code), 100), None);
        release.status = Some(status(&release, &blocked, at(100)));
        release.status = Some(status(&release, &blocked, at(200)));
        assert_eq!(given_up(&release, &refused(code), 399), None);
        assert_eq!(
            given_up(&release, &refused(code), 400),
            Some((
                Reason::DeadlineExceeded,
                format!("{said} (given up after 5m)")
            ))
        );
    }
    assert_eq!(given_up(&release, &taken, 999), None);
    // Once its objects exist, it has its whole time.
    assert_eq!(times::started_at(&release, at(390)), at(390));
    release.status = Some(status(&release, &Finding::Serving, at(110)));
    assert_eq!(given_up(&release, &refused(422), 999), None);
    assert!(!refused(409).is_told() && !refused(429).is_told());
}
