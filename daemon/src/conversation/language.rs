//! Which language a caller speaks, by the small words every sentence of it has.
//!
//! A recogniser that knows more than one language writes what it hears. Only English is answered so far: whoever speaks
//! something else is told so and connected with a person. Left out on purpose: telling closely related languages apart
//! by anything finer than their commonest words.

/// A language that callers may speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    /// The one we speak.
    #[default]
    English,
    /// German.
    German,
    /// French.
    French,
    /// Spanish.
    Spanish,
    /// Italian.
    Italian,
}

impl Language {
    /// What it is called in English.
    pub fn name(self) -> &'static str {
        match self {
            Language::English => "English",
            Language::German => "German",
            Language::French => "French",
            Language::Spanish => "Spanish",
            Language::Italian => "Italian",
        }
    }
}

const ENGLISH: &str = "a about again am an and any are at be but can could do does for have hello help how i i'd i'm if in is it \
    me my need no not of okay on or please speak talk thank thanks that the there this to want we what when where which \
    who will with would yes you your";
const OTHERS: [(Language, &str); 4] = [
    (
        Language::German,
        "aber auf auch bei bitte danke das dem den der die ein eine einem einen einer gerne guten haben hallo heute ich ihr \
         ihre ihnen ist ja kann können mein mit mich mir morgen möchte nach nein nicht oder sie sind sprechen tag termin \
         und uhr von wann was welche wie wir wo zu zum zur für geöffnet",
    ),
    (
        Language::French,
        "au avec avez bonjour c'est ce cette comment dans de des du elle est et êtes il je j'ai l'adresse la le les ma mais \
         merci mon ne nous oui où ouvert parler pas pour pourrais pouvez quand que quel quelle qui rendez-vous s'il sont \
         sur un une vos votre vous voudrais",
    ),
    (
        Language::Spanish,
        "abierto buenas buenos con cómo cuál cuándo cuánto cuesta de del días dónde el ella en es está están estoy gracias \
         hablar hola la las los me mi muy no para pero por puede puedo que qué quiero quisiera señor señora sí su tardes \
         tiene tengo un una usted y yo",
    ),
    (
        Language::Italian,
        "aperti aperto buongiorno che chi ciao come con da dei del della di dove e è grazie gli ho il io la le lo mi non \
         parlare per perché posso quando quanto costa qual sono siete sera si sì signora signore suo tutti un una vorrei \
         voi",
    ),
];
/// Small words of names, which tell nothing alone: "Doctor de la Rosa".
const OF_NAMES: &[&str] =
    &["da", "de", "del", "della", "den", "der", "di", "du", "el", "la", "las", "le", "les", "los", "von", "zu", "zur"];
/// Fewer small words than this tell nothing: loan words are everywhere.
const WORDS_MIN: usize = 2;

/// The language of a transcript; English unless another clearly fits better.
pub fn language(text: &str) -> Language {
    let words = super::words(text);
    let known = |list: &str, word: &str| list.split_whitespace().any(|known| known == word);
    let hits = |list: &str| words.iter().filter(|word| known(list, word)).count();
    let more_than_a_name =
        |list: &str| words.iter().any(|word| known(list, word) && !OF_NAMES.contains(&word.as_str()));
    let english = hits(ENGLISH);
    let others = OTHERS.iter().filter(|(_, list)| more_than_a_name(list));
    let best = others.map(|(language, list)| (hits(list), *language)).max_by_key(|(count, _)| *count);
    match best {
        Some((count, language)) if count >= WORDS_MIN && count > english => language,
        Some(_) | None => Language::English,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_by_their_small_words() {
        for (text, expected) in [
            ("Guten Tag, wann haben Sie geöffnet?", Language::German),
            ("Ich möchte bitte mit einem Mitarbeiter sprechen.", Language::German),
            ("Bonjour, je voudrais parler avec quelqu'un.", Language::French),
            ("Hola, ¿a qué hora están abiertos?", Language::Spanish),
            ("Buongiorno, vorrei parlare con la signora Rossi.", Language::Italian),
            ("What are your opening hours?", Language::English),
            ("I would like to speak to Mister von der Leyen.", Language::English),
            ("Doctor de la Rosa, please.", Language::English),
            ("Mi casa", Language::English),
            ("No.", Language::English),
            ("Die Hard", Language::English),
            ("", Language::English),
        ] {
            assert_eq!(language(text), expected, "{text}");
        }
    }
}
