//! Text to IPA phonemes by espeak-ng, which is one global state in C: everything happens under one lock.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Mutex;

use espeak_rs_sys as espeak;

/// Folder that holds the phonemes and dictionaries, as Debian's package `espeak-ng-data` installs it.
const DATA_FOLDER: &str = "espeak-ng-data";
/// Clauses in one text; each takes some input, so this only guards against a bug there.
const CLAUSES_LIMIT: usize = 1_000;

/// What was initialised, if anything.
static ESPEAK: Mutex<Option<PathBuf>> = Mutex::new(None);

/// The phonemes of `text`, spoken by `voice` (an espeak voice such as `en-us`). Clauses keep their closing punctuation,
/// which Piper speaks as a pause and a melody. `data` is the folder above or at `espeak-ng-data`; `None` looks for it.
pub(crate) fn phonemes(text: &str, voice: &str, data: Option<&Path>) -> Result<String, String> {
    let mut initialised = ESPEAK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if initialised.is_none() {
        *initialised = Some(initialise(data)?);
    }
    set_voice(voice)?;
    let mut phonemes = String::new();
    for line in text.lines() {
        append_line(line, &mut phonemes)?;
    }
    Ok(phonemes.trim_end().to_owned())
}

/// Where the data is: as configured, as the environment says, where Debian installs it.
fn find_data(configured: Option<&Path>) -> Result<PathBuf, String> {
    let environment = std::env::var_os("PIPER_ESPEAKNG_DATA_DIRECTORY").map(PathBuf::from);
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let system = libraries.chain(["/usr/share".into(), "/usr/local/share".into(), "/usr/lib".into()]);
    let candidates = configured.map(Path::to_owned).into_iter().chain(environment).chain(system);
    let with_data = |folder: PathBuf| {
        let inside = folder.join(DATA_FOLDER);
        [inside, folder].into_iter().find(|folder| folder.join("phontab").is_file())
    };
    let mut found = candidates.filter_map(with_data);
    found.next().ok_or_else(|| format!("{DATA_FOLDER} is not installed; on Debian: apt-get install {DATA_FOLDER}"))
}

#[expect(unsafe_code, reason = "espeak-ng is a C library")]
fn initialise(data: Option<&Path>) -> Result<PathBuf, String> {
    let folder = find_data(data)?;
    let path = folder.to_str().and_then(|path| CString::new(path).ok());
    let path = path.ok_or_else(|| format!("the path {} cannot be given to espeak-ng", folder.display()))?;
    let options = espeak::espeakINITIALIZE_DONT_EXIT as i32;
    let output = espeak::espeak_AUDIO_OUTPUT_AUDIO_OUTPUT_RETRIEVAL;
    // SAFETY: `path` is a NUL-terminated string that outlives the call; the lock around us makes this the only call.
    let sample_rate = unsafe { espeak::espeak_Initialize(output, 0, path.as_ptr(), options) };
    if sample_rate > 0 {
        Ok(folder)
    } else {
        Err(format!("espeak-ng does not accept its data in {}", folder.display()))
    }
}

#[expect(unsafe_code, reason = "espeak-ng is a C library")]
fn set_voice(voice: &str) -> Result<(), String> {
    let name = CString::new(voice).map_err(|_| "the name of the voice has a NUL byte".to_owned())?;
    // SAFETY: espeak-ng is initialised, we hold its lock, and `name` outlives the call.
    let result = unsafe { espeak::espeak_SetVoiceByName(name.as_ptr()) };
    if result == espeak::espeak_ERROR_EE_OK { Ok(()) } else { Err(format!("espeak-ng has no voice `{voice}`")) }
}

fn append_line(line: &str, phonemes: &mut String) -> Result<(), String> {
    let text = CString::new(line).map_err(|_| "the text has a NUL byte".to_owned())?;
    let mut start = 0;
    for _ in 0..CLAUSES_LIMIT {
        if start >= line.len() {
            return Ok(());
        }
        let (clause, taken) = next_clause(&text, start);
        let end = taken.unwrap_or(line.len()).clamp(start, line.len());
        append_clause(&clause, closing_mark(&line.as_bytes()[start..end]), phonemes);
        start = end;
    }
    Err("espeak-ng does not come to an end with the text".to_owned())
}

/// The phonemes of the clause at byte `start` of `text`, and where the next one starts; `None` at the end.
#[expect(unsafe_code, reason = "espeak-ng is a C library")]
fn next_clause(text: &CStr, start: usize) -> (String, Option<usize>) {
    let mut rest: *const c_char = text.to_bytes_with_nul()[start..].as_ptr().cast();
    // SAFETY: espeak-ng is initialised and we hold its lock; `rest` points into `text`, which is NUL-terminated and
    // outlives the call, and espeak moves it forward or sets it to null. What it returns is its own buffer, valid until
    // the next call.
    let clause = unsafe {
        let pointer = ptr::from_mut(&mut rest).cast::<*const c_void>();
        let mode = espeak::espeakINITIALIZE_PHONEME_IPA as i32;
        let clause = espeak::espeak_TextToPhonemes(pointer, espeak::espeakCHARS_UTF8 as i32, mode);
        if clause.is_null() { String::new() } else { CStr::from_ptr(clause).to_string_lossy().into_owned() }
    };
    let next = (!rest.is_null()).then(|| (rest as usize).saturating_sub(text.as_ptr() as usize));
    (clause, next)
}

/// The punctuation that ended a clause. espeak drops it, and has read up to three bytes beyond it: the mark is the last
/// one there with nothing or a space behind it.
fn closing_mark(clause: &[u8]) -> Option<char> {
    let ends = |&index: &usize| clause.get(index + 1).is_none_or(u8::is_ascii_whitespace);
    let is_mark = |&index: &usize| b".,;:!?".contains(&clause[index]);
    let near_end = clause.len().saturating_sub(4)..clause.len();
    near_end.rev().filter(is_mark).find(ends).map(|index| char::from(clause[index]))
}

/// Adds a clause and its mark, without the markers of a change of language such as `(en)`.
fn append_clause(clause: &str, mark: Option<char>, phonemes: &mut String) {
    let mut inside = false;
    for c in clause.chars() {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            _ if !inside => phonemes.push(c),
            _ => {}
        }
    }
    if !clause.is_empty() {
        phonemes.extend(mark.filter(|mark| !phonemes.ends_with(*mark)));
        phonemes.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_ipa_and_clauses_keep_their_punctuation() {
        let spoken = phonemes("We are open, are you?", "en-us", None).unwrap();
        assert_eq!(spoken, "wiː ɑːɹ ˈoʊpən, ɑːɹ juː?");
        let spoken = phonemes("At 9.30 a.m. we open. Please come in!", "en-us", None).unwrap();
        assert_eq!(spoken.matches(". ").count(), 1, "{spoken}");
        assert_eq!(phonemes("", "en-us", None).unwrap(), "");
    }

    #[test]
    fn what_cannot_be_spoken_is_an_error_in_words() {
        assert!(phonemes("hi", "no such voice", None).unwrap_err().contains("no such voice"));
        assert!(phonemes("a\0b", "en-us", None).unwrap_err().contains("NUL"));
    }

    #[test]
    fn language_markers_are_dropped() {
        let mut phonemes = String::new();
        append_clause("(en)tˈɛst(de)", Some('.'), &mut phonemes);
        assert_eq!(phonemes, "tˈɛst. ");
    }
}
