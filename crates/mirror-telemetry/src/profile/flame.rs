//! Draws stacks as a flame graph: one SVG without scripts, names in tooltips.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
/// Boxes narrower than this are too small to see, and left out.
const NARROWEST: f64 = 0.4;

#[derive(Debug, Default)]
struct Node {
    count: u64,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn depth(&self) -> usize {
        1 + self.children.values().map(Node::depth).max().unwrap_or(0)
    }
}

/// Stacks, merged by the outer frames that they share.
#[derive(Debug, Default)]
pub(super) struct Flame(Node);

impl Flame {
    /// Adds a stack, outermost frame first, that was seen `count` times.
    pub(super) fn add(&mut self, stack: &[String], count: u64) {
        let mut node = &mut self.0;
        node.count += count;
        for name in stack {
            node = node.children.entry(name.clone()).or_default();
            node.count += count;
        }
    }

    pub(super) fn svg(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "a picture")]
        let height = ROW * (self.0.depth() + 1) as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"monospace\" \
             font-size=\"11\"><rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        let total = self.0.count.max(1);
        draw(&mut svg, &format!("all, {} samples", self.0.count), &self.0, 0.0, 0.0, total);
        svg.push_str("</svg>\n");
        svg
    }
}

#[expect(clippy::cast_precision_loss, reason = "a picture")]
fn draw(svg: &mut String, name: &str, node: &Node, x: f64, y: f64, total: u64) {
    let width = WIDTH * node.count as f64 / total as f64;
    if width < NARROWEST {
        return;
    }
    let share = 100.0 * node.count as f64 / total as f64;
    let shade = name.bytes().fold(7_u32, |hash, b| hash.wrapping_mul(31).wrapping_add(u32::from(b)));
    let (hue, light) = (20 + shade % 35, 62 + shade / 64 % 14);
    let title = escaped(name);
    let _ = write!(
        svg,
        "<g><title>{title} ({} samples, {share:.1}%)</title><rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" \
         height=\"{}\" fill=\"hsl({hue},85%,{light}%)\"/>",
        node.count,
        ROW - 1.0
    );
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred at most")]
    let room = ((width - 4.0) / 6.7).max(0.0) as usize;
    if room >= 3 {
        let text: String = name.chars().take(room).collect();
        let _ = write!(svg, "<text x=\"{:.1}\" y=\"{}\">{}</text>", x + 2.0, y + 12.0, escaped(&text));
    }
    svg.push_str("</g>\n");
    let mut left = x;
    for (name, child) in &node.children {
        draw(svg, name, child, left, y + ROW, total);
        left += WIDTH * child.count as f64 / total as f64;
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // XML cannot hold these at all.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_merged_and_names_escaped() {
        let mut flame = Flame::default();
        let stack = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        flame.add(&stack(&["main", "<a as b>::run", "leaf"]), 3);
        flame.add(&stack(&["main", "<a as b>::run"]), 1);
        let svg = flame.svg();
        assert!(svg.contains("all, 4 samples"), "{svg}");
        assert!(svg.contains("&lt;a as b&gt;::run (4 samples, 100.0%)"), "{svg}");
        assert!(svg.contains("leaf (3 samples, 75.0%)"), "{svg}");
        assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
        assert_eq!(svg.matches("main (4").count(), 1);
    }
}
