//! Commands for PowerShell, which the documents hold and which no shell here can run: they are parsed.

use anyhow::Context as _;
use tree_sitter::{Node, Parser};

/// Returns what PowerShell would not accept in `text`, each with its line; nothing when it is well formed.
pub(super) fn faults(text: &str) -> anyhow::Result<Vec<String>> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).context("the grammar of PowerShell")?;
    let tree = parser.parse(text, None).context("PowerShell could not be parsed")?;
    let mut faults = Vec::new();
    if tree.root_node().has_error() {
        collect(tree.root_node(), text, &mut faults);
    }
    Ok(faults)
}

fn collect(node: Node<'_>, text: &str, faults: &mut Vec<String>) {
    let line = node.start_position().row + 1;
    if node.is_missing() {
        faults.push(format!("line {line}: {} is missing", node.kind()));
    } else if node.is_error() {
        let words = text.get(node.byte_range()).unwrap_or_default();
        faults
            .push(format!("line {line}: {:?} is not understood", words.chars().take(60).collect::<String>()));
    } else {
        for child in node.children(&mut node.walk()) {
            if child.has_error() || child.is_missing() {
                collect(child, text, faults);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::faults;

    #[test]
    fn commands_with_continued_lines_variables_and_quotes_are_well_formed() {
        let text = "$program = (Get-Command download-crates).Source\n\
                    $action = New-ScheduledTaskAction -Execute $program `\n    -Argument '--listen \"\"'\n";
        assert_eq!(faults(text).unwrap(), [""; 0]);
    }

    #[test]
    fn an_open_parenthesis_and_an_open_quote_are_faults() {
        for (text, line) in [("$a = 1\n$b = (Get-Item a\n", "line 2"), ("Get-Item 'a\n", "line 1")] {
            let found = faults(text).unwrap();
            assert!(found.iter().any(|fault| fault.contains(line)), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_line_for_bash_is_a_fault() {
        assert!(!faults("if [ -f a ]; then echo b; fi\n").unwrap().is_empty());
    }
}
