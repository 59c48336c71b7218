//! Encodes a profile for `go tool pprof`: a `Profile` message of
//! <https://github.com/google/pprof/blob/main/proto/profile.proto>.
//!
//! The format is frozen and needs only two kinds of fields, numbers and byte strings. They are encoded here, because a
//! library would bring a compiler of `.proto` files into every build.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the encoded CPU profile.
pub(super) fn encoded(report: &pprof::Report) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let period = 1_000_000_000 / u64::try_from(report.timing.frequency).unwrap_or(0).max(1);
    let samples = value_type(&mut encoder.names, "samples", "count");
    let time = value_type(&mut encoder.names, "cpu", "nanoseconds");
    encoder.profile.message(1, &samples);
    encoder.profile.message(1, &time);
    for (stack, count) in &report.data {
        let count = u64::try_from(*count).unwrap_or(0);
        encoder.sample(stack, &[count, count.saturating_mul(period)]);
    }
    encoder.profile.message(11, &time);
    encoder.profile.number(12, period);
    encoder.finish(report.timing.start_time)
}

/// Returns the encoded stacks of threads, each once.
#[cfg(target_os = "linux")]
pub(super) fn encoded_threads(stacks: &[&pprof::Frames], began: SystemTime) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let threads = value_type(&mut encoder.names, "threads", "count");
    encoder.profile.message(1, &threads);
    stacks.iter().for_each(|stack| encoder.sample(stack, &[1]));
    encoder.finish(began)
}

/// A profile that is being encoded. A table contains each name once; its first entry is empty.
#[derive(Default)]
struct Encoder {
    profile: Message,
    names: Names,
    places: Places,
}

impl Encoder {
    /// Adds a stack with its values, one for each type.
    fn sample(&mut self, stack: &pprof::Frames, values: &[u64]) {
        let mut sample = Message::default();
        // Innermost first, and within a frame inlined functions first.
        for symbol in stack.frames.iter().flatten() {
            sample.number(1, self.places.of(symbol, &mut self.names));
        }
        values.iter().for_each(|value| sample.number(2, *value));
        let mut label = Message::default();
        label.number(1, self.names.of("thread"));
        label.number(2, self.names.of(&stack.thread_name));
        sample.message(3, &label);
        self.profile.message(2, &sample);
    }

    fn finish(mut self, began: SystemTime) -> Vec<u8> {
        self.profile.0.append(&mut self.places.written.0);
        let began = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.profile.number(9, u64::try_from(began.as_nanos()).unwrap_or(0));
        self.names.write(&mut self.profile);
        self.profile.0
    }
}

fn value_type(names: &mut Names, kind: &str, unit: &str) -> Message {
    let mut written = Message::default();
    written.number(1, names.of(kind));
    written.number(2, names.of(unit));
    written
}

/// The code locations in a profile: a location and a function for each name and line.
#[derive(Default)]
struct Places {
    ids: HashMap<(u64, u32), u64>,
    written: Message,
}

impl Places {
    fn of(&mut self, symbol: &pprof::Symbol, names: &mut Names) -> u64 {
        let (name, line) = (names.of(&symbol.name()), symbol.lineno());
        let next = self.ids.len() as u64 + 1;
        let id = *self.ids.entry((name, line)).or_insert(next);
        if id == next {
            let mut in_source = Message::default();
            in_source.number(1, id);
            in_source.number(2, u64::from(line));
            let mut location = Message::default();
            location.number(1, id);
            location.message(4, &in_source);
            self.written.message(4, &location);
            let mut function = Message::default();
            function.number(1, id);
            function.number(2, name);
            function.number(3, names.of(&symbol.sys_name()));
            function.number(4, names.of(&symbol.filename()));
            self.written.message(5, &function);
        }
        id
    }
}

/// The table of names.
#[derive(Default)]
struct Names {
    ids: HashMap<String, u64>,
    in_order: Vec<String>,
}

impl Names {
    /// Returns the index of a name in the table, 0 for the empty one.
    fn of(&mut self, name: &str) -> u64 {
        if name.is_empty() {
            return 0;
        }
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        self.in_order.push(name.to_owned());
        let id = self.in_order.len() as u64;
        self.ids.insert(name.to_owned(), id);
        id
    }

    fn write(&self, profile: &mut Message) {
        profile.bytes(6, b"");
        for name in &self.in_order {
            profile.bytes(6, name.as_bytes());
        }
    }
}

/// The fields of a message, one after the other. A repeated field is written several times.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, field: u8, value: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(value);
    }

    fn bytes(&mut self, field: u8, value: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn message(&mut self, field: u8, value: &Self) {
        self.bytes(field, &value.0);
    }

    /// Writes seven bits a byte, the lowest first; the eighth is set if more follow.
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }
}

#[cfg(test)]
mod tests {
    use pprof::protos::{Function, Message as _};

    use super::*;

    #[test]
    fn a_library_reads_numbers_of_every_length_and_text() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 1 << 35, i64::MAX as u64] {
            let mut written = Message::default();
            written.number(1, number);
            written.number(4, 3);
            let read = Function::decode(&*written.0).expect("a message");
            assert_eq!((read.id, read.filename), (number, 3));
        }
        let mut names = Names::default();
        assert_eq!(["b", "", "a", "b"].map(|name| names.of(name)), [1, 0, 2, 1]);
        let mut written = Message::default();
        names.write(&mut written);
        let read = pprof::protos::Profile::decode(&*written.0).expect("a message");
        assert_eq!(read.string_table, ["", "b", "a"]);
    }
}
