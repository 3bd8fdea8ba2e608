//! Which of the box's rows answers which line of the caller.

use super::word_errors;

/// What it costs to leave a line without a row, or a row without a line, in shares of a line's words.
const UNPAIRED: f64 = 0.7;

/// For each line said, the row in which it was heard: both in order, by their words. `None`: it has no row of its own. Rows
/// in nobody's place are turns that nobody took.
pub fn align(said: &[&str], rows: &[&str]) -> Vec<Option<usize>> {
    // cost[i][j]: the best for the first i lines and the first j rows.
    let mut cost = vec![vec![0.0; rows.len() + 1]; said.len() + 1];
    for i in 0..=said.len() {
        for j in 0..=rows.len() {
            let paired = i.checked_sub(1).zip(j.checked_sub(1)).map(|(i, j)| cost[i][j] + difference(said[i], rows[j]));
            let no_row = i.checked_sub(1).map(|i| cost[i][j] + UNPAIRED);
            let no_line = j.checked_sub(1).map(|j| cost[i][j] + UNPAIRED);
            cost[i][j] = [paired, no_row, no_line].into_iter().flatten().reduce(f64::min).unwrap_or(0.0);
        }
    }
    let mut pairs = vec![None; said.len()];
    let (mut i, mut j) = (said.len(), rows.len());
    while i > 0 && j > 0 {
        if cost[i][j] == cost[i - 1][j - 1] + difference(said[i - 1], rows[j - 1]) {
            pairs[i - 1] = Some(j - 1);
            (i, j) = (i - 1, j - 1);
        } else if cost[i][j] == cost[i - 1][j] + UNPAIRED {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    pairs
}

/// 0: the same words; 1: none in common.
fn difference(said: &str, heard: &str) -> f64 {
    let (wrong, words) = word_errors(said, heard);
    (wrong as f64 / words.max(1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_find_their_rows_by_words_and_order() {
        let said = ["Where are you?", "How much is a crown?", "Yes."];
        for (rows, expected) in [
            (&["Where are you?", "How much is a crown?", "Yes."][..], [Some(0), Some(1), Some(2)]),
            (&["Where are you?", "Yes."], [Some(0), None, Some(1)]),
            (&["Where are you?", "Thank you.", "How much is a clown?", "Yes."], [Some(0), Some(2), Some(3)]),
            (&["How much is a crown?"], [None, Some(0), None]),
            // Misheard altogether, but in its place.
            (&["Where are you?", "How mush his a ground?", "Guess."], [Some(0), Some(1), Some(2)]),
            (&[], [None, None, None]),
        ] {
            assert_eq!(align(&said, rows), expected, "{rows:?}");
        }
    }
}
