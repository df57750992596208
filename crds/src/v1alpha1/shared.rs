//! Small types that several kinds use.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration as StdDuration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::names::APP_MAX;

/// Names that an object can have: one with another name cannot exist.
pub(crate) const OBJECT_NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

/// Names that an App can have.
pub(crate) const APP_NAME: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";

/// UIDs, which are parts of tags and of containers' names.
const UID: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// Repositories of a registry: segments of lower-case letters and digits, so that none leads out of the folder before
/// it.
const REPOSITORY: &str = "^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$";

/// Removes a type's description from its schema. Otherwise an optional field whose type is an enum would get the
/// description of the type, and not that of the field, which has the default.
pub(crate) fn undescribed(schema: &mut Schema) {
    schema.remove("description");
}

/// The App that a record belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppRef {
    /// Name of the App, in the same namespace.
    #[schemars(length(min = 1, max = APP_MAX), regex(pattern = APP_NAME))]
    pub name: String,
    /// UID of the App: an App that was deleted and created again has another one.
    #[schemars(length(min = 1, max = 64), regex(pattern = UID))]
    pub uid: String,
}

/// An object in the same namespace, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
}

/// One key of a Secret or ConfigMap in the same namespace.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Something large in the registry. The registry's host is never stored, because push, engine and pull addresses
/// differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Repository, without the registry's host.
    #[schemars(length(min = 1, max = 255), regex(pattern = REPOSITORY))]
    pub repository: String,
    /// Digest of its manifest, `sha256:…`.
    #[schemars(regex(pattern = r"^sha256:[a-f0-9]{64}$"), length(max = 71))]
    pub digest: String,
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

/// How much of a node's resources a container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is set aside for the container when it is scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceAmounts>,
    /// The most that the container gets. If it uses more than `memory`, it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
}

/// Amounts of CPU and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// CPUs, for example `500m` or `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Bytes, for example `512Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// The least memory, in bytes, with which an engine starts a build's container.
pub const LEAST_BUILD_MEMORY: i64 = 6 << 20;

/// A Kubernetes quantity of at least zero: a decimal number with an optional suffix.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$",
        })
    }
}

impl Quantity {
    /// The amount in billionths of its base unit (CPUs, bytes), which is Kubernetes' precision, rounded up as there;
    /// `None` if the text is no quantity, or is too large.
    pub fn nanos(&self) -> Option<i128> {
        let split = self
            .0
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(self.0.len());
        let (number, suffix) = self.0.split_at_checked(split)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        // The number is `digits * factor * 10^power`.
        let (factor, power) = match suffix {
            "n" => (1, -9),
            "u" => (1, -6),
            "m" => (1, -3),
            "" => (1, 0),
            "k" => (1, 3),
            "M" => (1, 6),
            "G" => (1, 9),
            "T" => (1, 12),
            "P" => (1, 15),
            "E" => (1, 18),
            "Ki" => (1_i128 << 10, 0),
            "Mi" => (1 << 20, 0),
            "Gi" => (1 << 30, 0),
            "Ti" => (1 << 40, 0),
            "Pi" => (1 << 50, 0),
            "Ei" => (1 << 60, 0),
            exponent => (1, exponent.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?),
        };
        let power = power
            .checked_add(9)?
            .checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let scale = 10_i128.checked_pow(power.unsigned_abs())?;
        let amount = digits.checked_mul(factor)?;
        if power >= 0 {
            amount.checked_mul(scale)
        } else {
            Some(amount.checked_add(scale - 1)? / scale)
        }
    }

    /// The amount in its base unit (CPUs, bytes), or `None` if the text is no quantity.
    #[expect(
        clippy::cast_precision_loss,
        reason = "of amounts that have so many digits the last ones do not matter"
    )]
    pub fn amount(&self) -> Option<f64> {
        self.nanos().map(|nanos| nanos as f64 / 1e9)
    }
}

/// A length of time as Kubernetes' users write it: `90s`, `5m`, `1h30m`. Whole seconds, at least one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(StdDuration);

impl Duration {
    /// This many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(StdDuration::from_secs(seconds))
    }

    /// As a standard duration.
    pub const fn get(self) -> StdDuration {
        self.0
    }

    /// In seconds.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

/// Text that is no [`Duration`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationError(String);

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a duration such as 90s, 5m or 1h30m", self.0)
    }
}

impl std::error::Error for DurationError {}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || DurationError(text.to_owned());
        let mut seconds: u64 = 0;
        let mut digits = String::new();
        for c in text.chars() {
            if c.is_ascii_digit() {
                digits.push(c);
                continue;
            }
            let unit = match c {
                'h' => 3600,
                'm' => 60,
                's' => 1,
                _ => return Err(wrong()),
            };
            let count: u64 = digits.parse().map_err(|_| wrong())?;
            seconds = count
                .checked_mul(unit)
                .and_then(|n| seconds.checked_add(n))
                .ok_or_else(wrong)?;
            digits.clear();
        }
        if text.is_empty() || !digits.is_empty() {
            return Err(wrong());
        }
        Ok(Self::from_secs(seconds))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.as_secs();
        let (hours, minutes, seconds) = (total / 3600, total % 3600 / 60, total % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if seconds > 0 || total == 0 {
            write!(f, "{seconds}s")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 16,
            "pattern": r"^([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$",
            "minLength": 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Quantity};

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, seconds, written) in [
            ("90s", 90, "1m30s"),
            ("5m", 300, "5m"),
            ("1h30m", 5400, "1h30m"),
            ("0s", 0, "0s"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.as_secs(), seconds, "{text}");
            assert_eq!(duration.to_string(), written);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "5", "m", "5x", "-5s", "99999999999999999999s"] {
            let error = text.parse::<Duration>().unwrap_err().to_string();
            assert!(error.contains("90s"), "{text}: {error}");
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let nanos = |text: &str| Quantity(text.into()).nanos();
        for (a, b) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1e3", "1k"),
            ("1E-3", "1m"),
            ("1500Mi", "1572864000"),
            ("1.5Gi", "1536Mi"),
            ("1Ei", "1024Pi"),
            ("1000P", "1E"),
            ("1000u", "1m"),
            ("0.1n", "1n"),
        ] {
            assert!(nanos(a).is_some(), "{a}");
            assert_eq!(nanos(a), nanos(b), "{a} {b}");
        }
        assert_ne!(nanos("1"), nanos("1001m"));
        for bad in [
            "", ".", "x", "1x", "1Zi", "1e", "--1", "1.2.3", "1e99", "1e-99",
        ] {
            assert_eq!(nanos(bad), None, "{bad}");
        }
        for (text, amount) in [("500m", 0.5), ("2", 2.0), ("512Mi", 536_870_912.0)] {
            let read = Quantity(text.into()).amount().unwrap();
            assert!((read - amount).abs() < 1e-6, "{text}");
        }
    }
}
