//! What leaves a host by its network interface, as its kernel counts it.

use std::collections::VecDeque;
use std::fs;
use std::time::Duration;

use tokio::time::Instant;

/// Over how long it is averaged.
const OVER: Duration = Duration::from_secs(2);

/// The bytes that an interface of this process's own network namespace has sent, looked at now and then.
#[derive(Debug)]
pub struct Egress {
    device: String,
    looks: VecDeque<(Instant, u64)>,
}

impl Egress {
    /// Of this interface.
    #[must_use]
    pub fn of(device: &str) -> Self {
        Self { device: device.to_owned(), looks: VecDeque::new() }
    }

    /// Looks, and tells what it sent in the last two seconds, bit/s; nothing at the first look.
    pub fn look(&mut self) -> Option<u64> {
        // Of the namespace that this thread is in, not of the process's first one.
        let sent = sent(&fs::read_to_string("/proc/thread-self/net/dev").ok()?, &self.device)?;
        let now = Instant::now();
        self.looks.push_back((now, sent));
        while self.looks.len() > 2 && now - self.looks[1].0 >= OVER {
            self.looks.pop_front();
        }
        let (then, before) = self.looks[0];
        let millis = u64::try_from((now - then).as_millis()).unwrap_or(u64::MAX);
        (millis > 0).then(|| sent.saturating_sub(before).saturating_mul(8000) / millis)
    }
}

/// The bytes sent by `device` in a text such as `/proc/net/dev`.
fn sent(text: &str, device: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    // Eight figures of what was received come first.
    line.split_whitespace().nth(8)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0: 7000000    5000    0    0    0     0          0         0 81000000   60000    0    0    0     0       0          0
";

    #[test]
    fn reads_what_the_kernel_counts() {
        assert_eq!(sent(TEXT, "eth0"), Some(81_000_000));
        assert_eq!(sent(TEXT, "lo"), Some(100));
        assert_eq!(sent(TEXT, "eth"), None);
    }

    #[test]
    fn counts_what_goes_over_an_interface_from_the_second_look_on() {
        let mut egress = Egress::of("lo");
        assert_eq!(egress.look(), None);
        let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.send_to(&[0; 30_000], socket.local_addr().unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(egress.look().unwrap() > 0);
    }
}
