//! Makes look-ups, several at once, in a task of their own.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, Stream, StreamExt as _, stream, stream::FuturesUnordered};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use reqwest::Url;
#[cfg(test)]
use slipway_crds::v1alpha1::ImageRevision;
use slipway_crds::{
    conditions::Reason,
    v1alpha1::{AppRef, RevisionBy, RevisionSpec},
};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use crate::{
    controllers::{
        app::{
            lookup::{
                memory::{Entry, Memory, key},
                queue::{Job, Limits, Place, Queue},
                words,
            },
            referred::{Data, Keys, of_secret},
            report::Step,
        },
        chain,
    },
    source::{Clients, git::Access, image, schedule},
};
use slipway_core::{
    decide::revision::{of_commit, of_image},
    domain::app::{LookUp, ValidGit, ValidImage},
    settings::Settings,
};
use slipway_k8s::clock::Clock;
use slipway_k8s::{cache::Key, classify::found, pages};
use slipway_zones::credentials;

/// First and longest wait after a look-up that failed.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_LONGEST: Duration = Duration::from_mins(5);
/// Longest that a look-up may take, with all its requests.
const LONGEST: Duration = Duration::from_secs(90);
/// A look-up holds little memory: of each answer it keeps only what it looks for.
const LIMITS: Limits = Limits {
    total: 32,
    host: 8,
    namespace: 8,
};

/// What is to be looked up.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) app: AppRef,
    pub(super) namespace: String,
    pub(super) source: LookUp,
    /// Version of the Secret with the credentials, as far as it is known.
    pub(super) secret: Option<String>,
    /// The request that the look-up is made for.
    pub(super) request: Option<String>,
    /// How many look-ups failed before this one, in a row.
    pub(super) failures: u32,
}

/// Makes look-ups, and remembers what they found.
pub(in crate::controllers::app) struct LookUps {
    client: Client,
    settings: Arc<Settings>,
    clients: Clients,
    clock: Clock,
    pub(super) memory: Memory,
    queue: Mutex<Queue<Wanted>>,
    asked: Notify,
    /// Receivers of the Apps whose look-up has ended.
    ended: Mutex<Vec<mpsc::UnboundedSender<Key>>>,
}

impl LookUps {
    /// Look-ups with an empty memory.
    pub(in crate::controllers::app) fn new(
        client: Client,
        settings: Arc<Settings>,
        clients: Clients,
        clock: Clock,
    ) -> Self {
        Self {
            memory: Memory::new(clock()),
            client,
            settings,
            clients,
            clock,
            queue: Mutex::new(Queue::new(LIMITS)),
            asked: Notify::new(),
            ended: Mutex::default(),
        }
    }

    /// Receives the Apps whose look-up ends from now on.
    pub(in crate::controllers::app) fn ended(
        &self,
    ) -> impl Stream<Item = Key> + Send + 'static + use<> {
        let (tell, told) = mpsc::unbounded_channel();
        lock(&self.ended).push(tell);
        stream::unfold(
            told,
            |mut told| async move { Some((told.recv().await?, told)) },
        )
    }

    /// Asks for a look-up. [`Self::ended`] tells when it has ended. Returns whether none was waiting or running.
    pub(super) fn ask(&self, wanted: Wanted) -> bool {
        let place = Place {
            namespace: wanted.namespace.clone(),
            host: host(&wanted.source),
        };
        let is_new = lock(&self.queue).ask(Job {
            id: wanted.app.uid.clone(),
            place,
            what: wanted,
        });
        self.asked.notify_one();
        is_new
    }

    /// Makes look-ups until dropped.
    pub(in crate::controllers::app) async fn tend(&self) {
        let mut running = FuturesUnordered::new();
        loop {
            while let Some(wanted) = self.next() {
                running.push(self.look(wanted));
            }
            tokio::select! {
                () = self.asked.notified() => {}
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }

    pub(super) fn next(&self) -> Option<Wanted> {
        lock(&self.queue).next().map(|job| job.what)
    }

    /// Makes one look-up, remembers what it found, and has its App reconciled.
    pub(super) async fn look(&self, wanted: Wanted) {
        let app = app_of(&wanted);
        let looking = AssertUnwindSafe(self.find(&wanted)).catch_unwind();
        let (found, secret) = match timeout(LONGEST, Box::pin(looking)).await {
            Ok(Ok(found)) => found,
            Ok(Err(_panic)) => {
                let message =
                    "the look-up ended in an unexpected way; the operator's log says more";
                (retrying(message.to_owned()), wanted.secret.clone())
            }
            Err(_) => {
                let message = format!("no whole answer in {} s", LONGEST.as_secs());
                (retrying(message), wanted.secret.clone())
            }
        };
        let entry = self.entry(wanted, found, secret);
        self.end(&app, entry);
    }

    fn end(&self, (uid, key): &(String, Key), entry: Entry) {
        self.memory.put(uid, entry);
        lock(&self.queue).done(uid);
        lock(&self.ended).retain(|tell| tell.send(key.clone()).is_ok());
    }

    /// Ends every waiting look-up as if the server had answered with this image. Returns how many there were.
    #[cfg(test)]
    pub(in crate::controllers::app) fn answer(&self, image: &ImageRevision) -> usize {
        let waiting: Vec<Wanted> = std::iter::from_fn(|| self.next()).collect();
        let count = waiting.len();
        for wanted in waiting {
            let app = app_of(&wanted);
            let found = RevisionSpec {
                app: wanted.app.clone(),
                image: Some(image.clone()),
                ..RevisionSpec::default()
            };
            let entry = self.entry(wanted, Ok(found), None);
            self.end(&app, entry);
        }
        count
    }

    fn entry(
        &self,
        wanted: Wanted,
        found: Result<RevisionSpec, Step>,
        secret: Option<String>,
    ) -> Entry {
        let now = (self.clock)();
        let failures = if found.is_ok() {
            0
        } else {
            wanted.failures.saturating_add(1)
        };
        let next = match (&found, &wanted.source) {
            (Ok(_), LookUp::Git(git)) => Some(schedule::after(&wanted.app.uid, now, git.interval)),
            // An image for another platform does not change by itself.
            (Ok(_), LookUp::Image(_)) | (Err(Step::Failed(Reason::PlatformMismatch, _)), _) => None,
            (Err(_), _) => {
                let wait = RETRY
                    .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(10)))
                    .min(RETRY_LONGEST);
                let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::from_mins(5));
                now.checked_add(wait).ok()
            }
        };
        Entry {
            source: key(&wanted.source),
            secret,
            found,
            request: wanted.request,
            failures,
            next,
            used: now,
        }
    }

    /// What the server answers, and the version of the Secret that was used.
    async fn find(&self, wanted: &Wanted) -> (Result<RevisionSpec, Step>, Option<String>) {
        let name = match &wanted.source {
            LookUp::Git(git) => git.secret.as_deref(),
            LookUp::Image(image) => image.pull_secret.as_deref(),
        };
        let secret = match name {
            None => None,
            Some(name) => match self.secret(&wanted.namespace, name).await {
                Ok(secret) => secret,
                Err(error) => {
                    let message = format!("cannot read Secret {name}: {}", chain(&error));
                    return (retrying(message), wanted.secret.clone());
                }
            },
        };
        let version = name.map(|_| {
            let version = secret.as_ref().map(|secret| secret.version.clone());
            version.unwrap_or_default()
        });
        let found = match &wanted.source {
            LookUp::Git(git) => self.git(&wanted.app, git, secret.as_ref()).await,
            LookUp::Image(image) => self.image(&wanted.app, image, secret.as_ref()).await,
        };
        (found, version)
    }

    /// The Secret is read only now, so that the queue holds no Secret's content.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Data>, kube::Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let _turn = pages::turn().await;
        let names = credentials::NAMES.into_iter().chain([image::DOCKER_CONFIG]);
        let keys = Keys::of(names);
        Ok(found(secrets.get(name).await)?.map(|secret| of_secret(secret, &keys)))
    }

    async fn git(
        &self,
        app: &AppRef,
        git: &ValidGit,
        secret: Option<&Data>,
    ) -> Result<RevisionSpec, Step> {
        let credentials = match &git.secret {
            None => None,
            Some(name) => Some((name, words::git_credentials(name, secret)?)),
        };
        let access = credentials.as_ref().map(|(secret, credentials)| Access {
            secret,
            credentials,
        });
        let found = self
            .clients
            .git
            .resolve(&git.url, &git.target, access)
            .await;
        let found = found.map_err(|error| words::git_trouble(&error))?;
        Ok(of_commit(
            app.clone(),
            git,
            found.commit,
            Some(found.r#ref),
            RevisionBy::Poll,
        ))
    }

    async fn image(
        &self,
        app: &AppRef,
        wanted: &ValidImage,
        secret: Option<&Data>,
    ) -> Result<RevisionSpec, Step> {
        let docker_config = match &wanted.pull_secret {
            None => None,
            Some(name) => Some(words::docker_config(name, secret)?),
        };
        let registry = &self.settings.registry;
        let found = image::resolve(wanted, docker_config, registry, &self.clients).await;
        let found = found.map_err(|error| words::image_trouble(&error, wanted))?;
        Ok(of_image(app.clone(), found))
    }
}

/// The App's UID, and its key in the controller.
fn app_of(wanted: &Wanted) -> (String, Key) {
    let AppRef { name, uid } = &wanted.app;
    let key = (wanted.namespace.as_str().into(), name.as_str().into());
    (uid.clone(), key)
}

fn retrying(message: String) -> Result<RevisionSpec, Step> {
    Err(Step::Retrying(Reason::SourceUnavailable, message))
}

/// The server that is asked, in its normalized spelling.
fn host(source: &LookUp) -> String {
    match source {
        LookUp::Image(image) => image.reference.registry.clone(),
        LookUp::Git(git) => Url::parse(&git.url)
            .ok()
            .and_then(|url| {
                let host = url.host_str()?.to_ascii_lowercase();
                let port = url.port_or_known_default().unwrap_or_default();
                Some(format!("{host}:{port}"))
            })
            .unwrap_or_default(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
