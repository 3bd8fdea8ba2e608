//! The one thing we need of NumPy's formats: a little-endian f32 matrix out of an `.npz` (a zip of `.npy` files).

use std::io::{Cursor, Read};

use super::ConvertError;

/// whisper's largest table is 128 × 201.
const VALUES_LIMIT: usize = 1 << 20;

/// A matrix in row order, its values still as little-endian bytes.
pub(super) struct Matrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) bytes: Vec<u8>,
}

/// Reads the member `name` (without `.npy`).
pub(super) fn matrix(npz: &[u8], name: &str) -> Result<Matrix, ConvertError> {
    let failed = |reason: String| ConvertError::MelFilters(format!("{name}: {reason}"));
    let mut zip = zip::ZipArchive::new(Cursor::new(npz)).map_err(|error| failed(error.to_string()))?;
    let member = zip.by_name(&format!("{name}.npy")).map_err(|error| failed(error.to_string()))?;
    let mut npy = Vec::new();
    member.take(VALUES_LIMIT as u64 * 4 + 256).read_to_end(&mut npy)?;
    parse_npy(&npy).ok_or_else(|| failed("it is not a little-endian f32 matrix in row order".to_owned()))
}

/// Version 1 of the format: `\x93NUMPY`, 1, 0, u16 length, a Python dictionary, the values.
fn parse_npy(npy: &[u8]) -> Option<Matrix> {
    let rest = npy.strip_prefix(b"\x93NUMPY\x01\x00")?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (header, values) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let header = std::str::from_utf8(header).ok()?;
    if !header.contains("'descr': '<f4'") || !header.contains("'fortran_order': False") {
        return None;
    }
    let shape = header.split("'shape': (").nth(1)?.split(')').next()?;
    let mut sizes = shape.split(',').map(|size| size.trim().parse::<usize>().ok());
    let (rows, columns) = (sizes.next()??, sizes.next()??);
    (rows.checked_mul(columns)?.checked_mul(4)? == values.len()).then(|| Matrix {
        rows,
        columns,
        bytes: values.to_vec(),
    })
}
