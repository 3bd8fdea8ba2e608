//! A safetensors file read piece by piece.
//!
//! ```text
//! u64 length of the header | header in JSON: name -> type, shape, from and to | values, little-endian
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::Deserialize;

use crate::EmbedError;

/// The header of the model in use has 12 kB.
const HEADER_LIMIT_BYTES: u64 = 1 << 20;
const VALUE_BYTES: usize = size_of::<f32>();

/// An open file whose tensors are read when they are asked for.
pub(super) struct Weights {
    file: File,
    tensors: HashMap<String, Place>,
}

/// Where a tensor of 32-bit floats is.
#[derive(Clone)]
struct Place {
    shape: Vec<usize>,
    offset_bytes: u64,
}

/// What the header says about a tensor.
#[derive(Deserialize)]
struct Described {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// A matrix that stays in its file; only the rows asked for are read.
pub(super) struct Rows {
    file: File,
    offset_bytes: u64,
    count: usize,
    columns: usize,
}

impl Weights {
    /// Opens `path` and reads its header. Tensors of other types than `F32` are left out.
    pub(super) fn open(path: &Path) -> Result<Self, EmbedError> {
        let file = File::open(path).map_err(super::engine)?;
        let tensors = read_header(&file).map_err(super::engine)?;
        Ok(Self { file, tensors })
    }

    /// The tensors whose names begin with one of `prefixes`, in memory.
    pub(super) fn load(&self, prefixes: &[&str]) -> Result<HashMap<String, Tensor>, EmbedError> {
        let wanted = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let names = self.tensors.iter().filter(|(name, _)| wanted(name));
        names.map(|(name, place)| Ok((name.clone(), self.tensor(place)?))).collect()
    }

    fn tensor(&self, place: &Place) -> Result<Tensor, EmbedError> {
        let values = read_values(&self.file, place.offset_bytes, place.shape.iter().product());
        Tensor::from_vec(values.map_err(super::engine)?, place.shape.as_slice(), &Device::Cpu).map_err(super::engine)
    }

    /// The matrix `name`, left in the file.
    pub(super) fn into_rows(self, name: &str) -> Result<Rows, EmbedError> {
        match self.tensors.get(name).map(|place| (place.shape.as_slice(), place.offset_bytes)) {
            Some((&[count, columns], offset_bytes)) => Ok(Rows { file: self.file, offset_bytes, count, columns }),
            Some(_) | None => Err(super::engine(invalid(format!("it has no matrix {name}")))),
        }
    }
}

impl Rows {
    /// The rows `ids`, one after the other, as a tensor of one batch.
    pub(super) fn gather(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        let mut values = Vec::with_capacity(ids.len() * self.columns);
        for &id in ids {
            let row = id as usize;
            if row >= self.count {
                return Err(invalid(format!("row {row} of {}", self.count)).into());
            }
            let offset_bytes = self.offset_bytes + (row * self.columns * VALUE_BYTES) as u64;
            values.extend(read_values(&self.file, offset_bytes, self.columns)?);
        }
        Tensor::from_vec(values, (1, ids.len(), self.columns), &Device::Cpu)
    }
}

fn read_header(file: &File) -> io::Result<HashMap<String, Place>> {
    let mut length = [0; size_of::<u64>()];
    file.read_exact_at(&mut length, 0)?;
    let length_bytes = u64::from_le_bytes(length);
    if length_bytes > HEADER_LIMIT_BYTES {
        return Err(invalid(format!("a header of {length_bytes} bytes")));
    }
    let mut header = vec![0; length_bytes as usize];
    file.read_exact_at(&mut header, length.len() as u64)?;
    let data_start_bytes = length.len() as u64 + length_bytes;
    let data_bytes = file.metadata()?.len().saturating_sub(data_start_bytes);
    let header: HashMap<String, serde_json::Value> = serde_json::from_slice(&header)?;
    let mut tensors = HashMap::new();
    for (name, value) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
        let described: Described = serde_json::from_value(value)?;
        if described.dtype == "F32" {
            let offset_bytes = data_start_bytes + checked_start(&described, data_bytes)?;
            tensors.insert(name, Place { shape: described.shape, offset_bytes });
        }
    }
    Ok(tensors)
}

/// Where the tensor starts, if its shape, its place and the file agree.
fn checked_start(described: &Described, data_bytes: u64) -> io::Result<u64> {
    let [from, to] = described.data_offsets;
    let size = described.shape.iter().try_fold(VALUE_BYTES, |size, &dimension| size.checked_mul(dimension));
    let fits = from <= to && to <= data_bytes && size.is_some_and(|size| size as u64 == to - from);
    if fits { Ok(from) } else { Err(invalid(format!("a tensor of {:?} from {from} to {to}", described.shape))) }
}

fn read_values(file: &File, offset_bytes: u64, count: usize) -> io::Result<Vec<f32>> {
    let mut bytes = vec![0; count * VALUE_BYTES];
    file.read_exact_at(&mut bytes, offset_bytes)?;
    let (values, _) = bytes.as_chunks();
    Ok(values.iter().map(|&value| f32::from_le_bytes(value)).collect())
}

fn invalid(problem: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the weights cannot be read: {problem}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A file with `header` and the values 0, 1, 2, 3, 4, 5.
    fn file(header: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        for value in 0_u8..6 {
            file.write_all(&f32::from(value).to_le_bytes()).unwrap();
        }
        file
    }

    #[test]
    fn tensors_are_loaded_by_prefix_and_rows_one_by_one() {
        let file = file(
            r#"{"__metadata__":{"format":"pt"},
                "a.ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},
                "a.norm":{"dtype":"F32","shape":[2],"data_offsets":[16,24]},
                "words":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}}"#,
        );
        let weights = Weights::open(file.path()).unwrap();
        let loaded = weights.load(&["a."]).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded["a.norm"].to_vec1::<f32>().unwrap(), [4.0, 5.0]);
        let rows = weights.into_rows("words").unwrap();
        assert_eq!(rows.gather(&[2, 0]).unwrap().to_vec3::<f32>().unwrap(), [[[4.0, 5.0], [0.0, 1.0]]]);
        assert!(rows.gather(&[3]).is_err(), "there are three rows");
    }

    #[test]
    fn headers_that_lie_are_errors() {
        for header in [
            "no JSON",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[20,28]}}"#,
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
            r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#,
        ] {
            assert!(Weights::open(file(header).path()).is_err(), "{header}");
        }
        let mut long = tempfile::NamedTempFile::new().unwrap();
        long.write_all(&[0xff; 16]).unwrap();
        assert!(Weights::open(long.path()).is_err(), "a header longer than the file");
        let vector = file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#);
        assert!(Weights::open(vector.path()).unwrap().into_rows("a").is_err(), "not a matrix");
    }
}
