//! Reading CTranslate2's `model.bin` by position.
//!
//! ```text
//! u32 version | text spec | u32 revision | u32 count
//! count × { text name | u8 rank | rank × u32 size | u8 type | u32 bytes | values }
//! text = u16 length, bytes, the last one 0
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::ConvertError;

/// Bounds on what a header may claim: a real Whisper has under 2,000 variables of at most 3 dimensions.
const VARIABLES_LIMIT: u32 = 20_000;
const RANK_LIMIT: u8 = 4;

/// Element types, with CTranslate2's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    F32,
    I8,
    I16,
    I32,
    F16,
}

/// Where a variable's values are.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) shape: Vec<usize>,
    pub(super) kind: Type,
    offset: u64,
}

/// An open model file.
pub(super) struct Model {
    file: BufReader<File>,
    variables: HashMap<String, Variable>,
}

impl Type {
    fn from_number(number: u8) -> Option<Self> {
        [Self::F32, Self::I8, Self::I16, Self::I32, Self::F16].get(usize::from(number)).copied()
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::I16 | Self::F16 => 2,
            Self::I8 => 1,
        }
    }
}

impl Variable {
    /// Number of values.
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Model {
    /// Reads the table of contents.
    pub(super) fn open(path: &Path) -> Result<Self, ConvertError> {
        let file = File::open(path)?;
        let total = file.metadata()?.len();
        let mut file = BufReader::new(file);
        let version = number::<4>(&mut file).map_err(|_| not_ct2("it is too short"))?;
        if !(4..=64).contains(&version) {
            return Err(not_ct2(format!("its first word is {version}, not a format version from 4")));
        }
        let spec = text(&mut file).map_err(|_| not_ct2("it has no name of its kind"))?;
        if spec != "WhisperSpec" {
            return Err(ConvertError::NotWhisper(spec));
        }
        let _revision = number::<4>(&mut file)?;
        let count = number::<4>(&mut file)?;
        if count > VARIABLES_LIMIT {
            return Err(not_ct2(format!("it claims {count} variables")));
        }
        let mut variables = HashMap::new();
        for _ in 0..count {
            let (name, variable) = variable(&mut file, total)?;
            file.seek(SeekFrom::Start(variable.offset + (variable.count() * variable.kind.bytes()) as u64))?;
            variables.insert(name, variable);
        }
        Ok(Self { file, variables })
    }

    pub(super) fn find(&self, name: &str) -> Result<&Variable, ConvertError> {
        self.variables.get(name).ok_or_else(|| ConvertError::TensorMissing(name.to_owned()))
    }

    /// Layers of "encoder" or "decoder": numbered from 0 without a gap.
    pub(super) fn layers(&self, side: &str) -> usize {
        let has = |layer: &usize| {
            let prefix = format!("{side}/layer_{layer}/");
            self.variables.keys().any(|name| name.starts_with(&prefix))
        };
        (0..VARIABLES_LIMIT as usize).take_while(has).count()
    }

    /// The one value of an integer variable.
    pub(super) fn integer(&mut self, name: &str) -> Result<i32, ConvertError> {
        let variable = self.find(name)?.clone();
        let problem = |problem: &str| ConvertError::Tensor { name: name.to_owned(), problem: problem.to_owned() };
        if variable.count() != 1 {
            return Err(problem("should be one number"));
        }
        let mut bytes = [0; 4];
        let width = variable.kind.bytes();
        self.read_at(&variable, 0, &mut bytes[..width])?;
        match variable.kind {
            Type::I8 => Ok(i32::from(bytes[0] as i8)),
            Type::I16 => Ok(i32::from(i16::from_le_bytes([bytes[0], bytes[1]]))),
            Type::I32 => Ok(i32::from_le_bytes(bytes)),
            Type::F16 | Type::F32 => Err(problem("should be an integer")),
        }
    }

    /// Reads values from element `first` on, as many as `into` holds.
    pub(super) fn read_at(&mut self, variable: &Variable, first: usize, into: &mut [u8]) -> Result<(), ConvertError> {
        let offset = variable.offset + (first * variable.kind.bytes()) as u64;
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_exact(into)?;
        Ok(())
    }
}

fn variable(file: &mut BufReader<File>, total: u64) -> Result<(String, Variable), ConvertError> {
    let name = text(file)?;
    let problem = |problem: String| ConvertError::Tensor { name: name.clone(), problem };
    let rank = number::<1>(file)? as u8;
    if rank > RANK_LIMIT {
        return Err(problem(format!("has {rank} dimensions")));
    }
    let shape: Vec<usize> = (0..rank).map(|_| Ok(number::<4>(file)? as usize)).collect::<Result<_, ConvertError>>()?;
    let kind = number::<1>(file)? as u8;
    let kind = Type::from_number(kind).ok_or_else(|| problem(format!("has the unknown type {kind}")))?;
    let bytes = u64::from(number::<4>(file)?);
    let offset = file.stream_position()?;
    let wanted = shape.iter().try_fold(kind.bytes() as u64, |product, &size| product.checked_mul(size as u64));
    if wanted != Some(bytes) || offset.checked_add(bytes).is_none_or(|end| end > total) {
        return Err(problem(format!("of shape {shape:?} does not fit its {bytes} bytes")));
    }
    Ok((name, Variable { shape, kind, offset }))
}

/// A little-endian unsigned number of `N` ≤ 4 bytes.
fn number<const N: usize>(file: &mut impl Read) -> Result<u32, ConvertError> {
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes[..N])?;
    Ok(u32::from_le_bytes(bytes))
}

fn text(file: &mut impl Read) -> Result<String, ConvertError> {
    let mut bytes = vec![0; number::<2>(file)? as usize];
    file.read_exact(&mut bytes)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| not_ct2("a name in it is not UTF-8"))
}

fn not_ct2(reason: impl Into<String>) -> ConvertError {
    ConvertError::NotCt2(reason.into())
}
