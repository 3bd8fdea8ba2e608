//! ONNX Runtime: a shared library of the model store, loaded once for the whole process.

use std::path::Path;
use std::sync::Mutex;

use ort::session::Session;

/// Why an ONNX model could not be used.
pub(crate) type OnnxError = Box<dyn std::error::Error + Send + Sync>;

/// Loads the library at `path`; later calls return at once, whatever their path: there is one per process.
pub(crate) fn init(path: &Path) -> Result<(), OnnxError> {
    static LOADED: Mutex<bool> = Mutex::new(false);
    let mut loaded = LOADED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !*loaded {
        ort::init_from(path)?.with_telemetry(false).commit();
        *loaded = true;
    }
    Ok(())
}

/// Opens a model. ONNX Runtime's workers spin between runs unless told otherwise, so they are told.
pub(crate) fn session(model: &Path, threads: usize) -> Result<Session, OnnxError> {
    let builder = Session::builder().map_err(text)?;
    let builder = builder.with_intra_threads(threads.clamp(1, 8)).map_err(text)?;
    let builder = builder.with_inter_threads(1).map_err(text)?;
    let mut builder = builder.with_intra_op_spinning(false).map_err(text)?;
    builder.commit_from_file(model).map_err(text)
}

/// The builder's errors carry the builder itself, which must not cross threads: keep the words.
fn text(error: impl std::fmt::Display) -> OnnxError {
    error.to_string().into()
}
