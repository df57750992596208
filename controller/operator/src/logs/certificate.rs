//! The current time, the kept certificate → the serving certificate of all replicas, and its registration with the API
//! server.
//!
//! The certificate is made here, kept in one Secret, and renewed long before it expires. The key that signed it is
//! thrown away, so a new certificate has a new authority. The bundle that the API server trusts holds the previous
//! authority as well, so that replicas may change at different times.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::{
    ByteString, api::core::v1::Secret, kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::json;
use slipway_crds::labels;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::logs::{GROUP, VERSION};
use slipway_k8s::{FieldManager, classify};

/// Name of the Secret.
pub const SECRET: &str = "slipway-logs-tls";
/// How long a certificate is valid.
const LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long before it expires a certificate is renewed.
const MARGIN: SignedDuration = SignedDuration::from_hours(120 * 24);
/// How long before the current time its validity begins, because clocks differ.
const SKEW: SignedDuration = SignedDuration::from_hours(24);
/// How many authorities the API server trusts: the current and the previous one.
const AUTHORITIES: usize = 2;

/// A kept certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// PEM: the authority that signed it, and the previous authority.
    pub authorities: String,
    /// PEM: the certificate.
    pub certificate: String,
    /// PEM: its key.
    pub key: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be made.
    #[error("cannot make the serving certificate of build logs")]
    Make(#[from] rcgen::Error),
    /// It cannot be kept.
    #[error("cannot {verb} Secret {SECRET}, which keeps the serving certificate of build logs")]
    Keep {
        /// What was tried.
        verb: &'static str,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// It cannot be registered.
    #[error("cannot {verb} APIService {VERSION}.{GROUP}, by which the API server finds build logs")]
    Register {
        /// What was tried.
        verb: &'static str,
        /// The client's error.
        source: Box<kube::Error>,
    },
}

/// The names by which the API server calls the Service.
pub fn names(service: &str, namespace: &str) -> Vec<String> {
    ["", ".cluster.local"]
        .map(|domain| format!("{service}.{namespace}.svc{domain}"))
        .to_vec()
}

/// A new certificate for `names`; its bundle keeps the authority of the previous one.
fn make(names: &[String], before: Option<&Pair>, now: Timestamp) -> Result<Pair, rcgen::Error> {
    let day = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC).date();
        let part = |part: i8| u8::try_from(part).unwrap_or(1);
        date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    };
    let params = |name: &str, names: &[String]| -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = day(now - SKEW);
        params.not_after = day(now + LIFE);
        Ok(params)
    };
    let mut authority = params(&format!("slipway-logs-ca@{}", now.as_second()), &[])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let first = names.first().map_or("slipway", String::as_str);
    let mut leaf = params(first, names)?;
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &authority)?;
    let mut authorities = authority.pem();
    for old in before
        .iter()
        .flat_map(|pair| blocks(&pair.authorities))
        .take(AUTHORITIES - 1)
    {
        authorities.push_str(&old);
    }
    Ok(Pair {
        authorities,
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// The certificates of a PEM text, one by one.
fn blocks(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    pem.split_inclusive(END)
        .map(str::trim_start)
        .filter(|block| block.ends_with(END))
        .map(|block| format!("{block}\n"))
        .collect()
}

/// Whether a certificate is for these names and valid for more than [`MARGIN`].
fn serves(pair: &Pair, names: &[String], now: Timestamp) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pair.certificate.as_bytes()) else {
        return false;
    };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else {
        return false;
    };
    let listed: Vec<&str> = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|names| {
            names
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some(*name),
                    _ => None,
                })
                .collect()
        })
        .unwrap_or_default();
    let until = certificate.validity().not_after.timestamp();
    names.iter().all(|name| listed.contains(&name.as_str())) && until > (now + MARGIN).as_second()
}

/// The certificate of all replicas: the kept one, or a new one if none is kept or the kept one does not serve.
pub async fn ensure(
    client: &Client,
    namespace: &str,
    service: &str,
    now: Timestamp,
) -> Result<Pair, CertificateError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let names = names(service, namespace);
    let keep = |verb| {
        move |source| CertificateError::Keep {
            verb,
            source: Box::new(source),
        }
    };
    // If two replicas write at once, one is refused and takes what the other wrote.
    let mut refused = false;
    loop {
        let live = classify::found(secrets.get(SECRET).await).map_err(keep("read"))?;
        let kept = live.as_ref().and_then(pair);
        if let Some(pair) = kept.as_ref().filter(|pair| serves(pair, &names, now)) {
            return Ok(pair.clone());
        }
        let new = make(&names, kept.as_ref(), now)?;
        let secret = secret(&new, live.as_ref());
        let params = PostParams {
            field_manager: Some(FieldManager::Operator.as_str().to_owned()),
            ..PostParams::default()
        };
        let written = match live {
            None => secrets.create(&params, &secret).await,
            Some(_) => secrets.replace(SECRET, &params, &secret).await,
        };
        match written {
            Ok(_) => {
                tracing::info!(
                    secret = SECRET,
                    "made a new serving certificate for build logs"
                );
                return Ok(new);
            }
            Err(error) if classify::is_conflict(&error) && !refused => refused = true,
            Err(error) => return Err(keep("write")(error)),
        }
    }
}

fn pair(secret: &Secret) -> Option<Pair> {
    let data = secret.data.as_ref()?;
    let text = |key| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(Pair {
        authorities: text("ca.crt")?,
        certificate: text("tls.crt")?,
        key: text("tls.key")?,
    })
}

fn secret(pair: &Pair, live: Option<&Secret>) -> Secret {
    let data = [
        ("ca.crt", &pair.authorities),
        ("tls.crt", &pair.certificate),
        ("tls.key", &pair.key),
    ]
    .map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())));
    Secret {
        metadata: live.map_or_else(
            || ObjectMeta {
                name: Some(SECRET.to_owned()),
                labels: Some(BTreeMap::from([(
                    labels::MANAGED_BY.to_owned(),
                    labels::SLIPWAY.to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            |live| live.metadata.clone(),
        ),
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.into()),
        ..Secret::default()
    }
}

/// Writes the authorities into the APIService. Returns false if there is no APIService or it names another Service:
/// then the API server asks this installation for no logs.
pub async fn register(
    client: &Client,
    namespace: &str,
    service: &str,
    authorities: &str,
) -> Result<bool, CertificateError> {
    let services: Api<APIService> = Api::all(client.clone());
    let name = format!("{VERSION}.{GROUP}");
    let register = |verb| {
        move |source| CertificateError::Register {
            verb,
            source: Box::new(source),
        }
    };
    let Some(live) = classify::found(services.get(&name).await).map_err(register("read"))? else {
        return Ok(false);
    };
    let spec = live.spec.unwrap_or_default();
    let at = spec.service.unwrap_or_default();
    if at.namespace.as_deref() != Some(namespace) || at.name.as_deref() != Some(service) {
        return Ok(false);
    }
    let bundle = ByteString(authorities.as_bytes().to_vec());
    if spec.ca_bundle.as_ref() == Some(&bundle) {
        return Ok(true);
    }
    let params = PatchParams {
        field_manager: Some(FieldManager::Operator.as_str().to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"spec": {"caBundle": bundle}}));
    services
        .patch(&name, &params, &patch)
        .await
        .map_err(register("patch"))?;
    tracing::info!(
        apiservice = name,
        "told the API server which authorities to trust for build logs"
    );
    Ok(true)
}

/// Interval between two checks of a registered certificate.
pub const RECHECK: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::{LIFE, MARGIN, SECRET, blocks, ensure, make, names, register, serves};
    use jiff::{SignedDuration, Timestamp};
    use serde_json::json;
    use slipway_support::fake_api::Fake;

    fn now() -> Timestamp {
        "2026-03-04T05:06:07Z".parse().unwrap()
    }

    #[test]
    fn a_certificate_serves_its_names_until_well_before_its_end() {
        let ours = names("slipway", "system");
        let pair = make(&ours, None, now()).unwrap();
        let day = SignedDuration::from_hours(24);
        assert!(serves(&pair, &ours, now()));
        assert!(serves(&pair, &ours, now() + LIFE - MARGIN - day - day));
        assert!(!serves(&pair, &ours, now() + LIFE - MARGIN));
        assert!(!serves(&pair, &names("other", "system"), now()));
    }

    #[test]
    fn the_authority_before_is_trusted_beside_the_new_one_and_no_more() {
        let ours = names("slipway", "system");
        let first = make(&ours, None, now()).unwrap();
        let second = make(&ours, Some(&first), now()).unwrap();
        let third = make(&ours, Some(&second), now()).unwrap();
        assert_eq!(blocks(&first.authorities).len(), 1);
        assert_eq!(
            blocks(&second.authorities)[1],
            blocks(&first.authorities)[0]
        );
        assert_eq!(blocks(&third.authorities).len(), 2);
        assert_eq!(
            blocks(&third.authorities)[1],
            blocks(&second.authorities)[0]
        );
    }

    #[tokio::test]
    async fn replicas_share_one_and_renew_it_in_time() {
        let fake = Fake::default();
        let client = fake.client();
        let first = ensure(&client, "system", "slipway", now()).await.unwrap();
        let same = ensure(&client, "system", "slipway", now()).await.unwrap();
        assert!(first == same);
        assert_eq!(fake.writes().len(), 1);
        let later = ensure(&client, "system", "slipway", now() + LIFE)
            .await
            .unwrap();
        assert!(later.key != first.key);
        let kept = fake.object(&format!("secrets/{SECRET}")).unwrap();
        assert_eq!(kept["type"], "kubernetes.io/tls");
    }

    #[tokio::test]
    async fn the_registration_is_written_only_when_it_changes_and_is_ours() {
        let fake = Fake::default();
        let client = fake.client();
        let register = async |service| register(&client, "system", service, "PEM").await.unwrap();
        assert!(!register("slipway").await);
        fake.put(
            "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.logs.slipway.dev",
            json!({"metadata": {"name": "v1alpha1.logs.slipway.dev"},
                "spec": {"groupPriorityMinimum": 1, "versionPriority": 1,
                    "service": {"namespace": "system", "name": "slipway"}}}),
        );
        assert!(!register("other").await);
        assert!(fake.writes().is_empty());
        for _ in 0..2 {
            assert!(register("slipway").await);
        }
        assert_eq!(fake.writes().len(), 1);
    }
}
