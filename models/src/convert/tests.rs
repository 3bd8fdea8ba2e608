//! The converter on a tiny model made here. That the real models come out byte by byte is checked by their hashes.

use std::fs;

use half::f16;
use tempfile::tempdir;

use super::*;

/// Sizes of the toy: a state of 32, so that Q8_0 has whole blocks.
const STATE: usize = 32;

struct Ct2 {
    variables: Vec<(String, Vec<usize>, u8, Vec<u8>)>,
}

impl Ct2 {
    fn new() -> Self {
        Self { variables: Vec::new() }
    }

    fn halves(&mut self, name: &str, shape: &[usize], value: impl Fn(usize) -> f32) {
        let bytes = (0..shape.iter().product()).flat_map(|i| f16::from_f32(value(i)).to_le_bytes()).collect();
        self.variables.push((name.to_owned(), shape.to_vec(), 4, bytes));
    }

    fn bytes(&self, spec: &str) -> Vec<u8> {
        let mut out = 6_u32.to_le_bytes().to_vec();
        text(&mut out, spec);
        out.extend(3_u32.to_le_bytes());
        out.extend((self.variables.len() as u32).to_le_bytes());
        for (name, shape, kind, bytes) in &self.variables {
            text(&mut out, name);
            out.push(shape.len() as u8);
            shape.iter().for_each(|&size| out.extend((size as u32).to_le_bytes()));
            out.push(*kind);
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(bytes);
        }
        out
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16 + 1).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

/// One encoder and one decoder layer. `key_bias` is the value of every key bias.
fn toy(key_bias: f32) -> Ct2 {
    let mut model = Ct2::new();
    for side in ["encoder", "decoder"] {
        model.variables.push((format!("{side}/num_heads"), vec![], 1, vec![2]));
        model.halves(&format!("{side}/position_encodings/encodings"), &[4, STATE], |i| i as f32);
        norm(&mut model, &format!("{side}/layer_norm"));
        let layer = format!("{side}/layer_0");
        fused(&mut model, &format!("{layer}/self_attention"), 3, key_bias);
        norm(&mut model, &format!("{layer}/self_attention/layer_norm"));
        for linear in ["linear_0", "linear_1"] {
            linear_of(&mut model, &format!("{layer}/ffn/{linear}"), 1);
        }
        norm(&mut model, &format!("{layer}/ffn/layer_norm"));
    }
    let cross = "decoder/layer_0/attention";
    fused(&mut model, cross, 2, key_bias);
    norm(&mut model, &format!("{cross}/layer_norm"));
    model.halves("encoder/conv1/weight", &[STATE, 2, 3], |i| i as f32);
    model.halves("encoder/conv2/weight", &[STATE, STATE, 3], |_| 0.5);
    for conv in ["conv1", "conv2"] {
        model.halves(&format!("encoder/{conv}/bias"), &[STATE], |_| 0.25);
    }
    model.halves("decoder/embeddings/weight", &[3, STATE], |i| i as f32);
    model
}

fn norm(model: &mut Ct2, name: &str) {
    model.halves(&format!("{name}/gamma"), &[STATE], |_| 1.0);
    model.halves(&format!("{name}/beta"), &[STATE], |_| 0.0);
}

fn linear_of(model: &mut Ct2, name: &str, parts: usize) {
    model.halves(&format!("{name}/weight"), &[parts * STATE, STATE], |i| (i / (STATE * STATE)) as f32 + 1.0);
    model.halves(&format!("{name}/bias"), &[parts * STATE], |_| 0.125);
}

/// Attention whose first matrices hold `parts` of query, key and value. The parts' weights are 1, 2, 3.
fn fused(model: &mut Ct2, name: &str, parts: usize, key_bias: f32) {
    let key = parts - 2;
    let bias = move |i: usize| if i / STATE == key { key_bias } else { i as f32 };
    if parts == 2 {
        linear_of(model, &format!("{name}/linear_0"), 1);
    }
    let first = 3 - parts;
    let weight = format!("{name}/linear_{first}/weight");
    model.halves(&weight, &[parts * STATE, STATE], |i| (i / (STATE * STATE)) as f32 + 1.0);
    model.halves(&format!("{name}/linear_{first}/bias"), &[parts * STATE], bias);
    linear_of(model, &format!("{name}/linear_{}", first + 1), 1);
}

fn assets() -> Assets {
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.extend((0..6).flat_map(|i| (i as f32).to_le_bytes()));
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    zip.start_file("mel_2.npy", zip::write::SimpleFileOptions::default()).unwrap();
    io::Write::write_all(&mut zip, &npy).unwrap();
    let mel_filters = zip.finish().unwrap().into_inner();
    Assets { mel_filters, english: b"YQ== 0\nYmM= 1\n= 2\n".to_vec(), multilingual: Vec::new() }
}

fn convert(bytes: &[u8], quantisation: Quantisation) -> Result<Vec<u8>, ConvertError> {
    let folder = tempdir().unwrap();
    let (from, to) = (folder.path().join("model.bin"), folder.path().join("ggml.bin"));
    fs::write(&from, bytes).unwrap();
    whisper(&from, &assets(), quantisation, &to)?;
    Ok(fs::read(&to).unwrap())
}

/// Name, shape as ggml has it, type and values.
type Parsed = (String, Vec<i32>, i32, Vec<u8>);

/// Reads a ggml file back: sizes, words, and each tensor's name, shape (as ggml has it), type and bytes.
fn parse(ggml: &[u8]) -> (Vec<i32>, Vec<Vec<u8>>, Vec<Parsed>) {
    let mut at = 0;
    let mut take = |count: usize| {
        at += count;
        ggml[at - count..at].to_vec()
    };
    let int = |take: &mut dyn FnMut(usize) -> Vec<u8>| i32::from_le_bytes(take(4).try_into().unwrap());
    let head: Vec<i32> = (0..12).map(|_| int(&mut take)).collect();
    let (rows, columns) = (int(&mut take), int(&mut take));
    take((rows * columns * 4) as usize);
    let words = (0..int(&mut take)).map(|_| {
        let length = int(&mut take) as usize;
        take(length)
    });
    let words: Vec<Vec<u8>> = words.collect();
    let mut tensors = Vec::new();
    let mut left = ggml.len() - head_bytes(&words, rows * columns);
    while left > 0 {
        let (rank, name, kind) = (int(&mut take), int(&mut take), int(&mut take));
        let shape: Vec<i32> = (0..rank).map(|_| int(&mut take)).collect();
        let name = String::from_utf8(take(name as usize)).unwrap();
        let count = shape.iter().product::<i32>() as usize;
        let bytes = match kind {
            0 => count * 4,
            1 => count * 2,
            8 => count / 32 * 34,
            other => panic!("type {other}"),
        };
        left -= 12 + 4 * rank as usize + name.len() + bytes;
        tensors.push((name, shape, kind, take(bytes)));
    }
    (head, words, tensors)
}

fn head_bytes(words: &[Vec<u8>], mel_values: i32) -> usize {
    12 * 4 + 8 + mel_values as usize * 4 + 4 + words.iter().map(|word| 4 + word.len()).sum::<usize>()
}

#[test]
fn queries_keys_and_values_are_split_and_everything_is_named_as_whisper_cpp_wants() {
    let ggml = convert(&toy(0.0).bytes("WhisperSpec"), Quantisation::F16).unwrap();
    let (head, words, tensors) = parse(&ggml);
    assert_eq!(head, [0x6767_6d6c, 3, 4, 32, 2, 1, 4, 32, 2, 1, 2, 1]);
    assert_eq!(words, [b"a".to_vec(), b"bc".to_vec(), Vec::new()]);
    let find = |name: &str| tensors.iter().find(|tensor| tensor.0 == name).unwrap_or_else(|| panic!("{name}"));
    for (name, value) in [("query", 1.0), ("key", 2.0), ("value", 3.0)] {
        let (_, shape, kind, bytes) = find(&format!("encoder.blocks.0.attn.{name}.weight"));
        assert_eq!((shape.as_slice(), *kind), (&[32, 32][..], 1));
        assert!(bytes.chunks(2).all(|half| half == f16::from_f32(value).to_le_bytes()), "{name}");
    }
    for (name, value) in [("key", 1.0), ("value", 2.0)] {
        let bytes = &find(&format!("decoder.blocks.0.cross_attn.{name}.weight")).3;
        assert!(bytes.chunks(2).all(|half| half == f16::from_f32(value).to_le_bytes()), "{name}");
    }
    assert!(tensors.iter().all(|tensor| !tensor.0.ends_with("key.bias")));
    let (_, shape, kind, _) = find("encoder.conv1.bias");
    assert_eq!((shape.as_slice(), *kind), (&[1, 32][..], 0));
    assert_eq!(find("decoder.positional_embedding").2, 0);
    assert_eq!(find("encoder.conv1.weight").1, [3, 2, 32]);
}

#[test]
fn q8_0_scales_each_block_by_its_largest_value() {
    let ggml = convert(&toy(0.0).bytes("WhisperSpec"), Quantisation::Q8_0).unwrap();
    let (head, _, tensors) = parse(&ggml);
    assert_eq!(head[11], 2_007);
    let embedding = tensors.iter().find(|tensor| tensor.0 == "decoder.token_embedding.weight").unwrap();
    assert_eq!(embedding.2, 8);
    let block = &embedding.3[..34];
    assert_eq!(block[..2], f16::from_f32(31.0 / 127.0).to_le_bytes());
    assert_eq!((block[2], block[33]), (0, 127));
    let conv = tensors.iter().find(|tensor| tensor.0 == "encoder.conv1.weight").unwrap();
    assert_eq!(conv.2, 1, "convolutions stay at 16 bits");
}

#[test]
fn wrong_inputs_are_named() {
    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let error = convert(bytes, Quantisation::F16).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    check(&toy(0.5).bytes("WhisperSpec"), "key bias");
    check(&toy(0.0).bytes("TransformerSpec"), "TransformerSpec model, not a Whisper");
    check(b"", "not a CTranslate2 model");
    check(&[0xff; 64], "not a CTranslate2 model");
    check(&Ct2::new().bytes("WhisperSpec"), "decoder/embeddings/weight is missing");
    let mut quantised = toy(0.0);
    let weight = quantised.variables.iter_mut().find(|v| v.0 == "decoder/embeddings/weight").unwrap();
    (weight.2, weight.3) = (1, vec![0; 3 * STATE]);
    check(&quantised.bytes("WhisperSpec"), "quantised");
    let mut lying = toy(0.0);
    lying.variables[1].1 = vec![5, STATE];
    check(&lying.bytes("WhisperSpec"), "does not fit");
}

#[test]
fn a_file_cut_anywhere_is_an_error_and_never_a_panic() {
    let whole = toy(0.0).bytes("WhisperSpec");
    for length in (0..whole.len()).step_by(211) {
        assert!(convert(&whole[..length], Quantisation::F16).is_err(), "cut at {length}");
    }
}
