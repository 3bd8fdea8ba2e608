//! The office's own texts: cut into passages, searched, quoted.
