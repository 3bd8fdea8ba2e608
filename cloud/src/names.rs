//! Names of tenants and boxes, and the codes that boxes are claimed with.

use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

/// Crockford's base 32: no letter is taken for another when it is read aloud.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 80 bits: nobody tries them all.
const CODE_LETTERS: usize = 16;

/// Whether it may be the name of a tenant or a box: 1 to 63 lower-case letters, digits and hyphens, as in a host name.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(fits)
}

/// A new code, in groups of four.
pub fn new_code() -> String {
    let mut random = rand::rng();
    let letters: Vec<u8> = (0..CODE_LETTERS).map(|_| ALPHABET[random.random_range(0..ALPHABET.len())]).collect();
    let groups: Vec<_> = letters.chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    groups.join("-")
}

/// What is kept of a code, however it was written.
pub fn hash_of_code(code: &str) -> [u8; 32] {
    let letter = |letter: char| match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        letter => letter,
    };
    let letters: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').map(letter).collect();
    Sha256::digest(letters).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_however_it_is_written() {
        let code = new_code();
        assert_eq!((code.len(), code.matches('-').count()), (19, 3), "{code}");
        assert_eq!(hash_of_code(&code), hash_of_code(&code.to_lowercase().replace('-', " ")));
        assert_eq!(hash_of_code("0110-ABCD"), hash_of_code("oilO ab cd"));
        assert_ne!(hash_of_code(&code), hash_of_code(&new_code()));
    }

    #[test]
    fn names_are_those_of_hosts() {
        for (name, right) in [
            ("office-7", true),
            ("0191f2a0-7d00-7abc-8def-0123456789ab", true),
            ("", false),
            ("Office", false),
            ("a/b", false),
            ("ä", false),
        ] {
            assert_eq!(is_name(name), right, "{name}");
        }
        assert!(is_name(&"a".repeat(63)) && !is_name(&"a".repeat(64)));
    }
}
