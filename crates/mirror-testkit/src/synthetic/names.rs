//! Realistic crate names.

use std::collections::HashSet;

use mirror_types::CrateName;

const WORDS: &[&str] = &[
    "async", "serde", "json", "http", "core", "macro", "derive", "util", "parse", "client", "server", "sys",
    "rust", "test", "data", "file", "log", "time", "math", "net", "lib", "cli", "api", "proto", "crypto",
    "hash", "map", "tree", "graph", "image", "audio", "game", "engine", "render", "text", "format", "config",
    "env", "error", "result", "stream", "pool", "cache", "queue", "lock", "thread", "task", "event", "state",
    "model", "view", "web", "wasm", "embedded", "hal", "driver", "usb", "spi", "gpio", "sensor", "bot",
    "chain", "wallet", "token",
];

/// Generates `count` names, all different for the registry.
pub(super) fn distinct(random: &mut fastrand::Rng, count: usize) -> Vec<CrateName> {
    let mut taken = HashSet::with_capacity(count);
    let mut names = Vec::with_capacity(count);
    while names.len() < count {
        let name = CrateName::new(&name(random)).expect("made of what a name may be made of");
        if taken.insert(name.canonical()) {
            names.push(name);
        }
    }
    names
}

/// Generates a name that differs from all others.
pub(super) fn one_more(random: &mut fastrand::Rng, number: usize) -> CrateName {
    let word = random.choice(WORDS).expect("words");
    CrateName::new(&format!("{word}-news-of-day-{number}")).expect("a name")
}

fn name(random: &mut fastrand::Rng) -> String {
    match random.u8(..) {
        // Short names, of which there is a limited number.
        0..=3 => letters(random, 1, 3),
        // Names up to the longest that the registry accepts.
        4..=5 => letters(random, 30, 64),
        6..=70 => letters(random, 4, 12),
        _ => words(random),
    }
}

fn letters(random: &mut fastrand::Rng, min: usize, max: usize) -> String {
    let len = random.usize(min..=max);
    (0..len)
        .map(|at| match random.u8(..) {
            0..=5 => random.uppercase(),
            6..=11 if at > 0 => random.digit(10),
            12..=19 if at > 0 => '-',
            20..=27 if at > 0 => '_',
            _ => random.lowercase(),
        })
        .collect()
}

fn words(random: &mut fastrand::Rng) -> String {
    let mut name = String::new();
    for at in 0..random.usize(1..=3) {
        if at > 0 {
            name.push(if random.u8(..) < 180 { '-' } else { '_' });
        }
        name.push_str(random.choice(WORDS).expect("words"));
    }
    if random.u8(..) < 150 {
        name.push_str(&letters(random, 1, 5));
    }
    if random.u8(..) < 6 {
        name[..1].make_ascii_uppercase();
    }
    name
}
