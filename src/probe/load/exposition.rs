//! The text format that Prometheus reads, as much of it as a node_exporter writes. Lines that make no sense are passed
//! over.

use std::collections::{BTreeMap, BTreeSet};

use super::counters::{self, Counters, Pressure};

/// What `text` tells of the machine.
pub(super) fn read(text: &str) -> Counters {
    let mut found = Counters::default();
    let mut devices = BTreeMap::new();
    let mut processors = BTreeSet::new();
    for Sample { name, labels, value } in text.lines().filter_map(sample) {
        match name {
            "node_network_transmit_bytes_total" => {
                if let Some(device) = label(labels, "device").filter(|device| counters::is_physical(device)) {
                    devices.insert(device, value);
                }
            }
            "node_cpu_seconds_total" => processors.extend(label(labels, "cpu")),
            "node_load1" => found.load1_milli = counters::milli(value),
            "node_pressure_cpu_waiting_seconds_total" => found.cpu = Some(Pressure::Seconds(value)),
            "node_pressure_io_stalled_seconds_total" => found.io = Some(Pressure::Seconds(value)),
            "node_netstat_TcpExt_ListenOverflows" => found.listen_overflows = counters::whole(value),
            _ => {}
        }
    }
    found.sent_bytes = devices.into_iter().filter_map(|(device, of)| Some((device, counters::whole(of)?))).collect();
    found.ncpu = u32::try_from(processors.len()).ok().filter(|count| *count > 0);
    found
}

/// One line: `name{label="value",...} value timestamp`.
struct Sample<'a> {
    name: &'a str,
    /// What stands between the braces.
    labels: &'a str,
    /// Finite.
    value: f64,
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (name, rest) = line.split_at(line.find(|c| !is_of_name(c))?);
    if name.is_empty() {
        return None;
    }
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        Some(inside) => {
            let (labels, rest) = inside.split_at(closing(inside)?);
            (labels, &rest[1..])
        }
        None => ("", rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok().filter(|value: &f64| value.is_finite())?;
    Some(Sample { name, labels, value })
}

/// Where the brace is that ends the labels: not one in a label's value.
fn closing(labels: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    labels.char_indices().find_map(|(at, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(at),
            _ => {}
        }
        None
    })
}

/// The value of the label called `wanted`.
fn label(labels: &str, wanted: &str) -> Option<String> {
    let mut rest = labels;
    loop {
        let (name, after) = rest.split_once('=')?;
        let mut value = String::new();
        let mut chars = after.trim_start().strip_prefix('"')?.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(match chars.next()? {
                    'n' => '\n',
                    other => other,
                }),
                other => value.push(other),
            }
        }
        if name.trim_matches([',', ' ', '\t']) == wanted {
            return Some(value);
        }
        rest = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"# HELP node_load1 1m load average.
# TYPE node_load1 gauge
node_load1 2.46
# TYPE node_cpu_seconds_total counter
node_cpu_seconds_total{cpu="0",mode="idle"} 1.234567e+06
node_cpu_seconds_total{cpu="0",mode="user"} 33.1
node_cpu_seconds_total{cpu="1",mode="idle"} 1.234567e+06
node_cpu_seconds_total{cpu="1",mode="user"} 33.1
# TYPE node_network_transmit_bytes_total counter
node_network_transmit_bytes_total{device="lo"} 5e+09
node_network_transmit_bytes_total{device="eth0"} 1.000000000001e+12
node_network_transmit_bytes_total{device="enp3s0f1"} 7 1700000000000
node_network_transmit_bytes_total{device="docker0"} 1
node_network_receive_bytes_total{device="eth0"} 3
node_pressure_cpu_waiting_seconds_total 12.5
node_pressure_io_stalled_seconds_total 0.25
node_netstat_TcpExt_ListenOverflows 41
"#;

    #[test]
    fn what_a_node_exporter_writes() {
        let expected = Counters {
            sent_bytes: BTreeMap::from([("enp3s0f1".to_owned(), 7), ("eth0".to_owned(), 1_000_000_000_001)]),
            load1_milli: Some(2460),
            ncpu: Some(2),
            cpu: Some(Pressure::Seconds(12.5)),
            io: Some(Pressure::Seconds(0.25)),
            listen_overflows: Some(41),
        };
        assert_eq!(read(PLAIN), expected);
        assert_eq!(read(&PLAIN.replace('\n', "\r\n")), expected);
    }

    #[test]
    fn labels_are_found_whatever_is_in_them() {
        let check = |labels: &str, expected: Option<&str>| {
            assert_eq!(label(labels, "device").as_deref(), expected, "{labels}");
        };
        check(r#"device="eth0""#, Some("eth0"));
        check(r#"a="b", device = "eth0","#, Some("eth0"));
        check(r#"other_device="eth1",device="eth0""#, Some("eth0"));
        check(r#"a="device=\"eth1\"",device="eth0""#, Some("eth0"));
        check(r#"device="a\\b\"c\nd}""#, Some("a\\b\"c\nd}"));
        check(r#"device="eth0"#, None);
        check("device=eth0", None);
        check("", None);
        let line = r#"node_network_transmit_bytes_total{device="}{\"",job="x"} 9"#;
        assert_eq!(read(line).sent_bytes, BTreeMap::from([("}{\"".to_owned(), 9)]));
    }

    #[test]
    fn rubbish_is_passed_over() {
        for line in [
            "",
            "{}",
            "node_load1",
            "node_load1 ",
            "node_load1 much",
            "node_load1 NaN",
            "node_load1 +Inf",
            "node_load1 -1",
            "node_load1 1e300",
            "node_load1{ 1",
            "node_load15 1",
            "node_network_transmit_bytes_total 7",
            "node_network_transmit_bytes_total{device=\"eth0\"}",
            "node_network_transmit_bytes_total{device=\"eth0\" 7",
            "node_network_transmit_bytes_total{device=\"eth0\"} -7",
            "node_network_transmit_bytes_total{device=\"eth0\"} 1e17",
            "node_cpu_seconds_total{mode=\"idle\"} 7",
            "# node_load1 7",
            "<html><body>404 page not found</body></html>",
        ] {
            assert_eq!(read(line), Counters::default(), "{line}");
            assert_eq!(read(&format!("{line}\nnode_load1 1\n")).load1_milli, Some(1000), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_read(text in "(?s).{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn lines_of_nearly_the_right_form_can_be_read(
            line in r#"node_(load1|network_transmit_bytes_total|cpu_seconds_total)\{?(device|cpu)?="?[a-z0-9"\\,{}=]{0,8}"?\}? [0-9eE+.-]{0,8}"#,
        ) {
            let _ = read(&line);
        }
    }
}
