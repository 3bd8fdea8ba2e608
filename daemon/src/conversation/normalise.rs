//! Makes a written sentence speakable: voices read "$49.95", "9:00–17:30" and "(718) 555-0186" badly or not at all.
//!
//! A scanner goes through the text once. At the beginning of each word the rules of `rules` may take over what follows;
//! everything else is copied. Left out on purpose: languages other than English, and pronunciation of names.

pub(super) mod numbers;
mod rules;

/// Writes a sentence the way it is said: numbers, times, money, dates, addresses and abbreviations in words, Markdown
/// and symbols gone. Never fails; text without any of these comes out unchanged but for spaces.
pub fn normalise(text: &str) -> String {
    let text = without_markdown(text);
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text.as_str();
    while let Some(next) = rest.chars().next() {
        let at_word = !out.ends_with(|c: char| c.is_alphanumeric() || c == '\'');
        if at_word && let Some((words, length)) = rules::apply(rest, &out) {
            out.push_str(&words);
            rest = &rest[length..];
            continue;
        }
        copy(next, &rest[next.len_utf8()..], &mut out);
        rest = &rest[next.len_utf8()..];
    }
    tidy(&out)
}

fn copy(c: char, after: &str, out: &mut String) {
    let before_word = after.starts_with(char::is_alphanumeric);
    match c {
        '&' => out.push_str(" and "),
        '%' => out.push_str(" percent"),
        '—' | '–' | ';' => out.push_str(", "),
        '…' => out.push('.'),
        '’' => out.push('\''),
        '/' if before_word && out.ends_with(char::is_alphanumeric) => out.push_str(" or "),
        '@' => out.push_str(" at "),
        '=' => out.push_str(" equals "),
        '+' => out.push_str(" plus "),
        '(' | ')' | '[' | ']' | '{' | '}' => out.push_str(if before_word { ", " } else { " " }),
        '*' | '_' | '`' | '#' | '|' | '<' | '>' | '"' | '“' | '”' | '„' | '~' | '^' | '$' | '€' | '£' | '\\' | '/' => {
            out.push(' ')
        }
        c if c.is_control() => out.push(' '),
        c => out.push(c),
    }
}

/// Links become their text; line starts lose their bullets, quotes and heading marks.
fn without_markdown(text: &str) -> String {
    let marks = |line: &str| {
        let line = line.trim_start().trim_start_matches(['>', '•']).trim_start();
        let heading = line.trim_start_matches('#');
        if heading.starts_with(' ') { heading.trim_start().to_string() } else { line.to_string() }
    };
    let bullets = |line: String| match line.strip_prefix("- ").or(line.strip_prefix("* ")) {
        Some(item) => item.trim_start().to_string(),
        None => line,
    };
    let mut text = text.lines().map(marks).map(bullets).collect::<Vec<_>>().join(" ");
    // Each round removes one link, so it ends; the bound is for texts made of brackets.
    for _ in 0..64 {
        let Some(middle) = text.find("](") else { break };
        let (Some(open), Some(close)) = (text[..middle].rfind('['), text[middle..].find(')')) else { break };
        let label = text[open + 1..middle].to_string();
        text.replace_range(open..middle + close + 1, &label);
    }
    text
}

/// One space between words, none before punctuation, no doubled commas.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let punctuation = matches!(c, ',' | '.' | '!' | '?' | ':');
        if punctuation {
            while out.ends_with(' ') || (c != ',' && c != ':' && out.ends_with(',')) {
                out.pop();
            }
            let doubled = matches!(c, ',' | '.') && out.ends_with([',', '.', '!', '?']);
            if doubled || (out.is_empty() && c != '?') {
                continue;
            }
        }
        if c.is_whitespace() && (out.is_empty() || out.ends_with(' ')) {
            continue;
        }
        out.push(if c.is_whitespace() { ' ' } else { c });
    }
    out.trim_end_matches([' ', ',']).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is written, and what is said.
    const GOLDEN: &[(&str, &str)] = &[
        // Times.
        ("Open 9:00–17:30.", "Open nine a m to five thirty p m."),
        ("From 9:00 AM to 12:30 PM.", "From nine a m to twelve thirty p m."),
        ("At 9:05 a.m. sharp", "At nine oh five a m sharp"),
        ("We close at 19:00.", "We close at seven p m."),
        ("Come at 3 pm.", "Come at three p m."),
        ("10am-1pm", "ten a m to one p m"),
        ("00:15", "twelve fifteen a m"),
        ("12:00 PM", "twelve p m"),
        ("At 8:30 we open.", "At eight thirty we open."),
        ("24/7", "twenty-four seven"),
        // Money.
        ("It costs $49.95.", "It costs forty-nine dollars and ninety-five cents."),
        ("A fee of $40.", "A fee of forty dollars."),
        ("$1", "one dollar"),
        ("$0.50", "fifty cents"),
        ("€ 1,200", "one thousand two hundred euros"),
        ("1,200 €", "one thousand two hundred euros"),
        ("£2.01", "two pounds and one penny"),
        ("Between $160 and $280", "Between one hundred sixty dollars and two hundred eighty dollars"),
        ("$160–$280", "one hundred sixty dollars to two hundred eighty dollars"),
        ("$2,400", "two thousand four hundred dollars"),
        ("USD 35", "thirty-five dollars"),
        ("35 EUR", "thirty-five euros"),
        ("$3.5 million", "three point five million dollars"),
        // Telephone numbers.
        ("Call (718) 555-0186.", "Call seven one eight, five five five, zero one eight six."),
        ("+1 212 555 0142", "plus one, two one two, five five five, zero one four two"),
        ("212-555-0142", "two one two, five five five, zero one four two"),
        ("212.555.0142", "two one two, five five five, zero one four two"),
        ("555-0123", "five five five, zero one two three"),
        ("2125550142", "two one two, five five five, zero one four two"),
        ("call 911", "call nine one one"),
        // Dates.
        ("On 2026-12-25 we are closed.", "On December twenty-fifth, twenty twenty-six we are closed."),
        ("December 24", "December twenty-fourth"),
        ("December 24, 2026", "December twenty-fourth, twenty twenty-six"),
        ("24 December 2026", "the twenty-fourth of December twenty twenty-six"),
        ("Dec. 3", "December third"),
        ("July 4th", "July fourth"),
        ("May I help you?", "May I help you?"),
        ("since 1984", "since nineteen eighty-four"),
        ("in 2005", "in two thousand five"),
        ("in 1907", "in nineteen oh seven"),
        // Ordinals, percentages, numbers.
        ("the 1st floor", "the first floor"),
        ("the 22nd time", "the twenty-second time"),
        ("the 12th", "the twelfth"),
        ("the 30th", "the thirtieth"),
        ("10% off", "ten percent off"),
        ("2.5 %", "two point five percent"),
        ("1,150 people", "one thousand one hundred fifty people"),
        ("room 007", "room zero zero seven"),
        ("New York 11201", "New York one one two zero one"),
        ("10-15 minutes", "ten to fifteen minutes"),
        ("48 River Street", "forty-eight River Street"),
        ("1/2 hour", "one half hour"),
        ("the B67 bus", "the B67 bus"),
        ("#5", "number five"),
        ("No. 5", "number five"),
        ("No. We are closed.", "No. We are closed."),
        ("-5 °C", "minus five degrees Celsius"),
        // Addresses on the net.
        ("Write to desk@example.com.", "Write to desk at example dot com."),
        ("anna.smith@riverside-dental.example.com", "anna dot smith at riverside dash dental dot example dot com"),
        ("See https://www.example.com/fees.", "See w w w dot example dot com slash fees."),
        ("example.org", "example dot org"),
        // Abbreviations and units.
        ("Dr. Chen", "Doctor Chen"),
        ("Mr. and Mrs. Brown", "Mister and Missus Brown"),
        ("12 Main St.", "twelve Main Street"),
        ("St. Mary", "Saint Mary"),
        ("5th Ave.", "fifth Avenue"),
        ("e.g. fillings", "for example fillings"),
        ("crowns, i.e. caps", "crowns, that is caps"),
        ("pens, paper, etc.", "pens, paper, et cetera."),
        ("approx. 5 km", "approximately five kilometers"),
        ("1 km", "one kilometer"),
        ("20 mg", "twenty milligrams"),
        ("45 min", "forty-five minutes"),
        ("30 km/h", "thirty kilometers per hour"),
        ("Smith & Sons", "Smith and Sons"),
        ("ext. 12", "extension twelve"),
        // Markdown and punctuation.
        ("**Yes**, there is *parking*.", "Yes, there is parking."),
        ("## Prices", "Prices"),
        ("- A filling", "A filling"),
        ("See [our prices](https://example.com/p).", "See our prices."),
        ("`code`", "code"),
        ("and/or", "and or or"),
        ("We are closed — sorry…", "We are closed, sorry."),
        ("He said “hello”.", "He said hello."),
        ("it’s", "it's"),
        ("  two   spaces ", "two spaces"),
        ("Is it open (today)?", "Is it open, today?"),
        ("€", ""),
        ("", ""),
        ("Plain words stay, don't they?", "Plain words stay, don't they?"),
    ];

    #[test]
    fn the_golden_corpus_is_spoken_as_written_here() {
        assert!(GOLDEN.len() >= 60);
        let spoken = |(text, expected): &(&str, &str)| {
            let found = normalise(text);
            (found != *expected).then(|| format!("{text:?}\n  expected {expected:?}\n  found    {found:?}"))
        };
        let wrong: Vec<String> = GOLDEN.iter().filter_map(spoken).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_is_speakable_stays_as_it_is() {
        for (_, spoken) in GOLDEN {
            assert_eq!(normalise(spoken), *spoken);
        }
    }

    proptest! {
        /// Office files are written by anybody: no text may panic, and no digit or symbol may be left to the voice.
        #[test]
        fn any_text_comes_out_speakable(text in "\\PC{0,60}|[0-9$€£%:./()+@# –-]{0,40}") {
            let spoken = normalise(&text);
            prop_assert!(!spoken.contains(['$', '€', '%', '*', '#', '@', '\n']), "{spoken}");
        }
    }
}
