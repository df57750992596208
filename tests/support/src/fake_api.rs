//! An API server for tests of I/O. It keeps objects by path, serves lists in pages and watches, checks versions, and
//! records writes. A test can cut it off.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{
    StreamExt as _,
    channel::mpsc::{UnboundedSender, unbounded},
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::{Client, client::Body};
use serde_json::{Value, json};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The state that all who share the server see.
#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Value>,
    version: u64,
    writes: Vec<String>,
    watchers: Vec<Watcher>,
    /// Most bytes of an object.
    most: Option<usize>,
    /// End of the path of an object that may not be changed.
    fixed: Option<String>,
}

/// A watch of a collection.
struct Watcher {
    collection: String,
    events: UnboundedSender<String>,
}

/// A connection to the store. Several may share one store.
#[derive(Clone, Default)]
pub struct Fake {
    store: Arc<Mutex<Store>>,
    cut: Arc<AtomicBool>,
    late: Arc<Mutex<Duration>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// Another connection to the same store, which can be cut off alone.
    pub fn sharing(other: &Self) -> Self {
        Self {
            store: Arc::clone(&other.store),
            ..Self::default()
        }
    }

    /// Method and path of every request over this connection, with its query.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// From now on every request over this connection fails.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// From now on larger objects are refused, as etcd does.
    pub fn take_at_most(&self, bytes: usize) {
        self.store().most = Some(bytes);
    }

    /// From now on a change of the object whose path ends with `path` is refused as invalid.
    pub fn fix(&self, path: &str) {
        self.store().fixed = Some(path.to_owned());
    }

    /// From now on every answer over this connection is delayed by `late`; the request itself takes effect at once.
    pub fn answer_after(&self, late: Duration) {
        *self.late.lock().unwrap() = late;
    }

    /// A client that uses this connection.
    pub fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move {
                let answer = fake.answer(request).await;
                let late = *fake.late.lock().unwrap();
                if !late.is_zero() {
                    tokio::time::sleep(late).await;
                }
                Ok::<_, Infallible>(answer)
            }
        });
        Client::new(service, "default")
    }

    /// The object whose path ends with `path`.
    pub fn object(&self, path: &str) -> Option<Value> {
        let store = self.store();
        let found = store.objects.iter().find(|(key, _)| key.ends_with(path));
        found.map(|(_, object)| object.clone())
    }

    /// Puts an object, as if somebody had made it.
    pub fn put(&self, path: &str, mut object: Value) {
        let mut store = self.store();
        store.version += 1;
        object["metadata"]["resourceVersion"] = json!(store.version.to_string());
        store.insert(path, object);
    }

    /// Removes an object, as if somebody had deleted it.
    pub fn remove(&self, path: &str) {
        let mut store = self.store();
        let object = store.objects.remove(path).unwrap();
        store.tell("DELETED", path, &object);
    }

    /// Objects whose path begins with `prefix`.
    pub fn objects(&self, prefix: &str) -> Vec<Value> {
        let store = self.store();
        let found = store
            .objects
            .iter()
            .filter(|(path, _)| path.starts_with(prefix));
        found.map(|(_, object)| object.clone()).collect()
    }

    /// Method and path of every request that writes.
    pub fn writes(&self) -> Vec<String> {
        self.store().writes.clone()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        if self.cut.load(Ordering::SeqCst) {
            return status(StatusCode::BAD_GATEWAY, "Unavailable", "cut off");
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = head.uri.path().to_owned();
        let said = format!("{} {}", head.method, head.uri);
        self.asked.lock().unwrap().push(said);
        let mut store = self.store();
        if head.method != Method::GET {
            store.writes.push(format!("{} {path}", head.method));
        }
        // A status is part of its object.
        let of_status = path.strip_suffix("/status").map(str::to_owned);
        let is_status = of_status.is_some();
        let path = of_status.unwrap_or(path);
        let live = store.objects.get(&path).cloned();
        let query = head.uri.query().unwrap_or_default();
        match (head.method, live) {
            (Method::GET, Some(live)) => answer(&live),
            (Method::GET, None) if query.contains("watch=true") => store.watch(path),
            (Method::GET, None) if is_list(query) => store.list(&path, query),
            (Method::GET | Method::PUT, None) => {
                status(StatusCode::NOT_FOUND, "NotFound", "not found")
            }
            (Method::POST, _) => {
                let name = body["metadata"]["name"]
                    .as_str()
                    .unwrap_or("review")
                    .to_owned();
                let path = format!("{path}/{name}");
                if store.objects.contains_key(&path) {
                    return status(StatusCode::CONFLICT, "AlreadyExists", "exists");
                }
                store.save(&path, body)
            }
            (Method::PUT, Some(live)) => {
                if is_of_before(&body, &live) {
                    let message = "the object has been modified";
                    return status(StatusCode::CONFLICT, "Conflict", message);
                }
                store.save(&path, body)
            }
            (Method::PATCH, Some(live)) if is_another(&body, &live) => {
                status(StatusCode::CONFLICT, "Conflict", "the UID is another one")
            }
            (Method::PATCH, Some(live)) if is_of_before(&body, &live) => status(
                StatusCode::CONFLICT,
                "Conflict",
                "the object has been modified",
            ),
            (Method::PATCH, Some(_)) if store.is_fixed(&path) => status(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Invalid",
                "the field cannot be changed",
            ),
            (Method::PATCH, Some(_)) if has_null_version(&body) => status(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Invalid",
                "metadata.resourceVersion: Invalid value: 0: must be specified for an update",
            ),
            (Method::PATCH, live) => {
                let mut merged = live.unwrap_or_else(|| json!({}));
                // A status has one writer, which writes all of it each time.
                if is_status {
                    merged["status"] = json!({});
                }
                merge(&mut merged, body);
                let size = merged.to_string().len();
                if store.most.is_some_and(|most| size > most) {
                    let (code, message) = (
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "etcdserver: request is too large",
                    );
                    return status(code, "InternalError", message);
                }
                store.save(&path, merged)
            }
            (Method::DELETE, Some(live)) => {
                store.objects.remove(&path);
                store.tell("DELETED", &path, &live);
                answer(&live)
            }
            _ => status(StatusCode::NOT_FOUND, "NotFound", "not found"),
        }
    }
}

/// Whether the request is for a collection: only these requests have a limit or a selector.
fn is_list(query: &str) -> bool {
    let of_lists = ["limit=", "labelSelector=", "fieldSelector="];
    of_lists.iter().any(|parameter| query.contains(parameter))
}

impl Store {
    fn save(&mut self, path: &str, mut object: Value) -> Answer {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        }
        // Core kinds have no generation here. It stays 1, because no test changes a spec.
        if path.starts_with("/apis/") && object["metadata"]["generation"].is_null() {
            object["metadata"]["generation"] = json!(1);
        }
        self.insert(path, object.clone());
        answer(&object)
    }

    fn insert(&mut self, path: &str, object: Value) {
        let kind = if self.objects.contains_key(path) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.tell(kind, path, &object);
        self.objects.insert(path.to_owned(), object);
    }

    fn tell(&mut self, kind: &str, path: &str, object: &Value) {
        // In the order of the API server.
        let event = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        self.watchers.retain(|watcher| {
            let about = covers(&watcher.collection, path);
            !about || watcher.events.unbounded_send(event.clone()).is_ok()
        });
    }

    fn is_fixed(&self, path: &str) -> bool {
        let fixed = self.fixed.as_deref();
        fixed.is_some_and(|fixed| path.ends_with(fixed))
    }

    fn list(&self, collection: &str, query: &str) -> Answer {
        let number = |name: &str| {
            let mut parameters = query.split('&');
            parameters.find_map(|p| p.strip_prefix(name)?.parse::<usize>().ok())
        };
        let (limit, from) = (number("limit=").unwrap_or(usize::MAX), number("continue="));
        let from = from.unwrap_or_default();
        let within = self
            .objects
            .iter()
            .filter(|(path, _)| covers(collection, path));
        let mut rest = within.map(|(_, object)| object).skip(from);
        let items: Vec<&Value> = rest.by_ref().take(limit).collect();
        let next = rest.next().map(|_| (from + items.len()).to_string());
        answer(&json!({"kind": "List", "apiVersion": "v1", "items": items,
            "metadata": {"resourceVersion": self.version.to_string(), "continue": next}}))
    }

    fn watch(&mut self, collection: String) -> Answer {
        let (events, seen) = unbounded();
        self.watchers.push(Watcher { collection, events });
        let frames = seen.map(|event| Ok::<_, Infallible>(Frame::data(Bytes::from(event))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

/// Whether a patch names another UID than the live object's.
fn is_another(patch: &Value, live: &Value) -> bool {
    let wanted = &patch["metadata"]["uid"];
    !wanted.is_null() && *wanted != live["metadata"]["uid"]
}

/// Whether a write names another version than the live object's.
fn is_of_before(written: &Value, live: &Value) -> bool {
    let version = &written["metadata"]["resourceVersion"];
    !version.is_null() && *version != live["metadata"]["resourceVersion"]
}

/// Whether a patch has null as its version, which the API server refuses.
fn has_null_version(patch: &Value) -> bool {
    let version = patch.pointer("/metadata/resourceVersion");
    version.is_some_and(Value::is_null)
}

/// Whether an object belongs to a collection, of one namespace or of all.
fn covers(collection: &str, path: &str) -> bool {
    let (of, _) = path.rsplit_once('/').unwrap_or_default();
    let Some((group, rest)) = of.split_once("/namespaces/") else {
        return of == collection;
    };
    let kind = rest.rsplit('/').next().unwrap_or_default();
    of == collection || format!("{group}/{kind}") == collection
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

fn answer(object: &Value) -> Answer {
    Response::new(Full::new(Bytes::from(object.to_string())).boxed_unsync())
}

fn status(code: StatusCode, reason: &str, message: &str) -> Answer {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code.as_u16()});
    let mut response = answer(&body);
    *response.status_mut() = code;
    response
}
