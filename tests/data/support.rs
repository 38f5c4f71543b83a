//! Where the shared data lies, and how its files are read.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use underdog::data::tokenizer::Tokenizer;

pub(crate) use crate::skip::shared;

/// A file's text, unpacked where only its gzipped form is there.
pub(crate) fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|_| {
        let packed = std::fs::File::open(format!("{}.gz", path.display())).expect("file or its .gz");
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).expect("gzip");
        bytes
    });
    String::from_utf8(bytes).expect("UTF-8")
}

/// A real tokenizer from the shared folder, unpacked into a model folder as a user has it, and opened once.
pub(crate) fn tokenizer(root: &Path, name: &str) -> Arc<Tokenizer> {
    static OPENED: LazyLock<Mutex<HashMap<String, Arc<Tokenizer>>>> = LazyLock::new(Mutex::default);
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    opened.entry(name.to_string()).or_insert_with(|| Arc::new(open(&root.join("tokenizers").join(name)))).clone()
}

fn open(from: &Path) -> Tokenizer {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("tokenizer.json"), text(&from.join("tokenizer.json"))).expect("tokenizer.json");
    for name in ["tokenizer_config.json", "chat_template.jinja"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), folder.path().join(name)).expect("copy");
        }
    }
    Tokenizer::open(folder.path()).expect("tokenizer")
}
