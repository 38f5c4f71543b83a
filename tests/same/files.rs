//! What is compared of the files of a run: weights, and rows of JSON without what is a clock's or a memory planner's.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// What a run wrote, by path.
pub(crate) type Results = BTreeMap<String, Written>;

/// A file's digest, and numbers of it for drivers that compute other bits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    digest: String,
    columns: BTreeMap<String, Vec<f64>>,
}

/// Fields of rows that are not results.
const LEFT_OUT: [&str; 5] = ["seconds", "peak_bytes", "planned_bytes", "out", "prompt_sha256"];

impl Written {
    /// Reads a file, if it is one that is compared.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        match path.extension()?.to_str()? {
            "safetensors" if name != "optimizer.safetensors" => {
                Some(Self::weights(&fs::read(path).expect("weights")))
            }
            "jsonl" => Some(Self::rows(&fs::read_to_string(path).expect("rows"))),
            _ => None,
        }
    }

    /// The digest is of names, shapes and bytes; the columns hold each tensor's root of its sum of squares.
    fn weights(bytes: &[u8]) -> Self {
        let file = SafeTensors::deserialize(bytes).expect("safetensors");
        let mut tensors = file.tensors();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let (mut digest, mut norms) = (Sha256::new(), Vec::new());
        for (name, tensor) in &tensors {
            digest.update(format!("{name} {:?} {:?}\n", tensor.dtype(), tensor.shape()));
            digest.update(tensor.data());
            let words = tensor.data().chunks_exact(4).map(|word| word.try_into().expect("four bytes"));
            if tensor.dtype() == Dtype::F32 {
                norms.push(words.map(|word| f64::from(f32::from_le_bytes(word)).powi(2)).sum::<f64>().sqrt());
            }
        }
        Self { digest: hex(digest), columns: BTreeMap::from([("norms".to_owned(), norms)]) }
    }

    fn rows(text: &str) -> Self {
        let mut columns = BTreeMap::<String, Vec<f64>>::new();
        let mut words = Sha256::new();
        for line in text.lines() {
            let row: Json = serde_json::from_str(line).expect("a row of JSON");
            if row.get("settings").is_none() {
                flatten("", &row, &mut columns, &mut words);
            }
        }
        Self { digest: hex(words), columns }
    }

    /// How this differs from what is wanted. With a tolerance, only numbers are compared.
    pub(crate) fn difference(&self, want: &Self, tolerance: Option<f64>) -> Option<String> {
        let off = |name: &String, want: &Vec<f64>| {
            let Some(got) = self.columns.get(name) else { return Some(format!("no `{name}`")) };
            if got.len() != want.len() {
                return Some(format!("{} numbers in `{name}`, {} wanted", got.len(), want.len()));
            }
            let scale = want.iter().fold(f64::MIN_POSITIVE, |most, x| most.max(x.abs()));
            let error = |i: &usize| (got[*i] - want[*i]).abs() / scale;
            let worst = (0..want.len()).max_by(|a, b| error(a).total_cmp(&error(b)))?;
            let fits = got == want || tolerance.is_some_and(|tolerance| error(&worst) <= tolerance);
            (!fits).then(|| {
                format!("`{name}`[{worst}] is {}, {} wanted ({:.1e})", got[worst], want[worst], error(&worst))
            })
        };
        let mut found = want.columns.iter().filter_map(|(name, want)| off(name, want));
        found.next().or_else(|| {
            (tolerance.is_none() && self.digest != want.digest).then(|| "other bytes or texts".to_owned())
        })
    }
}

/// Numbers go to the columns, by the path of their field; texts to the digest. A field that a later version adds changes no
/// recorded column.
fn flatten(path: &str, value: &Json, columns: &mut BTreeMap<String, Vec<f64>>, words: &mut Sha256) {
    match value {
        Json::Number(number) => columns.entry(path.to_owned()).or_default().push(number.as_f64().expect("a number")),
        Json::Array(items) => items.iter().for_each(|item| flatten(path, item, columns, words)),
        Json::Object(fields) => {
            for (name, field) in fields.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, field, columns, words);
            }
        }
        Json::String(_) | Json::Bool(_) => words.update(format!("{path} {value}\n")),
        Json::Null => {}
    }
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
