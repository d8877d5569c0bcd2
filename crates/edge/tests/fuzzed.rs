//! What the fuzzers in `fuzz/` look at, without a fuzzer: a few thousand inputs from seeds, most of them near to what
//! is right.

#![expect(unreachable_pub, reason = "the fuzzers name these from outside")]

#[path = "../../../fuzz/edge/files.rs"]
mod files;
#[path = "../../../fuzz/edge/headers.rs"]
mod headers;
#[path = "../../../fuzz/edge/range.rs"]
mod range;

/// The same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("it is below the bound")
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    /// One of these, with a few bytes changed, doubled or gone.
    fn near(&mut self, examples: &[&str]) -> Vec<u8> {
        let mut bytes = examples[self.below(examples.len())].as_bytes().to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len().max(1));
            match self.below(3) {
                0 if at < bytes.len() => bytes[at] = self.next().to_le_bytes()[2],
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => {
                    let part = bytes[at.min(bytes.len())..].to_vec();
                    bytes.extend(part);
                }
            }
        }
        bytes
    }
}

const RANGES: [&str; 9] = [
    "0-",
    "0-0",
    "-1",
    "10-19",
    "0-1,5-6",
    "18446744073709551615-",
    "0-18446744073709551615",
    "bytes 0-9/100",
    "bytes=0-1,2-3,4-5,6-7,8-9,10-11,12-13,14-15,16-17,18-19,20-21,22-23,24-25,26-27,28-29,30-31,32-33",
];

const FIELDS: [&str; 12] = [
    "cache-control: max-age=60, s-maxage=\"70\", private",
    "cdn-cache-control: max-age=60;x=1, foo",
    "expires: Tue, 14 Nov 2023 22:13:20 GMT",
    "date: Tue, 14 Nov 2023 22:13:20 GMT",
    "age: 99999999999999999999",
    "etag: W/\"a\\\"b\"",
    "if-none-match: \"a\", W/\"b\", *",
    "connection: close, x-\u{e9}, keep-alive",
    "cdn-loop: fleet.example; node=\"e1\", other;;;=",
    "surrogate-key: a b  c",
    "last-modified: Thu, 01 Jan 1970 00:00:00 GMT",
    "vary: a, ,b",
];

#[test]
fn ranges() {
    let mut numbers = Numbers(1);
    for _ in 0..20_000 {
        let mut bytes = (numbers.next() >> numbers.below(64)).to_le_bytes().to_vec();
        bytes.extend(if numbers.below(4) == 0 { numbers.bytes(40) } else { numbers.near(&RANGES) });
        range::run(&bytes);
    }
}

#[test]
fn fields() {
    let mut numbers = Numbers(2);
    for _ in 0..10_000 {
        let mut bytes = numbers.next().to_le_bytes()[..4].to_vec();
        for _ in 0..numbers.below(8) {
            bytes.extend(if numbers.below(4) == 0 { numbers.bytes(40) } else { numbers.near(&FIELDS) });
            bytes.push(b'\n');
        }
        headers::run(&bytes);
    }
}

#[test]
fn files_of_a_cache() {
    let mut numbers = Numbers(3);
    for _ in 0..300 {
        files::run(&numbers.bytes(40));
    }
    let folder = std::env::temp_dir().join(format!("witness-edge-files-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(folder);
}
