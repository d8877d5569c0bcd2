//! The edge's health document.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::model::{LoadFigure, LoadSource, NodeId, Time};

/// Where an edge has its health document.
pub(in crate::probe) const PATH: &str = "/.witness/health";

/// What `body`, which came at `now` and had lain in some cache for `age`, says that `node` carries; none when it is no
/// such document. A value that makes no sense is as good as not there.
pub(in crate::probe) fn figure(node: &NodeId, now: Time, age: Duration, body: &[u8]) -> Option<LoadFigure> {
    let document: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let whole = |key: &str| {
        let value = document.get(key)?;
        // Above 2^53 it is no load of anything, and a fraction of a bit is none either.
        value
            .as_u64()
            .or_else(|| value.as_f64().map(f64::trunc).filter(|of| *of >= 0.0).map(|of| of as u64))
            .filter(|of| *of < MOST)
    };
    let figure = LoadFigure {
        tx_bps: whole("egress_bps"),
        // Nobody has no capacity at all; who says so does not know.
        capacity_bps: whole("capacity_bps").filter(|of| *of > 0),
        active: whole("active_connections"),
        shed_step: whole("shed_step").and_then(|step| u8::try_from(step).ok()),
        ..LoadFigure::new(node.clone(), now.minus(age), LoadSource::Health)
    };
    (!figure.is_empty()).then_some(figure)
}

/// Numbers of JSON are exact below it.
const MOST: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<LoadFigure> {
        figure(&NodeId::new("slice1").unwrap(), Time(100_000), Duration::from_secs(5), body.as_bytes())
    }

    #[test]
    fn the_document_of_the_contract() {
        let body = r#"{"status":"ok","node":"slice1","version":"0.1.0","uptime_s":86400,
            "egress_bps":912000000,"capacity_bps":950000000,"active_connections":2210,
            "shed_step":0,"sources":{"origin":"up"},"cache":{"hit_ratio_1m":0.991,"fill_errors_1m":0}}"#;
        let expected = LoadFigure {
            tx_bps: Some(912_000_000),
            capacity_bps: Some(950_000_000),
            active: Some(2210),
            shed_step: Some(0),
            ..LoadFigure::new(NodeId::new("slice1").unwrap(), Time(95_000), LoadSource::Health)
        };
        assert_eq!(read(body), Some(expected));
    }

    #[test]
    fn what_makes_no_sense_is_not_told() {
        let tx = |body: &str| read(body).and_then(|figure| figure.tx_bps);
        assert_eq!(tx(r#"{"egress_bps":0}"#), Some(0), "nothing leaves it, and it says so");
        assert_eq!(tx(r#"{"egress_bps":12.7}"#), Some(12));
        for body in [
            "",
            "ok\n",
            "null",
            "[912000000]",
            r#"{"status":"ok"}"#,
            r#"{"egress_bps":null}"#,
            r#"{"egress_bps":"912000000"}"#,
            r#"{"egress_bps":-1}"#,
            r#"{"egress_bps":1e300}"#,
            r#"{"egress_bps":18446744073709551615}"#,
            r#"{"egress_bps":912000000"#,
            r#"{"capacity_bps":0}"#,
            r#"{"shed_step":256}"#,
            "<html><body>It works!</body></html>",
        ] {
            assert_eq!(read(body), None, "{body}");
        }
        let rest = read(r#"{"egress_bps":"much","capacity_bps":0,"active_connections":7}"#).unwrap();
        assert_eq!((rest.tx_bps, rest.capacity_bps, rest.active), (None, None, Some(7)));
        assert!(read(&"[".repeat(60_000)).is_none(), "however deep");
    }

    proptest::proptest! {
        #[test]
        fn any_body_can_be_read(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = figure(&NodeId::new("slice1").unwrap(), Time(0), Duration::MAX, &body);
        }
    }
}
