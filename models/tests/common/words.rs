//! How many words of a text were heard wrong.

/// Word errors and words of the reference. Digits and their words count as the same.
pub(crate) fn word_errors(reference: &str, heard: &str) -> (usize, usize) {
    let (reference, heard) = (words(reference), words(heard));
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, wanted) in reference.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, word) in heard.iter().enumerate() {
            let replaced = diagonal + usize::from(wanted != word);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    (row[heard.len()], reference.len())
}

fn words(text: &str) -> Vec<String> {
    const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let text = text.to_lowercase().replace("oh ", "zero ").replace("'s", "s").replace("flavour", "flavor");
    let word = |word: &str| -> Vec<String> {
        if word.chars().all(|c| c.is_ascii_digit()) {
            word.bytes().map(|digit| DIGITS[usize::from(digit - b'0')].to_owned()).collect()
        } else {
            vec![word.to_owned()]
        }
    };
    text.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).flat_map(word).collect()
}
