//! Speech and language models behind small traits.
