//! An API server for tests of I/O: keeps objects by path, checks versions, counts writes, can be cut off.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// What all that share it see.
#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Value>,
    version: u64,
    writes: Vec<String>,
}

/// One way to the store; others may share it.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    store: Arc<Mutex<Store>>,
    cut: Arc<AtomicBool>,
}

impl Fake {
    /// Another way to the same store, which can be cut off alone.
    pub(crate) fn sharing(other: &Self) -> Self {
        Self {
            store: Arc::clone(&other.store),
            cut: Arc::default(),
        }
    }

    /// From now on every request over this way fails.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// A client over this way.
    pub(crate) fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// The object whose path ends so.
    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        let store = self.store();
        let found = store.objects.iter().find(|(key, _)| key.ends_with(path));
        found.map(|(_, object)| object.clone())
    }

    /// Puts an object, as if somebody had made it.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut store = self.store();
        store.version += 1;
        object["metadata"]["resourceVersion"] = json!(store.version.to_string());
        store.objects.insert(path.to_owned(), object);
    }

    /// Method and path of every request that writes.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.store().writes.clone()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        if self.cut.load(Ordering::SeqCst) {
            return status(StatusCode::BAD_GATEWAY, "Unavailable", "cut off");
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = head.uri.path().to_owned();
        let mut store = self.store();
        if head.method != Method::GET {
            store.writes.push(format!("{} {path}", head.method));
        }
        let live = store.objects.get(&path).cloned();
        match (head.method, live) {
            (Method::GET, Some(live)) => answer(&live),
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
                let versions = (
                    &body["metadata"]["resourceVersion"],
                    &live["metadata"]["resourceVersion"],
                );
                if !versions.0.is_null() && versions.0 != versions.1 {
                    return status(
                        StatusCode::CONFLICT,
                        "Conflict",
                        "the object has been modified",
                    );
                }
                store.save(&path, body)
            }
            (Method::PATCH, live) => {
                let mut merged = live.unwrap_or_else(|| json!({}));
                merge(&mut merged, body);
                store.save(&path, merged)
            }
            (Method::DELETE, Some(live)) => {
                store.objects.remove(&path);
                answer(&live)
            }
            _ => status(StatusCode::NOT_FOUND, "NotFound", "not found"),
        }
    }
}

impl Store {
    fn save(&mut self, path: &str, mut object: Value) -> Response<Body> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        }
        self.objects.insert(path.to_owned(), object.clone());
        answer(&object)
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn answer(object: &Value) -> Response<Body> {
    Response::new(Body::from(object.to_string().into_bytes()))
}

fn status(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code.as_u16()});
    let mut response = answer(&body);
    *response.status_mut() = code;
    response
}
