//! A line as a document, for what cannot be made by putting text behind text: sorted keys, other
//! spacing, keys that stand twice. Values keep the bytes that they have in the line.

use std::borrow::Cow;

use mirror_index_line::{LineError, Scanner};

use crate::facts::{Facts, push_string};

/// A member: its key as text, and its value.
pub(crate) type Member<'a> = (Cow<'a, str>, Node<'a>);

pub(crate) enum Node<'a> {
    /// A string, number, `true`, `false` or `null`, as it is in the line.
    Plain(&'a [u8]),
    Array(Vec<Node<'a>>),
    /// Sorted by key, each key once.
    Object(Vec<Member<'a>>),
}

/// Reads the object that a line is.
pub(crate) fn read<'a>(line: &'a str) -> Result<Vec<Member<'a>>, LineError> {
    let mut at = Scanner::new(line);
    at.space();
    let Node::Object(members) = node(&mut at, 0)? else { return Err(LineError::NoObject) };
    at.end()?;
    Ok(members)
}

fn node<'a>(at: &mut Scanner<'a>, depth: usize) -> Result<Node<'a>, LineError> {
    let start = at.position();
    match at.peek() {
        Some(b'{') => {
            at.open(depth)?;
            let mut members: Vec<Member<'a>> = Vec::with_capacity(10);
            let mut more = !at.is_empty(b'}');
            while more {
                let key = at.key()?.decode();
                let value = node(at, depth + 1)?;
                members.push((key, value));
                more = at.goes_on(b'}')?;
            }
            Ok(Node::Object(unique(members)))
        }
        Some(b'[') => {
            at.open(depth)?;
            let mut items = Vec::new();
            let mut more = !at.is_empty(b']');
            while more {
                at.space();
                items.push(node(at, depth + 1)?);
                more = at.goes_on(b']')?;
            }
            Ok(Node::Array(items))
        }
        _ => {
            at.value(depth)?;
            Ok(Node::Plain(at.since(start).as_bytes()))
        }
    }
}

/// Sorts by key; of equal keys the last one stays.
fn unique(mut members: Vec<Member<'_>>) -> Vec<Member<'_>> {
    members.reverse();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    members.dedup_by(|later, first| later.0 == first.0);
    members
}

/// Puts the facts in; they win over fields of the line that are called the same.
pub(crate) fn add<'a>(members: &mut Vec<Member<'a>>, facts: &Facts<'_>, room: &'a mut Vec<u8>) {
    let mut ends = Vec::new();
    for (key, value) in facts.known() {
        push_string(value, room);
        ends.push((key, room.len()));
    }
    let room: &'a [u8] = room;
    let mut start = 0;
    for (key, end) in ends {
        let value = Node::Plain(&room[start..end]);
        match members.binary_search_by(|member| member.0.as_ref().cmp(key)) {
            Ok(at) => members[at].1 = value,
            Err(at) => members.insert(at, (Cow::Borrowed(key), value)),
        }
        start = end;
    }
}

/// The form in which a document is written.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// Nothing that need not be there.
    Compact,
    /// A line for each value, two spaces for each level.
    Pretty,
}

pub(crate) fn write(members: &[Member<'_>], form: Form, out: &mut Vec<u8>) {
    object(members, form, 0, out);
}

fn object(members: &[Member<'_>], form: Form, depth: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (key, value)) in members.iter().enumerate() {
        separate(at, form, depth + 1, out);
        push_string(key, out);
        out.extend_from_slice(match form {
            Form::Compact => b":",
            Form::Pretty => b": ",
        });
        write_node(value, form, depth + 1, out);
    }
    close(members.is_empty(), b'}', form, depth, out);
}

fn write_node(node: &Node<'_>, form: Form, depth: usize, out: &mut Vec<u8>) {
    match node {
        Node::Plain(bytes) => out.extend_from_slice(bytes),
        Node::Object(members) => object(members, form, depth, out),
        Node::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                separate(at, form, depth + 1, out);
                write_node(item, form, depth + 1, out);
            }
            close(items.is_empty(), b']', form, depth, out);
        }
    }
}

fn separate(at: usize, form: Form, depth: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
    if let Form::Pretty = form {
        indent(depth, out);
    }
}

fn close(empty: bool, bracket: u8, form: Form, depth: usize, out: &mut Vec<u8>) {
    if let (false, Form::Pretty) = (empty, form) {
        indent(depth, out);
    }
    out.push(bracket);
}

fn indent(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', depth * 2));
}
