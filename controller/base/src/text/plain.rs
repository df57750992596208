//! A line of a program's output → the text that a terminal would finally show. Pure.

/// Longest line, in characters.
const LINE: usize = 400;

/// A line as a terminal finally shows it: without cursor movements, colours, bells and overwritten text.
pub fn plain(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let shown = line.rsplit('\r').next().unwrap_or(line);
    let mut text = String::new();
    let mut chars = shown.chars();
    let mut length = 0;
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut chars),
            '\t' => text.push(' '),
            c if c.is_control() || is_invisible(c) => {}
            c => text.push(c),
        }
        length += 1;
        if length > LINE {
            text.push('…');
            break;
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Skips what a terminal takes for a command: `ESC [ … letter`, `ESC ] … BEL`, or one character.
fn skip_sequence(chars: &mut std::str::Chars<'_>) {
    let ends: fn(char) -> bool = match chars.next() {
        Some('[') => |c| ('\u{40}'..='\u{7e}').contains(&c),
        Some(']') => |c| c == '\u{7}' || c == '\u{1b}',
        _ => return,
    };
    for c in chars.by_ref() {
        if ends(c) {
            return;
        }
    }
}

/// Characters that reverse or hide text.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
