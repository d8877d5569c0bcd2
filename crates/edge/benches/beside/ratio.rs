//! How much of what is asked for is in the cache: the edge's store, replayed without its disk, beside LRU.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use witness_edge::store::{Key, Replay};

use crate::hits::wanted;
use crate::measure::{print, verdict};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SLICE: u64 = MIB;
/// What a file of a cache takes besides its body, and in which units.
const PAGE: u64 = 4096;

/// Somebody wants these bytes of an object.
#[derive(Clone, Debug)]
struct Request {
    object: u64,
    size: u64,
    bytes: Range<u64>,
}

/// The least recently used leaves first; of whole objects, as nginx and Varnish keep them, or of slices.
struct Lru {
    max_size: u64,
    slices: bool,
    size: u64,
    clock: u64,
    known: BTreeMap<(u64, u64), (u64, u64)>,
    order: BTreeMap<u64, (u64, u64)>,
}

impl Lru {
    fn new(max_size: u64, slices: bool) -> Self {
        Self { max_size, slices, size: 0, clock: 0, known: BTreeMap::new(), order: BTreeMap::new() }
    }

    /// How many of the bytes were here.
    fn request(&mut self, request: &Request) -> u64 {
        if !self.slices {
            return if self.touch((request.object, 0), request.size) {
                request.bytes.end - request.bytes.start
            } else {
                0
            };
        }
        let mut here = 0;
        for slice in request.bytes.start / SLICE..request.bytes.end.div_ceil(SLICE) {
            let (start, end) = (slice * SLICE, request.size.min((slice + 1) * SLICE));
            if self.touch((request.object, slice), end - start) {
                here += end.min(request.bytes.end) - start.max(request.bytes.start);
            }
        }
        here
    }

    fn touch(&mut self, item: (u64, u64), length: u64) -> bool {
        self.clock += 1;
        // A file of nginx has its head and its body in one piece.
        let cost = (length + 512).next_multiple_of(PAGE);
        if let Some((time, _)) = self.known.get_mut(&item) {
            self.order.remove(time);
            *time = self.clock;
            self.order.insert(self.clock, item);
            return true;
        }
        if cost > self.max_size {
            return false;
        }
        while self.size + cost > self.max_size {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.size -= self.known.remove(&oldest).map_or(0, |(_, cost)| cost);
        }
        self.size += cost;
        self.known.insert(item, (self.clock, cost));
        self.order.insert(self.clock, item);
        false
    }
}

/// Shares of requests that were answered whole, and of bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    requests: u64,
    whole: u64,
    bytes: u64,
    here: u64,
}

impl Shares {
    fn add(&mut self, wanted: u64, here: u64) {
        self.requests += 1;
        self.whole += u64::from(here == wanted);
        self.bytes += wanted;
        self.here += here;
    }

    fn objects(&self) -> f64 {
        100.0 * self.whole as f64 / self.requests.max(1) as f64
    }

    fn of_bytes(&self) -> f64 {
        100.0 * self.here as f64 / self.bytes.max(1) as f64
    }
}

pub(crate) fn bench(only: &[String], trace: Option<&Path>) -> Result<(), String> {
    let mut rows = Vec::new();
    if wanted("ratio", only) {
        for (name, count) in [("100000 images, zipf(1.0)", 100_000), ("a million images, zipf(1.0)", 1_000_000)] {
            let images = images(count);
            for percent in [1, 5, 25] {
                rows.extend(compare(name, &images, percent, Aim::Objects));
            }
        }
        let mix = mix();
        for percent in [1, 5, 25] {
            rows.extend(compare("1 KiB to 2 GiB, with seeks", &mix, percent, Aim::Bytes));
        }
    }
    if let Some(path) = trace {
        let requests = read(path)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for percent in [1, 5, 25] {
            rows.extend(compare(&name, &requests, percent, Aim::Bytes));
        }
    }
    if !rows.is_empty() {
        print(
            "Hit ratios, after the first half of the requests has warmed the cache; its size in % of the catalogue.",
            &["requests", "cache", "what", "objects %", "bytes %", "edge - it: objects", "bytes", "aim"],
            &rows,
        );
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Objects,
    Bytes,
}

fn compare(name: &str, requests: &[Request], percent: u64, aim: Aim) -> Vec<Vec<String>> {
    let catalogue: BTreeMap<u64, u64> = requests.iter().map(|request| (request.object, request.size)).collect();
    let max_size = catalogue.values().map(|size| size.next_multiple_of(PAGE)).sum::<u64>() / 100 * percent;
    let mut edge = Replay::new(max_size, 2, SLICE);
    let mut whole = Lru::new(max_size, false);
    let mut slices = Lru::new(max_size, true);
    let mut shares = [Shares::default(); 3];
    for (number, request) in requests.iter().enumerate() {
        let key = Key::of(&request.object.to_string());
        let wanted = request.bytes.end - request.bytes.start;
        let here =
            [edge.request(key, request.size, request.bytes.clone()), whole.request(request), slices.request(request)];
        if number >= requests.len() / 2 {
            for (share, here) in shares.iter_mut().zip(here) {
                share.add(wanted, here);
            }
        }
    }
    let names = ["witness-edge", "LRU of objects", "LRU of slices"];
    let mut rows = Vec::new();
    for (what, share) in names.into_iter().zip(&shares) {
        let objects = shares[0].objects() - share.objects();
        let bytes = shares[0].of_bytes() - share.of_bytes();
        let told = match aim {
            _ if what == names[0] => String::new(),
            Aim::Objects if percent == 1 => verdict("objects >= +10", objects >= 10.0),
            Aim::Objects => String::new(),
            Aim::Bytes => verdict("bytes >= 0", bytes >= 0.0),
        };
        let beside = |value: f64| if what == names[0] { String::new() } else { format!("{value:+.1}") };
        rows.push(vec![
            name.to_owned(),
            format!("{percent} %"),
            what.to_owned(),
            format!("{:.1}", share.objects()),
            format!("{:.1}", share.of_bytes()),
            beside(objects),
            beside(bytes),
            told,
        ]);
    }
    rows
}

/// A generator of numbers that are as good as random here, and the same each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 up to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks by Zipf's law: the n-th is wanted 1/n^`exponent` times as often as the first.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: u64, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Self(sums.collect())
    }

    fn draw(&self, dice: &mut Dice) -> u64 {
        let all = self.0.last().copied().unwrap_or(1.0);
        let at = dice.share() * all;
        self.0.partition_point(|sum| *sum < at) as u64
    }
}

/// Images of 4 to 200 KiB, asked for as a whole.
fn images(count: u64) -> Vec<Request> {
    let (zipf, mut dice) = (Zipf::new(count, 1.0), Dice(1));
    let one = |object: u64| {
        let size = 4 * KIB + Dice(object).next() % (196 * KIB);
        Request { object, size, bytes: 0..size }
    };
    (0..2_000_000).map(|_| one(zipf.draw(&mut dice))).collect()
}

/// Sizes spread evenly over the powers of two. What is longer than 8 MiB is watched: from the front or from somewhere,
/// and for a while.
fn mix() -> Vec<Request> {
    let (zipf, mut dice) = (Zipf::new(20_000, 0.9), Dice(2));
    let mut requests = Vec::new();
    for _ in 0..300_000 {
        let object = zipf.draw(&mut dice);
        let size = (KIB as f64 * 2_f64.powf(Dice(object).share() * 21.0)) as u64;
        let bytes = if size <= 8 * MIB {
            0..size
        } else {
            let start = if dice.share() < 0.7 { 0 } else { (dice.share() * size as f64) as u64 };
            let watched = (-dice.share().max(1e-9).ln() * 0.3 * size as f64) as u64;
            start..size.min(start + watched.max(64 * KIB))
        };
        requests.push(Request { object, size, bytes });
    }
    requests
}

/// A published trace: oracleGeneral of libCacheSim (binary, whatever it is called `.bin` or without an end), or text
/// with `time,key,size` in each line, with commas, spaces or tabs.
fn read(path: &Path) -> Result<Vec<Request>, String> {
    let failed = |why: &str| format!("{}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|error| failed(&error.to_string()))?;
    let mut requests = Vec::new();
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.lines().count() > 1);
    if let Some(text) = text {
        for line in text.lines() {
            let mut fields = line.split([',', ' ', '\t']).map(str::trim).filter(|field| !field.is_empty()).skip(1);
            let (Some(key), Some(size)) = (fields.next(), fields.next().and_then(|size| size.parse::<u64>().ok()))
            else {
                // A line that names the columns, or tells something else.
                continue;
            };
            let object = key.parse().unwrap_or_else(|_| {
                key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
                })
            });
            requests.push(Request { object, size, bytes: 0..size });
        }
    } else {
        // Time (4 bytes), object (8), size (4), when it is wanted next (8).
        for record in bytes.chunks_exact(24) {
            let object = u64::from_le_bytes(record[4..12].try_into().map_err(|_| failed("a record is cut off"))?);
            let size = u32::from_le_bytes(record[12..16].try_into().map_err(|_| failed("a record is cut off"))?);
            requests.push(Request { object, size: size.into(), bytes: 0..size.into() });
        }
    }
    requests.retain(|request| request.size > 0);
    // One that changes its size is another object.
    let mut sizes = BTreeMap::new();
    requests.retain(|request| *sizes.entry(request.object).or_insert(request.size) == request.size);
    if requests.is_empty() { Err(failed("there are no requests in it")) } else { Ok(requests) }
}
