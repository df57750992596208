//! Quantities in the form in which the API server returns them, so that desired and live objects compare as equal.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Canonical;
use slipway_crds::v1alpha1::Quantity;

/// Decimal suffixes, with their power of ten.
const DECIMAL: [(&str, i32); 10] = [
    ("E", 18),
    ("P", 15),
    ("T", 12),
    ("G", 9),
    ("M", 6),
    ("k", 3),
    ("", 0),
    ("m", -3),
    ("u", -6),
    ("n", -9),
];
/// Binary suffixes, with their power of 1024.
const BINARY: [(&str, u32); 7] = [
    ("Ei", 6),
    ("Pi", 5),
    ("Ti", 4),
    ("Gi", 3),
    ("Mi", 2),
    ("Ki", 1),
    ("", 0),
];
/// The smallest amount in Kubernetes is 10⁻⁹ (the suffix `n`).
const NANO: i128 = 1_000_000_000;

/// `quantity` in its normal form. Text that is no quantity stays as it is; the API server will refuse it.
pub fn canonical(quantity: &Quantity) -> Canonical {
    Canonical(normal(quantity).unwrap_or_else(|| quantity.0.clone()))
}

/// Whether `a` is more than `b`. False if either is not a quantity.
pub fn is_more(a: &Quantity, b: &Canonical) -> bool {
    match (a.nanos(), Quantity(b.0.clone()).nanos()) {
        (Some(a), Some(b)) => a > b,
        _ => false,
    }
}

fn normal(quantity: &Quantity) -> Option<String> {
    let nanos = quantity.nanos()?;
    if nanos == 0 {
        return Some("0".to_owned());
    }
    // Kubernetes writes binary amounts below 1024 as decimal ones, and rounds all others up to whole units.
    if quantity.0.ends_with('i') && nanos >= 1024 * NANO {
        let units = nanos.checked_add(NANO - 1)? / NANO;
        return BINARY.iter().find_map(|(suffix, power)| {
            let factor = 1024_i128.pow(*power);
            (units % factor == 0).then(|| format!("{}{suffix}", units / factor))
        });
    }
    DECIMAL.iter().find_map(|(suffix, power)| {
        let factor = 10_i128.pow(u32::try_from(power + 9).ok()?);
        (nanos % factor == 0).then(|| format!("{}{suffix}", nanos / factor))
    })
}

#[cfg(test)]
mod tests {
    use super::{canonical, is_more};
    use slipway_crds::v1alpha1::Quantity;

    #[test]
    fn quantities_are_written_as_the_api_server_does() {
        for (text, normal) in [
            ("500m", "500m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("2", "2"),
            ("2.0", "2"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1500k", "1500k"),
            ("2000M", "2G"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1Ki", "1Ki"),
            ("1.0005Ki", "1025"),
            ("0", "0"),
            ("0Gi", "0"),
            ("0.0001m", "100n"),
            ("010", "10"),
            ("100Gi", "100Gi"),
            ("1000P", "1E"),
            ("2048Pi", "2Ei"),
            ("nonsense", "nonsense"),
            ("", ""),
        ] {
            assert_eq!(canonical(&Quantity(text.into())).0, normal, "{text}");
            let again = canonical(&Quantity(normal.into())).0;
            assert_eq!(again, normal, "a normal form is its own");
        }
    }

    #[test]
    fn amounts_are_compared_across_suffixes() {
        let more = |a: &str, b: &str| is_more(&Quantity(a.into()), &canonical(&Quantity(b.into())));
        assert!(more("2Gi", "2000M"));
        assert!(!more("1Gi", "1024Mi"));
        assert!(!more("1G", "1Gi"));
    }
}
