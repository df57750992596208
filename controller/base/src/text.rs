//! Untrusted text → text that is safe to show. Pure.
//!
//! What a git server, a registry, a probe or an app says ends up in statuses, Events and logs, which people read in a
//! terminal. A terminal obeys control sequences: it moves its cursor, changes its title, fills the clipboard, reverses
//! text. This module removes them, and all invisible characters, without a replacement.

pub mod last_words;
pub mod plain;
pub mod redact;

/// What a cut text ends with.
const CUT: char = '…';
/// Longest colour sequence that is read, in characters.
const LONGEST_COLOUR: usize = 64;
/// The sequence that ends all colours.
const PLAIN: &str = "\u{1b}[0m";

/// The text as one line of at most `most` bytes: each newline and tab becomes a blank.
pub fn line(text: &str, most: usize) -> String {
    let blank = |c| if matches!(c, '\n' | '\t') { ' ' } else { c };
    shown(text, most, blank)
}

/// The text with its newlines and tabs, in at most `most` bytes.
pub fn lines(text: &str, most: usize) -> String {
    shown(text, most, |c| c)
}

/// Reads no further than `most` bytes need. A text that is safe and short enough stays as it is.
fn shown(text: &str, most: usize, as_shown: impl Fn(char) -> char) -> String {
    let mut out = String::new();
    let mut reader = Reader::default();
    let mut heard = Vec::new();
    for c in text.chars() {
        reader.read(c, &mut heard);
        for piece in heard.drain(..) {
            let Piece::Text(c) = piece else { continue };
            out.push(as_shown(c));
        }
        if out.len() > most {
            out.truncate(out.floor_char_boundary(most.saturating_sub(CUT.len_utf8())));
            out.push(CUT);
            break;
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Whether a character is visible on a screen, or separates words or lines.
pub fn is_visible(c: char) -> bool {
    let hides_or_turns = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}');
    matches!(c, '\n' | '\t') || !(c.is_control() || hides_or_turns)
}

/// Bytes of a log, in pieces of any size → text that is safe to show, with colours if a terminal shows it.
#[derive(Debug, Default)]
pub struct Filter {
    colours: bool,
    coloured: bool,
    bytes: Vec<u8>,
    reader: Reader,
}

impl Filter {
    /// `colours`: keep colours, for a terminal. A file or a program gets none.
    pub fn new(colours: bool) -> Self {
        Self {
            colours,
            ..Self::default()
        }
    }

    /// The text of the next bytes. An incomplete character at their end waits for the next call.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.bytes.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.bytes);
        let mut out = String::new();
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.show(chunk.valid(), &mut out);
            match chunk.invalid() {
                [] => {}
                // The first bytes of a character whose other bytes may still come.
                rest if chunks.peek().is_none() && may_go_on(rest) => self.bytes = rest.to_vec(),
                _ => self.show("\u{fffd}", &mut out),
            }
        }
        out
    }

    /// The rest of the text, and the end of all colours.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        if !std::mem::take(&mut self.bytes).is_empty() {
            self.show("\u{fffd}", &mut out);
        }
        if std::mem::take(&mut self.coloured) {
            out.push_str(PLAIN);
        }
        out
    }

    fn show(&mut self, text: &str, out: &mut String) {
        let mut heard = Vec::new();
        for c in text.chars() {
            self.reader.read(c, &mut heard);
            for piece in heard.drain(..) {
                match piece {
                    Piece::Text(c) => out.push(c),
                    Piece::Colour(parameters) if self.colours => {
                        self.coloured = parameters != "0" && !parameters.is_empty();
                        out.push_str("\u{1b}[");
                        out.push_str(&parameters);
                        out.push('m');
                    }
                    Piece::Colour(_) => {}
                }
            }
        }
    }
}

/// Whether these bytes are the beginning of a character.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Reads a text as a terminal does: tells characters from control sequences.
#[derive(Debug, Default)]
struct Reader {
    state: State,
    /// After a carriage return: either `\r\n`, the end of a line, or text that overwrites the line.
    returned: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In `ESC [ …`, up to a letter: colours and cursor movements.
    Control(String),
    /// In `ESC ] …` and the like, up to BEL or ESC: titles, the clipboard.
    String,
}

enum Piece {
    Text(char),
    /// The parameters of a harmless colour sequence.
    Colour(String),
}

impl Reader {
    /// A newline ends every sequence, so that an open one cannot hide the rest of a log.
    fn read(&mut self, c: char, heard: &mut Vec<Piece>) {
        match std::mem::take(&mut self.state) {
            State::Escape => self.escape(c, heard),
            State::Control(parameters) => self.control(c, parameters, heard),
            State::String => match c {
                '\u{7}' | '\u{9c}' => {}
                '\u{1b}' => self.state = State::Escape,
                '\n' | '\r' => self.text(c, heard),
                _ => self.state = State::String,
            },
            State::Text => self.text(c, heard),
        }
    }

    fn text(&mut self, c: char, heard: &mut Vec<Piece>) {
        match c {
            '\r' => self.returned = true,
            '\u{1b}' => self.state = State::Escape,
            '\u{9b}' => self.state = State::Control(String::new()),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => self.state = State::String,
            c if is_visible(c) => {
                // Text that would overwrite a line goes on the next line, so that it hides nothing.
                if std::mem::take(&mut self.returned) && c != '\n' {
                    heard.push(Piece::Text('\n'));
                }
                heard.push(Piece::Text(c));
            }
            _ => {}
        }
    }

    fn escape(&mut self, c: char, heard: &mut Vec<Piece>) {
        match c {
            '[' => self.state = State::Control(String::new()),
            ']' | 'P' | 'X' | '^' | '_' => self.state = State::String,
            ' '..='/' => self.state = State::Escape,
            '0'..='~' => {}
            c => self.text(c, heard),
        }
    }

    fn control(&mut self, c: char, mut parameters: String, heard: &mut Vec<Piece>) {
        match c {
            ' '..='?' => {
                // A sequence that is too long is no colour: no colour contains `!`.
                parameters.push(if parameters.len() < LONGEST_COLOUR {
                    c
                } else {
                    '!'
                });
                parameters.truncate(LONGEST_COLOUR + 1);
                self.state = State::Control(parameters);
            }
            'm' => heard.extend(colour(&parameters).map(Piece::Colour)),
            '@'..='~' => {}
            c => self.text(c, heard),
        }
    }
}

/// The parameters of a sequence that colour text or make it bold. Those that hide text or let it blink are left out.
fn colour(parameters: &str) -> Option<String> {
    if parameters.is_empty() {
        return Some(String::new());
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut rest = parameters.split(';');
    while let Some(parameter) = rest.next() {
        let begin = parameter
            .split(':')
            .next()
            .filter(|begin| !begin.is_empty());
        if !parameter.chars().all(|c| c.is_ascii_digit() || c == ':') {
            return None;
        }
        let group = match (begin.unwrap_or("0").parse::<u16>(), parameter.contains(':')) {
            (Ok(38 | 48), false) => match rest.next() {
                Some("5") => vec![parameter, "5", rest.next()?],
                Some("2") => vec![parameter, "2", rest.next()?, rest.next()?, rest.next()?],
                _ => return None,
            },
            (Ok(0..=4 | 7 | 9 | 21..=24 | 27 | 29..=49 | 90..=97 | 100..=107), _) => {
                vec![parameter]
            }
            _ => continue,
        };
        if !group
            .iter()
            .all(|part| part.chars().all(|c| c.is_ascii_digit() || c == ':'))
        {
            return None;
        }
        kept.extend(group);
    }
    (!kept.is_empty()).then(|| kept.join(";"))
}

/// `text` with at most `most` bytes. If it is cut, it ends in an ellipsis.
pub fn bounded(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most.saturating_sub(3))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    let mut cut = text;
    cut.truncate(end);
    cut.push('…');
    cut
}

/// An address without user and query, as these may contain a password or token.
pub fn public_url(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, bounded, is_visible, line, lines};
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        for (text, shown) in [
            ("plain text, é and 漢字", "plain text, é and 漢字"),
            ("two\nlines\tand a tab", "two lines and a tab"),
            ("dos\r\nends", "dos ends"),
            ("what was here\roverwritten", "what was here overwritten"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("up \u{1b}[3A\u{1b}[2Kand away", "up and away"),
            ("\u{1b}]0;a title\u{7}text", "text"),
            ("\u{1b}]52;c;Y2xpcA==\u{1b}\\text", "text"),
            ("\u{1b}Pq\u{1b}\\a\u{9b}2Jb\u{9d}0;t\u{9c}c", "abc"),
            ("\u{1b}]never ended\nand on", " and on"),
            ("\u{1b}[never ended\nand on", "ever ended and on"),
            ("main\u{202e}niam\u{2066}\u{200b}\u{feff}", "mainniam"),
            (
                "bell\u{7}, back\u{8}space, \u{7f}delete\0",
                "bell, backspace, delete",
            ),
            ("charset \u{1b}(0x\u{1b}=", "charset x"),
            ("  \u{1b}", ""),
        ] {
            assert_eq!(line(text, 100), shown, "{text:?}");
        }
        assert_eq!(lines("a\r\nb\tc\n\n\u{1b}[1md\n", 100), "a\nb\tc\n\nd");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(line("éééé", 8), "éééé");
        assert_eq!(line("ééééé", 8), "éé…");
        assert_eq!(line(&"x".repeat(1000), 10), "xxxxxxx…");
    }

    #[test]
    fn harmless_colours_reach_a_terminal_and_nothing_else_does() {
        for (text, seen) in [
            ("\u{1b}[1;31mred\u{1b}[0m\n", "\u{1b}[1;31mred\u{1b}[0m\n"),
            ("\u{1b}[mx", "\u{1b}[mx"),
            ("\u{1b}[38;5;208mx\u{1b}[m", "\u{1b}[38;5;208mx\u{1b}[m"),
            (
                "\u{1b}[38:2::1:2:3mx\u{1b}[0m",
                "\u{1b}[38:2::1:2:3mx\u{1b}[0m",
            ),
            // A colour that is left open: it is ended, so that it does not colour later text.
            ("\u{1b}[32mx", "\u{1b}[32mx\u{1b}[0m"),
            // Hidden and blinking text becomes plain text.
            ("\u{1b}[8mx\u{1b}[31;8my\u{1b}[0m", "x\u{1b}[31my\u{1b}[0m"),
            ("\u{1b}[>4;1mx\u{1b}[38;9mx\u{1b}[2J\u{1b}[1;1Hx", "xxx"),
            ("10%\r20%\r\nx", "10%\n20%\nx"),
        ] {
            let mut filter = Filter::new(true);
            assert_eq!(
                filter.push(text.as_bytes()) + &filter.finish(),
                seen,
                "{text:?}"
            );
        }
        let long = format!("\u{1b}[{}mx", "1;".repeat(100));
        assert_eq!(Filter::new(true).push(long.as_bytes()), "x");
        assert_eq!(
            Filter::new(false).push(b"\x1b[31mx\x1b[0m\xff"),
            "x\u{fffd}"
        );
    }

    proptest! {
        #[test]
        fn a_line_is_short_and_all_of_it_shows(text in "([ -~é\u{202e}]|\\PC|\\pC|\u{1b}\\[|\u{1b}\\]){0,80}", most in 3_usize..200) {
            let shown = line(&text, most);
            prop_assert!(shown.len() <= most, "{shown:?}");
            prop_assert!(shown.chars().all(|c| is_visible(c) && c != '\n' && c != '\t'), "{shown:?}");
            prop_assert_eq!(line(&shown, most), shown);
        }

        #[test]
        fn what_is_seen_does_not_depend_on_how_bytes_arrive(
            text in "([a-zé\r\n\u{7}\u{202e}]|\u{1b}\\[[0-9;]{0,4}[mAJ]|\u{1b}\\]0;[a-z]{0,3}\u{7}){0,40}",
            cuts in proptest::collection::vec(0_usize..200, 0..6),
            colours: bool,
        ) {
            let mut whole = Filter::new(colours);
            let whole = whole.push(text.as_bytes()) + &whole.finish();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut filter = Filter::new(colours);
            let mut pieces: String = cuts.windows(2).map(|cut| filter.push(&text.as_bytes()[cut[0]..cut[1]])).collect();
            pieces.push_str(&filter.finish());
            prop_assert_eq!(&pieces, &whole);
            let plain: String = whole.split("\u{1b}[").enumerate().map(|(n, part)| {
                if n == 0 { part } else { part.split_once('m').expect("only colours").1 }
            }).collect();
            prop_assert!(plain.chars().all(is_visible), "{plain:?}");
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(bounded("ab".into(), 2), "ab");
        assert_eq!(bounded("ééé".into(), 5), "é…");
        assert!(bounded("x".repeat(9000), 2048).len() <= 2048);
    }
}
