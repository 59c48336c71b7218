//! Finds the commands in a document.

/// Who reads a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shell {
    Posix,
    Power,
}

/// A command of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) shell: Shell,
    /// The number of its first line.
    pub(super) line: usize,
    pub(super) text: String,
}

impl Command {
    pub(super) fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

/// Returns the commands in the fenced blocks of a document, in order. A command ends with its line, unless a backslash or
/// an open quote continues it; a block for PowerShell is one command. In a `console` block, the lines behind `$ ` are
/// commands, the others are output.
pub(super) fn commands(text: &str) -> Vec<Command> {
    let mut found = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let block: Vec<(&str, usize)> =
            lines.by_ref().take_while(|(line, _)| line.trim_start() != "```").collect();
        match language.trim() {
            "sh" | "bash" | "shell" => found.extend(split(block.iter().copied())),
            "console" => {
                let typed = block.iter().filter_map(|(line, at)| Some((line.strip_prefix("$ ")?, *at)));
                found.extend(split(typed));
            }
            "powershell" | "pwsh" => {
                let text = block.iter().map(|(line, _)| *line).collect::<Vec<_>>().join("\n");
                found.push(Command { shell: Shell::Power, line: number + 1, text });
            }
            _ => {}
        }
    }
    found
}

fn split<'a>(lines: impl Iterator<Item = (&'a str, usize)>) -> Vec<Command> {
    let mut found: Vec<Command> = Vec::new();
    let mut open = false;
    for (line, number) in lines {
        if let Some(last) = found.last_mut().filter(|_| open) {
            last.text.push('\n');
            last.text.push_str(line);
        } else if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        } else {
            found.push(Command { shell: Shell::Posix, line: number, text: line.to_owned() });
        }
        open = found.last().is_some_and(|last| continues(&last.text));
    }
    found
}

/// Returns whether a command goes on in the next line.
fn continues(text: &str) -> bool {
    let mut quote = None;
    let mut before = ' ';
    let mut all = text.chars();
    while let Some(one) = all.next() {
        match (quote, one) {
            (None | Some('"'), '\\') => {
                let escaped = all.next();
                if escaped.is_none() {
                    return true;
                }
            }
            (None, '#') if before.is_whitespace() => {
                // A comment ends with its line.
                let rest = all.as_str();
                all = rest.find('\n').map_or("", |end| &rest[end..]).chars();
            }
            (None, '\'' | '"') => quote = Some(one),
            (Some(open), _) if open == one => quote = None,
            _ => {}
        }
        before = one;
    }
    quote.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(document: &str) -> Vec<String> {
        commands(document).into_iter().map(|command| command.text).collect()
    }

    #[test]
    fn each_line_of_a_block_is_a_command_unless_it_goes_on() {
        let document = "a\n```sh\n# why\none --x     # it's so\n\ntwo \\\n    --y\npy 'a\nb' z\n```\nb\n";
        assert_eq!(texts(document), ["one --x     # it's so", "two \\\n    --y", "py 'a\nb' z"]);
        assert_eq!(commands(document)[1].line, 6);
    }

    #[test]
    fn a_console_block_has_commands_and_output() {
        assert_eq!(texts("```console\n$ one\noutput\n$ two \"#\"\n```\n"), ["one", "two \"#\""]);
    }

    #[test]
    fn other_blocks_are_no_commands() {
        assert_eq!(texts("```toml\na = 1\n```\n```\nplain\n```\n    indented\n"), [""; 0]);
    }

    #[test]
    fn a_block_for_powershell_is_one_command() {
        let found = commands("```powershell\nGet-Item a\nGet-Item b\n```\n");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].shell, found[0].line), (Shell::Power, 2));
        assert_eq!(found[0].text, "Get-Item a\nGet-Item b");
    }

    #[test]
    fn quotes_in_quotes_do_not_count() {
        assert!(!continues("jq -r '.a | \"b\"' \"it's\" # don't"));
        assert!(continues("a \"b"));
        assert!(!continues("a \\' b"));
    }
}
