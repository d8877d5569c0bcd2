//! What Linux tells in `/proc`, printed by one command over SSH.

use super::counters::{self, Counters, Pressure};

/// Plain enough for every shell. What is not there is printed on stderr and missing here.
pub(in crate::probe) const COMMAND: &str = "echo '== net/dev'; cat /proc/net/dev; echo '== loadavg'; cat /proc/loadavg; \
     echo '== pressure/cpu'; cat /proc/pressure/cpu; echo '== pressure/io'; cat /proc/pressure/io; \
     echo '== net/netstat'; cat /proc/net/netstat; echo '== processors'; grep -c '^processor' /proc/cpuinfo; \
     echo '== end'";

/// What [`COMMAND`] printed tells of the machine; none when it did not come to its end.
pub(in crate::probe) fn read(text: &str) -> Option<Counters> {
    let mut found = Counters::default();
    let mut ended = false;
    let mut part = "";
    let mut names: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            part = name.trim();
            ended |= part == "end";
            continue;
        }
        match part {
            "net/dev" => found.sent_bytes.extend(sent(line)),
            "loadavg" => {
                let load1 = line.split_whitespace().next().and_then(|word| word.parse().ok());
                found.load1_milli = load1.and_then(counters::milli);
            }
            "pressure/cpu" => found.cpu = found.cpu.or(average(line, "some")),
            "pressure/io" => found.io = found.io.or(average(line, "full")),
            "net/netstat" => {
                // Two lines belong together: names, then values.
                let Some(rest) = line.strip_prefix("TcpExt:") else { continue };
                let words: Vec<&str> = rest.split_whitespace().collect();
                let at = names.iter().position(|name| *name == "ListenOverflows");
                if let Some(value) = at.and_then(|at| words.get(at)) {
                    found.listen_overflows = value.parse().ok();
                }
                names = words;
            }
            "processors" => found.ncpu = line.trim().parse().ok().filter(|count| *count > 0),
            _ => {}
        }
    }
    ended.then_some(found)
}

/// A physical device, and how many bytes it has sent: after eight numbers about what it received.
fn sent(line: &str) -> Option<(String, u64)> {
    let (device, numbers) = line.split_once(':')?;
    let device = device.trim();
    let bytes = numbers.split_whitespace().nth(8)?.parse().ok()?;
    counters::is_physical(device).then(|| (device.to_owned(), bytes))
}

/// `KIND avg10=PERCENT ...`
fn average(line: &str, kind: &str) -> Option<Pressure> {
    let mut words = line.split_whitespace();
    if words.next()? != kind {
        return None;
    }
    let percent = words.next()?.strip_prefix("avg10=")?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(Pressure::Percent(percent))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PRINTED: &str = "== net/dev
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 9876543  12345    0    0    0     0          0         0 9876543   12345    0    0    0     0       0          0
  eth0:1234567890 7654321  0    0    0     0          0         0 1000000000001 8888    0    0    0     0       0          0
docker0:       0       0    0    0    0     0          0         0        7       1    0    0    0     0       0          0
== loadavg
2.46 1.98 1.75 3/512 12345
== pressure/cpu
some avg10=12.34 avg60=5.00 avg300=1.00 total=123456789
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
== pressure/io
some avg10=7.00 avg60=5.00 avg300=1.00 total=123456789
full avg10=0.25 avg60=5.00 avg300=1.00 total=123456789
== net/netstat
TcpExt: SyncookiesSent ListenOverflows ListenDrops
TcpExt: 1 41 43
IpExt: InNoRoutes ListenOverflows
IpExt: 5 6
== processors
8
== end
";

    #[test]
    fn what_linux_prints() {
        let expected = Counters {
            sent_bytes: BTreeMap::from([("eth0".to_owned(), 1_000_000_000_001)]),
            load1_milli: Some(2460),
            ncpu: Some(8),
            cpu: Some(Pressure::Percent(12.34)),
            io: Some(Pressure::Percent(0.25)),
            listen_overflows: Some(41),
        };
        assert_eq!(read(PRINTED), Some(expected));
    }

    #[test]
    fn what_is_not_there_is_not_told() {
        let bare = "== net/dev\n== loadavg\n== pressure/cpu\n== pressure/io\n== net/netstat\n== processors\n== end\n";
        assert_eq!(read(bare), Some(Counters::default()));
        for rubbish in [
            "== loadavg\nmuch\n== processors\n0\n== end",
            "== net/dev\neth0: 1 2 3\neth1\n:::\neth2: 1 2 3 4 5 6 7 8 -9\n== end",
            "== pressure/cpu\nsome avg10=101 x\nsome avg10=NaN\nsome\n== pressure/io\nsome avg10=1.00\n== end",
            "== net/netstat\nTcpExt: ListenOverflows\nTcpExt:\nTcpExt: ListenOverflows\nTcpExt: x\n== end",
            "eth0: 1 2 3 4 5 6 7 8 9\n== end",
        ] {
            assert_eq!(read(rubbish), Some(Counters::default()), "{rubbish}");
        }
    }

    #[test]
    fn what_was_cut_off_or_is_something_else_is_none() {
        assert_eq!(read(&PRINTED[..PRINTED.len() / 2]), None);
        for text in ["", "This account is for backups only.\n", "Router> \n"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_read(text in "(?s)(== (net/dev|loadavg|pressure/cpu|net/netstat|processors)\n.{0,60}\n){0,4}") {
            let _ = read(&text);
        }
    }
}
