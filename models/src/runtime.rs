//! ONNX Runtime: a shared library of the model store, loaded once for the whole process.

use std::path::Path;
use std::sync::Mutex;

use ort::session::{RunOptions, Session};

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

/// Whether the inputs of a model always have the same sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shapes {
    /// They do; memory is laid out once.
    Fixed,
    /// They do not; a layout kept for each size would be used once and hold as much memory as the run itself.
    Varying,
}

/// Opens a model. ONNX Runtime's workers spin between runs unless told otherwise, so they are told. The weights stay out
/// of the arena of working memory, or [`shrinking`] could not give any of it back.
pub(crate) fn session(model: &Path, threads: usize, shapes: Shapes) -> Result<Session, OnnxError> {
    let builder = Session::builder().map_err(text)?;
    let builder = builder.with_intra_threads(threads.clamp(1, 8)).map_err(text)?;
    let builder = builder.with_inter_threads(1).map_err(text)?;
    let builder = builder.with_memory_pattern(shapes == Shapes::Fixed).map_err(text)?;
    let builder = builder.with_config_entry("session.use_device_allocator_for_initializers", "1").map_err(text)?;
    let mut builder = builder.with_intra_op_spinning(false).map_err(text)?;
    builder.commit_from_file(model).map_err(text)
}

/// Options of a run that gives back the working memory which it and the runs before it no longer use.
pub(crate) fn shrinking() -> Result<RunOptions, ort::Error> {
    let mut options = RunOptions::new()?;
    options.add_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")?;
    Ok(options)
}

/// The builder's errors carry the builder itself, which must not cross threads: keep the words.
fn text(error: impl std::fmt::Display) -> OnnxError {
    error.to_string().into()
}
