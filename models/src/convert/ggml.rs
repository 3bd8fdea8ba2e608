//! Writing whisper.cpp's file.

use std::io::Write;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use half::f16;

use super::ct2::{Model, Type, Variable};
use super::{Assets, ConvertError, npz};
use crate::catalogue::Quantisation;

const MAGIC: i32 = 0x6767_6d6c;
/// Vocabularies from this size on are multilingual.
const MULTILINGUAL_TOKENS: usize = 51_865;
/// Values that share one scale in Q8_0.
const BLOCK: usize = 32;
/// Values read at a time; a multiple of [`BLOCK`].
const CHUNK: usize = 1 << 14;

/// How a tensor's values are stored, with ggml's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    F32 = 0,
    F16 = 1,
    Q8_0 = 8,
}

/// A tensor as the ggml file wants it: which rows of which variable, under which name.
struct Tensor {
    name: String,
    source: String,
    /// This third (or half) of the rows: part number and how many parts.
    part: (usize, usize),
}

pub(super) fn write(
    model: &mut Model,
    assets: &Assets,
    quantisation: Quantisation,
    out: &mut impl Write,
) -> Result<(), ConvertError> {
    let (encoder_layers, decoder_layers) = (model.layers("encoder"), model.layers("decoder"));
    let [tokens, text_state] = shape(model, "decoder/embeddings/weight")?;
    let [audio_state, mels, _] = shape(model, "encoder/conv1/weight")?;
    let [audio_context, _] = shape(model, "encoder/position_encodings/encodings")?;
    let [text_context, _] = shape(model, "decoder/position_encodings/encodings")?;
    let file_type = match quantisation {
        Quantisation::F16 => 1,
        // Version 2 of the quantised formats, type 7.
        Quantisation::Q8_0 => 2_007,
    };
    let heads = [model.integer("encoder/num_heads")?, model.integer("decoder/num_heads")?];
    let sizes = [tokens, audio_context, audio_state].map(|size| size as i32);
    let header = [MAGIC, sizes[0], sizes[1], sizes[2], heads[0], encoder_layers as i32, text_context as i32];
    numbers(out, &header)?;
    numbers(out, &[text_state as i32, heads[1], decoder_layers as i32, mels as i32, file_type])?;
    write_mel_filters(assets, mels, out)?;
    let multilingual = tokens >= MULTILINGUAL_TOKENS;
    write_vocabulary(if multilingual { &assets.multilingual } else { &assets.english }, out)?;
    for tensor in tensors(encoder_layers, decoder_layers) {
        write_tensor(model, &tensor, quantisation, out)?;
    }
    for bias in key_biases(encoder_layers, decoder_layers) {
        check_key_bias(model, &bias)?;
    }
    Ok(())
}

fn shape<const N: usize>(model: &Model, name: &str) -> Result<[usize; N], ConvertError> {
    let shape = &model.find(name)?.shape;
    shape.as_slice().try_into().map_err(|_| problem(name, format!("has the shape {shape:?}")))
}

fn write_mel_filters(assets: &Assets, mels: usize, out: &mut impl Write) -> Result<(), ConvertError> {
    let filters = npz::matrix(&assets.mel_filters, &format!("mel_{mels}"))?;
    numbers(out, &[filters.rows as i32, filters.columns as i32])?;
    Ok(out.write_all(&filters.bytes)?)
}

/// A tiktoken file is one `BASE64 RANK` a line, in the order of the ranks.
fn write_vocabulary(tiktoken: &[u8], out: &mut impl Write) -> Result<(), ConvertError> {
    let lines = || tiktoken.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    numbers(out, &[lines().count() as i32])?;
    for (line, entry) in lines().enumerate() {
        let token = entry.split(|&byte| byte == b' ').next().unwrap_or_default();
        // One multilingual token is empty and written as a lone `=`, which strict decoders refuse.
        let token = token.trim_ascii_end().strip_suffix(b"=").unwrap_or(token);
        let token = BASE64_STANDARD_NO_PAD
            .decode(token.strip_suffix(b"=").unwrap_or(token))
            .map_err(|_| ConvertError::Vocabulary { line: line + 1 })?;
        numbers(out, &[token.len() as i32])?;
        out.write_all(&token)?;
    }
    Ok(())
}

/// All tensors in the order of the reference converter, which the known hashes depend on.
fn tensors(encoder_layers: usize, decoder_layers: usize) -> Vec<Tensor> {
    let mut list = vec![whole("encoder.positional_embedding", "encoder/position_encodings/encodings")];
    for conv in ["conv1", "conv2"] {
        for kind in ["weight", "bias"] {
            list.push(whole(format!("encoder.{conv}.{kind}"), format!("encoder/{conv}/{kind}")));
        }
    }
    for layer in 0..encoder_layers {
        block(&mut list, &format!("encoder/layer_{layer}"), &format!("encoder.blocks.{layer}"), false);
    }
    norm(&mut list, "encoder/layer_norm", "encoder.ln_post");
    list.push(whole("decoder.positional_embedding", "decoder/position_encodings/encodings"));
    list.push(whole("decoder.token_embedding.weight", "decoder/embeddings/weight"));
    for layer in 0..decoder_layers {
        block(&mut list, &format!("decoder/layer_{layer}"), &format!("decoder.blocks.{layer}"), true);
    }
    norm(&mut list, "decoder/layer_norm", "decoder.ln");
    list
}

fn block(list: &mut Vec<Tensor>, from: &str, to: &str, cross: bool) {
    self_attention(list, &format!("{from}/self_attention"), &format!("{to}.attn"));
    norm(list, &format!("{from}/self_attention/layer_norm"), &format!("{to}.attn_ln"));
    if cross {
        cross_attention(list, &format!("{from}/attention"), &format!("{to}.cross_attn"));
        norm(list, &format!("{from}/attention/layer_norm"), &format!("{to}.cross_attn_ln"));
    }
    for (linear, place) in [(0, 0), (1, 2)] {
        for kind in ["weight", "bias"] {
            list.push(whole(format!("{to}.mlp.{place}.{kind}"), format!("{from}/ffn/linear_{linear}/{kind}")));
        }
    }
    norm(list, &format!("{from}/ffn/layer_norm"), &format!("{to}.mlp_ln"));
}

/// Query, key and value in one matrix, thirds of its rows.
fn self_attention(list: &mut Vec<Tensor>, from: &str, to: &str) {
    let fused = |kind: &str| format!("{from}/linear_0/{kind}");
    list.push(part(format!("{to}.query.weight"), fused("weight"), (0, 3)));
    list.push(part(format!("{to}.query.bias"), fused("bias"), (0, 3)));
    list.push(part(format!("{to}.key.weight"), fused("weight"), (1, 3)));
    list.push(part(format!("{to}.value.weight"), fused("weight"), (2, 3)));
    list.push(part(format!("{to}.value.bias"), fused("bias"), (2, 3)));
    for kind in ["weight", "bias"] {
        list.push(whole(format!("{to}.out.{kind}"), format!("{from}/linear_1/{kind}")));
    }
}

/// The query on its own; key and value in one matrix, halves of its rows.
fn cross_attention(list: &mut Vec<Tensor>, from: &str, to: &str) {
    let fused = |kind: &str| format!("{from}/linear_1/{kind}");
    for kind in ["weight", "bias"] {
        list.push(whole(format!("{to}.query.{kind}"), format!("{from}/linear_0/{kind}")));
    }
    list.push(part(format!("{to}.key.weight"), fused("weight"), (0, 2)));
    list.push(part(format!("{to}.value.weight"), fused("weight"), (1, 2)));
    list.push(part(format!("{to}.value.bias"), fused("bias"), (1, 2)));
    for kind in ["weight", "bias"] {
        list.push(whole(format!("{to}.out.{kind}"), format!("{from}/linear_2/{kind}")));
    }
}

fn norm(list: &mut Vec<Tensor>, from: &str, to: &str) {
    list.push(whole(format!("{to}.weight"), format!("{from}/gamma")));
    list.push(whole(format!("{to}.bias"), format!("{from}/beta")));
}

fn whole(name: impl Into<String>, source: impl Into<String>) -> Tensor {
    part(name, source, (0, 1))
}

fn part(name: impl Into<String>, source: impl Into<String>, part: (usize, usize)) -> Tensor {
    Tensor { name: name.into(), source: source.into(), part }
}

/// The fused biases and where the key's part lies in them.
fn key_biases(encoder_layers: usize, decoder_layers: usize) -> Vec<Tensor> {
    let own = |side: &str, layer| {
        let source = format!("{side}/layer_{layer}/self_attention/linear_0/bias");
        part(source.clone(), source, (1, 3))
    };
    let cross = |layer| {
        let source = format!("decoder/layer_{layer}/attention/linear_1/bias");
        part(source.clone(), source, (0, 2))
    };
    let encoder = (0..encoder_layers).map(|layer| own("encoder", layer));
    encoder.chain((0..decoder_layers).flat_map(|layer| [own("decoder", layer), cross(layer)])).collect()
}

fn check_key_bias(model: &mut Model, tensor: &Tensor) -> Result<(), ConvertError> {
    let (variable, first, shape) = rows(model, tensor)?;
    let mut bytes = vec![0; shape.iter().product::<usize>() * variable.kind.bytes()];
    model.read_at(&variable, first, &mut bytes)?;
    let zero = floats(variable.kind, &bytes).ok_or_else(|| not_float(tensor))?.iter().all(|&value| value == 0.0);
    if zero { Ok(()) } else { Err(ConvertError::KeyBias(tensor.name.clone())) }
}

/// The variable, the index of the tensor's first value in it, and the tensor's shape.
fn rows(model: &Model, tensor: &Tensor) -> Result<(Variable, usize, Vec<usize>), ConvertError> {
    let variable = model.find(&tensor.source)?.clone();
    let (number, parts) = tensor.part;
    let mut shape = variable.shape.clone();
    match shape.first_mut() {
        Some(rows) if rows.is_multiple_of(parts) => *rows /= parts,
        Some(_) | None => return Err(problem(&tensor.source, format!("cannot be split into {parts}"))),
    }
    let first = number * shape.iter().product::<usize>();
    Ok((variable, first, shape))
}

fn write_tensor(
    model: &mut Model,
    tensor: &Tensor,
    quantisation: Quantisation,
    out: &mut impl Write,
) -> Result<(), ConvertError> {
    let (variable, first, mut shape) = rows(model, tensor)?;
    if matches!(tensor.name.as_str(), "encoder.conv1.bias" | "encoder.conv2.bias") {
        shape.push(1);
    }
    let store = storage(tensor, &shape, quantisation)?;
    numbers(out, &[shape.len() as i32, tensor.name.len() as i32, store as i32])?;
    for &size in shape.iter().rev() {
        numbers(out, &[size as i32])?;
    }
    out.write_all(tensor.name.as_bytes())?;
    let count = shape.iter().product::<usize>();
    let mut bytes = vec![0; CHUNK * variable.kind.bytes()];
    let mut encoded = Vec::with_capacity(CHUNK * 4);
    for start in (0..count).step_by(CHUNK) {
        let chunk = &mut bytes[..CHUNK.min(count - start) * variable.kind.bytes()];
        model.read_at(&variable, first + start, chunk)?;
        let values = floats(variable.kind, chunk).ok_or_else(|| not_float(tensor))?;
        encoded.clear();
        store.encode(&values, &mut encoded);
        out.write_all(&encoded)?;
    }
    Ok(())
}

/// whisper.cpp wants vectors and positions as f32; its quantiser leaves the convolutions (rank 3) as f16.
fn storage(tensor: &Tensor, shape: &[usize], quantisation: Quantisation) -> Result<Store, ConvertError> {
    let small = shape.len() < 2 || shape.last() == Some(&1) || tensor.name.ends_with("positional_embedding");
    let quantised = !small && shape.len() == 2 && quantisation == Quantisation::Q8_0;
    if quantised && !shape[1].is_multiple_of(BLOCK) {
        return Err(problem(&tensor.name, format!("has rows of {}, not a multiple of {BLOCK}", shape[1])));
    }
    Ok(if small {
        Store::F32
    } else if quantised {
        Store::Q8_0
    } else {
        Store::F16
    })
}

impl Store {
    fn encode(self, values: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::F32 => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::F16 => out.extend(values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes())),
            Self::Q8_0 => values.chunks(BLOCK).for_each(|block| quantise_block(block, out)),
        }
    }
}

/// ggml's Q8_0: a 16-bit scale, then 32 signed bytes. `round` is away from zero at halves, as in the reference.
fn quantise_block(values: &[f32], out: &mut Vec<u8>) {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(f16::from_f32(scale).to_le_bytes());
    out.extend(values.iter().map(|value| (value * inverse).round() as i8 as u8));
}

fn floats(kind: Type, bytes: &[u8]) -> Option<Vec<f32>> {
    match kind {
        Type::F16 => Some(bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()),
        Type::F32 => Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        Type::I8 | Type::I16 | Type::I32 => None,
    }
}

fn numbers(out: &mut impl Write, numbers: &[i32]) -> Result<(), ConvertError> {
    numbers.iter().try_for_each(|number| Ok(out.write_all(&number.to_le_bytes())?))
}

fn problem(name: &str, problem: String) -> ConvertError {
    ConvertError::Tensor { name: name.to_owned(), problem }
}

fn not_float(tensor: &Tensor) -> ConvertError {
    problem(&tensor.source, "is quantised: only 16-bit and 32-bit models can be converted".to_owned())
}
