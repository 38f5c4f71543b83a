//! Quantised matrices from strangers: whole ones are widened, anything else is a typed error.

use std::path::Path;

use serde_json::json;
use underdog::formats::{Error, Folder, ReadTensors};

use crate::support::{entry, raw, refusal};

const W: &str = "a.weight";
const STATE: &str = "a.weight.quant_state.bitsandbytes__nf4";

/// Name, type, shape and bytes of a tensor.
type Tensor = (&'static str, &'static str, Vec<usize>, Vec<u8>);

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn state(text: &str) -> Tensor {
    (STATE, "U8", vec![text.len()], text.into())
}

/// A `[2, 64]` of bitsandbytes: codes 0 and 15 in turn, scales 2 and 3.
fn nf4() -> Vec<Tensor> {
    let table: Vec<f32> = (0..16).map(|i| i as f32 - 8.0).collect();
    vec![
        (W, "U8", vec![64, 1], vec![0x0f; 64]),
        ("a.weight.absmax", "F32", vec![2], floats(&[2.0, 3.0])),
        ("a.weight.quant_map", "F32", vec![16], floats(&table)),
        state(&json!({ "quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [2, 64] }).to_string()),
    ]
}

/// The same with scales that are quantised: `3 * 0.5 + 0.5`, `5 * 0.5 + 0.5`.
fn nested(block: usize, outer: f32) -> Vec<Tensor> {
    let table: Vec<f32> = (0..256).map(|i| i as f32).collect();
    let said = json!({
        "quant_type": "nf4", "blocksize": 64, "shape": [2, 64], "nested_blocksize": block, "nested_offset": 0.5
    });
    with(
        nf4(),
        vec![
            ("a.weight.absmax", "U8", vec![2], vec![3, 5]),
            ("a.weight.nested_absmax", "F32", vec![1], floats(&[outer])),
            ("a.weight.nested_quant_map", "F32", vec![256], floats(&table)),
            state(&said.to_string()),
        ],
    )
}

/// A `[2, 64]` of MLX: all codes 9 of 4 bits.
fn mlx() -> Vec<Tensor> {
    vec![
        (W, "U32", vec![2, 8], vec![0x99; 64]),
        ("a.scales", "F32", vec![2, 1], floats(&[2.0, -1.0])),
        ("a.biases", "F32", vec![2, 1], floats(&[-1.0, 0.5])),
    ]
}

/// These tensors, some in place of those of the same name.
fn with(tensors: Vec<Tensor>, others: Vec<Tensor>) -> Vec<Tensor> {
    let kept = tensors.into_iter().filter(|(name, ..)| others.iter().all(|(other, ..)| other != name));
    kept.chain(others.iter().cloned()).collect()
}

fn without(tensors: Vec<Tensor>, name: &str) -> Vec<Tensor> {
    tensors.into_iter().filter(|(other, ..)| *other != name).collect()
}

fn write(folder: &Path, tensors: &[Tensor]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert((*name).into(), json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }));
        data.extend(bytes);
    }
    raw(&folder.join("model.safetensors"), &serde_json::Value::Object(header).to_string(), &data);
}

fn read(tensors: &[Tensor]) -> Result<Vec<f32>, String> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), tensors);
    let model = Folder::open(folder.path()).unwrap();
    let found = model.check(&[entry(W, &[2, 64])]).and_then(|()| model.read_vec(W, &[2, 64]));
    match found {
        Err(Error::Io { .. }) => panic!("an error that says nothing"),
        Err(error) => Err(refusal::<()>(Err(error), folder.path())),
        Ok(values) => Ok(values),
    }
}

#[test]
fn quantised_matrices_are_widened() {
    let rows = |of: [[f32; 2]; 2]| Ok::<_, String>([of[0].repeat(32), of[1].repeat(32)].concat());
    assert_eq!(read(&nf4()), rows([[-16.0, 14.0], [-24.0, 21.0]]));
    assert_eq!(read(&nested(256, 0.5)), rows([[-16.0, 14.0], [-24.0, 21.0]]));
    assert_eq!(read(&mlx()), rows([[17.0; 2], [-8.5; 2]]));
}

#[test]
fn what_is_damaged_or_unknown_is_refused() {
    let said = |shape: [usize; 2], kind: &str, block: u64| {
        with(nf4(), vec![state(&json!({ "quant_type": kind, "blocksize": block, "shape": shape }).to_string())])
    };
    let fp4 = |mut tensors: Vec<Tensor>| {
        tensors.iter_mut().filter(|t| t.0 == STATE).for_each(|t| t.0 = "a.weight.quant_state.bitsandbytes__fp4");
        tensors
    };
    let long = format!("{{{}}}", " ".repeat(20_000));
    for (tensors, wants) in [
        (without(nf4(), "a.weight.absmax"), "`a.weight.absmax` is missing"),
        (without(nf4(), "a.weight.quant_map"), "`a.weight.quant_map` is missing"),
        (without(nf4(), STATE), "quant_state.bitsandbytes__nf4` is missing"),
        (with(nf4(), vec![("a.weight.absmax", "F32", vec![1], floats(&[1.0]))]), "[1], the model needs [2]"),
        (with(nf4(), vec![("a.weight.absmax", "F32", vec![2], floats(&[1.0, f32::NAN]))]), "NaN at index 1"),
        (with(nf4(), vec![("a.weight.absmax", "U8", vec![2], vec![1, 2])]), "stored as U8"),
        (with(nf4(), vec![("a.weight.quant_map", "F32", vec![15], vec![0; 60])]), "the model needs [16]"),
        (with(nf4(), vec![(W, "U8", vec![63, 1], vec![0; 63])]), "63 bytes"),
        (said([64, 2], "nf4", 64), "shape [64, 2], the model needs [2, 64]"),
        (said([2, 64], "int4", 64), "\"int4\" for 128 numbers, nf4 wanted"),
        (said([2, 64], "nf4", 0), "blocks of 0"),
        (said([2, 64], "nf4", 32), "blocks of 32"),
        (said([2, 64], "nf4", 1 << 60), "64 and multiples up to 4096"),
        (with(nf4(), vec![state("{\"quant_type\": \"nf4\"")]), "damaged description"),
        (with(nf4(), vec![state("[[[[")]), "damaged description"),
        (with(nf4(), vec![state(&long)]), "a description of 20002 bytes"),
        (fp4(nf4()), "fp4; NF4 can be read"),
        (nested(0, 1.0), "nested_blocksize"),
        (nested(1 << 50, 1.0), "nested_blocksize"),
        (nested(1, 1.0), "the model needs [2]"),
        (nested(256, f32::MAX), "no finite number"),
        (without(nested(256, 1.0), "a.weight.nested_quant_map"), "nested_quant_map` is missing"),
        (without(mlx(), "a.biases"), "`a.biases` is missing"),
        (without(mlx(), "a.scales"), "`a.scales` is missing"),
        (with(mlx(), vec![("a.scales", "F32", vec![1, 2], floats(&[1.0; 2]))]), "scales of [1, 2]"),
        (with(mlx(), vec![("a.biases", "F32", vec![1, 2], floats(&[1.0; 2]))]), "[1, 2], the model needs [2, 1]"),
        (with(mlx(), vec![("a.scales", "F32", vec![2, 0], Vec::new())]), "scales of [2, 0]"),
        (with(mlx(), vec![("a.scales", "F32", vec![2, 2], floats(&[1.0; 4]))]), "4 bits in groups of 32"),
        (with(mlx(), vec![(W, "U32", vec![2, 6], vec![0; 48])]), "3 bits in groups of 64"),
        (with(mlx(), vec![(W, "U32", vec![2, 0], Vec::new())]), "0 bits"),
        (with(mlx(), vec![(W, "U32", vec![16], vec![0; 64])]), "codes of [16]"),
        (with(mlx(), vec![("a.scales", "F32", vec![2, 1], floats(&[f32::INFINITY, 1.0]))]), "inf at index 0"),
    ] {
        let message = read(&tensors).expect_err(wants);
        assert!(message.contains(wants), "{message} lacks {wants}");
        assert!(message.contains("DIR"), "{message}");
    }
}
