//! Finds the commands in a document.

use crate::dist::PROGRAMS;

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

/// Returns whether a text is a command of one of our programs, with a flag.
fn is_ours(text: &str) -> bool {
    let program = PROGRAMS.iter().find_map(|program| text.strip_prefix(program));
    program.is_some_and(|rest| rest.starts_with(' ') && rest.contains(" -"))
}

/// Returns the commands in the fenced blocks and the tables of a document, in order. A command ends with its line, unless a backslash or
/// an open quote continues it; a block for PowerShell is one command. In a `console` block, the lines behind `$ ` are
/// commands, the others are output. In a cell of a table, code that begins with one of our programs and has a flag is one.
pub(super) fn commands(text: &str) -> Vec<Command> {
    let mut found = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            found.extend(of_row(line, number));
            continue;
        };
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

/// Returns the commands in a row of a table.
fn of_row(line: &str, number: usize) -> impl Iterator<Item = Command> {
    let code = line.split('`').skip(1).step_by(2).filter(|code| line.starts_with('|') && is_ours(code));
    code.map(move |code| Command { shell: Shell::Posix, line: number, text: code.to_owned() })
}

/// Returns the numbers of the lines in which a command of our programs is indented, and not fenced: nothing runs it.
pub(super) fn unfenced(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let (mut is_fenced, mut is_code, mut after_blank) = (false, false, true);
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        }
        // A deeper line right below text goes on with that text.
        is_code = (is_code || after_blank) && line.starts_with("    ") && !is_fenced;
        after_blank = line.trim().is_empty();
        if is_code && is_ours(line.trim_start()) {
            found.push(number);
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
    fn code_in_a_table_is_a_command_when_it_is_one_of_our_programs() {
        let row =
            "| serve | `serve-mirror --mirror m`, then `--format x`; `serve-mirror export`, `ls -l` |\n";
        assert_eq!(texts(row), ["serve-mirror --mirror m"]);
        assert_eq!(texts("`serve-mirror --mirror m` serves\n"), [""; 0]);
        let found =
            commands("a\n| `download-crates --out a` | `extract-bundles b --out c` |\n```sh\nls\n```\n");
        let at: Vec<usize> = found.iter().map(|command| command.line).collect();
        assert_eq!(at, [2, 2, 4]);
    }

    #[test]
    fn an_indented_command_of_our_programs_is_reported() {
        assert_eq!(
            unfenced("a\n\n    serve-mirror --mirror m\n    ls\n    download-crates --out m\nb\n"),
            [3, 5]
        );
        assert_eq!(unfenced("```sh\n\n    serve-mirror --mirror m\n```\n\n    ls --all\n"), [0; 0]);
        assert_eq!(unfenced("- reads\n    serve-mirror --mirror m\n"), [0; 0]);
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
