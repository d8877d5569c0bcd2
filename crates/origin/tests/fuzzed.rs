//! What the fuzzers in `fuzz/` look at, without a fuzzer: some thousand inputs from seeds, most of them near to what is
//! right.

#[path = "../../../fuzz/origin/multipart.rs"]
mod multipart;
#[path = "../../../fuzz/origin/names.rs"]
mod names;
#[path = "../../../fuzz/origin/pictures.rs"]
mod pictures;
#[path = "../../../fuzz/origin/tus.rs"]
mod tus;

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
    fn near(&mut self, examples: &[&[u8]]) -> Vec<u8> {
        let mut bytes = examples[self.below(examples.len())].to_vec();
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

const FORMS: [&[u8]; 4] = [
    b"\x03--b\r\nContent-Disposition: form-data; name=\"files[]\"; filename=\"a.txt\"\r\n\r\nhello\r\n--b--\r\n",
    b"\x00preamble\n--b\ncontent-disposition:form-data;NAME=files;filename*=UTF-8''%61\n\nx\n--b\n\n\n\n--b--",
    b"\x07--b\r\nContent-Disposition: form-data; name=a\r\n\r\n--b-\r\n--\r--b\r\n--b\r\n\r\n\r\n--b--\r\nend",
    b"\x01multipart/form-data; boundary=\"a b\"; x=y",
];

const FIELDS: [&[u8]; 8] = [
    b"\x0012",
    b"\x011",
    b"\x02000",
    b"\x03sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
    b"\x03sha256 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    b"\x04filename YS50eHQ=,is_private, x MQ==",
    b"\x0418446744073709551616",
    b"\x02-1",
];

const NAMES: [&[u8]; 8] = [
    b"a.tar.gz",
    b"../../etc/passwd",
    b"..\\a.exe. ",
    b"a.exe\0.txt",
    b"\xff\xfe.t\xe2\x80\xaext",
    b"%2e%2e%2fa.%00b",
    "\u{202e}gpj.\u{30c6}\u{30ad}\u{30b9}".as_bytes(),
    b"<script>\"'a\r\n.html",
];

const PICTURES: [&[u8]; 5] = [
    include_bytes!("../fixtures/pictures/exif.jpg"),
    include_bytes!("../fixtures/pictures/exif.png"),
    include_bytes!("../fixtures/pictures/exif.webp"),
    include_bytes!("../fixtures/pictures/animated.png"),
    include_bytes!("../fixtures/pictures/animated.webp"),
];

fn near_or_not(seed: u64, rounds: u32, examples: &[&[u8]], run: fn(&[u8])) {
    let mut numbers = Numbers(seed);
    for _ in 0..rounds {
        run(&if numbers.below(8) == 0 { numbers.bytes(80) } else { numbers.near(examples) });
    }
}

#[test]
fn forms() {
    near_or_not(1, 20_000, &FORMS, multipart::run);
}

#[test]
fn fields_of_tus() {
    let mut numbers = Numbers(2);
    for _ in 0..20_000 {
        let mut bytes = Vec::new();
        for _ in 0..numbers.below(5) {
            bytes.extend(numbers.near(&FIELDS));
            bytes.push(b'\n');
        }
        tus::run(&bytes);
    }
}

#[test]
fn names_of_files() {
    near_or_not(3, 20_000, &NAMES, names::run);
}

#[test]
fn containers_of_pictures() {
    near_or_not(4, 5000, &PICTURES, pictures::run);
}
